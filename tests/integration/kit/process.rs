//! What the system tells of a process.

use std::fs;

pub fn open_files(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

/// In kilobytes.
pub fn memory(pid: u32) -> usize {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

/// In kilobytes, with a part of what it shares with others.
pub fn proportional(pid: u32) -> usize {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

/// The inodes that files of this name are mapped from, and whether any is gone from its folder.
pub fn mapped(pid: u32, name: &str) -> (Vec<u64>, bool) {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let lines = || maps.lines().filter(|line| line.contains(name));
    let inode = |line: &str| line.split_whitespace().nth(4).unwrap().parse().unwrap();
    let mut inodes: Vec<u64> = lines().map(inode).collect();
    inodes.dedup();
    (inodes, lines().any(|line| line.ends_with("(deleted)")))
}

/// Whether this process ignores the signal, and so does what it starts, as a shell has it for jobs in the background.
pub fn ignores(signal: i32) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap();
    (u64::from_str_radix(mask.trim(), 16).unwrap() >> (signal - 1)) & 1 == 1
}
