//! A DNS server for tests, addresses for it and others, and nginx with files in `/etc` of its own.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::kit::harness::{Config, PATIENCE};

/// Loopback addresses for one test alone: `resolv.conf` can name no port, and its servers can share one.
pub struct Subnet([u8; 2]);

impl Subnet {
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = std::process::id() * 32 + NEXT.fetch_add(1, Ordering::Relaxed);
        let byte = |number: u32| u8::try_from(100 + number % 150).expect("a byte");
        Self([byte(number / 150), byte(number)])
    }

    pub fn ip(&self, last: u8) -> IpAddr {
        Ipv4Addr::new(127, self.0[0], self.0[1], last).into()
    }
}

/// What the server does when it is asked for a name.
#[derive(Clone, Debug)]
pub enum Mode {
    /// Answers with the addresses of the type that is asked for, in this order.
    Answer(Vec<IpAddr>),
    Servfail,
    Nxdomain,
    /// Says that the name has no address.
    Empty,
    /// Promises records and sends something else.
    Garbage,
    /// Does not reply.
    Silent,
}

#[derive(Default)]
struct Table {
    modes: HashMap<String, Mode>,
    queries: HashMap<String, usize>,
}

/// A running DNS server; names that no test has set do not exist.
pub struct Dns {
    table: Arc<Mutex<Table>>,
    stop: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Dns {
    pub fn at(address: IpAddr) -> Self {
        assert_root();
        let socket = UdpSocket::bind((address, 53)).expect("a free port 53");
        // Wakes up now and then to see whether the test is over.
        socket.set_read_timeout(Some(Duration::from_millis(20))).expect("a time-out");
        let table = Arc::<Mutex<Table>>::default();
        let stop = Arc::<AtomicBool>::default();
        let shared = (Arc::clone(&table), Arc::clone(&stop));
        let thread = thread::spawn(move || serve(&socket, &shared.0, &shared.1));
        Self { table, stop, thread: Some(thread) }
    }

    pub fn set(&self, name: &str, mode: Mode) {
        self.table.lock().unwrap().modes.insert(name.to_owned(), mode);
    }

    pub fn answer(&self, name: &str, addresses: &[IpAddr]) {
        self.set(name, Mode::Answer(addresses.to_vec()));
    }

    /// How often the server was asked for the name; a look-up asks twice, for A and for AAAA.
    pub fn queries(&self, name: &str) -> usize {
        self.table.lock().unwrap().queries.get(name).copied().unwrap_or(0)
    }

    /// Waits until the server was asked for the name this often.
    pub fn wait_for(&self, name: &str, count: usize) {
        let start = Instant::now();
        while self.queries(name) < count {
            assert!(start.elapsed() < PATIENCE, "{count} queries for {name} expected");
            thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // The port is free from then on.
        let _ = self.thread.take().map(thread::JoinHandle::join);
    }
}

fn serve(socket: &UdpSocket, table: &Mutex<Table>, stop: &AtomicBool) {
    let mut buffer = [0; 512];
    while !stop.load(Ordering::Relaxed) {
        let Ok((length, client)) = socket.recv_from(&mut buffer) else { continue };
        let Some((name, kind, end)) = question(&buffer[..length]) else { continue };
        let mode = {
            let mut table = table.lock().unwrap();
            *table.queries.entry(name.clone()).or_default() += 1;
            table.modes.get(&name).cloned().unwrap_or(Mode::Nxdomain)
        };
        if let Some(reply) = reply(&mode, kind, &buffer[..end]) {
            let _ = socket.send_to(&reply, client);
        }
    }
}

/// The name and the type that a query asks for, and where its question ends.
fn question(query: &[u8]) -> Option<(String, u8, usize)> {
    let mut labels = Vec::new();
    let mut at = 12;
    loop {
        let length = usize::from(*query.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        labels.push(String::from_utf8_lossy(query.get(at..at + length)?).to_lowercase());
        at += length;
    }
    Some((labels.join("."), *query.get(at + 1)?, at + 4))
}

fn reply(mode: &Mode, kind: u8, query: &[u8]) -> Option<Vec<u8>> {
    let mut records = Vec::new();
    let mut count = 0;
    if let Mode::Answer(addresses) = mode {
        for address in addresses {
            let (its_kind, bytes) = match address {
                IpAddr::V4(address) => (1, address.octets().to_vec()),
                IpAddr::V6(address) => (28, address.octets().to_vec()),
            };
            if kind == its_kind {
                // The name of the question, type, class, an hour to live, length, address.
                records.extend([0xc0, 12, 0, kind, 0, 1, 0, 0, 14, 16, 0]);
                records.push(u8::try_from(bytes.len()).expect("a byte"));
                records.extend(bytes);
                count += 1;
            }
        }
    }
    let code = match mode {
        Mode::Silent => return None,
        Mode::Answer(_) | Mode::Empty => 0,
        Mode::Servfail => 2,
        Mode::Nxdomain => 3,
        Mode::Garbage => {
            // A name that refers to itself.
            let end = u8::try_from(query.len()).expect("a short question");
            records.extend([0xc0, end, 0, kind, 0xff, 0xff, 0xff]);
            count = 9;
            0
        }
    };
    let head = [query[0], query[1], 0x81, 0x80 | code, 0, 1, 0, count, 0, 0, 0, 0];
    Some([&head, &query[12..], &records].concat())
}

/// A `resolv.conf` that names this server.
pub fn resolv_conf(server: IpAddr) -> String {
    format!("nameserver {server}\noptions timeout:1 attempts:1\n")
}

/// The same for half a minute of patience with the server: who waits for a look-up will be seen.
pub fn patient_resolv_conf(server: IpAddr) -> String {
    format!("nameserver {server}\noptions timeout:30 attempts:1\n")
}

/// Gives nginx a mount namespace where `resolv.conf`, `hosts` and `nsswitch.conf` are files of the test's folder,
/// which it may write anew in place.
pub fn private_etc(config: Config, resolv_conf: &str) -> Config {
    assert_root();
    let config = config
        .file("resolv.conf", resolv_conf)
        .file("hosts", "127.0.0.1 localhost\n")
        .file("nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n");
    let folder = config.folder.path().to_owned();
    let script = "for file in resolv.conf hosts nsswitch.conf; do \
                  mount --bind \"$0/$file\" \"/etc/$file\" || exit; done; exec \"$@\"";
    let words = ["unshare", "-m", "sh", "-c", script].map(OsStr::new);
    config.starter(&[&words[..], &[folder.as_os_str()]].concat())
}

/// nginx with `/__clerk/` for the origin, in a mount namespace, with all in its log that there is to say.
pub fn config(origin: &str, resolv_conf: &str) -> Config {
    let server =
        Config::server(&format!("{}\nlocation / {{ return 204; }}", line("__clerk", origin)));
    logging(server, resolv_conf)
}

/// Adds files in `/etc` of its own, and all that there is to say to the log.
pub fn logging(config: Config, resolv_conf: &str) -> Config {
    private_etc(config, resolv_conf).main("error_log logs/error.log info;")
}

/// A location on one line.
pub fn line(path: &str, origin: &str) -> String {
    format!(
        "location /{path}/ {{ clerk_proxy https://app.dev/{path} secret_key=%KEY% upstream={origin}; \
         add_header X-Worker $pid; }}"
    )
}

/// The message that the addresses of `fapi.test` are others now.
pub fn addresses(list: &[IpAddr]) -> String {
    let list: Vec<String> = list.iter().map(IpAddr::to_string).collect();
    format!("addresses of \"fapi.test\" of \"clerk_proxy\": {}", list.join(", "))
}

pub fn assert_root() {
    let user = fs::metadata("/proc/self").expect("/proc").uid();
    assert!(user == 0, "this test needs root, for a mount namespace and for port 53");
}
