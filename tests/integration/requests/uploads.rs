//! Uploads over HTTP/2: as fast as the client can send them, whole or not at all.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::kit::fapi::{json, Fapi};
use crate::kit::harness::{Config, Nginx, PATIENCE};
use crate::kit::http2::{frame, literal, preface, DATA, END_HEADERS, END_STREAM, HEADERS};
use crate::kit::http2::{Replies, WINDOW_UPDATE};

const MEGABYTE: u32 = 1_000_000;

/// `location` with lines, on a port that speaks HTTP/2.
fn nginx(fapi: &Fapi, lines: &str) -> Nginx {
    let port = fapi.port;
    Config::new(&format!(
        "server {{ listen 127.0.0.1:%PORT%; listen 127.0.0.1:%PORT2% http2;\n\
         location /__clerk/ {{ clerk_proxy https://app.dev/__clerk secret_key=%KEY% \
         upstream=http://127.0.0.1:{port};\n{lines}\n}} }}"
    ))
    .start()
}

/// Begins a POST whose body is so long, if it says so, and reads what nginx has to say at once.
fn begin(nginx: &Nginx, length: Option<u32>) -> TcpStream {
    let port = nginx.config.port2;
    let mut client = TcpStream::connect(("127.0.0.1", port)).expect("nginx takes connections");
    client.set_read_timeout(Some(PATIENCE)).expect("a time-out");
    let (mut bytes, mut block) = (preface(), Vec::new());
    for (name, value) in
        [(":method", "POST"), (":scheme", "http"), (":path", "/__clerk/v1/x"), (":authority", "a")]
    {
        literal(&mut block, name.as_bytes(), value.as_bytes());
    }
    if let Some(length) = length {
        literal(&mut block, b"content-length", length.to_string().as_bytes());
    }
    frame(&mut bytes, HEADERS, END_HEADERS, 1, &block);
    client.write_all(&bytes).expect("nginx reads");
    client
}

/// How much of the body may be sent before nginx says more: what all streams begin with, and what it adds for this one.
fn window(client: &mut TcpStream) -> u32 {
    let mut head = [0; 9];
    loop {
        client.read_exact(&mut head).expect("a frame");
        let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        client.read_exact(&mut payload).expect("a payload");
        if head[3] == WINDOW_UPDATE && head[8] == 1 {
            let added = payload.try_into().expect("a number");
            return 65_536 + u32::from_be_bytes(added);
        }
    }
}

/// Status and body of a stream, once it has ended.
fn reply(client: &mut TcpStream, stream: u32) -> (u16, Vec<u8>) {
    let (mut replies, mut buffer) = (Replies::default(), [0; 4096]);
    while !replies.ended.contains(&stream) {
        let count = client.read(&mut buffer).expect("a reply");
        replies.read(&buffer[..count]).expect("frames");
    }
    replies.streams.remove(&stream).expect("a reply")
}

#[test]
fn the_window_holds_the_whole_body() {
    let fapi = Fapi::plain();
    let ours = nginx(&fapi, "");
    for length in [Some(10 * MEGABYTE), Some(200_000), None] {
        assert!(window(&mut begin(&ours, length)) > 10 * MEGABYTE, "{length:?}");
    }
    assert!(fapi.requests().is_empty());
    // A body that the buffer holds goes out as it comes.
    assert_eq!(window(&mut begin(&ours, Some(100_000))) / 1000, 100);
    // Whoever asks for it gets what nginx does then, a buffer for each round trip.
    for lines in ["proxy_request_buffering off;", "proxy_request_buffering off; sendfile off;"] {
        let nginx = nginx(&fapi, lines);
        assert_eq!(window(&mut begin(&nginx, Some(10 * MEGABYTE))), 128 * 1024);
    }
}

#[test]
fn bodies_arrive_as_they_are() {
    let reply = json(200, "", r#"{"object":"image"}"#);
    let fapi = Fapi::answering(None, reply);
    let nginx = nginx(&fapi, "");
    let body: Vec<u8> = (0..=255).cycle().take(1_000_003).collect();
    nginx.config.folder.write("image", &body);
    let image = format!("@{}", nginx.config.folder.path().join("image").display());
    let arguments = ["-H", "Content-Type: image/png", "--data-binary", &image];
    for more in [&[][..], &["-H", "Transfer-Encoding: chunked"], &["-X", "PUT"]] {
        let reply = nginx.curl_h2("/__clerk/v1/me/profile_image", &[&arguments, more].concat());
        assert_eq!((reply.status, &*reply.text()), (200, r#"{"object":"image"}"#));
        let request = fapi.requests().pop().expect("a request");
        assert!(request.body == body && request.complete);
        assert_eq!(request.one("Content-Length"), "1000003");
        assert_eq!(request.one("Content-Type"), "image/png");
        assert_eq!(request.one("X-Forwarded-For"), "127.0.0.1");
    }
}

#[test]
fn a_body_that_is_too_long_is_refused() {
    let fapi = Fapi::plain();
    let nginx = nginx(&fapi, "client_max_body_size 300k;");
    let mut client = begin(&nginx, None);
    window(&mut client);
    let mut bytes = Vec::new();
    for _ in 0..25 {
        frame(&mut bytes, DATA, 0, 1, &[b'x'; 16_000]);
    }
    client.write_all(&bytes).expect("nginx reads");
    let (status, body) = reply(&mut client, 1);
    assert_eq!(status, 413);
    assert!(String::from_utf8_lossy(&body).contains("request_body_too_large"), "{body:?}");
    assert!(fapi.requests().is_empty());
}

#[test]
fn half_an_upload_goes_nowhere() {
    let fapi = Fapi::plain();
    let mut nginx = nginx(&fapi, "");
    let mut client = begin(&nginx, Some(MEGABYTE));
    let mut part = Vec::new();
    frame(&mut part, DATA, 0, 1, &[b'x'; 16_000]);
    client.write_all(&part).expect("nginx reads");
    drop(client);
    nginx.until("nginx notices", |nginx| {
        nginx.config.folder.read("logs/access.log").contains("POST /__clerk/v1/x")
    });
    assert_eq!(nginx.get("/__clerk/v1/client").status, 200);
    assert_eq!(fapi.only().target(), "/v1/client");
}

/// Within what HTTP/2 allows, others go on while an upload stands still.
#[test]
fn an_upload_that_stands_still_is_in_nobodys_way() {
    let fapi = Fapi::plain();
    let nginx = nginx(&fapi, "");
    let mut client = begin(&nginx, Some(MEGABYTE));
    let (mut bytes, mut block) = (Vec::new(), Vec::new());
    for (name, value) in
        [(":method", "GET"), (":scheme", "http"), (":path", "/__clerk/v1/y"), (":authority", "a")]
    {
        literal(&mut block, name.as_bytes(), value.as_bytes());
    }
    frame(&mut bytes, HEADERS, END_HEADERS | END_STREAM, 3, &block);
    client.write_all(&bytes).expect("nginx reads");
    assert_eq!(reply(&mut client, 3).0, 200);
}
