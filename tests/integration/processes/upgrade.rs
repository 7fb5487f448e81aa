//! nginx's own upgrade on the fly (`USR2`), with keys from a file and from the environment.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::kit::harness::{kill, Config, KEY, MODULE, PATIENCE};
use crate::kit::load::{get, telling, Load};
use crate::kit::process::mapped;

/// nginx as a daemon, which `USR2` needs: it ignores the signal while the process that started it lives.
struct Daemon(Config);

impl Daemon {
    fn start(config: Config) -> Self {
        let mut command = config.command();
        config.folder.write("nginx.conf", config.text().replace("daemon off; ", ""));
        assert!(command.status().expect("nginx runs").success());
        let daemon = Self(config);
        daemon.until("nginx works", || daemon.pid("").is_some_and(|pid| !children(pid).is_empty()));
        daemon
    }

    /// The master that a pid file names; the old one's ends with `.oldbin` in an upgrade.
    fn pid(&self, end: &str) -> Option<u32> {
        self.0.folder.read(&format!("logs/nginx.pid{end}")).trim().parse().ok()
    }

    fn until(&self, what: &str, holds: impl Fn() -> bool) {
        let start = Instant::now();
        while !holds() {
            let log = self.0.folder.read("logs/error.log");
            assert!(start.elapsed() < PATIENCE, "waited in vain until {what}\n{log}");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Has the program of the running nginx started anew beside it: the old master and the new one.
    fn upgrade(&self) -> (u32, u32) {
        let old = self.pid("").expect("a master");
        kill("USR2", old);
        self.until("there is a new master", || {
            let new = self.pid("").filter(|&pid| pid != old);
            self.pid(".oldbin") == Some(old) && new.is_some_and(|pid| !children(pid).is_empty())
        });
        (old, self.pid("").expect("a master"))
    }

    fn end(&self, pid: u32) {
        kill("QUIT", pid);
        self.until("it has ended", || !lives(pid));
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        for pid in ["", ".oldbin"].into_iter().filter_map(|end| self.pid(end)) {
            if lives(pid) {
                self.end(pid);
            }
        }
        let log = self.0.folder.read("logs/error.log").replace(KEY, "(the key)");
        if thread::panicking() {
            println!("--- logs/error.log\n{log}");
        } else {
            assert!(!log.contains("[alert]") && !log.contains("exited on signal"), "{log}");
        }
    }
}

/// Whether it runs; who has ended may wait for somebody to take notice.
fn lives(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    (stat.contains("(nginx)") || stat.contains("(angie)")) && !stat.contains(") Z ")
}

fn children(pid: u32) -> Vec<u32> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

fn config(port: u16, source: &str) -> Config {
    Config::server(&format!(
        "location /x/ {{ clerk_proxy https://app.dev/x upstream=http://127.0.0.1:{port} secret_key={source}; }}"
    ))
    .main("error_log logs/error.log notice;")
}

#[test]
fn upgrades_under_load() {
    let fapi = telling("fapi", None);
    for (source, main) in [("file:key", ""), ("env:TEST_KEY", "env TEST_KEY;")] {
        let config = config(fapi.port, source)
            .main(&format!("error_log logs/error.log notice; {main}"))
            .file("key", KEY)
            .env("TEST_KEY", KEY);
        let nginx = Daemon::start(config);
        let port = nginx.0.port;
        let load = Load::start(port, &["/x/v1"]);
        for round in 1..4 {
            let file = source.starts_with("file");
            let key = if file { format!("{KEY}{round}") } else { KEY.to_owned() };
            nginx.0.folder.write("key", &key);
            let (old, new) = nginx.upgrade();
            let program = |pid| fs::read_link(format!("/proc/{pid}/exe")).expect("it runs");
            assert_eq!(program(old), program(new));
            kill("WINCH", old);
            nginx.until("the old workers are gone", || children(old) == [new]);
            let told = get(port, "/x/probe").text();
            assert!(told == format!("fapi {key} /probe"), "{}", told.replace(KEY, "(the key)"));
            nginx.end(old);
            nginx.until("its file is gone", || nginx.pid(".oldbin").is_none());
            let answered = load.answered();
            nginx.until("there is load", || load.answered() >= answered + 8);
            assert_eq!((nginx.pid(""), lives(new)), (Some(new), true));
        }
        load.stop();
    }
}

#[test]
fn an_upgrade_loads_the_new_file_of_the_module() {
    let fapi = telling("fapi", None);
    let config = config(fapi.port, "file:key").file("key", KEY);
    let file = config.folder.path().join("clerk.so");
    fs::copy(&*MODULE, &file).unwrap();
    let nginx = Daemon::start(config.module(&file));
    let load = Load::start(nginx.0.port, &["/x/v1"]);
    for _ in 0..3 {
        let new = file.with_extension("new");
        fs::copy(&*MODULE, &new).unwrap();
        fs::rename(&new, &file).unwrap();
        let (old, new) = nginx.upgrade();
        nginx.end(old);
        let inode = fs::metadata(&file).unwrap().ino();
        assert_eq!(mapped(new, "/clerk.so"), (vec![inode], false));
        assert_eq!(get(nginx.0.port, "/x/v1").status, 200);
    }
    load.stop();
}

#[test]
fn an_upgrade_is_taken_back() {
    let fapi = telling("fapi", None);
    let nginx = Daemon::start(config(fapi.port, "file:key").file("key", KEY));
    let load = Load::start(nginx.0.port, &["/x/v1"]);
    let (old, new) = nginx.upgrade();
    kill("WINCH", old);
    nginx.until("the old workers are gone", || children(old) == [new]);
    kill("HUP", old);
    nginx.until("the old master has workers again", || children(old).len() == 2);
    nginx.end(new);
    nginx.until("the old master is the only one", || nginx.pid("") == Some(old));
    assert!(!Path::new(&format!("/proc/{new}")).exists());
    assert_eq!(get(nginx.0.port, "/x/v1").status, 200);
    load.stop();
}

#[test]
fn an_upgrade_without_the_key_changes_nothing() {
    let fapi = telling("fapi", None);
    // Nothing names the variable in the configuration.
    let nginx = Daemon::start(config(fapi.port, "env:TEST_KEY").env("TEST_KEY", KEY));
    let load = Load::start(nginx.0.port, &["/x/v1"]);
    let old = nginx.pid("").expect("a master");
    kill("USR2", old);
    let fault = "environment variable \"TEST_KEY\" in \"clerk_proxy\": an upgrade of the running nginx leaves it out, \
                 write \"env TEST_KEY;\" at the top of nginx.conf and reload before";
    nginx.until("it is refused", || nginx.0.folder.read("logs/error.log").contains(fault));
    nginx.until("the old master is the only one", || {
        nginx.pid("") == Some(old) && children(old).len() == 1
    });
    assert_eq!(get(nginx.0.port, "/x/v1").status, 200);
    load.stop();
}
