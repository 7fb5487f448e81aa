//! Connections that the network has forgotten: no packet of theirs arrives, and nobody says so.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use crate::kit::assert::assert_json;
use crate::kit::dns_server::{config, resolv_conf, Dns, Subnet};
use crate::kit::fapi::{answer_well, json, Fapi, CA};
use crate::kit::harness::{free_port, has, Config, Nginx, Reply};
use crate::kit::network::{clients_of, forget, forget_after, inside};
use crate::kit::raw::{read_until, Raw};

/// What a request takes that meets such a connection, at most: 2 s where nothing else keeps the machine busy.
const NOTICED: Duration = Duration::from_secs(5);
/// Less than it takes to notice one.
const AT_ONCE: Duration = Duration::from_millis(1_500);

fn start(fapi: &Fapi, origin: &str, lines: &str) -> Nginx {
    start_at(fapi.port, origin, lines)
}

fn start_at(port: u16, origin: &str, lines: &str) -> Nginx {
    Config::server(&format!(
        "location /__clerk/ {{\nclerk_proxy https://app.dev/__clerk secret_key=%KEY% \
         upstream={origin}:{port};\nproxy_ssl_trusted_certificate ca.pem;\n{lines}\n}}"
    ))
    .http("log_format tried '$request_method $upstream_addr'; access_log logs/tried.log tried;")
    .start()
}

/// A request, and that it took no longer than this.
fn within(limit: Duration, nginx: &Nginx, method: &str) -> Reply {
    let start = Instant::now();
    let reply = nginx.ask(method, "/__clerk/v1");
    println!("{method}: {} after {:?}", reply.status, start.elapsed());
    assert!(start.elapsed() < limit, "{method}: {} after {:?}", reply.status, start.elapsed());
    reply
}

/// Has keepalive hold as many connections, to requests that are under way at the same time.
fn keep(port: u16, nginx: &Nginx, count: usize) {
    thread::scope(|scope| {
        for _ in 0..count {
            scope.spawn(|| assert_eq!(nginx.get("/__clerk/together").status, 200));
        }
    });
    assert_eq!(clients_of(port).len(), count);
}

/// Answers requests for `/together` when so many are there.
fn waiting_for(count: usize) -> Fapi {
    let here = Barrier::new(count);
    Fapi::start(CA.server(&["localhost"]), move |request, stream| {
        if request.target() == "/together" {
            here.wait();
        }
        answer_well(stream)
    })
}

/// A request that may be sent again is, on a new connection; one that may not fails in time.
#[test]
fn a_request_that_meets_one() {
    if !inside("connections::forgotten::a_request_that_meets_one") {
        return;
    }
    thread::scope(|scope| {
        for origin in ["https://localhost", "http://127.0.0.1", "http://localhost"] {
            scope.spawn(|| meets_one(origin));
        }
    });
}

fn meets_one(origin: &str) {
    let fapi = if origin.starts_with("https") { Fapi::tls() } else { Fapi::plain() };
    let mut nginx = start(&fapi, origin, "");
    assert_eq!(nginx.get("/__clerk/v1").status, 200);
    forget(fapi.port);
    assert_eq!(within(NOTICED, &nginx, "GET").status, 200);
    forget(fapi.port);
    let received = fapi.requests().len();
    assert_json(&within(NOTICED, &nginx, "POST"), 502, "proxy_request_failed");
    assert_eq!(fapi.requests().len(), received);
    let log = |nginx: &Nginx| nginx.config.folder.read("logs/tried.log");
    nginx.until("it is logged", |nginx| log(nginx).contains("POST"));
    let tried = log(&nginx);
    let tried = tried.lines().find(|line| line.starts_with("POST")).expect("a line");
    assert!(!tried.contains(','), "sent twice: {tried}");
    assert_eq!(within(AT_ONCE, &nginx, "POST").status, 200);
}

/// Over HTTP/2 stock nginx sends the number of a stream of the dead connection again, and takes the reply for another's.
#[test]
fn over_http_2() {
    if !inside("connections::forgotten::over_http_2") || !has("ngx_http_proxy_v2_module") {
        return;
    }
    let nginx = Config::new(
        "server { listen 127.0.0.1:%PORT%; location /__clerk/ { proxy_http_version 2;\n\
         clerk_proxy https://app.dev/__clerk secret_key=%KEY% upstream=http://127.0.0.1:%PORT2%; } }\n\
         server { listen 127.0.0.1:%PORT2%; http2 on; return 200 well; }",
    )
    .start();
    for _ in 0..2 {
        assert_eq!(nginx.get("/__clerk/v1").status, 200);
        forget(nginx.config.port2);
        assert_eq!(within(NOTICED, &nginx, "GET").text(), "well");
        forget(nginx.config.port2);
        assert_json(&within(NOTICED, &nginx, "POST"), 502, "proxy_request_failed");
    }
}

