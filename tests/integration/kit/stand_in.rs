//! A Frontend API that fails in every way there is, and knows what it did to each request.

use std::collections::{HashMap, HashSet};
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crate::kit::fapi::{is_timeout, Fapi, Request, Stream, CA};
use crate::kit::harness::KEY;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    Nothing,
    /// Nobody listens.
    Refused,
    /// Connections are closed as soon as they are there.
    Reset,
    /// What answers speaks no TLS.
    NoTls,
    /// Requests are read, and the connection closed.
    Closed,
    HalfHeader,
    HalfBody,
    Garbage,
    Slow,
    Unavailable,
    /// It does not answer before nginx gives up.
    Silent,
    /// Interim replies come before the answer.
    Interim,
    /// Session tickets come in parts, late.
    LateTickets,
    /// A connection ends at its second request.
    SecondUse,
    /// The network forgets all connections that there are.
    Forgotten,
}

impl Fault {
    /// Whether a request that arrives gets its answer, if only slowly: some faults are those of new
    /// connections.
    pub fn answers(self) -> bool {
        use Fault::{Closed, Forgotten, Garbage, HalfBody, HalfHeader, Silent};
        !matches!(self, Closed | Forgotten | Garbage | HalfBody | HalfHeader | Silent)
    }
}

pub const FAULTS: &[Fault] = &[
    Fault::Refused,
    Fault::Reset,
    Fault::NoTls,
    Fault::Closed,
    Fault::HalfHeader,
    Fault::HalfBody,
    Fault::Garbage,
    Fault::Slow,
    Fault::Unavailable,
    Fault::Silent,
    Fault::Interim,
    Fault::LateTickets,
    Fault::SecondUse,
    Fault::Forgotten,
];

#[derive(Default)]
struct Seen {
    /// What was done to the requests that came, of each the last.
    done: HashMap<u64, Fault>,
    posts: HashSet<u64>,
    /// Connections with a request.
    used: HashSet<usize>,
    problems: Vec<String>,
}

/// What the stand-in, the test and its clients share.
struct Shared {
    fault: Mutex<Fault>,
    seen: Mutex<Seen>,
    stop: AtomicBool,
}

impl Shared {
    fn fault(&self) -> Fault {
        *self.fault.lock().unwrap()
    }

    /// Notes that a connection is used, and tells whether it was before.
    fn is_used(&self, connection: usize) -> bool {
        !self.seen.lock().unwrap().used.insert(connection)
    }
}

pub struct StandIn {
    pub port: u16,
    fapi: Fapi,
    shared: Arc<Shared>,
}

impl StandIn {
    pub fn start() -> Self {
        let shared = Arc::new(Shared {
            fault: Mutex::new(Fault::Nothing),
            seen: Mutex::default(),
            stop: AtomicBool::new(false),
        });
        let answering = Arc::clone(&shared);
        let fapi = Fapi::start(CA.server(&["localhost"]), move |request, stream| {
            answer(&answering, request, stream)
        });
        // Connections come through a port of their own, where they can fail before there is any TLS.
        let first = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let (port, inner) = (first.local_addr().expect("an address").port(), fapi.port);
        let addresses = [IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST)];
        let second = TcpListener::bind((addresses[1], port)).ok();
        for (address, listener) in addresses.into_iter().zip([Some(first), second]) {
            let shared = Arc::clone(&shared);
            if let Some(listener) = listener {
                thread::spawn(move || pass(listener, address, inner, &shared));
            }
        }
        Self { port, fapi, shared }
    }

    /// Says what goes wrong from now on.
    pub fn set(&self, fault: Fault) {
        *self.shared.fault.lock().unwrap() = fault;
        // They were judged when they came.
        self.fapi.forget();
    }

    /// What was done to the last request with this number, which no other will have.
    pub fn done_to(&self, number: u64) -> Option<Fault> {
        self.shared.seen.lock().unwrap().done.remove(&number)
    }

    /// Whether no request with this number has come so far.
    pub fn has_not_seen(&self, number: u64) -> bool {
        !self.shared.seen.lock().unwrap().done.contains_key(&number)
    }

    /// What was wrong with requests.
    pub fn problems(&self) -> Vec<String> {
        self.shared.seen.lock().unwrap().problems.clone()
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
    }
}

