//! Connections that are ready before the first request.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{mpsc, Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::kit::assert::assert_json;
use crate::kit::dns_server::{private_etc, resolv_conf, Dns, Subnet};
use crate::kit::fapi::{answer_well, Ca, Fapi, CA};
use crate::kit::harness::{free_port, Config, Nginx};
use crate::kit::raw::{relay, serve_well, Raw};
use crate::kit::tls;

const READY: &str = "a connection to upstream \"clerk_proxy";
/// What a far server's replies take.
const DISTANCE: Duration = Duration::from_millis(100);

fn config(origin: &str, warm: &str, more: &str) -> Config {
    Config::new(&format!(
        "{warm} # not the clerk_proxy_warm 0 of the other tests\nserver {{ listen 127.0.0.1:%PORT%; location /__clerk/ {{\n\
         clerk_proxy https://app.dev/__clerk secret_key=%KEY% upstream={origin} {more}\n}} }}"
    ))
    .main("error_log logs/error.log info;")
    .file("ca.pem", CA.pem())
}

fn start(fapi: &Fapi, warm: &str, more: &str) -> Nginx {
    let more = format!("{more}; proxy_ssl_trusted_certificate %DIR%/ca.pem;");
    config(&format!("https://localhost:{}", fapi.port), warm, &more).start()
}

fn ready(nginx: &Nginx) -> usize {
    nginx.count(READY)
}

#[test]
fn the_first_request_after_start_and_reload_finds_one() {
    for versions in [&[&rustls::version::TLS13], &[&rustls::version::TLS12]] {
        let fapi = tls::fapi(versions, true);
        let mut nginx = start(&fapi, "", "");
        nginx.until("connections are ready", |nginx| ready(nginx) == 2);
        nginx.until("the stand-in has them as well", |_| fapi.handshakes().len() == 2);
        assert!(fapi.requests().is_empty());
        assert_eq!(nginx.get("/__clerk/v1").status, 200);
        assert_eq!(fapi.only().connection, 0, "the request made a connection of its own");

        let before = ready(&nginx);
        nginx.reload();
        nginx.until("connections are ready", |nginx| ready(nginx) == before + 2);
        let made = fapi.handshakes().len();
        assert_eq!(nginx.get("/__clerk/v1").status, 200);
        assert_eq!(fapi.requests()[1].connection, 1);
        assert!(fapi.handshakes().len() <= made + 1, "one took its place at most");
    }
}

/// The session tickets of TLS 1.3 come one round trip after the handshake, and are waited for.
#[test]
fn a_server_far_away() {
    let fapi = tls::fapi(&[&rustls::version::TLS13], true);
    let (port, arrived) = (fapi.port, Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&arrived);
    let relay = Raw::start(move |mut client| {
        let mut server = TcpStream::connect(("127.0.0.1", port)).expect("a connection");
        let mut from = client.try_clone().expect("a stream");
        let mut to = server.try_clone().expect("a stream");
        thread::spawn(move || {
            let _ = io::copy(&mut from, &mut to);
            let _ = to.shutdown(Shutdown::Both);
        });
        let (sent, on_the_way) = mpsc::channel();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(read @ 1..) = server.read(&mut buffer) {
                let _ = sent.send((Instant::now(), buffer[..read].to_vec()));
            }
        });
        for (time, bytes) in on_the_way {
            thread::sleep(DISTANCE.saturating_sub(time.elapsed()));
            if client.write_all(&bytes).is_err() {
                break;
            }
            counted.fetch_add(1, Ordering::Relaxed);
        }
        let _ = client.shutdown(Shutdown::Both);
    });
    let more = "; proxy_ssl_trusted_certificate %DIR%/ca.pem;";
    let origin = format!("https://localhost:{}", relay.port);
    let mut nginx = config(&origin, "clerk_proxy_warm 1;", more).start();
    nginx.until("the tickets have come", |_| arrived.load(Ordering::Relaxed) >= 2);
    nginx.until("a connection is ready", |nginx| ready(nginx) == 1);
    assert_eq!(nginx.get("/__clerk/v1").status, 200);
    assert_eq!(fapi.only().connection, 0);
}

