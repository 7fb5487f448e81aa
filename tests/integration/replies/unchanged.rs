//! Replies of the Frontend API reach the client as they are.

use std::io::{Read, Write};
use std::sync::mpsc;
use std::sync::Mutex;

use crate::kit::assert::assert_json;
use crate::kit::fapi::{json, Fapi, CA};
use crate::kit::harness::{dechunk, has, product, split_head, Config, Nginx, PATIENCE};
use crate::kit::location::{location, nginx};

fn answering(reply: impl Into<Vec<u8>>) -> (Fapi, Nginx) {
    answering_beside(reply, "")
}

fn answering_beside(reply: impl Into<Vec<u8>>, lines: &str) -> (Fapi, Nginx) {
    let fapi = Fapi::answering(Some(CA.server(&["localhost"])), reply);
    let nginx = nginx(&fapi, lines);
    (fapi, nginx)
}

fn raw(nginx: &Nginx) -> Vec<u8> {
    let mut client = nginx.connect();
    let request = "GET /__clerk/v1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    client.write_all(request.as_bytes()).unwrap();
    let mut bytes = Vec::new();
    client.read_to_end(&mut bytes).unwrap();
    bytes
}

#[test]
fn every_status() {
    let fapi = Fapi::start(CA.server(&["localhost"]), |request, stream| {
        let status = request.target().trim_start_matches('/').parse().expect("a status");
        let body = format!(r#"{{"errors":[{{"code":"from_clerk_{status}"}}]}}"#);
        stream.write_all(json(status, "Retry-After: 7\r\n", &body).as_bytes()).is_ok()
    });
    let nginx = nginx(&fapi, "");
    for status in [
        200, 201, 202, 301, 302, 303, 307, 308, 400, 401, 402, 403, 404, 405, 408, 409, 410, 411,
        413, 414, 415, 418, 422, 423, 425, 429, 431, 444, 494, 495, 496, 497, 499, 500, 501, 502,
        503, 504, 505, 520, 599,
    ] {
        let reply = nginx.get(&format!("/__clerk/{status}"));
        assert_eq!(reply.status, status);
        assert_eq!(reply.text(), format!(r#"{{"errors":[{{"code":"from_clerk_{status}"}}]}}"#));
        assert_eq!(reply.all("Retry-After"), ["7"]);
        assert_eq!(reply.all("Content-Type"), ["application/json"]);
    }
}

#[test]
fn replies_without_a_body() {
    let (_fapi, nginx) = answering("HTTP/1.1 204 No Content\r\nX-A: b\r\n\r\n");
    let reply = nginx.get("/__clerk/v1");
    assert_eq!((reply.status, reply.body.len(), reply.all("X-A")), (204, 0, vec!["b"]));
    let (fapi, nginx) = answering("HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\n\r\n");
    let reply = nginx.send(
        "GET /__clerk/v1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\nIf-None-Match: \"x\"\r\n\r\n",
    );
    assert_eq!((reply.status, reply.all("ETag")), (304, vec!["\"x\""]));
    assert_eq!(fapi.only().one("If-None-Match"), "\"x\"");
    let (fapi, nginx) = answering("HTTP/1.1 200 OK\r\nContent-Length: 12345\r\n\r\n");
    let reply = nginx.send("HEAD /__clerk/v1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    assert_eq!((reply.status, reply.all("Content-Length")), (200, vec!["12345"]));
    assert!(reply.body.is_empty() && fapi.only().line.starts_with("HEAD "));
}

#[test]
fn headers_pass_as_they_are() {
    let sent = "Set-Cookie: __client=a; Path=/; Domain=app.dev; HttpOnly\r\nSet-Cookie: b=c, d\r\n\
                X-Country: DE\r\nSet-Cookie: e=\"f\"; Path=/x\r\nx-dup: 1\r\nX-Dup: 2\r\nVary: Origin\r\n\
                ETag: W/\"x\"\r\nLast-Modified: Mon, 02 Jan 2006 15:04:05 GMT\r\nExpires: 0\r\n\
                Cache-Control: no-store, max-age=0\r\nWWW-Authenticate: Bearer\r\n\
                Content-Security-Policy: a 'b'; c\r\nAccess-Control-Allow-Origin: *\r\n\
                Link: </x>; rel=preload\r\nX-High: \u{fc}\r\n";
    let sent_bytes: Vec<u8> = sent.chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect();
    let (head, tail) = (&b"HTTP/1.1 200 OK\r\n"[..], &b"Content-Length: 2\r\n\r\n{}"[..]);
    let (_fapi, nginx) = answering([head, &sent_bytes, tail].concat());
    let reply = nginx.get("/__clerk/v1");
    let own = ["Server", "Date", "Content-Length", "Connection"];
    let mut received: Vec<&str> = reply
        .headers
        .iter()
        .filter(|line| !own.contains(&line.split(':').next().unwrap()))
        .map(String::as_str)
        .collect();
    let mut expected: Vec<&str> = sent.trim_end().split("\r\n").collect();
    let cookies = |lines: &[&str]| -> Vec<String> {
        let cookies = lines.iter().filter(|line| line.starts_with("Set-Cookie"));
        cookies.map(|&line| line.to_owned()).collect()
    };
    assert_eq!(cookies(&received), cookies(&expected));
    // nginx puts some headers in another order, which has no meaning between different names.
    received.sort_unstable();
    expected.sort_unstable();
    assert_eq!(received, expected);
    for name in ["Server", "Date"] {
        assert_eq!(reply.all(name).len(), 1, "{name}");
    }
}

#[test]
fn encoded_bodies() {
    let bytes: Vec<u8> = (0..=255).cycle().take(5000).collect();
    for coding in ["gzip", "br", "zstd"] {
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Encoding: {coding}\r\n\
             Content-Length: {}\r\n\r\n",
            bytes.len()
        );
        let fapi =
            Fapi::answering(Some(CA.server(&["localhost"])), [head.as_bytes(), &bytes].concat());
        let location = location(&fapi, "");
        let outer = format!("gzip on; gzip_types *; {location}");
        let nginx = Config::server(&outer).start();
        let reply = nginx.send(
            "GET /__clerk/v1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\nAccept-Encoding: gzip, br\r\n\r\n",
        );
        assert!(reply.body == bytes, "{coding}");
        assert_eq!(reply.all("Content-Encoding"), [coding]);
        assert_eq!(reply.all("Content-Length"), ["5000"]);
        assert_eq!(fapi.only().one("Accept-Encoding"), "gzip, br");
    }
}

#[test]
fn chunked_and_truncated() {
    let (_fapi, whole) = answering(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
    );
    assert_eq!(whole.get("/__clerk/v1").text(), "abcde");
    for cut in [
        "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
    ] {
        let fapi = Fapi::start(CA.server(&["localhost"]), move |_, stream| {
            let _ = stream.write_all(cut.as_bytes()).and_then(|()| stream.flush());
            false
        });
        let nginx = nginx(&fapi, "");
        let bytes = raw(&nginx);
        let (head, body) = split_head(&bytes).unwrap();
        if cut.contains("chunked") {
            let (body, complete) = dechunk(body);
            assert!(body == b"abc" && !complete, "{bytes:?}");
        } else {
            assert!(head.contains("Content-Length: 100") && body == b"abc", "{head}");
        }
    }
}

#[test]
fn event_streams_pass_at_once() {
    for kind in ["text/event-stream", "Text/Event-Stream; charset=utf-8"] {
        let (go_on, wait) = mpsc::channel();
        let wait = Mutex::new(wait);
        let fapi = Fapi::start(CA.server(&["localhost"]), move |_, stream| {
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n\
                 9\r\ndata: 1\n\n\r\n"
            );
            let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.flush());
            wait.lock().unwrap().recv_timeout(PATIENCE).expect("the client got the first event");
            stream.write_all(b"9\r\ndata: 2\n\n\r\n0\r\n\r\n").is_ok()
        });
        let nginx = nginx(&fapi, "");
        let mut client = nginx.connect();
        client
            .write_all(b"GET /__clerk/v1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            .unwrap();
        let mut bytes = Vec::new();
        let mut buffer = [0; 4096];
        while !String::from_utf8_lossy(&bytes).contains("data: 1") {
            let count = client.read(&mut buffer).expect("the first event");
            bytes.extend(&buffer[..count]);
        }
        go_on.send(()).unwrap();
        client.read_to_end(&mut bytes).unwrap();
        assert!(String::from_utf8_lossy(&bytes).contains("data: 2"));
    }
}

#[test]
fn headers_that_speak_of_clerks_host() {
    let reply = json(
        200,
        "Alt-Svc: h3=\":443\"\r\nStrict-Transport-Security: max-age=1; includeSubDomains\r\n\
         NEL: {}\r\nReport-To: {}\r\nX-Keep: 1\r\n",
        "{}",
    );
    let names = ["Alt-Svc", "Strict-Transport-Security", "NEL", "Report-To"];
    let (_fapi, nginx) = answering(reply.clone());
    let received = nginx.get("/__clerk/v1");
    assert!(names.iter().all(|name| received.all(name).is_empty()));
    assert_eq!(received.all("X-Keep"), ["1"]);
    let (_fapi, nginx) = answering_beside(reply, "proxy_pass_header NEL;");
    let received = nginx.get("/__clerk/v1");
    assert_eq!(received.all("NEL"), ["{}"]);
    assert!(received.all("Alt-Svc").is_empty());
}

#[test]
fn outer_blocks_do_not_change_replies() {
    let reply =
        json(200, "Cache-Control: no-store\r\nAlt-Svc: h3=\":443\"\r\nX-Powered-By: x\r\n", "{}")
            .replace("application/json", "text/html");
    let fapi = Fapi::answering(Some(CA.server(&["localhost"])), reply);
    let outer =
        "expires 1h; charset utf-8; proxy_pass_header Alt-Svc; proxy_hide_header X-Powered-By;";
    let location = location(&fapi, "");
    let nginx = Config::server(&format!("{outer}\n{location}")).start();
    let received = nginx.get("/__clerk/v1");
    assert_eq!(received.all("Cache-Control"), ["no-store"]);
    assert_eq!(received.all("Content-Type"), ["text/html"]);
    assert_eq!(received.all("X-Powered-By"), ["x"]);
    assert!(received.all("Expires").is_empty() && received.all("Alt-Svc").is_empty());
}

#[test]
fn a_switch_of_protocols_where_the_location_allows_it() {
    let fapi = Fapi::start(CA.server(&["localhost"]), |request, stream| {
        assert_eq!((request.one("Upgrade"), request.one("Connection")), ("echo", "upgrade"));
        let head =
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nhello";
        let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.flush());
        false
    });
    let lines = "proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade;";
    let nginx = nginx(&fapi, lines);
    let reply = nginx.send(
        "GET /__clerk/v1 HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n",
    );
    assert_eq!((reply.status, reply.text().as_str()), (101, "hello"));
    assert_eq!(reply.all("Upgrade"), ["echo"]);
}

/// A server that switches although nobody asked for it, or in a location that does not let clients ask, would get
/// whatever the client sends.
#[test]
fn a_switch_of_protocols_that_nobody_asked_for() {
    let lines = "proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade;";
    for (lines, asks) in [("", ""), ("", "Upgrade: echo\r\n"), (lines, "")] {
        let head =
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nhello";
        let (fapi, nginx) = answering_beside(head, lines);
        let request =
            format!("GET /__clerk/v1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{asks}\r\nmore");
        assert_json(&nginx.send(request), 502, "proxy_request_failed");
        let told = "upstream sent 101 although the request asked for no other protocol";
        assert_eq!(nginx.count(told), 1);
        assert_eq!(fapi.requests().len(), 1);
    }
}

/// Interim replies before the reply, over HTTP/1.1 and HTTP/2, are none.
#[test]
fn interim_replies() {
    let fapi = Fapi::start(CA.server(&["localhost"]), |request, stream| {
        let number = request.target().rsplit('/').next().expect("a number");
        let step: usize = number.parse().expect("a number");
        let interim = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\nX-Interim: 1\r\n\r\n\
                       HTTP/1.1 102 Processing\nX-Interim: 2\n\n";
        let reply = interim.to_owned() + &json(201, "X-Reply: 1\r\n", "{}");
        reply
            .as_bytes()
            .chunks(step)
            .all(|part| stream.write_all(part).and_then(|()| stream.flush()).is_ok())
    });
    let location = location(&fapi, "");
    let nginx = Config::new(&format!(
        "server {{ listen 127.0.0.1:%PORT%; listen 127.0.0.1:%PORT2% http2;\n{location}\n}}"
    ))
    .start();
    for step in [1, 7, 30, 1000] {
        let target = format!("/__clerk/{step}");
        for reply in [nginx.get(&target), nginx.curl_h2(&target, &[])] {
            assert_eq!((reply.status, reply.text().as_str()), (201, "{}"));
            assert_eq!(reply.all("X-Reply"), ["1"]);
            assert!(reply.all("X-Interim").is_empty() && reply.all("Link").is_empty());
        }
    }
    // All on one connection: nothing is left over.
    assert!(fapi.requests().iter().all(|request| request.connection == 0));
}

/// A cache keeps the reply alone.
#[test]
fn an_interim_reply_before_one_that_is_kept() {
    let reply = json(200, "Cache-Control: max-age=60\r\n", "{}");
    let fapi =
        Fapi::answering(None, format!("HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n{reply}"));
    let nginx = Config::server(&format!(
        "location /__clerk/ {{ clerk_proxy https://app.dev/__clerk secret_key=%KEY% \
         upstream=http://localhost:{}; proxy_cache zone; }}",
        fapi.port
    ))
    .http("proxy_cache_path cache keys_zone=zone:1m;")
    .start();
    for _ in 0..2 {
        let reply = nginx.get("/__clerk/npm/x.js");
        assert_eq!((reply.status, reply.text().as_str()), (200, "{}"));
    }
    assert_eq!(fapi.requests().len(), 1);
}

#[test]
fn headers_for_one_hop() {
    let (_fapi, nginx) = answering(json(
        200,
        "Connection: keep-alive, X-Hop, Set-Cookie, x-other, upgrade\r\nX-Hop: 1\r\nX-Other: 2\r\nX-Keep: 3\r\n\
         Set-Cookie: a=b\r\nKeep-Alive: timeout=5\r\nProxy-Authenticate: Basic\r\nUpgrade: h2c\r\n\
         Proxy-Connection: close\r\nProxy-Authentication-Info: x\r\nProxy-Status: a\r\nTE: x\r\nTrailer: X-Sum\r\n",
        "{}",
    ));
    let reply = nginx.get("/__clerk/v1");
    for name in [
        "X-Hop",
        "X-Other",
        "Keep-Alive",
        "Proxy-Authenticate",
        "Proxy-Authentication-Info",
        "Proxy-Connection",
        "TE",
        "Upgrade",
    ] {
        assert!(reply.all(name).is_empty(), "{name}");
    }
    assert_eq!(reply.all("Trailer").is_empty(), !has("proxy_pass_trailers"));
    assert_eq!(reply.all("Proxy-Status"), ["a"]);
    assert_eq!(reply.all("Connection"), ["close"]);
    assert_eq!((reply.all("X-Keep"), reply.all("Set-Cookie")), (vec!["3"], vec!["a=b"]));
}

#[test]
fn nginx_does_not_obey_the_upstream() {
    // What the user has nginx ignore as well does not end that.
    let lines = "proxy_ignore_headers Set-Cookie;";
    let (_fapi, nginx) = answering_beside(
        json(
            200,
            "X-Accel-Redirect: /secret\r\nX-Accel-Limit-Rate: 1\r\nX-Accel-Expires: 99\r\n\
             X-Accel-Buffering: no\r\nX-Accel-Charset: koi8-r\r\nServer: theirs\r\n\
             Date: Mon, 02 Jan 2006 15:04:05 GMT\r\n",
            "{\"own\":1}",
        ),
        lines,
    );
    let reply = nginx.get("/__clerk/v1");
    assert_eq!((reply.status, reply.text().as_str()), (200, "{\"own\":1}"));
    assert!(!reply.headers.iter().any(|line| line.starts_with("X-Accel")));
    assert_eq!(reply.all("Content-Type"), ["application/json"]);
    assert!(reply.all("Server")[0].starts_with(&product()) && reply.all("Server").len() == 1);
    assert!(reply.all("Date").len() == 1 && !reply.all("Date")[0].contains("2006"));
}

#[test]
fn trailers_where_nginx_can() {
    let (_fapi, nginx) = answering(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n\
         3\r\nabc\r\n0\r\nX-Sum: 6\r\n\r\n",
    );
    let text = String::from_utf8(raw(&nginx)).unwrap();
    assert!(text.contains("3\r\nabc\r\n0\r\n"), "{text}");
    assert_eq!(text.contains("0\r\nX-Sum: 6\r\n\r\n"), has("proxy_pass_trailers"), "{text}");
}
