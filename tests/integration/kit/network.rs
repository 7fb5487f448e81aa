//! A network of its own for a test: a loopback interface in a namespace, which loses what the test says.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use crate::kit::harness::MODULE;

const MARK: &str = "CLERK_PROXY_TEST_NETWORK";

/// Whether this process has a network of its own.
pub fn is_own() -> bool {
    std::env::var_os(MARK).is_some()
}

/// Whether it may make one: root may, where the system has namespaces and a container does not forbid them.
pub fn may_be_own() -> bool {
    let status = Command::new("unshare").args(["--net", "true"]).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

/// Runs the test of this name once more in a network of its own, with as many files as it wants. True in there; outside the work is done then.
pub fn inside(test: &str) -> bool {
    if is_own() {
        return true;
    }
    if !may_be_own() {
        println!("{test}: skipped, network namespaces are for root, or are forbidden here");
        return false;
    }
    let output = Command::new("unshare")
        .args([
            "--net",
            "sh",
            "-ec",
            "ip link set lo up; ulimit -n \"$(ulimit -Hn)\"; exec \"$0\" \"$@\"",
        ])
        .arg(std::env::current_exe().expect("a path"))
        .args(["--exact", test, "--nocapture"])
        .env(MARK, "yes")
        .env("CLERK_PROXY_TEST_MODULE", &*MODULE)
        .output()
        .expect("unshare runs");
    let printed = String::from_utf8_lossy(&output.stdout);
    let why = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && printed.contains("1 passed"), "{printed}\n{why}");
    println!("{printed}");
    false
}

/// The ports that connections to this port of the server come from.
pub fn clients_of(port: u16) -> Vec<u16> {
    let tables = ["tcp", "tcp6"].map(|name| fs::read_to_string(format!("/proc/net/{name}")));
    let tables = tables.map(|table| table.expect("a table of connections"));
    let mut ports = Vec::new();
    for line in tables.iter().flat_map(|table| table.lines().skip(1)) {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let port_of = |field: &str| u16::from_str_radix(field.rsplit(':').next()?, 16).ok();
        // Those that are established.
        if fields[3] == "01" && port_of(fields[2]) == Some(port) {
            ports.extend(port_of(fields[1]));
        }
    }
    ports
}

/// Makes the network forget all present connections to this port: their packets are lost from now on, and those of new
/// connections are not.
pub fn forget(port: u16) {
    let ports: Vec<String> = clients_of(port).iter().map(u16::to_string).collect();
    let ports = if ports.is_empty() { "0".to_owned() } else { ports.join(", ") };
    nft(&format!(
        "add table inet forgotten\n\
         add chain inet forgotten input {{ type filter hook input priority 0; }}\n\
         add rule inet forgotten input tcp sport {{ {ports} }} tcp dport {port} drop\n\
         add rule inet forgotten input tcp sport {port} tcp dport {{ {ports} }} drop\n"
    ));
}

/// Ends that: ports may be used again.
pub fn remember() {
    nft("delete table inet forgotten\n");
}

/// A firewall that forgets connections after some seconds of silence, and drops what it does not know.
pub fn forget_after(seconds: u32) {
    nft("add table inet firewall\n\
         add chain inet firewall input { type filter hook input priority 0; }\n\
         add rule inet firewall input ct state invalid drop\n");
    let set = |name: &str, value: u32| {
        let path = format!("/proc/sys/net/netfilter/nf_conntrack_tcp_{name}");
        fs::write(&path, value.to_string()).unwrap_or_else(|why| panic!("{path}: {why}"));
    };
    set("timeout_established", seconds);
    // What it sees in the middle of a connection begins none.
    set("loose", 0);
}

fn nft(rules: &str) {
    let mut nft = Command::new("nft").args(["-f", "-"]).stdin(Stdio::piped()).spawn().expect("nft");
    nft.stdin.take().expect("a pipe").write_all(rules.as_bytes()).expect("nft reads");
    assert!(nft.wait().expect("nft ends").success(), "{rules}");
}