/// Takes connections and passes them on, as long as nothing goes wrong with them.
fn pass(listener: TcpListener, address: IpAddr, inner: u16, shared: &Shared) {
    let port = listener.local_addr().expect("an address").port();
    let mut listener = Some(listener);
    while !shared.stop.load(Ordering::Relaxed) {
        let fault = shared.fault();
        if fault == Fault::Refused {
            listener = None;
        } else if listener.is_none() {
            listener = TcpListener::bind((address, port)).ok();
        }
        let Some(open) = &listener else {
            thread::sleep(Duration::from_millis(2));
            continue;
        };
        open.set_nonblocking(true).expect("a socket");
        let Ok((mut outer, _)) = open.accept() else {
            thread::sleep(Duration::from_millis(2));
            continue;
        };
        match fault {
            Fault::Reset => {}
            Fault::NoTls => drop(outer.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")),
            _ => {
                let Ok(inner) = TcpStream::connect(("127.0.0.1", inner)) else { continue };
                outer.set_nonblocking(false).expect("a socket");
                let (outer2, inner2) = (outer.try_clone(), inner.try_clone());
                let (Ok(outer2), Ok(inner2)) = (outer2, inner2) else { continue };
                thread::spawn(move || copy(outer, inner));
                match fault {
                    Fault::LateTickets => thread::spawn(move || copy_slowly(inner2, outer2)),
                    _ => thread::spawn(move || copy(inner2, outer2)),
                };
            }
        }
    }
}

fn copy(mut from: TcpStream, mut to: TcpStream) {
    let _ = io::copy(&mut from, &mut to);
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}

/// The same, with what follows the first words of the server in parts.
fn copy_slowly(mut from: TcpStream, mut to: TcpStream) {
    let mut buffer = [0; 16_384];
    for flight in 0..2 {
        let Ok(read @ 1..) = from.read(&mut buffer) else { break };
        let parts = if flight == 0 { 1 } else { 3 };
        for part in buffer[..read].chunks(read / parts + 1) {
            if flight > 0 {
                thread::sleep(Duration::from_millis(60));
            }
            let _ = to.write_all(part);
        }
    }
    copy(from, to);
}

/// The body of a request with this number.
pub fn body_of(number: u64, length: usize) -> Vec<u8> {
    let mut body = number.to_string().into_bytes();
    body.resize(length.max(body.len()), b'a' + u8::try_from(number % 26).expect("a letter"));
    body
}

fn answer(shared: &Shared, request: &Request, stream: &mut dyn Stream) -> bool {
    let number: u64 = request.one("X-Number").parse().expect("a number");
    let fault = match shared.fault() {
        Fault::SecondUse if shared.is_used(request.connection) => Fault::Closed,
        other => other,
    };
    let post = request.line.starts_with("POST ");
    {
        let mut seen = shared.seen.lock().unwrap();
        let mut wrong = Vec::new();
        if post && !seen.posts.insert(number) {
            wrong.push("a POST came twice");
        }
        if post && request.body != body_of(number, request.body.len()) {
            wrong.push("another body");
        }
        if !request.target().contains(&format!("n={number}")) {
            wrong.push("another URI");
        }
        if request.one("Clerk-Proxy-Url") != "https://app.dev/__clerk" {
            wrong.push("another proxy URL");
        }
        let head = format!("{} {number}", request.line.chars().take(80).collect::<String>());
        seen.problems.extend(wrong.into_iter().map(|what| format!("{what}: {head}")));
        seen.done.insert(number, fault);
    }
    let key = request.one("Clerk-Secret-Key").strip_prefix(KEY).expect("the key").to_owned();
    let got = request.body.len();
    // A script, or whatever is short.
    let length = if request.target().starts_with("/npm/") { 200_000 } else { 100 };
    let mut body = format!("{{\"n\":{number},\"key\":{key},\"got\":{got},\"len\":{length}}}");
    body.extend(std::iter::repeat_n(' ', length - body.len()));
    let mut more = String::new();
    let mut status = 200;
    if request.target().starts_with("/v1/client/handshake") {
        status = 307;
        more = format!("Location: https://app.dev/back?n={number}\r\n");
        for cookie in 0..6 {
            let value = "x".repeat(1500);
            more.extend(["Set-Cookie: __c", &cookie.to_string(), "=", &value, "\r\n"]);
        }
    }
    if fault == Fault::Unavailable {
        status = 503;
    }
    let head = format!(
        "HTTP/1.1 {status} Whatever\r\nContent-Type: application/json\r\nX-Number: {number}\r\n{more}\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    let mut reply = head.clone() + &body;
    if fault == Fault::Interim {
        let interim =
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nX-Number: 0\r\n\r\n";
        reply.insert_str(0, interim);
    }
    let mut write = |bytes: &[u8]| stream.write_all(bytes).and_then(|()| stream.flush()).is_ok();
    match fault {
        Fault::Slow => reply.as_bytes().chunks(reply.len() / 5 + 1).all(|part| {
            thread::sleep(Duration::from_millis(20));
            write(part)
        }),
        Fault::Silent => {
            // Until nginx closes.
            while stream.read(&mut [0]).is_err_and(|error| is_timeout(&error)) {
                if shared.stop.load(Ordering::Relaxed) {
                    break;
                }
            }
            false
        }
        whole if whole.answers() || whole == Fault::Forgotten => write(reply.as_bytes()),
        _ => {
            write(match fault {
                Fault::HalfHeader => &reply.as_bytes()[..head.len() / 2],
                Fault::HalfBody => &reply.as_bytes()[..head.len() + body.len() / 2],
                Fault::Garbage => b"\x00\x01garbage\r\n\r\n",
                _ => b"",
            });
            false
        }
    }
}
