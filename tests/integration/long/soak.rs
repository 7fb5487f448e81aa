//! Traffic as applications make it while everything fails in turn: each request gets its own answer, or the
//! right error.
//!
//! `CLERK_PROXY_TEST_SECONDS` is for how long, `CLERK_PROXY_TEST_SEED` what chance begins with;
//! `scripts/soak` is the long form.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use crate::kit::c::library;
use crate::kit::fapi::CA;
use crate::kit::harness::{number, split_head, Config, Nginx, Reply, KEY};
use crate::kit::http2::{self, frame, literal, Replies};
use crate::kit::load::connect;
use crate::kit::network;
use crate::kit::process::{memory, open_files};
use crate::kit::stand_in::{body_of, Fault, StandIn, FAULTS};

/// nginx waits so long for an answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Numbers by chance, of which none matters (splitmix64).
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }
}

/// What a client sends.
#[derive(Clone, Copy)]
enum Kind {
    Token,
    Script,
    Handshake,
    Upload,
}

/// A request with a number of its own.
struct Sent {
    number: u64,
    kind: Kind,
    method: &'static str,
    target: String,
    body: Vec<u8>,
    /// The key in use when it began, and the time.
    key: u64,
    start: Instant,
}

impl Sent {
    fn head(&self) -> String {
        let length = match self.method {
            "POST" => format!("Content-Length: {}\r\n", self.body.len()),
            _ => String::new(),
        };
        let (method, target, number) = (self.method, &self.target, self.number);
        format!("{method} {target} HTTP/1.1\r\nHost: app.dev\r\nX-Number: {number}\r\n{length}\r\n")
    }
}

/// What came back.
enum Got {
    Whole(Reply),
    /// The connection ended in the middle.
    Cut,
    /// It ended before.
    Nothing,
}

struct World {
    port: u16,
    port2: u16,
    stand_in: StandIn,
    next: AtomicU64,
    /// When the network forgot connections last.
    forgotten: Mutex<Option<Instant>>,
    /// The key that all workers have.
    key: AtomicU64,
    done: AtomicBool,
    counts: Mutex<BTreeMap<String, u64>>,
    problems: Mutex<Vec<String>>,
}

impl World {
    fn goes_on(&self) -> bool {
        // Pace: the load shall not starve what is tested.
        thread::sleep(Duration::from_millis(3));
        !self.done.load(Ordering::Relaxed)
    }

    fn request(&self, kind: Kind, length: usize) -> Sent {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (method, path, more) = match kind {
            Kind::Token => ("POST", "v1/client/sessions/sess_1/tokens", String::new()),
            Kind::Upload => ("POST", "v1/me/profile_image", String::new()),
            Kind::Script => ("GET", "npm/@clerk/clerk-js@6/dist/clerk.browser.js", String::new()),
            Kind::Handshake => {
                ("GET", "v1/client/handshake", format!("&__session={}", "x".repeat(6000)))
            }
        };
        let target = format!("/__clerk/{path}?n={number}{more}");
        let body = if method == "POST" { body_of(number, length) } else { Vec::new() };
        let (key, start) = (self.key.load(Ordering::Relaxed), Instant::now());
        Sent { number, kind, method, target, body, key, start }
    }

    fn count(&self, what: &str) {
        *self.counts.lock().unwrap().entry(what.to_owned()).or_default() += 1;
    }

    /// Whether what came back is right; nothing at all is only where the request can be sent once more.
    fn judge(&self, sent: &Sent, got: &Got) {
        let did = self.stand_in.done_to(sent.number);
        let kind = ["token", "script", "handshake", "upload"][sent.kind as usize];
        let mut outcome = format!("{kind}: ");
        let right = match got {
            Got::Whole(reply) => {
                outcome += &reply.status.to_string();
                is_right(sent, reply, did)
            }
            Got::Cut => {
                outcome += "cut off";
                did == Some(Fault::HalfBody)
            }
            Got::Nothing => false,
        };
        // A request that is under way then may be lost, and its reply cut off.
        let forgotten = *self.forgotten.lock().unwrap();
        let disturbed = forgotten.is_some_and(|at| at > sent.start);
        let failed = match got {
            Got::Whole(reply) => matches!(reply.status, 502 | 504) && is_whole(reply),
            Got::Cut => true,
            Got::Nothing => false,
        };
        let right = right || disturbed && failed;
        self.count(&outcome);
        if !right {
            let seen = match got {
                Got::Whole(reply) => {
                    let text: String = reply.text().chars().take(150).collect();
                    format!("{:?} {text}", reply.headers).replace(KEY, "(the key)")
                }
                Got::Cut | Got::Nothing => String::new(),
            };
            let after = sent.start.elapsed();
            let text =
                format!("{outcome} after {after:?}, {did:?}, number {}: {seen}", sent.number);
            self.problems.lock().unwrap().push(text);
        }
    }
}

