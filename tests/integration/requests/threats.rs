//! Attacks that no single feature answers for; SECURITY.md names what stops them.

use std::io::Write;
use std::net::IpAddr;

use crate::kit::assert::assert_json;
use crate::kit::dns_server::{addresses, logging, resolv_conf, Dns, Subnet};
use crate::kit::fapi::{json, Ca, Fapi, CA};
use crate::kit::harness::{free_port, Config};

/// Bodies that could be read as another request, by whoever takes another header for their length.
#[test]
fn a_request_in_a_request() {
    let fapi = Fapi::plain();
    let port = fapi.port;
    let nginx = Config::server(&format!(
        "location /__clerk/ {{ clerk_proxy https://app.dev/__clerk secret_key=%KEY% \
         upstream=http://127.0.0.1:{port}; }}"
    ))
    .start();
    let inner = "GET /v1/smuggled HTTP/1.1\r\nHost: app.dev\r\n\r\n";
    let length = inner.len();
    let chunked = format!("0\r\n\r\n{inner}");
    let all = chunked.len();
    for (headers, body) in [
        (format!("Content-Length: {all}\r\nTransfer-Encoding: chunked"), &chunked[..]),
        (format!("Transfer-Encoding: chunked\r\nContent-Length: {all}"), &chunked),
        (format!("Content-Length: {all}\r\nTransfer-Encoding: chunked, identity"), &chunked),
        (
            format!("Content-Length: {all}\r\nTransfer-Encoding: x\r\nTransfer-Encoding: chunked"),
            &chunked,
        ),
        (format!("Content-Length: {all}\r\nTransfer-Encoding:\u{b}chunked"), &chunked),
        (format!("Content-Length: {all}\r\nTransfer-Encoding : chunked"), &chunked),
        (format!("Content-Length: {all}\r\nX: y\r\n Transfer-Encoding: chunked"), &chunked),
        (format!("Content-Length: {all}\r\nX: y\nTransfer-Encoding: chunked"), &chunked),
        (format!("Content-Length: 0\r\nContent-Length: {length}"), inner),
        (format!("Content-Length: {length}\r\nContent-Length: 0"), inner),
        (format!("Content-Length: 0, {length}"), inner),
        (format!("Content-Length: +{length}"), inner),
        (format!("Content-Length: -1\r\nX: {length}"), inner),
        ("Content-Length: 0".to_owned(), inner),
        ("Expect: nothing".to_owned(), inner),
        (format!("Connection: Content-Length\r\nContent-Length: {length}"), inner),
        ("Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked".to_owned(), &chunked),
        (
            format!("Connection: Content-Length\r\nContent-Length: {all}\r\nContent_Length: 0"),
            &chunked,
        ),
    ] {
        let before = fapi.requests().len();
        let head = "POST /__clerk/v1/outer HTTP/1.1\r\nHost: app.dev\r\nConnection: close";
        let status = nginx.send(format!("{head}\r\n{headers}\r\n\r\n{body}")).status;
        let arrived = &fapi.requests()[before..];
        // Refused, or one request that holds whatever it was said to hold.
        assert!(arrived.len() == usize::from(status == 200), "{headers:?}: {status}, {arrived:#?}");
        for request in arrived {
            assert_eq!((request.target(), request.complete), ("/v1/outer", true), "{headers:?}");
            let lengths =
                ["Content-Length", "Transfer-Encoding"].map(|name| request.all(name).len());
            assert!(lengths[0] + lengths[1] <= 1, "{headers:?}: {request:#?}");
        }
    }
    assert!(fapi.requests().len() > 3);
}

/// What a client asks for is in some of the module's messages.
#[test]
fn a_path_that_forges_a_line_of_the_log() {
    let fapi = Fapi::plain();
    let port = fapi.port;
    let nginx = Config::server(&format!(
        "location /__clerk {{ clerk_proxy https://app.dev/__clerk secret_key=%KEY% \
         upstream=http://127.0.0.1:{port}; }}"
    ))
    .start();
    let forged = "2026/01/01 00:00:00 [error] 1#1: forged";
    let target =
        format!("/__clerk-%0d%0a{}%1b%5b2J", forged.replace(' ', "%20").replace('#', "%23"));
    assert_json(&nginx.get(&target), 404, "proxy_path_mismatch");
    let log = nginx.error_log();
    let line = format!("\"/__clerk-\\r\\n{forged}\\x1b[2J\" is not below \"/__clerk/\"");
    assert_eq!(log.matches(&line).count(), 1, "{log}");
    assert!(log.lines().all(|line| !line.starts_with(forged)) && !log.contains('\u{1b}'), "{log}");
}

