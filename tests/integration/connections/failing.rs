//! Connections to the Frontend API that fail: JSON in time, no request sent twice, and the next one succeeds.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{mpsc, Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::kit::assert::{assert_fails, assert_json, assert_well, IN_TIME};
use crate::kit::fapi::{answer_well, json, Fapi, Request, CA};
use crate::kit::harness::{free_port, Config, Nginx, PATIENCE};
use crate::kit::location::{location, nginx, one_and_all};
use crate::kit::raw::{read_until, reset, serve_well, Raw};

#[test]
fn connections_that_are_refused() {
    let port = free_port();
    let nginx = one_and_all(port, "");
    let why = "connect() failed (111: Connection refused) while connecting to upstream";
    for method in ["GET", "POST", "GET"] {
        assert_fails(&nginx, method, "/one/bad", 502, &[why]);
        assert_json(&nginx.ask(method, "/all/bad"), 502, "proxy_request_failed");
    }
    let listener = TcpListener::bind(("127.0.0.1", port)).expect("still a free port");
    let _fapi = Raw::listen(listener, serve_well);
    assert_eq!(nginx.get("/one/good").status, 200);
    assert_well(&nginx, "one");
    assert_eq!(nginx.get("/all/good").status, 200);
}

#[test]
fn connections_that_end_at_once() {
    // Closed as soon as it is there, closed with the request unread, and with a part of it unread.
    let ways: [fn(TcpStream); 3] = [drop, reset, |mut stream| {
        read_until(&mut stream, "Clerk-Proxy-Url");
        reset(stream);
    }];
    for way in ways {
        let (bad, count) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicUsize::new(0)));
        let (is_bad, counted) = (Arc::clone(&bad), Arc::clone(&count));
        let fapi = Raw::start(move |stream| {
            counted.fetch_add(1, Ordering::Relaxed);
            if is_bad.load(Ordering::Relaxed) {
                way(stream);
            } else {
                serve_well(stream);
            }
        });
        let nginx = one_and_all(fapi.port, "");
        let why = [
            "upstream prematurely closed connection while",
            "(104: Connection reset by peer) while",
            "(32: Broken pipe) while",
        ];
        for (index, method) in ["GET", "POST", "GET", "POST"].into_iter().enumerate() {
            assert_fails(&nginx, method, "/one/bad", 502, &why);
            assert_eq!(count.load(Ordering::Relaxed), index + 1, "{method} was sent twice");
        }
        bad.store(false, Ordering::Relaxed);
        assert_well(&nginx, "one");
    }
}

#[test]
fn connections_that_nobody_takes() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().unwrap();
    // The kernel takes connections for the listener until its queue is full, and then answers nothing.
    let mut queue = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(100)) {
        queue.push(stream);
    }
    let nginx = one_and_all(address.port(), "");
    let why = "upstream timed out (110: Connection timed out) while connecting to upstream";
    thread::scope(|scope| {
        // At once, since each takes 3 s.
        let post = scope.spawn(|| nginx.ask("POST", "/one/bad"));
        let start = Instant::now();
        assert_json(&nginx.ask("GET", "/one/bad"), 504, "proxy_request_failed");
        assert!(start.elapsed() < IN_TIME, "{:?}", start.elapsed());
        assert_json(&post.join().unwrap(), 504, "proxy_request_failed");
    });
    let log = nginx.errors();
    assert!(log.len() == 2 && log.iter().all(|line| line.contains(why)), "{log:#?}");
    drop(queue);
    let _fapi = Raw::listen(listener, serve_well);
    assert_well(&nginx, "one");
}

/// Ends the connection instead of an answer to the first request for `/bad`.
fn ending_once(tls: bool) -> Fapi {
    let ended = AtomicBool::new(false);
    Fapi::start(tls.then(|| CA.server(&["localhost"])), move |request, stream| {
        (request.target() != "/bad" || ended.swap(true, Ordering::Relaxed)) && answer_well(stream)
    })
}

/// nginx in front of it, with a connection to each address of "localhost" kept.
fn warm(fapi: &Fapi, tls: bool) -> Nginx {
    let nginx = if tls {
        nginx(fapi, "")
    } else {
        let location = location(fapi, "").replace("https://local", "http://local");
        Config::server(&location).start()
    };
    for _ in 0..4 {
        assert_eq!(nginx.get("/__clerk/good").status, 200);
    }
    nginx
}

fn bad(fapi: &Fapi) -> Vec<Request> {
    let requests = fapi.requests();
    requests.into_iter().filter(|request| request.target() == "/bad").collect()
}