fn is_right(sent: &Sent, reply: &Reply, did: Option<Fault>) -> bool {
    let text = reply.text();
    // Headers of HTTP/2 are not decoded here.
    let own = (reply.headers.is_empty() || reply.all("X-Number") == [sent.number.to_string()])
        && is_whole(reply)
        && text.starts_with(&format!("{{\"n\":{},\"key\":", sent.number));
    let value = |name: &str| {
        let value: Option<serde_json::Value> = serde_json::from_str(&text).ok();
        value.and_then(|value| value[name].as_u64())
    };
    match reply.status {
        200 | 307 => {
            let status = if matches!(sent.kind, Kind::Handshake) { 307 } else { 200 };
            let cookies = if status == 307 { 6 } else { 0 };
            own && reply.status == status
                && did.is_some_and(|did| did == Fault::Forgotten || did.answers())
                && did != Some(Fault::Unavailable)
                && value("got") == Some(sent.body.len() as u64)
                && value("key") >= Some(sent.key)
                && reply.all("Set-Cookie").len() == cookies
        }
        503 => own && did == Some(Fault::Unavailable),
        502 | 504 => {
            // A busy machine can take too long for an answer.
            let lost = did.is_some_and(Fault::answers) && sent.start.elapsed() < TIMEOUT;
            let json: Option<serde_json::Value> = serde_json::from_str(&text).ok();
            let code = json.map(|json| json["errors"][0]["code"].clone());
            !lost && code == Some("proxy_request_failed".into()) && reply.all("X-Number").is_empty()
        }
        _ => false,
    }
}

/// Reads a reply to its end, at the pace of a client that is `slow`.
fn read(stream: &mut TcpStream, slow: bool) -> Got {
    let mut bytes = Vec::new();
    let mut part = vec![0; if slow { 8192 } else { 65536 }];
    loop {
        if let Some((head, body)) = split_head(&bytes) {
            let line = head.split("\r\n").find_map(|line| line.strip_prefix("Content-Length: "));
            let length: usize = line.expect("a length").parse().expect("a length");
            if body.len() >= length {
                return Got::Whole(Reply::parse(&bytes));
            }
        }
        if slow {
            thread::sleep(Duration::from_millis(5));
        }
        match stream.read(&mut part) {
            Ok(0) | Err(_) if bytes.is_empty() => return Got::Nothing,
            Ok(0) | Err(_) => return Got::Cut,
            Ok(count) => bytes.extend(&part[..count]),
        }
    }
}

/// A client of HTTP/1.1, which keeps its connection.
struct Client<'a> {
    world: &'a World,
    stream: Option<TcpStream>,
}

impl Client<'_> {
    fn new(world: &World) -> Client<'_> {
        Client { world, stream: None }
    }

    /// Sends a request and judges what comes. A kept connection may end at any time, but then the request
    /// has not been seen; a fresh one may not.
    fn exchange(&mut self, sent: &Sent, slow: bool) {
        loop {
            let kept = self.stream.is_some();
            let mut stream = self.stream.take().unwrap_or_else(|| connect(self.world.port));
            let mut good = stream.write_all(sent.head().as_bytes()).is_ok();
            for part in sent.body.chunks(if slow { sent.body.len() / 5 + 1 } else { 1 << 20 }) {
                if slow {
                    thread::sleep(Duration::from_millis(10));
                }
                // nginx may have answered already.
                good = good && stream.write_all(part).is_ok();
            }
            let got = read(&mut stream, slow);
            if matches!(got, Got::Nothing) && kept {
                self.world.count("sent again on another connection");
                continue;
            }
            if let Got::Whole(reply) = &got {
                if good && reply.all("Connection") != ["close"] {
                    self.stream = Some(stream);
                }
            }
            return self.world.judge(sent, &got);
        }
    }
}

