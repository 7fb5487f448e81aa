//! Errors that nginx makes itself in the location are JSON that clerk-js can read.

use std::io::Write;
use std::net::TcpStream;
use std::thread;

use crate::kit::assert::assert_json;
use crate::kit::fapi::{json, Fapi, CA};
use crate::kit::harness::{free_port, Config, Nginx, Reply};
use crate::kit::location::location;

/// nginx with the location over HTTP/1 and HTTP/2, `lines` beside the directive and `outer` around it.
fn nginx(origin: &str, outer: &str, lines: &str) -> Nginx {
    Config::new(&format!(
        "limit_req_zone $binary_remote_addr zone=z:64k rate=1r/m; {outer}\n\
         server {{ listen 127.0.0.1:%PORT%; listen 127.0.0.1:%PORT2% http2;\n\
         location /__clerk {{ clerk_proxy https://app.dev/__clerk secret_key=%KEY% upstream={origin};\n\
         {lines}\n}} }}"
    ))
    .start()
}

fn dead() -> String {
    format!("http://127.0.0.1:{}", free_port())
}

#[test]
fn each_status_that_nginx_knows() {
    let fapi = Fapi::plain();
    let origin = format!("http://127.0.0.1:{}", fapi.port);
    for (status, code) in [
        (400, "bad_request"),
        (401, "unauthorized"),
        (402, "payment_required"),
        (403, "forbidden"),
        (404, "not_found"),
        (405, "method_not_allowed"),
        (406, "not_acceptable"),
        (409, "conflict"),
        (410, "gone"),
        (411, "length_required"),
        (412, "precondition_failed"),
        (413, "request_body_too_large"),
        (414, "uri_too_long"),
        (415, "unsupported_media_type"),
        (416, "range_not_satisfiable"),
        (421, "misdirected_request"),
        (429, "too_many_requests"),
        (500, "proxy_configuration_error"),
        (501, "not_implemented"),
        (502, "proxy_request_failed"),
        (503, "proxy_request_failed"),
        (504, "proxy_request_failed"),
        (505, "http_version_not_supported"),
        (507, "insufficient_storage"),
    ] {
        let nginx = nginx(&origin, "", &format!("if ($arg_s) {{ return {status}; }}"));
        assert_json(&nginx.get("/__clerk/v1?s=1"), status, code);
        assert_json(&nginx.curl_h2("/__clerk/v1?s=1", &[]), status, code);
    }
    assert!(fapi.requests().is_empty());
}

#[test]
fn statuses_as_they_come_about() {
    let fapi = Fapi::plain();
    let origin = format!("http://127.0.0.1:{}", fapi.port);
    let post = |framing: &str| {
        format!("POST /__clerk/v1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{framing}\r\n\r\n")
    };

    let nginx_with = |lines: &str| nginx(&origin, "", lines);
    let plain = nginx_with("");
    assert_json(&plain.get("/__clerkfoo"), 404, "proxy_path_mismatch");
    assert_json(&plain.curl_h2("/__clerkfoo", &[]), 404, "proxy_path_mismatch");
    let log = plain.error_log();
    assert!(log.contains("\"/__clerkfoo\" is not below \"/__clerk/\" of \"clerk_proxy\""), "{log}");
    let bad_chunk = format!("{}zz\r\n", post("Transfer-Encoding: chunked"));
    assert_json(&plain.send(bad_chunk), 400, "bad_request");

    assert_json(&nginx_with("deny all;").get("/__clerk/v1"), 403, "forbidden");
    let nginx = nginx_with("limit_except GET { deny all; }");
    assert_json(&nginx.send(post("Content-Length: 0")), 403, "forbidden");
    assert_eq!(nginx.get("/__clerk/v1").status, 200);

    let nginx = nginx_with("client_max_body_size 10;");
    assert_json(&nginx.send(post("Content-Length: 11")), 413, "request_body_too_large");
    let chunked = format!("{}b\r\nhello world\r\n0\r\n\r\n", post("Transfer-Encoding: chunked"));
    assert_json(&nginx.send(chunked), 413, "request_body_too_large");

    for (status, code) in [(503, "proxy_request_failed"), (429, "too_many_requests")] {
        let nginx = nginx_with(&format!("limit_req zone=z; limit_req_status {status};"));
        assert_eq!(nginx.get("/__clerk/v1").status, 200);
        assert_json(&nginx.get("/__clerk/v1"), status, code);
        assert_json(&nginx.curl_h2("/__clerk/v1", &[]), status, code);
    }
}