/// Tickets may come one by one, and as late as they like: Nagle's algorithm has the second wait until the first is
/// acknowledged.
#[test]
fn tickets_that_come_one_by_one() {
    let fapi = tls::fapi(&[&rustls::version::TLS13], true);
    let (port, parts) = (fapi.port, Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&parts);
    let server = Raw::start(move |client| {
        let mut flights = 0;
        relay(client, port, |client, bytes| {
            flights += 1;
            // The server says hello, and sends both tickets in one record.
            if flights != 2 {
                return client.write_all(bytes);
            }
            for part in bytes.chunks(bytes.len() / 3 + 1) {
                client.write_all(part)?;
                thread::sleep(Duration::from_millis(60));
                counted.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        });
    });
    let more = "; proxy_ssl_trusted_certificate %DIR%/ca.pem;";
    let origin = format!("https://localhost:{}", server.port);
    let mut nginx = config(&origin, "clerk_proxy_warm 1;", more).start();
    nginx.until("the tickets have come", |_| parts.load(Ordering::Relaxed) == 3);
    nginx.until("a connection is ready", |nginx| ready(nginx) == 1);
    assert_eq!(nginx.get("/__clerk/v1").status, 200);
    assert_eq!((fapi.only().connection, fapi.handshakes().len()), (0, 1));
}

/// While connections to one address wait for an answer, another address is tried.
#[test]
fn one_of_two_addresses_is_dead() {
    let net = Subnet::new();
    let dns = Dns::at(net.ip(53));
    dns.answer("fapi.test", &[net.ip(2), net.ip(3)]);
    let port = free_port();
    let fapi = Fapi::at(net.ip(3), port);
    let listener = TcpListener::bind((net.ip(2), port)).expect("a free port");
    let dead = listener.local_addr().expect("an address");
    // The kernel takes connections for the listener until its queue is full, and then answers nothing.
    let mut queue = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&dead, Duration::from_millis(100)) {
        queue.push(stream);
    }
    let patient = "; proxy_connect_timeout 1h;";
    let config = config(&format!("http://fapi.test:{port}"), "clerk_proxy_warm 1;", patient);
    let mut nginx = private_etc(config, &resolv_conf(net.ip(53))).start();
    for round in 1..=8 {
        nginx.until("a connection is ready", |nginx| ready(nginx) == round);
        assert_eq!(nginx.get("/__clerk/v1").status, 200);
        nginx.reload();
    }
    assert!(!nginx.error_log().contains("can be kept ready"));
    drop(fapi);
}

#[test]
fn without_tls_as_well() {
    let fapi = Fapi::plain();
    let mut nginx =
        config(&format!("http://127.0.0.1:{}", fapi.port), "clerk_proxy_warm 3;", ";").start();
    nginx.until("three connections are ready", |nginx| ready(nginx) == 3);
    assert_eq!(nginx.get("/__clerk/v1").status, 200);
    assert!(fapi.only().connection < 3);
}

/// What requests take is made anew while they last, up to twice the number.
#[test]
fn a_page_that_asks_for_more_and_more() {
    let gate = Arc::new((Mutex::new(false), Condvar::new()));
    let held = Arc::clone(&gate);
    let fapi = Fapi::start(None, move |_, stream| {
        let (open, opened) = &*held;
        drop(opened.wait_while(open.lock().unwrap(), |open| !*open).unwrap());
        answer_well(stream)
    });
    let mut nginx = config(&format!("http://127.0.0.1:{}", fapi.port), "", ";").start();
    let mut clients = Vec::new();
    for (asked, made) in [(0, 2), (1, 3), (2, 4), (3, 4), (4, 4), (5, 4)] {
        if asked > 0 {
            let mut client = nginx.connect();
            let request = "GET /__clerk/v1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
            client.write_all(request.as_bytes()).expect("nginx reads");
            fapi.wait_for(asked);
            clients.push(client);
        }
        nginx.until("connections are ready", |nginx| ready(nginx) == made);
    }
    *gate.0.lock().unwrap() = true;
    gate.1.notify_all();
    for mut client in clients {
        let mut reply = String::new();
        client.read_to_string(&mut reply).expect("a reply");
        assert!(reply.starts_with("HTTP/1.1 200"), "{reply}");
    }
    // The fifth made one of its own; all are kept.
    let connections: Vec<_> = fapi.requests().iter().map(|request| request.connection).collect();
    assert_eq!(connections, [0, 1, 2, 3, 4]);
    assert_eq!(nginx.get("/__clerk/v1").status, 200);
    assert!(fapi.requests()[5].connection < 5);
    assert_eq!(ready(&nginx), 4);
}

