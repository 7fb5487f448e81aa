//! Replies of a Frontend API that fails: JSON instead, in time, and no harm to other requests.

use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{mpsc, Arc, Mutex};
use std::thread;
use std::time::Duration;

use crate::kit::assert::{assert_fails, assert_json, assert_logged_once, assert_well};
use crate::kit::fapi::{answer_well, is_timeout, Fapi, Request, Stream};
use crate::kit::harness::{dechunk, split_head, Nginx, PATIENCE};
use crate::kit::location::one_and_all;
use crate::kit::raw::read_until;

/// Answers well but for `/bad`.
fn failing(bad: impl Fn(&mut dyn Stream) -> bool + Send + Sync + 'static) -> Fapi {
    Fapi::start(None, move |request, stream| match request.target() {
        "/bad" => bad(stream),
        _ => answer_well(stream),
    })
}

fn write(bytes: &[u8], stream: &mut dyn Stream) {
    let _ = stream.write_all(bytes).and_then(|()| stream.flush());
}

/// Returns when nginx has closed the connection.
fn until_closed(stream: &mut dyn Stream) {
    while stream.read(&mut [0]).is_err_and(|error| is_timeout(&error)) {}
}

/// `/bad` fails on all ways that lead to it, and no request is sent twice.
fn assert_all_fail(nginx: &Nginx, fapi: &Fapi, status: u16, why: &str) {
    let mut count = 0;
    // On more than one address only what is never sent twice is logged once.
    for (method, location) in [("GET", "one"), ("POST", "one"), ("POST", "all"), ("POST", "all")] {
        assert_fails(nginx, method, &format!("/{location}/bad"), status, &[why]);
        count += 1;
        let arrived = |request: &&Request| request.target() == "/bad";
        assert_eq!(fapi.wait_for(count).iter().filter(arrived).count(), count, "{method}");
    }
    assert_json(&nginx.curl_h2("/one/bad", &[]), status, "proxy_request_failed");
    assert_well(nginx, "one");
    assert_well(nginx, "all");
}

#[test]
fn replies_that_are_none() {
    let long = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(40_000));
    thread::scope(|scope| {
        for (reply, why) in [
            ("", "upstream prematurely closed connection while reading response header"),
            ("HTTP/1.1 200 OK\r\nX-Half", "upstream prematurely closed connection"),
            // A stock proxy_pass takes these for HTTP/0.9 and hands them out.
            ("garbage\r\n\r\n", "upstream sent no valid HTTP/1.0 header"),
            ("HTTP/1.1 abc\r\n\r\n", "upstream sent no valid HTTP/1.0 header"),
            ("\x15\x03\x01\x00\x02\x02\x46", "upstream sent no valid HTTP/1.0 header"),
            ("HTTP/1.1 200 OK\r\n\x01: x\r\n\r\n", "upstream sent invalid header"),
            (&long, "upstream sent too big header"),
        ] {
            let bytes = reply.as_bytes().to_vec();
            scope.spawn(move || {
                let fapi = failing(move |stream| {
                    write(&bytes, stream);
                    false
                });
                assert_all_fail(&one_and_all(fapi.port, ""), &fapi, 502, why);
            });
        }
    });
}

#[test]
fn replies_that_do_not_come() {
    thread::scope(|scope| {
        for head in ["", "HTTP/1.1 200 OK\r\nX-Half"] {
            scope.spawn(move || {
                let fapi = failing(move |stream| {
                    write(head.as_bytes(), stream);
                    until_closed(stream);
                    false
                });
                let why = "upstream timed out (110: Connection timed out) while reading";
                let nginx = one_and_all(fapi.port, "proxy_read_timeout 200ms;");
                assert_all_fail(&nginx, &fapi, 504, why);
            });
        }
    });
}

