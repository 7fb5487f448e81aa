//! nginx with preload.c in it: allocations that are counted and can fail, clocks that are wrong.

use std::fs;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::LazyLock;

use crate::kit::harness::Config;

/// Whose calls are counted, and can fail: see tests/inside/faults.rs and preload.c.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Who {
    Nobody = 0,
    /// The module's calls into nginx, of the process that reads the configuration.
    Reader = 1,
    /// The same of workers.
    Worker = 2,
    /// nginx's own allocations.
    Nginx = 3,
    /// The allocations of the module's Rust code.
    Module = 4,
}

static PRELOAD: LazyLock<PathBuf> = LazyLock::new(|| {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("preload.so");
    let status = Command::new("cc")
        .args(["-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o"])
        .arg(&path)
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/integration/kit/preload.c"))
        .status();
    assert!(status.expect("cc runs").success());
    path
});

/// The file by which calls are counted and made to fail, and the clock is set.
pub struct Meter(PathBuf);

impl Meter {
    /// Puts one into a configuration.
    pub fn on(config: Config) -> (Self, Config) {
        let meter = Self(config.folder.write("meter", [0; 48]));
        let path = meter.0.to_string_lossy().into_owned();
        (meter, config.env("CLERK_PROXY_METER", &path))
    }

    /// Begins to count; of these calls so many fail from the `first` on.
    pub fn set(&self, who: Who, first: u64, count: u64) {
        let words = [who as u64, 0, first, first.saturating_add(count - 1)];
        let bytes: Vec<u8> = words.into_iter().flat_map(u64::to_ne_bytes).collect();
        // In place, since it is mapped.
        let mut file = fs::OpenOptions::new().write(true).open(&self.0).expect("the meter");
        file.write_all(&bytes).expect("the meter");
    }

    /// Sets the wall clock of a preloaded nginx wrong by so many seconds.
    pub fn set_clock(&self, wrong: i64) {
        self.write(32, wrong);
    }

    /// Lets the clock that its timers go by run so many times as fast; to be said before it starts.
    pub fn set_speed(&self, speed: i64) {
        self.write(40, speed);
    }

    fn write(&self, offset: u64, word: i64) {
        let file = fs::OpenOptions::new().write(true).open(&self.0).expect("the meter");
        file.write_all_at(&word.to_ne_bytes(), offset).expect("the meter");
    }

    /// How many calls there were.
    pub fn count(&self) -> u64 {
        let bytes = fs::read(&self.0).expect("the meter");
        u64::from_ne_bytes(bytes[8..16].try_into().expect("a word"))
    }

    /// Ends, and tells how many calls there were.
    pub fn stop(&self) -> u64 {
        let count = self.count();
        self.set(Who::Nobody, 0, 1);
        count
    }
}

/// nginx with preload.c in it.
pub fn preloaded(config: Config) -> Config {
    config.env("LD_PRELOAD", &PRELOAD.to_string_lossy())
}
