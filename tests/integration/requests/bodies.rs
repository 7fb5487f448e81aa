//! Request bodies: any method, framed as the client did, streamed, and never completed by anyone but it.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::sync::mpsc;

use crate::kit::fapi::{is_timeout, json, Fapi, CA};
use crate::kit::harness::{split_head, Config, Nginx, PATIENCE};
use crate::kit::location::{location, nginx};

fn head(method: &str, framing: &str) -> String {
    format!("{method} /__clerk/v1/x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{framing}\r\n\r\n")
}

/// Sends the head and the first part of a body, and waits until the Frontend API has got most of that part.
fn begin(fapi: &Fapi, nginx: &mut Nginx, framing: &str, part: &[u8]) -> std::net::TcpStream {
    let mut client = nginx.connect();
    client.write_all(head("POST", framing).as_bytes()).unwrap();
    client.write_all(part).unwrap();
    let before = fapi.received();
    nginx.until("the first bytes are through", |_| fapi.received() - before > part.len() / 2);
    client
}

#[test]
fn any_method() {
    let fapi = Fapi::tls();
    let nginx = nginx(&fapi, "");
    for (index, method) in
        ["GET", "DELETE", "POST", "PUT", "PATCH", "OPTIONS", "PURGE"].into_iter().enumerate()
    {
        let reply = nginx.send(format!("{}hello", head(method, "Content-Length: 5")));
        assert_eq!(reply.status, 200, "{method}");
        let request = fapi.wait_for(index + 1)[index].clone();
        assert_eq!(request.line, format!("{method} /v1/x HTTP/1.1"));
        assert_eq!((request.one("Content-Length"), &request.body[..]), ("5", &b"hello"[..]));
    }
}

#[test]
fn framing() {
    let fapi = Fapi::tls();
    let nginx = nginx(&fapi, "");
    let chunked = head("POST", "Transfer-Encoding: chunked");
    nginx.send(format!("{chunked}3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"));
    nginx.send(format!("{chunked}0\r\n\r\n"));
    nginx.send(head("POST", "Content-Length: 0"));
    nginx.send(head("POST", "X-No: body"));
    let requests = fapi.wait_for(4);
    // nginx knows the length of a body that it has to its end by then, and sends chunks otherwise.
    assert_eq!((requests[0].one("Content-Length"), &requests[0].body[..]), ("5", &b"abcde"[..]));
    assert!(requests[0].all("Transfer-Encoding").is_empty());
    assert!(requests[1].body.is_empty());
    assert_eq!(requests[2].one("Content-Length"), "0");
    assert!(requests[3].all("Transfer-Encoding").is_empty());
    assert!(requests.iter().all(|request| request.complete));
}

#[test]
fn large_bodies_both_ways() {
    let body: Vec<u8> = (0..=255).cycle().take(10_400_001).collect();
    let reply_body = body.clone();
    let fapi = Fapi::start(CA.server(&["localhost"]), move |_, stream| {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", reply_body.len());
        stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&reply_body)).is_ok()
    });
    let nginx = nginx(&fapi, "");
    let length = format!("Content-Length: {}", body.len());
    let reply = nginx.send([head("POST", &length).as_bytes(), &body].concat());
    assert!(reply.status == 200 && reply.body == body);
    assert!(fapi.only().body == body);
}

#[test]
fn uploads_are_streamed() {
    let fapi = Fapi::tls();
    let mut nginx = nginx(&fapi, "");
    let mut client = begin(&fapi, &mut nginx, "Content-Length: 200000", &vec![b'x'; 100_000]);
    assert!(fapi.requests().is_empty());
    client.write_all(&vec![b'y'; 100_000]).unwrap();
    assert_eq!(fapi.only().body.len(), 200_000);
    let mut reply = String::new();
    client.read_to_string(&mut reply).unwrap();
    assert!(reply.starts_with("HTTP/1.1 200 "), "{reply}");
}

#[test]
fn chunked_uploads_are_streamed_in_chunks() {
    // Also where the path of ORIGIN makes the request line longer than the client's.
    for path in ["", "/a/path/that/is/longer"] {
        let fapi = Fapi::tls();
        let [without, with] = ["", path].map(|path| format!(":{}{path};", fapi.port));
        let lines = location(&fapi, "").replace(&without, &with);
        let mut nginx = Config::server(&lines).start();
        let part = format!("{:x}\r\n{}\r\n", 100_000, "x".repeat(100_000));
        let mut client = begin(&fapi, &mut nginx, "Transfer-Encoding: chunked", part.as_bytes());
        client.write_all(b"3\r\nend\r\n0\r\n\r\n").unwrap();
        let request = fapi.only();
        assert_eq!(request.line, format!("POST {path}/v1/x HTTP/1.1"));
        assert_eq!(request.one("Transfer-Encoding"), "chunked");
        assert!(request.all("Content-Length").is_empty() && request.complete);
        assert!(request.body.len() == 100_003 && request.body.ends_with(b"xend"));
    }
}