#[test]
fn replies_that_drip() {
    let told = Arc::new(AtomicBool::new(false));
    let is_told = Arc::clone(&told);
    let fapi = Fapi::start(None, move |request, stream| {
        let (head, part) = match request.target() {
            "/bad" => ("HTTP/1.1 200 OK\r\nX: ", "x"),
            "/body" => ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "1\r\nx\r\n"),
            _ => return answer_well(stream),
        };
        write(head.as_bytes(), stream);
        let mut drops = 0;
        while drops < 30 || (drops < 800 && !is_told.load(Ordering::Relaxed)) {
            write(part.as_bytes(), stream);
            thread::sleep(Duration::from_millis(25));
            drops += 1;
        }
        stream.write_all(b"0\r\n\r\n").is_ok()
    });
    let nginx = one_and_all(fapi.port, "proxy_read_timeout 600ms;");
    thread::scope(|scope| {
        // nginx counts the time between two reads of a body, and all the time for a header.
        let header = scope.spawn(|| nginx.ask("GET", "/one/bad"));
        let body = scope.spawn(|| nginx.ask("GET", "/one/body"));
        fapi.wait_for(2);
        assert_well(&nginx, "one");
        assert_json(&header.join().unwrap(), 504, "proxy_request_failed");
        told.store(true, Ordering::Relaxed);
        let body = body.join().unwrap();
        assert!(body.status == 200 && body.body.len() >= 30, "{body:?}");
    });
    assert_logged_once(&nginx, 0, &["upstream timed out (110: Connection timed out)"]);
}

#[test]
fn replies_that_end_in_the_middle() {
    let length = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc";
    let chunks = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n";
    for (reply, closes, why) in [
        (length, true, "upstream prematurely closed connection while reading upstream"),
        (chunks, true, "upstream prematurely closed connection while reading upstream"),
        (length, false, "upstream timed out (110: Connection timed out) while reading upstream"),
        (chunks, false, "upstream timed out (110: Connection timed out) while reading upstream"),
    ] {
        let fapi = failing(move |stream| {
            write(reply.as_bytes(), stream);
            if !closes {
                until_closed(stream);
            }
            false
        });
        let nginx = one_and_all(fapi.port, "proxy_read_timeout 200ms;");
        let mut client = nginx.connect();
        client.write_all(b"GET /one/bad HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        // The connection is closed although the client did not ask for it: that ends a cut reply.
        let mut bytes = Vec::new();
        client.read_to_end(&mut bytes).unwrap();
        let (head, body) = split_head(&bytes).unwrap();
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        // What nginx holds in its buffers when the time is over is lost with the rest.
        let (body, complete) = if head.contains("chunked") {
            dechunk(body)
        } else {
            (body.to_vec(), !head.contains("Content-Length: 100"))
        };
        assert!(
            b"abc".starts_with(&body) && (body.len() == 3 || !closes) && !complete,
            "{bytes:?}"
        );
        assert_logged_once(&nginx, 0, &[why]);
        assert_well(&nginx, "one");
    }
}

#[test]
fn clients_that_leave() {
    let (go_on, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let fapi = failing(move |stream| {
        let _ = wait.lock().unwrap().recv_timeout(PATIENCE);
        write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", stream);
        write(&vec![b'x'; 500_000], stream);
        until_closed(stream);
        false
    });
    let nginx = one_and_all(fapi.port, "");
    let head = "POST /one/bad HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n";
    for part in [&head[..10], &head[..30], head, &format!("{head}hel"), &format!("{head}hello")] {
        let mut client = nginx.connect();
        client.write_all(part.as_bytes()).unwrap();
        drop(client);
        assert_eq!(nginx.get("/one/good").status, 200);
    }
    drop(go_on);
    let mut client = nginx.connect();
    client.write_all(b"GET /one/bad HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert!(read_until(&mut client, "\r\n\r\nx"));
    drop(client);
    assert_well(&nginx, "one");
    assert!(nginx.errors().is_empty(), "{}", nginx.error_log());
}