#[test]
fn error_pages_of_outer_blocks_do_not_answer() {
    let outer = "error_page 404 /404.html; error_page 500 502 503 504 =200 /50x.html;\n\
                 error_page 413 @too_large; proxy_intercept_errors on;";
    let nginx = nginx(&dead(), outer, "");
    assert_json(&nginx.get("/__clerk/v1"), 502, "proxy_request_failed");
    assert_json(&nginx.get("/__clerkfoo"), 404, "proxy_path_mismatch");
    let upstream = Fapi::answering(None, json(404, "", "{\"own\":1}"));
    let origin = format!("http://127.0.0.1:{}", upstream.port);
    let nginx = self::nginx(&origin, outer, "");
    let reply = nginx.get("/__clerk/v1");
    assert_eq!((reply.status, reply.text().as_str()), (404, "{\"own\":1}"));
}

#[test]
fn an_error_page_of_the_location_wins() {
    let outer = "error_page 502 /outer.html; error_page 404 /outer.html;";
    let nginx =
        nginx(&dead(), outer, "error_page 502 = @own; } location @own { return 503 \"own\";");
    let reply = nginx.get("/__clerk/v1");
    assert_eq!((reply.status, reply.text().as_str()), (503, "own"));
    // With one of its own a location inherits none, as always in nginx; the others are JSON.
    assert_json(&nginx.get("/__clerkfoo"), 404, "proxy_path_mismatch");
}

#[test]
fn replies_of_the_frontend_api_are_no_errors_of_ours() {
    let html =
        "HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>";
    let fapi = Fapi::answering(Some(CA.server(&["localhost"])), html);
    // Also where an error page of another location leads here.
    let other = "location /other { error_page 404 /__clerk/v1; return 404; }";
    let nginx = Config::server(&format!("{}\n{other}", location(&fapi, ""))).start();
    for target in ["/__clerk/v1", "/other"] {
        let reply = nginx.get(target);
        assert_eq!(reply.text(), "<html>", "{target}");
        assert_eq!(reply.all("Content-Type"), ["text/html"]);
        assert!(reply.all("Cache-Control").is_empty());
    }
    assert_eq!(nginx.get("/__clerk/v1").status, 502);
}

#[test]
fn errors_in_place_of_a_cached_reply() {
    let cached =
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\nETag: \"x\"\r\n\
                  Cache-Control: max-age=60\r\nAccept-Ranges: bytes\r\n\r\nhello";
    let fapi = Fapi::answering(None, cached);
    let origin = format!("http://127.0.0.1:{}", fapi.port);
    let outer = "proxy_cache_path %DIR%/cache keys_zone=c:64k;";
    let nginx = nginx(&origin, outer, "proxy_cache c;");
    assert_eq!(nginx.get("/__clerk/npm/x").text(), "hello");
    let with = |header: &str| {
        let head = "GET /__clerk/npm/x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n";
        nginx.send(format!("{head}{header}\r\n\r\n"))
    };
    assert_json(&with("Range: bytes=9999-"), 416, "range_not_satisfiable");
    assert_json(&with("If-Match: \"y\""), 412, "precondition_failed");
    let reply = with("Range: bytes=1-2");
    assert_eq!((reply.status, reply.text().as_str()), (206, "el"));
    assert_eq!(fapi.requests().len(), 1);
}

#[test]
fn errors_elsewhere_are_nginx_own() {
    let fapi = Fapi::plain();
    let origin = format!("http://127.0.0.1:{}", fapi.port);
    let nginx = nginx(&origin, "", "} location /x { return 404;");
    let reply = nginx.get("/x");
    assert_eq!((reply.status, reply.all("Content-Type")), (404, vec!["text/html"]));
}

#[test]
fn head_has_no_body() {
    let nginx = nginx(&dead(), "", "");
    let reply = nginx.send("HEAD /__clerk/v1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    assert_eq!((reply.status, reply.body.len()), (502, 0));
    assert_eq!(reply.all("Content-Type"), ["application/json"]);
    let get = nginx.get("/__clerk/v1");
    assert_eq!(reply.all("Content-Length"), get.all("Content-Length"));
}

#[test]
fn the_connection_to_the_client_survives() {
    let nginx = nginx(&dead(), "", "");
    let mut client: TcpStream = nginx.connect();
    for _ in 0..3 {
        client.write_all(b"GET /__clerk/v1 HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        let reply = Reply::read(&mut client);
        assert_json(&reply, 502, "proxy_request_failed");
        assert_eq!(reply.all("Connection"), ["keep-alive"]);
    }
}

#[test]
fn several_at_once() {
    let nginx = nginx(&dead(), "", "");
    thread::scope(|scope| {
        for _ in 0..20 {
            scope.spawn(|| assert_json(&nginx.get("/__clerk/v1"), 502, "proxy_request_failed"));
        }
    });
}