#[test]
fn expect_is_answered_by_nginx() {
    let fapi = Fapi::tls();
    let nginx = nginx(&fapi, "");
    let mut client = nginx.connect();
    client.write_all(head("POST", "Expect: 100-continue\r\nContent-Length: 5").as_bytes()).unwrap();
    let mut buffer = vec![0; 1024];
    let count = client.read(&mut buffer).unwrap();
    assert_eq!(&buffer[..count], b"HTTP/1.1 100 Continue\r\n\r\n");
    client.write_all(b"hello").unwrap();
    let mut reply = Vec::new();
    client.read_to_end(&mut reply).unwrap();
    assert!(split_head(&reply).unwrap().0.starts_with("HTTP/1.1 200 "));
    let request = fapi.only();
    assert!(request.all("Expect").is_empty());
    assert_eq!(request.body, b"hello");
}

#[test]
fn a_client_that_leaves_in_an_upload() {
    let chunk = format!("{:x}\r\n{}\r\n", 100_000, "x".repeat(100_000));
    for (framing, part) in
        [("Content-Length: 200000", "x".repeat(100_000)), ("Transfer-Encoding: chunked", chunk)]
    {
        let fapi = Fapi::tls();
        let mut nginx = nginx(&fapi, "");
        let client = begin(&fapi, &mut nginx, framing, part.as_bytes());
        drop(client);
        let request = fapi.only();
        assert!(!request.complete, "{framing}: a part was taken for the whole");
    }
}

#[test]
fn a_client_that_leaves_while_it_waits() {
    // Tells when nginx closes the connection to the Frontend API.
    let (closed, is_closed) = mpsc::channel();
    let fapi = Fapi::start(CA.server(&["localhost"]), move |_, stream| {
        let mut byte = [0];
        loop {
            match stream.read(&mut byte) {
                Err(error) if is_timeout(&error) => {}
                _ => break,
            }
        }
        let _ = closed.send(());
        false
    });
    let nginx = nginx(&fapi, "");
    for (index, request) in
        [head("GET", "X: y"), format!("{}hello", head("POST", "Content-Length: 5"))]
            .iter()
            .enumerate()
    {
        let mut client = nginx.connect();
        client.write_all(request.as_bytes()).unwrap();
        fapi.wait_for(index + 1);
        client.shutdown(Shutdown::Both).unwrap();
        is_closed.recv_timeout(PATIENCE).expect("nginx ends the request to the Frontend API");
    }
}

#[test]
fn a_client_that_leaves_in_a_download() {
    let (closed, is_closed) = mpsc::channel();
    let fapi = Fapi::start(CA.server(&["localhost"]), move |_, stream| {
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n";
        let mut more = stream.write_all(head.as_bytes()).is_ok();
        let mut written = 0;
        while more {
            assert!(written < 500_000_000, "nginx reads on for nobody");
            more = stream.write_all(&[b'x'; 10_000]).is_ok();
            written += 10_000;
        }
        let _ = closed.send(());
        false
    });
    let nginx = nginx(&fapi, "");
    let mut client = nginx.connect();
    client.write_all(head("GET", "X: y").as_bytes()).unwrap();
    client.read_exact(&mut [0; 10_000]).unwrap();
    drop(client);
    is_closed.recv_timeout(PATIENCE).expect("nginx ends the request to the Frontend API");
}

#[test]
fn uploads_beyond_nginx_limits_are_clerks_to_refuse() {
    let reply = json(413, "", r#"{"errors":[{"code":"image_too_large"}]}"#);
    let fapi = Fapi::answering(Some(CA.server(&["localhost"])), reply);
    let nginx = nginx(&fapi, "");
    let body = vec![b'x'; 10_400_000];
    let length = format!("Content-Length: {}", body.len());
    let reply = nginx.send([head("POST", &length).as_bytes(), &body].concat());
    assert_eq!(reply.status, 413);
    assert!(reply.text().contains("image_too_large"));
}