/// Of several locations the one that wants most counts; `keepalive=` has room for no more.
#[test]
fn as_many_as_wanted_and_kept() {
    for (warm, keepalive, count) in
        [("clerk_proxy_warm 3;", "", 3), ("clerk_proxy_warm 9;", "keepalive=2", 2)]
    {
        let fapi = tls::fapi(&[&rustls::version::TLS13], true);
        let mut nginx = start(&fapi, warm, keepalive);
        nginx.until("they are ready", |nginx| ready(nginx) == count);
        assert_eq!(nginx.get("/__clerk/v1").status, 200);
        assert_eq!(fapi.only().connection, 0);
        assert!(fapi.handshakes().len() <= count + 1, "one took its place at most");
    }
}

#[test]
fn none_where_none_can_be() {
    let settings = [
        ("clerk_proxy_warm 0;", "proxy_read_timeout 9s"),
        ("", "proxy_bind 127.0.0.1"),
        ("", "sendfile on"),
        ("", "proxy_http_version 1.0; proxy_set_header Connection close"),
    ];
    for (http, here) in settings {
        let fapi = tls::fapi(&[&rustls::version::TLS13], true);
        let http = if http.contains("warm") {
            http.to_owned()
        } else {
            format!("clerk_proxy_warm 1; {http}")
        };
        let nginx = start(&fapi, &http, &format!("; {here}"));
        // One that has warm connections, as a clock for those that this one has not.
        let other = tls::fapi(&[&rustls::version::TLS13], true);
        let mut clock = start(&other, "", "");
        clock.until("connections are ready", |nginx| ready(nginx) == 2);
        assert_eq!(nginx.get("/__clerk/v1").status, 200, "{here}");
        assert_eq!((ready(&nginx), fapi.handshakes().len()), (0, 1), "{here}");
    }
}

/// One line tells of it, requests get their honest answer, and the server is left alone for longer and longer.
#[test]
fn a_server_that_refuses() {
    let port = free_port();
    let mut nginx = config(&format!("http://127.0.0.1:{port}"), "clerk_proxy_warm 1;", ";").start();
    let told = "can be kept ready: Connection refused (os error 111)";
    nginx.until("it is told", |nginx| nginx.error_log().contains(told));
    assert_json(&nginx.get("/__clerk/v1"), 502, "proxy_request_failed");
    let listener = TcpListener::bind(("127.0.0.1", port)).expect("still a free port");
    let _fapi = Raw::listen(listener, serve_well);
    nginx.until("one is ready", |nginx| ready(nginx) == 1);
    assert_eq!(nginx.count("can be kept ready"), 1);
    assert_eq!(nginx.get("/__clerk/v1").status, 200);
    nginx.until("it is told", |nginx| nginx.error_log().contains("are kept ready again"));
}

#[test]
fn an_impostor() {
    let config = tls::serving(
        tls::server(&[&rustls::version::TLS13], &Ca::new().sign(tls::localhost())),
        true,
    );
    let mut nginx = start(&config, "", "");
    let told = "can be kept ready: certificate verify error";
    nginx.until("it is told", |nginx| nginx.error_log().contains(told));
    assert_json(&nginx.get("/__clerk/v1"), 502, "proxy_request_failed");
    assert_eq!((ready(&nginx), config.received()), (0, 0));
}

