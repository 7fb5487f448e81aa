//! Clients that never rest: requests of all kinds, each of which must be answered.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustls::ServerConfig;

use crate::kit::fapi::{json, Fapi};
use crate::kit::harness::{split_head, Reply, KEY, PATIENCE};

/// A stand-in that answers with its name, the key and the target.
pub fn telling(name: &'static str, tls: Option<Arc<ServerConfig>>) -> Fapi {
    Fapi::start(tls, move |request, stream| {
        let body = format!("{name} {} {}", request.one("Clerk-Secret-Key"), request.target());
        stream.write_all(json(200, "", &body).as_bytes()).is_ok()
    })
}

pub fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).expect("nginx takes connections");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
    stream
}

/// Sends a request and reads the reply; `None` where the connection was closed before it began.
pub fn ask(stream: &mut TcpStream, request: &str) -> Option<Reply> {
    let mut bytes = Vec::new();
    stream.write_all(request.as_bytes()).ok()?;
    loop {
        if let Some((head, body)) = split_head(&bytes) {
            let reply = Reply::parse(&bytes);
            let length = reply.all("Content-Length").first().map(|length| length.parse().unwrap());
            if length.unwrap_or(0) == body.len() {
                return Some(reply);
            }
            assert!(length.is_some(), "no length in {head}");
        }
        let mut part = [0; 4096];
        match stream.read(&mut part) {
            Ok(0) if bytes.is_empty() => return None,
            Err(error) if error.kind() == ErrorKind::ConnectionReset && bytes.is_empty() => {
                return None;
            }
            Ok(0) => panic!("cut off: {}", String::from_utf8_lossy(&bytes)),
            Ok(count) => bytes.extend(&part[..count]),
            Err(error) => panic!("{error} after {} bytes of {request}", bytes.len()),
        }
    }
}

pub fn head(method: &str, target: &str, connection: &str) -> String {
    format!("{method} {target} HTTP/1.1\r\nHost: app.dev\r\nConnection: {connection}\r\n")
}

/// One request on a connection of its own.
pub fn get(port: u16, target: &str) -> Reply {
    let request = head("GET", target, "close") + "\r\n";
    ask(&mut connect(port), &request).expect("an answer")
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    retried: AtomicUsize,
    answered: AtomicUsize,
    failures: Mutex<BTreeMap<String, usize>>,
}

/// Clients at work until they are told to stop.
pub struct Load {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    /// Two clients per target.
    pub fn start(port: u16, targets: &'static [&'static str]) -> Self {
        let shared = Arc::new(Shared::default());
        let kinds = [keep as fn(u16, &str, &Shared), renew];
        let each = targets.iter().flat_map(|target| kinds.map(|client| (target, client)));
        let threads = each.map(|(target, client)| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                while !shared.stop.load(Ordering::Relaxed) {
                    client(port, target, &shared);
                }
            })
        });
        Self { threads: threads.collect(), shared }
    }

    /// How many requests were answered so far.
    pub fn answered(&self) -> usize {
        self.shared.answered.load(Ordering::Relaxed)
    }

    /// Ends the clients, none of which may have failed; tells how many requests were answered.
    pub fn stop(self) -> usize {
        // What is tested may be over before a busy machine has let the first client in.
        let start = Instant::now();
        while self.answered() == 0 && start.elapsed() < PATIENCE {
            thread::sleep(Duration::from_millis(5));
        }
        let answered = self.answered();
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().expect("a client fails");
        }
        let failures = self.shared.failures.lock().unwrap();
        let retried = self.shared.retried.load(Ordering::Relaxed);
        println!("{answered} requests answered, {retried} sent again on another connection");
        assert!(failures.is_empty() && answered > 0, "of {answered}: {failures:#?}");
        answered
    }
}

impl Shared {
    fn check(&self, reply: Option<&Reply>, what: &str) {
        // Pace: the load shall not starve what is tested.
        thread::sleep(Duration::from_millis(1));
        let good = |reply: &Reply| reply.status == 200 && reply.text().contains(KEY);
        if reply.is_some_and(good) {
            self.answered.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let seen = reply.map(|reply| (reply.status, reply.text().replace(KEY, "(the key)")));
        *self.failures.lock().unwrap().entry(format!("{what}: {seen:?}")).or_default() += 1;
    }
}

/// Keeps its connection: a POST, then many a GET.
fn keep(port: u16, target: &str, shared: &Shared) {
    let mut stream = connect(port);
    let upload = head("POST", target, "keep-alive") + "Content-Length: 5\r\n\r\nhello";
    let reply = ask(&mut stream, &upload);
    shared.check(reply.as_ref(), "POST on a fresh connection");
    let mut closes = reply.is_none_or(|reply| reply.all("Connection") == ["close"]);
    let get = head("GET", target, "keep-alive") + "\r\n";
    for _ in 0..50 {
        if closes || shared.stop.load(Ordering::Relaxed) {
            return;
        }
        let mut reply = ask(&mut stream, &get);
        if reply.is_none() {
            // nginx closes connections at their rest; whoever keeps one must expect that.
            shared.retried.fetch_add(1, Ordering::Relaxed);
            stream = connect(port);
            reply = ask(&mut stream, &get);
        }
        shared.check(reply.as_ref(), "GET on a kept connection");
        closes = reply.is_none_or(|reply| reply.all("Connection") == ["close"]);
    }
}

/// Takes a connection for each request.
fn renew(port: u16, target: &str, shared: &Shared) {
    let get = head("GET", target, "close") + "\r\n";
    let upload = head("POST", target, "close") + "Content-Length: 5\r\n\r\nhello";
    for request in [get, upload] {
        let reply = ask(&mut connect(port), &request);
        shared.check(reply.as_ref(), &request[..4]);
    }
}