/// Several requests at once over one connection of HTTP/2.
fn burst_h2(world: &World, requests: &[Sent]) {
    const INITIAL_WINDOW_SIZE: [u8; 2] = [0, 4];
    const WINDOW_UPDATE: u8 = 8;
    let window = 0x0100_0000_u32.to_be_bytes();
    let mut bytes = http2::preface();
    frame(&mut bytes, http2::SETTINGS, 0, 0, &[&INITIAL_WINDOW_SIZE[..], &window].concat());
    frame(&mut bytes, WINDOW_UPDATE, 0, 0, &window);
    let streams = (1..).step_by(2);
    for (sent, stream) in requests.iter().zip(streams.clone()) {
        let mut block = Vec::new();
        let (number, length) = (sent.number.to_string(), sent.body.len().to_string());
        for (name, value) in [
            (":method", sent.method),
            (":scheme", "https"),
            (":path", &sent.target),
            (":authority", "app.dev"),
            ("x-number", &number),
            ("content-length", &length),
        ] {
            literal(&mut block, name.as_bytes(), value.as_bytes());
        }
        frame(&mut bytes, http2::HEADERS, http2::END_HEADERS, stream, &block);
        frame(&mut bytes, http2::DATA, http2::END_STREAM, stream, &sent.body);
    }
    let mut connection = connect(world.port2);
    let _ = connection.write_all(&bytes);
    let (mut replies, mut part) = (Replies::default(), vec![0; 65536]);
    while replies.ended.len() < requests.len() {
        match connection.read(&mut part) {
            Ok(count @ 1..) => replies.read(&part[..count]).expect("frames"),
            _ => break,
        }
    }
    for (sent, stream) in requests.iter().zip(streams) {
        let got = match replies.streams.remove(&stream) {
            None | Some((0, _)) => Got::Nothing,
            Some((status, body)) => {
                let reply = Reply { status, headers: Vec::new(), body };
                if is_whole(&reply) {
                    Got::Whole(reply)
                } else {
                    Got::Cut
                }
            }
        };
        if matches!(got, Got::Nothing) && world.stand_in.has_not_seen(sent.number) {
            // A worker that ends takes nothing new.
            world.count("sent again after HTTP/2 took it not");
            Client::new(world).exchange(sent, false);
        } else {
            world.count("(of these by HTTP/2)");
            world.judge(sent, &got);
        }
    }
}

/// Whether a body is as long as it says, or of nginx's own.
fn is_whole(reply: &Reply) -> bool {
    let json: Option<serde_json::Value> = serde_json::from_str(&reply.text()).ok();
    json.is_some_and(|json| json["len"].as_u64().is_none_or(|len| len == reply.body.len() as u64))
}

/// Begins a request and leaves, at a place of its own each time.
fn leave(world: &World, chance: &mut Chance) {
    let kind = [Kind::Token, Kind::Script, Kind::Upload][usize::try_from(chance.below(3)).unwrap()];
    let sent = world.request(kind, 50_000);
    let bytes = [sent.head().into_bytes(), sent.body].concat();
    let part = usize::try_from(chance.below(bytes.len() as u64)).unwrap();
    let whole = chance.below(2) == 0;
    let mut stream = connect(world.port);
    let _ = stream.write_all(if whole { &bytes } else { &bytes[..part] });
    if whole && chance.below(2) == 0 {
        let _ = stream.read(&mut [0; 100]);
    }
    world.count("left");
}

#[test]
fn each_request_gets_its_answer_or_the_right_error() {
    let name = "long::soak::each_request_gets_its_answer_or_the_right_error";
    if network::may_be_own() && !network::inside(name) {
        return;
    }
    let seconds = number("CLERK_PROXY_TEST_SECONDS", 6);
    let seed = number("CLERK_PROXY_TEST_SEED", 1);
    let stand_in = StandIn::start();
    let config = Config::new(&format!(
        "server {{ listen 127.0.0.1:%PORT%; listen 127.0.0.1:%PORT2% http2; clerk_proxy_warm 1;\n\
         location /__clerk/ {{ clerk_proxy https://app.dev/__clerk secret_key=file:key \
         upstream=https://localhost:{}; proxy_ssl_trusted_certificate ca.pem; proxy_read_timeout {}s; }} }}",
        stand_in.port,
        TIMEOUT.as_secs()
    ));
    let config = config.file("ca.pem", CA.pem()).file("key", format!("{KEY}0")).workers(2);
    let config = config.beside(&library("neighbour.c"));
    // What is no TLS is as bad as that.
    let mut nginx = config.allow("SSL_do_handshake() failed").start();
    let world = World {
        port: nginx.port(),
        port2: nginx.config.port2,
        stand_in,
        next: AtomicU64::new(1),
        forgotten: Mutex::default(),
        key: AtomicU64::new(0),
        done: AtomicBool::new(false),
        counts: Mutex::default(),
        problems: Mutex::default(),
    };
    let footprints = thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut client = Client::new(&world);
                while world.goes_on() {
                    client.exchange(&world.request(Kind::Token, 100), false);
                }
            });
        }
        // Page loads, with a refresh among the rest.
        scope.spawn(|| {
            while world.goes_on() {
                let mut requests: Vec<_> = (0..7).map(|_| world.request(Kind::Script, 0)).collect();
                requests.push(world.request(Kind::Token, 100));
                burst_h2(&world, &requests);
            }
        });
        scope.spawn(|| {
            while world.goes_on() {
                thread::scope(|scope| {
                    for _ in 0..8 {
                        scope.spawn(|| {
                            Client::new(&world).exchange(&world.request(Kind::Script, 0), false);
                        });
                    }
                });
            }
        });
        scope.spawn(|| {
            let mut chance = Chance(seed + 1);
            while world.goes_on() {
                let length = 2_000_000 + usize::try_from(chance.below(3_000_000)).unwrap();
                Client::new(&world).exchange(&world.request(Kind::Upload, length), false);
                thread::sleep(Duration::from_millis(50));
            }
        });
        scope.spawn(|| {
            let mut client = Client::new(&world);
            while world.goes_on() {
                client.exchange(&world.request(Kind::Handshake, 0), false);
            }
        });
        scope.spawn(|| {
            let mut client = Client::new(&world);
            while world.goes_on() {
                client.exchange(&world.request(Kind::Script, 0), true);
                client.exchange(&world.request(Kind::Upload, 50_000), true);
            }
        });
        scope.spawn(|| {
            let mut chance = Chance(seed + 2);
            while world.goes_on() {
                leave(&world, &mut chance);
            }
        });
        let footprints = direct(&mut nginx, &world, Duration::from_secs(seconds), seed);
        world.done.store(true, Ordering::Relaxed);
        footprints
    });
    report(&mut nginx, &world, footprints);
}

