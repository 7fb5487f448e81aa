//! What a worker needs stays the same, however many requests it serves and however often an address changes.
//!
//! `CLERK_PROXY_TEST_REQUESTS` and `CLERK_PROXY_TEST_CHANGES` are how many; `scripts/endurance` is the long
//! form.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use crate::kit::dns_server::{addresses, logging, resolv_conf, Dns, Subnet};
use crate::kit::fapi::{json, Fapi, CA};
use crate::kit::harness::{free_port, number, Config, Nginx};
use crate::kit::load::{connect, head};
use crate::kit::meter::{preloaded, Meter};
use crate::kit::process::{memory, open_files};
use crate::kit::raw::Raw;

/// Requests that a client sends before it reads their replies.
const AT_ONCE: u64 = 50;

/// Answers requests without a body, one at a time.
fn serve(mut stream: TcpStream) {
    let reply = json(200, "", r#"{"ok":true}"#);
    let (mut part, mut bytes) = ([0; 4096], Vec::new());
    while let Ok(count @ 1..) = stream.read(&mut part) {
        bytes.extend(&part[..count]);
        if bytes.ends_with(b"\r\n\r\n") {
            bytes.clear();
            if stream.write_all(reply.as_bytes()).is_err() {
                return;
            }
        }
    }
}

/// Sends requests by turns as long as there are any left, and counts the replies.
fn client(port: u16, target: &str, left: &AtomicU64) {
    let requests =
        (head("GET", target, "keep-alive") + "\r\n").repeat(usize::try_from(AT_ONCE).unwrap());
    let mut buffer = vec![0; 65536];
    while left.load(Ordering::Relaxed) > 0 {
        let mut stream = connect(port);
        // nginx closes a connection after 1,000 requests, before 1.19.10 by itself after 100.
        for _ in 0..1000 / AT_ONCE {
            stream.write_all(requests.as_bytes()).expect("nginx reads");
            let mut text = String::new();
            while text.matches("{\"ok\":true}").count() < requests.matches("GET ").count() {
                let count = stream.read(&mut buffer).expect("an answer");
                assert!(count > 0, "cut off: {text}");
                text += &String::from_utf8_lossy(&buffer[..count]);
            }
            assert_eq!(text.matches("HTTP/1.1 200 ").count() as u64, AT_ONCE, "{text}");
            let before = left.load(Ordering::Relaxed);
            left.store(before.saturating_sub(AT_ONCE), Ordering::Relaxed);
        }
    }
}

fn footprint(nginx: &Nginx) -> (usize, usize) {
    let worker = nginx.workers()[0];
    (open_files(worker), memory(worker))
}

/// Growth ends where it is no leak: it is looked for in the last three quarters.
fn assert_flat(what: &str, [early, late]: [(usize, usize); 2]) {
    println!("{what}, files and KB of the worker: {early:?}, then {late:?}");
    assert!(late.0 <= early.0 + 4 && late.1 < early.1 + 512, "{early:?} became {late:?}");
}

#[test]
fn many_requests() {
    let total = number("CLERK_PROXY_TEST_REQUESTS", 4_000);
    let plain = Raw::start(serve);
    let tls = Fapi::answering(Some(CA.server(&["localhost"])), json(200, "", r#"{"ok":true}"#));
    let nginx = Config::server(&format!(
        "clerk_proxy_secret_key %KEY%; access_log off; keepalive_requests 1000;\n\
         location /plain/ {{ clerk_proxy https://app.dev/plain upstream=http://127.0.0.1:{}; }}\n\
         location /tls/ {{ clerk_proxy https://app.dev/tls upstream=https://localhost:{}; \
         proxy_ssl_trusted_certificate ca.pem; }}",
        plain.port, tls.port
    ))
    .start();
    let (port, worker) = (nginx.port(), nginx.workers());
    let counters = [total / 2, total - total / 2].map(AtomicU64::new);
    let left = || counters.iter().map(|left| left.load(Ordering::Relaxed)).sum::<u64>();
    let mut early = (0, 0);
    thread::scope(|scope| {
        let clients = [
            scope.spawn(|| client(port, "/plain/v1", &counters[0])),
            scope.spawn(|| client(port, "/tls/v1", &counters[1])),
        ];
        while !clients.iter().all(thread::ScopedJoinHandle::is_finished) {
            tls.forget();
            if left() > total * 3 / 4 || early.1 == 0 {
                early = footprint(&nginx);
            }
            thread::sleep(std::time::Duration::from_millis(5));
        }
    });
    assert_flat(&format!("{total} requests"), [early, footprint(&nginx)]);
    assert_eq!(nginx.workers(), worker);
}

#[test]
fn many_addresses() {
    let total = number("CLERK_PROXY_TEST_CHANGES", 12);
    let net = Subnet::new();
    let dns = Dns::at(net.ip(53));
    let port = free_port();
    let fapis = [2, 3].map(|last| Fapi::at(net.ip(last), port));
    dns.answer("fapi.test", &[net.ip(2)]);
    let config = Config::server(&format!(
        "location /__clerk/ {{ clerk_proxy https://app.dev/__clerk secret_key=%KEY% \
         upstream=http://fapi.test:{port}; proxy_connect_timeout 1h; proxy_read_timeout 1h; }}\n\
         keepalive_timeout 1h; client_header_timeout 1h; clerk_proxy_warm 1; access_log off;"
    ));
    let config = preloaded(logging(config, &resolv_conf(net.ip(53))));
    let (meter, config) = Meter::on(config);
    // The ten seconds between two look-ups are a tenth of one.
    meter.set_speed(100);
    let mut nginx = config.start();
    let lists = [vec![net.ip(3)], vec![net.ip(2), net.ip(3)], vec![net.ip(2)]];
    let mut early = (0, 0);
    for change in 0..total {
        let list = &lists[usize::try_from(change % 3).unwrap()];
        let told = addresses(list);
        let before = nginx.count(&told);
        dns.answer("fapi.test", list);
        nginx.until("the addresses are in use", |nginx| {
            // Requests turn nginx's clock on.
            assert_eq!(nginx.get("/__clerk/v1").status, 200);
            nginx.count(&told) > before
        });
        fapis.iter().for_each(Fapi::forget);
        if change == total / 4 {
            early = footprint(&nginx);
        }
    }
    assert_eq!(nginx.count("addresses of \"fapi.test\""), usize::try_from(total).unwrap());
    assert_flat(&format!("{total} changes of addresses"), [early, footprint(&nginx)]);
}
