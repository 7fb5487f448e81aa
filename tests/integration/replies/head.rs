//! Heads of replies, plain and odd: what comes out is what nginx makes of them by itself.

use std::io::{Read, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use proptest::prelude::Rng as _;
use proptest::test_runner::{RngAlgorithm, TestRng};

use crate::kit::c::library;
use crate::kit::fapi::{answer_well, json, Fapi};
use crate::kit::harness::{number, Config, Nginx, Reply, FAULTY_MODULE};
use crate::kit::location::by_hand;

/// Lines of which each is the odd one in heads of their own.
const LINES: &[&str] = &[
    "X-Plain: a b  c",
    "X-Spaces:    a   ",
    "X-Tab:\ta\t",
    "X-Empty:",
    "X-Blank:   ",
    "X-Colon:a:b: c",
    "X-High: \u{e4}\u{ff}\u{80}",
    "X-Control: a\x01\x0b\x1f\x7fb",
    "X-Null: a\0b",
    "X-Null-First: \0",
    "X-CR: a\rb",
    "X-CR-Last: a\r",
    "X-LF: a\nX-Next: b",
    "X-LF-First:\nX-Next: b",
    "X_Underscore: a",
    "_X: a",
    "-: a",
    "x: a",
    "X-Long-Name-Of-More-Than-Thirty-Two-Characters-1: a",
    "X-Longer-Name-Of-More-Than-Sixty-Four-Characters-Which-Nobody-Will-Use-1: a",
    "X-Exactly-Thirty-Two-Characters1: a",
    "X.Dot: a",
    "X Space: a",
    "X-Space : a",
    " X-First: a",
    "\tX-First: a",
    "X\0Null: a",
    "X\u{e4}High: a",
    "X(y): a",
    ": a",
    ":",
    "No-Colon",
    "No-Colon\n",
    "HTTP/1.1 200 OK",
    "HTTP/x: a",
    "Content-Type: text/html; charset=koi8-r",
    "content-type: text/plain",
    "Content-Length: 2",
    "Content-Length: 3",
    "Content-Length: x",
    "content-length:2",
    "Transfer-Encoding: chunked",
    "Transfer-Encoding: gzip",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
    "Connection: close",
    "Connection: keep-alive",
    "Keep-Alive: timeout=5",
    "Server: theirs",
    "Server: theirs\r\nServer: twice",
    "Date: Sat, 01 Jan 2028 00:00:00 GMT",
    "Date: x\r\nDate: y",
    "Last-Modified: Sat, 01 Jan 2028 00:00:00 GMT",
    "Last-Modified: x\r\nLast-Modified: y",
    "ETag: \"a\"",
    "ETag: \"a\"\r\nETag: \"b\"",
    "Accept-Ranges: bytes",
    "Set-Cookie: a=b\r\nset-cookie: c=d\r\nSET-COOKIE: e=f",
    "Cache-Control: no-store\r\nCache-Control: private",
    "Expires: Sat, 01 Jan 2028 00:00:00 GMT",
    "Vary: Origin\r\nVary: Accept",
    "Link: <a>; rel=preload\r\nLink: <b>",
    "WWW-Authenticate: Basic\r\nWWW-Authenticate: Bearer",
    "Location: /v1/x",
    "Location: //x",
    "Refresh: 1; url=/x",
    "Content-Encoding: br",
    "Content-Encoding: br\r\nContent-Encoding: gzip",
    "X-Accel-Redirect: /x",
    "X-Accel-Expires: 1",
    "X-Accel-Limit-Rate: 1000",
    "X-Accel-Buffering: no",
    "X-Accel-Charset: koi8-r",
    "Alt-Svc: h3",
    "Trailer: X",
    "",
];

const STATUS_LINES: &[&str] = &[
    "HTTP/1.1 200 OK",
    "HTTP/1.0 200 OK",
    "HTTP/1.1 200",
    "HTTP/1.1 200 ",
    "HTTP/1.1 304 Not Modified",
    "HTTP/1.1 204 No Content",
    "HTTP/1.1 404 Not Found",
    "HTTP/1.1 503 \u{e4}",
    "HTTP/1.2 200 OK",
    "HTTP/1.1  200 OK",
];

/// What a server may send, one byte for each character.
fn heads() -> Vec<String> {
    let mut heads = Vec::new();
    for line in LINES {
        for before in ["", "Content-Type: application/json\r\nX-Request-Id: 1\r\n"] {
            for after in ["", "Set-Cookie: a=b\r\nContent-Length: 2\r\n"] {
                heads.push(format!("HTTP/1.1 200 OK\r\n{before}{line}\r\n{after}\r\n"));
            }
        }
    }
    let plain = "Content-Type: application/json\r\nContent-Length: 2\r\n";
    for status in STATUS_LINES {
        heads.push(format!("{status}\r\n{plain}\r\n"));
        heads.push(format!("{status}\n{}\n", plain.replace("\r\n", "\n")));
    }
    let many: Vec<_> = (0..100).map(|n| format!("X-{n}: {}\r\n", "v".repeat(n))).collect();
    let many = many.concat();
    heads.push(format!("HTTP/1.1 200 OK\r\n{many}{plain}\r\n"));
    let mut rng = TestRng::from_seed(RngAlgorithm::XorShift, &[7; 16]);
    for _ in 0..100 {
        let mut head = format!("HTTP/1.1 200 OK\r\n{many}{plain}\r\n").into_bytes();
        head.drain(17..rng.random_range(17..head.len() - 99));
        for _ in 0..rng.random_range(1..4) {
            let at = rng.random_range(17..head.len());
            head[at] = *b"\0\r\n\t :_-aZ\x7f\xff".get(rng.random_range(0..12)).expect("a byte");
        }
        heads.push(head.iter().map(|&byte| char::from(byte)).collect());
    }
    heads
}

/// Status, header lines and body. Of an error of nginx's own the status alone, which has a body of ours, and nothing
/// where nginx gives up before it has sent anything.
fn outcome(nginx: &Nginx, number: usize, step: usize) -> Option<(u16, Vec<String>, Vec<u8>)> {
    let mut client = nginx.connect();
    let request = format!("GET /__clerk/{number}/{step} HTTP/1.1\r\nHost: a\r\n");
    client.write_all((request + "Connection: close\r\n\r\n").as_bytes()).expect("nginx reads");
    let mut bytes = Vec::new();
    client.read_to_end(&mut bytes).expect("a reply or none");
    let mut reply = (!bytes.is_empty()).then(|| Reply::parse(&bytes))?;
    if reply.status == 502 {
        return Some((502, Vec::new(), Vec::new()));
    }
    // What nginx says in place of a server that says nothing.
    reply.headers.retain(|line| !line.starts_with("Date: ") || line.ends_with("2028 00:00:00 GMT"));
    // By hand it passes although nginx passes no trailers.
    reply.headers.retain(|line| !line.starts_with("Trailer: "));
    Some((reply.status, reply.headers, reply.body))
}

#[test]
fn heads_come_out_as_by_hand() {
    let heads = heads();
    let count = heads.len();
    let fapi = Fapi::start(None, move |request, stream| {
        let mut numbers = request.target().split('/').skip(1).map(str::parse::<usize>);
        let mut number = || numbers.next().expect("a number").expect("a number");
        let (head, step) = (&heads[number()], number());
        let bytes: Vec<u8> = head.chars().map(|c| c as u8).chain(*b"{}").collect();
        for part in bytes.chunks(step) {
            // nginx may have left.
            if stream.write_all(part).and_then(|()| stream.flush()).is_err() {
                break;
            }
        }
        false
    });
    let port = fapi.port;
    let ours = Config::server(&format!(
        "location /__clerk/ {{ clerk_proxy https://app.dev/__clerk secret_key=%KEY% \
         upstream=http://localhost:{port}; }}"
    ));
    let (ours, theirs) = (ours.start(), by_hand(&fapi, "http"));
    let mut kinds = 0;
    for number in 0..count {
        for step in [usize::MAX, 40, 7] {
            let [our_outcome, their_outcome] = [&ours, &theirs].map(|n| outcome(n, number, step));
            assert_eq!(our_outcome, their_outcome, "{number} in steps of {step}");
            kinds += 1;
        }
    }
    assert!(kinds >= 764, "{kinds}");
}

/// Random heads in one process, see tests/inside/heads.rs.
#[test]
fn heads_are_read_alike() {
    let cases = number("CLERK_PROXY_TEST_CASES", 1000);
    let seed = number("CLERK_PROXY_TEST_SEED", 1);
    let fapi = Fapi::plain();
    let line = format!("upstream=http://127.0.0.1:{}", fapi.port);
    let module = std::env::var_os("CLERK_PROXY_TEST_HEADS").map(PathBuf::from);
    let nginx = Config::server(&format!(
        "location /__clerk/ {{ clerk_proxy https://app.dev/__clerk secret_key=%KEY% {line}; }}"
    ))
    .main("error_log logs/error.log notice; env CLERK_PROXY_HEADS;")
    .module(module.as_deref().unwrap_or(&FAULTY_MODULE))
    .env("CLERK_PROXY_HEADS", &format!("{cases},{seed}"))
    .start();
    let mut client = nginx.connect();
    client.set_read_timeout(None).expect("no time-out");
    let request = "GET /__clerk/x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    client.write_all(request.as_bytes()).expect("nginx reads");
    let mut reply = String::new();
    client.read_to_string(&mut reply).expect("a reply");
    let log = nginx.error_log();
    let told = log.lines().find(|line| line.contains("heads were read alike"));
    println!("{}", told.unwrap_or_else(|| panic!("{log}")));
    assert!(reply.starts_with("HTTP/1.1 200 "), "{reply}");
}

/// Where another module reads heads, ours does not: the panic of ours does not come about.
#[test]
fn another_module_in_the_way() {
    let body = "x".repeat(10);
    let fapi = Fapi::answering(None, json(200, "X-A: b\r\n", &body));
    for (other, status) in [(None, 500), (Some(library("other_head.c")), 200)] {
        let mut config = Config::server(&format!(
            "location /__clerk/ {{ clerk_proxy https://app.dev/__clerk secret_key=%KEY% \
             upstream=http://127.0.0.1:{}; }}",
            fapi.port
        ))
        .main("error_log logs/error.log notice; env CLERK_PROXY_FAULT; env LD_PRELOAD;")
        .module(&FAULTY_MODULE)
        .env("CLERK_PROXY_FAULT", "status line")
        .allow("this is a defect of the module");
        if let Some(other) = &other {
            config = config.env("LD_PRELOAD", other.to_str().expect("UTF-8"));
        }
        let nginx = config.start();
        let reply = nginx.get("/__clerk/x");
        assert_eq!(reply.status, status, "{other:?}");
        // The whole of it at once, and nothing that was cut to its first line.
        assert_eq!(nginx.count("a head of "), usize::from(other.is_some()));
        assert!(other.is_none() || reply.body == body.as_bytes());
    }
}

/// The reply of the server that is asked next has its head read in the same way.
#[test]
fn heads_after_another_try() {
    let first = AtomicBool::new(true);
    let fapi = Fapi::start(None, move |_, stream| {
        !first.swap(false, Ordering::Relaxed) && answer_well(stream)
    });
    let server = format!("server 127.0.0.1:{};", fapi.port);
    let nginx = Config::server(
        "location /__clerk/ { clerk_proxy https://app.dev/__clerk secret_key=%KEY% upstream=http://two; }",
    )
    .http(&format!("upstream two {{ {server} {server} }}"))
    .start();
    assert_eq!(nginx.get("/__clerk/x").status, 200);
    assert_eq!(fapi.requests().len(), 2);
}