/// What the master needs: files and kilobytes.
type Footprint = (usize, usize);

/// Lets things go wrong, and gives nginx new keys.
fn direct(nginx: &mut Nginx, world: &World, time: Duration, seed: u64) -> [Footprint; 2] {
    let mut chance = Chance(seed);
    let footprint = |nginx: &Nginx| (open_files(nginx.master()), memory(nginx.master()));
    let mut before = footprint(nginx);
    let start = Instant::now();
    let mut rounds = 0;
    while start.elapsed() < time {
        rounds += 1;
        // Half of the time all is well, and at the beginning.
        let fault = match chance.below(2 * FAULTS.len() as u64) {
            number if rounds > 1 && number < FAULTS.len() as u64 => {
                FAULTS[usize::try_from(number).unwrap()]
            }
            _ => Fault::Nothing,
        };
        world.stand_in.set(fault);
        world.count(&format!("(stand-in: {fault:?})"));
        let forgets = fault == Fault::Forgotten && network::is_own();
        if forgets {
            network::forget(world.stand_in.port);
            // Connections that were there some milliseconds ago are forgotten, too.
            *world.forgotten.lock().unwrap() = Some(Instant::now());
        }
        thread::sleep(Duration::from_millis(100 + chance.below(500)));
        if forgets {
            // Until the kernel has given up what it sends.
            thread::sleep(Duration::from_secs(3));
            network::remember();
        }
        if rounds % 5 == 0 {
            let key = world.key.load(Ordering::Relaxed) + 1;
            nginx.config.folder.write("key", format!("{KEY}{key}"));
            nginx.reload();
            world.key.store(key, Ordering::Relaxed);
            world.count("(reload)");
            if start.elapsed() < time / 4 {
                before = footprint(nginx);
            }
        }
    }
    world.stand_in.set(Fault::Nothing);
    [before, footprint(nginx)]
}

fn report(nginx: &mut Nginx, world: &World, [before, after]: [Footprint; 2]) {
    let workers = nginx.workers();
    let open = |nginx: &Nginx| nginx.workers().into_iter().map(open_files).max().unwrap_or(0);
    // The clients are gone; what is left is kept for the Frontend API.
    nginx.until("no file is left open", |nginx| open(nginx) < 64);
    println!("{} requests", world.next.load(Ordering::Relaxed) - 1);
    for (what, count) in world.counts.lock().unwrap().iter() {
        println!("{count:8} {what}");
    }
    println!(
        "files and KB of the master: {before:?}, then {after:?}; of a worker: {} files, {} KB",
        open(nginx),
        memory(workers[0])
    );
    let mut problems = world.problems.lock().unwrap().clone();
    problems.extend(world.stand_in.problems());
    assert!(
        problems.is_empty(),
        "{} problems: {:#?}",
        problems.len(),
        &problems[..problems.len().min(20)]
    );
    assert!(after.0 <= before.0 + 2 && after.1 < before.1 + 2048, "{before:?} became {after:?}");
    let counts = world.counts.lock().unwrap();
    for what in ["token: 200", "script: 200", "handshake: 307", "upload: 200"] {
        assert!(counts.contains_key(what), "no {what}");
    }
}