#[test]
fn a_kept_connection_that_dies_under_a_get() {
    for tls in [false, true] {
        let fapi = ending_once(tls);
        let nginx = warm(&fapi, tls);
        assert_eq!(nginx.ask("GET", "/__clerk/bad").status, 200);
        let bad = bad(&fapi);
        assert_eq!(bad.len(), 2);
        // The first went over a connection that was there before.
        assert!(fapi.requests()[..4].iter().any(|r| r.connection == bad[0].connection));
        assert_ne!(bad[0].connection, bad[1].connection);
    }
}

/// Also where the URI for the Frontend API is longer than the one that the client sent.
#[test]
fn a_request_that_is_sent_again_is_the_same() {
    for base in ["", "/x", "/longer/than/the/prefix"] {
        let (ended, bad) = (AtomicBool::new(false), format!("{base}/bad"));
        let path = bad.clone();
        let fapi = Fapi::start(None, move |request, stream| {
            (request.target() != path || ended.swap(true, Ordering::Relaxed)) && answer_well(stream)
        });
        let nginx = Config::server(&format!(
            "location /__clerk/ {{ clerk_proxy https://app.dev/__clerk secret_key=%KEY%\n\
             upstream=http://127.0.0.1:{}{base}; }}",
            fapi.port
        ))
        .start();
        assert_eq!(nginx.get("/__clerk/good").status, 200);
        assert_eq!(nginx.ask("GET", "/__clerk/bad").status, 200);
        let requests: Vec<_> = fapi.requests().into_iter().filter(|r| r.target() == bad).collect();
        assert_eq!(requests.len(), 2);
        assert_eq!(
            (&requests[0].line, &requests[0].headers),
            (&requests[1].line, &requests[1].headers)
        );
        assert_ne!(requests[0].connection, requests[1].connection);
        // The error log names what was sent.
        let errors = nginx.errors();
        let sent = format!("upstream: \"http://127.0.0.1:{}{bad}\"", fapi.port);
        assert!(errors.iter().all(|line| line.contains(&sent)), "{errors:#?}");
    }
}

#[test]
fn a_kept_connection_that_dies_under_a_post() {
    for tls in [false, true] {
        for method in ["POST", "PATCH"] {
            let fapi = ending_once(tls);
            let nginx = warm(&fapi, tls);
            let reply = nginx.ask(method, "/__clerk/bad");
            assert_json(&reply, 502, "proxy_request_failed");
            // Whatever came after this request came after a second one as well.
            assert_eq!(nginx.ask("GET", "/__clerk/good").status, 200);
            let bad = bad(&fapi);
            assert_eq!(bad.len(), 1, "a {method} was sent twice");
            assert!(fapi.requests()[..4].iter().any(|r| r.connection == bad[0].connection));
        }
    }
}

#[test]
fn a_kept_connection_that_is_reset() {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    let fapi = Raw::start(move |mut stream| {
        counted.fetch_add(1, Ordering::Relaxed);
        if read_until(&mut stream, "\r\n\r\n") {
            let _ = stream.write_all(json(200, "", "{}").as_bytes());
            // When the next request comes.
            reset(stream);
        }
    });
    let nginx = one_and_all(fapi.port, "");
    for (method, status, connections) in
        [("GET", 200, 1), ("GET", 200, 2), ("POST", 502, 2), ("GET", 200, 3), ("GET", 200, 4)]
    {
        assert_eq!(nginx.ask(method, "/one/x").status, status, "{method}");
        assert_eq!(count.load(Ordering::Relaxed), connections, "{method}");
    }
}

#[test]
fn a_kept_connection_that_ends_while_idle() {
    let (closed, is_closed) = mpsc::channel();
    let closed = Mutex::new(closed);
    let fapi = Raw::start(move |mut stream| {
        if read_until(&mut stream, "\r\n\r\n") {
            let _ = stream.write_all(json(200, "", "{}").as_bytes());
            let _ = stream.shutdown(Shutdown::Write);
            while stream.read(&mut [0; 100]).is_ok_and(|count| count > 0) {}
            let _ = closed.lock().unwrap().send(());
        }
    });
    let nginx = one_and_all(fapi.port, "");
    for method in ["GET", "GET", "POST", "POST", "GET"] {
        assert_eq!(nginx.ask(method, "/one/good").status, 200, "{method}");
        is_closed.recv_timeout(PATIENCE).expect("nginx closes its end");
    }
    assert!(nginx.errors().is_empty(), "{}", nginx.error_log());
}