/// Whoever controls DNS can keep requests from the Frontend API, but receives none of them.
#[test]
fn an_impostor_that_dns_leads_to() {
    let net = Subnet::new();
    let dns = Dns::at(net.ip(53));
    let port = free_port();
    let genuine = Fapi::tls_at(&CA.server(&["fapi.test"]), net.ip(2), port);
    let others = [Ca::new().server(&["fapi.test"]), CA.server(&["evil.test"])];
    let impostors = [(3, &others[0]), (4, &others[1])]
        .map(|(last, tls)| (net.ip(last), Fapi::tls_at(tls, net.ip(last), port)));
    let told = |ip: IpAddr| addresses(&[ip]);
    dns.answer("fapi.test", &[net.ip(2)]);
    let line = format!(
        "location /__clerk/ {{ clerk_proxy https://app.dev/__clerk secret_key=%KEY% \
         upstream=https://fapi.test:{port}; proxy_ssl_trusted_certificate ca.pem; }}"
    );
    let mut nginx = logging(Config::server(&line), &resolv_conf(net.ip(53))).start();
    assert_eq!(nginx.get("/__clerk/v1").status, 200);
    let mut genuine = Some(genuine);
    for (ip, fapi) in &impostors {
        dns.answer("fapi.test", &[*ip]);
        // A connection that fails makes nginx look at once.
        if let Some(fapi) = genuine.take() {
            fapi.close();
        }
        nginx.until("nginx knows the other address", |nginx| {
            nginx.get("/__clerk/v1").status == 502 && nginx.count(&told(*ip)) == 1
        });
        // With the session of the genuine one, if there were one, and without.
        for _ in 0..2 {
            assert_json(&nginx.get("/__clerk/v1"), 502, "proxy_request_failed");
        }
        assert_eq!(fapi.received(), 0, "bytes of a request went to an impostor");
    }
    let genuine = Fapi::tls_at(&CA.server(&["fapi.test"]), net.ip(2), port);
    dns.answer("fapi.test", &[net.ip(2)]);
    nginx.until("the genuine one answers", |nginx| nginx.get("/__clerk/v1").status == 200);
    assert!(genuine.requests().len() == 1);
}

/// The rule of docs/operations.md: the address that Clerk gets is the one that is counted.
#[test]
fn clients_that_do_not_read() {
    let fapi = Fapi::answering(None, json(200, "", &"x".repeat(20_000_000)));
    let mut nginx = Config::new(&format!(
        "limit_conn_zone $clerk_proxy_client_ip zone=clerk:1m;\n\
         server {{ listen 127.0.0.1:%PORT%; clerk_proxy_client_ip $http_x_edge; location /__clerk/ {{\n\
         clerk_proxy https://app.dev/__clerk secret_key=%KEY% upstream=http://127.0.0.1:{};\n\
         limit_conn clerk 3; limit_conn_status 429; }} }}",
        fapi.port
    ))
    .start();
    let request = |address: &str| {
        format!(
            "GET /__clerk/v1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX-Edge: {address}\r\n\r\n"
        )
    };
    let mut held = Vec::new();
    for count in 1..=3 {
        let mut client = nginx.connect();
        client.write_all(request("192.0.2.1").as_bytes()).unwrap();
        fapi.wait_for(count);
        held.push(client);
    }
    for spelling in ["192.0.2.1", "192.0.2.1:50000", "::ffff:192.0.2.1"] {
        assert_eq!(nginx.send(request(spelling)).status, 429, "{spelling}");
    }
    assert_eq!(nginx.send(request("192.0.2.2")).status, 200);
    drop(held);
    nginx.until("they are gone", |nginx| nginx.send(request("192.0.2.1")).status == 200);
}