/// Once one turned out dead, those that were kept beside it are not tried.
#[test]
fn many_of_them() {
    if !inside("connections::forgotten::many_of_them") {
        return;
    }
    let fapi = waiting_for(6);
    let nginx = start(&fapi, "https://localhost", "");
    keep(fapi.port, &nginx, 6);
    forget(fapi.port);
    assert_eq!(within(NOTICED, &nginx, "GET").status, 200);
    for method in ["POST", "GET", "POST", "GET", "POST", "GET", "POST"] {
        assert_eq!(within(AT_ONCE, &nginx, method).status, 200);
    }
}

/// Where nobody speaks, the kernel does: it finds a dead connection, and keeps the others in the firewall's memory.
#[test]
fn silence() {
    if !inside("connections::forgotten::silence") {
        return;
    }
    let (dead, firewalled) = (Fapi::tls(), Fapi::tls());
    let mut one = start(&dead, "https://localhost", "");
    let other = start(&firewalled, "https://localhost", "");
    assert_eq!(one.get("/__clerk/v1").status, 200);
    forget(dead.port);
    forget_after(11);
    assert_eq!(other.get("/__clerk/v1").status, 200);
    let ports = clients_of(firewalled.port);
    let silence = Instant::now();
    one.until("the dead connection is closed", |_| clients_of(dead.port).is_empty());
    assert!(silence.elapsed() < Duration::from_secs(20), "{:?}", silence.elapsed());
    assert_eq!(within(AT_ONCE, &one, "POST").status, 200);
    thread::sleep(Duration::from_secs(13).saturating_sub(silence.elapsed()));
    for method in ["GET", "POST"] {
        assert_eq!(within(AT_ONCE, &other, method).status, 200);
    }
    assert_eq!(clients_of(firewalled.port), ports);
}

/// A server that takes its time, but is there, has it: before it answers, and before it reads an upload.
#[test]
fn a_server_that_is_slow() {
    if !inside("connections::forgotten::a_server_that_is_slow") {
        return;
    }
    let fapi = Raw::start(|mut stream| {
        assert!(read_until(&mut stream, "\r\n\r\n"));
        thread::sleep(Duration::from_secs(4));
        let (mut left, mut buffer) = (2_000_000, vec![0; 65_536]);
        while left > 0 {
            left -= stream.read(&mut buffer).expect("the body");
        }
        let _ = stream.write_all(json(200, "", "{}").as_bytes());
    });
    let nginx = start_at(fapi.port, "http://127.0.0.1", "");
    let body = "x".repeat(2_000_000);
    let length = body.len();
    let head = "POST /__clerk/v1 HTTP/1.1\r\nHost: app.dev\r\nConnection: close\r\n";
    let reply = nginx.send(format!("{head}Content-Length: {length}\r\n\r\n{body}"));
    assert_eq!(reply.status, 200);
}

/// The user's own word: connections without options wait as long as `proxy_read_timeout` says.
#[test]
fn proxy_socket_keepalive_off() {
    if !inside("connections::forgotten::proxy_socket_keepalive_off") {
        return;
    }
    let fapi = Fapi::plain();
    let lines = "proxy_socket_keepalive off; proxy_read_timeout 3s;";
    let nginx = start(&fapi, "http://127.0.0.1", lines);
    assert_eq!(nginx.get("/__clerk/v1").status, 200);
    forget(fapi.port);
    let start = Instant::now();
    assert_eq!(nginx.ask("POST", "/__clerk/v1").status, 504);
    assert!(start.elapsed() > Duration::from_secs(3));
}

/// Each of the two addresses has kept connections that all end at their second use. No request finds nobody.
#[test]
fn connections_that_end_at_their_second_use() {
    let net = Subnet::new();
    let dns = Dns::at(net.ip(53));
    dns.answer("fapi.test", &[net.ip(2), net.ip(3)]);
    let (port, here) = (free_port(), Arc::new(Barrier::new(8)));
    let servers = [2, 3].map(|last| {
        let here = Arc::clone(&here);
        let listener = TcpListener::bind((net.ip(last), port)).expect("a free port");
        Raw::listen(listener, move |mut stream| {
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                let mut byte = [0];
                assert_eq!(stream.read(&mut byte).expect("a request"), 1);
                head.push(byte[0].into());
            }
            if head.starts_with("GET /together") {
                here.wait();
            }
            assert!(answer_well(&mut stream));
            // Until the next request is there.
            let _ = stream.read(&mut [0]);
        })
    });
    let origin = format!("http://fapi.test:{port}");
    let nginx = config(&origin, &resolv_conf(net.ip(53))).start();
    keep(port, &nginx, 8);
    for number in 0..12 {
        assert_eq!(nginx.get("/__clerk/v1").status, 200, "{number}");
    }
    drop(servers);
}