/// A certificate for no name is none.
#[test]
fn a_server_without_a_name() {
    let fapi = tls::fapi(&[&rustls::version::TLS13], true);
    let mut nginx = start(&fapi, "", "; proxy_ssl_name ''");
    let told = "can be kept ready: certificate does not match \"\"";
    nginx.until("it is told", |nginx| nginx.error_log().contains(told));
    assert_json(&nginx.get("/__clerk/v1"), 502, "proxy_request_failed");
    assert_eq!((ready(&nginx), fapi.received()), (0, 0));
}

/// nginx notes in the client's connection whether files go out by the system's `sendfile`, which TLS cannot do, and
/// a permission is asked for by another location.
#[test]
fn a_body_in_a_file() {
    let fapi = tls::fapi(&[&rustls::version::TLS13], true);
    let more = "; proxy_ssl_trusted_certificate ca.pem; proxy_request_buffering on; auth_request /ask; }\n\
                location /ask { sendfile on; return 204;";
    let mut nginx =
        config(&format!("https://localhost:{}", fapi.port), "clerk_proxy_warm 1;", more).start();
    nginx.until("a connection is ready", |nginx| ready(nginx) == 1);
    let body = "x".repeat(1_000_000);
    let request = format!(
        "POST /__clerk/v1 HTTP/1.1\r\nHost: app.dev\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    assert_eq!(nginx.send(request).status, 200);
    let request = fapi.only();
    assert_eq!((request.connection, request.body.len()), (0, body.len()));
}

/// What is closed by the server is made again, more slowly each time where it does not last.
#[test]
fn a_server_that_closes() {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    let fapi = Raw::start(move |stream| {
        counted.fetch_add(1, Ordering::Relaxed);
        drop(stream);
    });
    let mut nginx =
        config(&format!("http://127.0.0.1:{}", fapi.port), "clerk_proxy_warm 1;", ";").start();
    nginx.until("it was tried again", |_| count.load(Ordering::Relaxed) == 3);
    let log = nginx.error_log();
    let mut warnings = log.lines().filter(|line| line.contains("[warn]"));
    assert!(warnings.all(|line| line.contains("without TLS")), "{log}");
}

/// Neither a reload nor the end waits for a handshake that nobody answers.
#[test]
fn a_stuck_handshake() {
    let streams = Arc::new(Mutex::new(Vec::<TcpStream>::new()));
    let held = Arc::clone(&streams);
    let fapi = Raw::start(move |mut stream| {
        // The client's first words, so that the handshake has begun.
        let mut byte = [0];
        assert_eq!(stream.read(&mut byte).expect("a byte"), 1);
        held.lock().unwrap().push(stream);
    });
    let more = "; proxy_ssl_trusted_certificate %DIR%/ca.pem; proxy_connect_timeout 1h;";
    let origin = format!("https://localhost:{}", fapi.port);
    let mut nginx = config(&origin, "clerk_proxy_warm 1;", more).start();
    nginx.until("a handshake hangs", |_| streams.lock().unwrap().len() == 1);
    let old = nginx.workers();
    nginx.reload();
    nginx.until("the old worker is gone", |nginx| {
        nginx.workers().iter().all(|pid| !old.contains(pid))
    });
    nginx.until("a handshake hangs", |_| streams.lock().unwrap().len() == 2);
    // The end of the test ends nginx, and looks for connections that were left open.
    let _ = streams.lock().unwrap()[1].write(b"x");
}

#[test]
fn numbers() {
    let (good, text) = config("http://127.0.0.1:9", "clerk_proxy_warm many;", ";").check();
    assert!(!good, "{text}");
    let wanted = "invalid value \"many\" in \"clerk_proxy_warm\", write the number of connections";
    assert!(text.contains(wanted), "{text}");
    assert!(
        config("http://127.0.0.1:9", "clerk_proxy_warm 1; server { clerk_proxy_warm 0; }", ";")
            .check()
            .0
    );
}
