//! nginx with the module loaded and without a `clerk_proxy` does, says and logs what nginx without it does.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::time::UNIX_EPOCH;

use crate::kit::fapi::{json, Fapi};
use crate::kit::harness::{free_port, Config, Nginx, MODULE};

/// What a server may do without `clerk_proxy`; the comment keeps the harness's own line about it away.
const HTTP: &str = r#"
    # clerk_proxy_warm
    log_format all '$request $status $body_bytes_sent $upstream_status $sent_http_content_type '
                   '$connection_requests';
    access_log logs/all.log all;
    proxy_cache_path %DIR%/cache keys_zone=zone:1m use_temp_path=off;
    limit_req_zone $binary_remote_addr zone=slow:1m rate=1r/m;
    map $arg_a $mapped { default none; b one; }
    upstream own { server 127.0.0.1:%FAPI%; keepalive 2; }
    error_page 404 /missing;
    server {
        listen 127.0.0.1:%PORT%;
        listen 127.0.0.1:%PORT2% http2;
        root %DIR%/www;
        error_log logs/info.log info;
        gzip on; gzip_min_length 1; gzip_types text/plain;
        add_header X-Mapped $mapped always;
        location / { index index.html; }
        location = /missing { internal; return 404 "missing\n"; }
        location /list/ { index none; autoindex on; alias %DIR%/www/; autoindex_localtime off; }
        location /own/ { proxy_pass http://own/; proxy_http_version 1.1; proxy_set_header Connection ""; }
        location /plain/ { proxy_pass http://127.0.0.1:%FAPI%; proxy_intercept_errors on; }
        location /cached/ { proxy_pass http://own; proxy_cache zone; proxy_cache_valid any 1h;
            add_header X-Cache $upstream_cache_status; }
        location /gone/ { proxy_pass http://127.0.0.1:1; }
        location /text { return 200 "$request_uri $uri $args $host\n"; }
        location /code { return 418; }
        location /moved { return 301 /text; }
        location /old/ { rewrite ^/old/(.*)$ /text/$1 last; }
        # With arguments: nginx 1.22 looks at uninitialised ones, as valgrind notices.
        location /try/ { try_files $uri /text/tried?x; }
        location /if/ { if ($request_method = POST) { return 405; } return 200 if; }
        location /denied { deny all; }
        location /slow { limit_req zone=slow; return 200 slow; }
        location /small { client_max_body_size 2; proxy_pass http://own; }
        location /ssi { ssi on; ssi_types *; alias %DIR%/www/ssi.html; }
        location /expires { expires max; charset utf-8; return 200 expires; }
        location /limited/ { limit_except GET { deny all; } proxy_pass http://own; }
        location /buffered { proxy_pass http://own; proxy_request_buffering off; proxy_buffering off; }
        location /variable { set $to own; proxy_pass http://$to; }
        location ~ \.(css|js)$ { return 200 regex; }
    }
"#;

const REQUESTS: &[&str] = &[
    "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    "GET /index.html HTTP/1.0\r\n\r\n",
    "GET /a.txt HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\nConnection: close\r\n\r\n",
    "GET /a.txt HTTP/1.1\r\nHost: a\r\nRange: bytes=1-2,4-\r\nConnection: close\r\n\r\n",
    "HEAD /a.txt HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    "GET /none HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    "GET /list/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    "GET /own/x?a=b HTTP/1.1\r\nHost: a\r\nClerk-Secret-Key: x\r\nX-Forwarded-For: 1.2.3.4\r\n\
     TE: trailers\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\n\r\n",
    "POST /own/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n\
     3\r\nabc\r\n0\r\n\r\n",
    "GET /plain/%2e/a%2Fb//c?d HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    "GET /plain/404 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    "GET /cached/x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    "GET /cached/x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    "GET /gone/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    "GET /text/%2e%2e/x?a=b HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n",
    "GET /text HTTP/1.1\r\nHost: a\r\n\r\nGET /code HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    "GET /moved HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    "GET /old/x%20y HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    "GET /try/x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    "POST /if/ HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    "GET /denied HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    "GET /slow HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    "GET /slow HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    "POST /small HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc",
    "GET /ssi HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    "GET /expires HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    "PUT /limited/x HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    "POST /buffered HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc",
    "GET /variable HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    "GET /x.css HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    "GET / HTTP/1.1\r\nConnection: close\r\n\r\n",
    "GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n",
    "TRACE / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    "nonsense\r\n\r\n",
    "GET /text\r\n",
];

/// Answers anything, with 404 where the target says so.
fn stand_in() -> Fapi {
    Fapi::start(None, |request, stream| {
        let status = if request.target().contains("404") { 404 } else { 200 };
        let body = if request.line.starts_with("HEAD ") { "" } else { "{\"ok\":true}" };
        let headers = "Set-Cookie: a=b\r\nAlt-Svc: h3\r\nConnection: X-Hop\r\nX-Hop: 1\r\n";
        stream.write_all(json(status, headers, body).as_bytes()).is_ok()
    })
}

/// All that nginx does, says and logs with these ports, without what differs from one run to the next.
fn seen(fapi: &Fapi, module: &Path, [port, port2]: [u16; 2]) -> Vec<String> {
    let mut config = Config::new(&HTTP.replace("%FAPI%", &fapi.port.to_string())).module(module);
    (config.port, config.port2) = (port, port2);
    std::fs::create_dir(config.folder.path().join("www")).expect("a folder of ours");
    for (name, content) in [
        ("www/index.html", "index\n"),
        ("www/a.txt", "0123456789\n"),
        ("www/ssi.html", "<!--#include virtual=\"/text\"-->\n"),
    ] {
        let path = config.folder.write(name, content);
        let file = File::options().write(true).open(path).expect("the file");
        file.set_modified(UNIX_EPOCH).expect("the file is ours");
    }
    let folder = config.folder.path().to_string_lossy().into_owned();
    let load = format!("load_module {}; ", module.display());
    let plain =
        |text: &[u8]| String::from_utf8_lossy(text).replace(&load, "").replace(&folder, "DIR");
    let mut seen = Vec::new();
    for argument in ["-t", "-T"] {
        let output = config.command().arg(argument).output().expect("nginx runs");
        seen.extend([plain(&output.stdout), plain(&output.stderr), output.status.to_string()]);
    }
    let before = fapi.requests().len();
    let mut nginx = config.start();
    for request in REQUESTS {
        seen.push(format!("{request:?} {}", exchange(&nginx, request)));
    }
    let reply = nginx.curl_h2("/own/h2?x", &["-H", "Cookie: a=b", "--data", "abc"]);
    seen.push(format!("{} {}", reply.status, reply.text()));
    nginx.reload();
    seen.push(exchange(&nginx, REQUESTS[7]));
    nginx.stop();
    for request in &fapi.requests()[before..] {
        let body = request.body.escape_ascii();
        seen.push(format!("{} {:?} {body}", request.line, request.headers));
    }
    for log in ["all.log", "info.log", "error.log", "stderr"] {
        let text = nginx.config.folder.read(&format!("logs/{log}"));
        // The harness connects to see whether nginx listens.
        let lines = text.lines().filter(|line| !line.contains("while waiting for request"));
        let lines = lines.map(|line| {
            let line = plain(line.as_bytes());
            if log == "all.log" {
                line
            } else {
                line.replace(|c: char| c.is_ascii_digit(), "")
            }
        });
        // A request may end after the next one: nginx waits for the client to close.
        let mut lines: Vec<_> = lines.collect();
        lines.sort_unstable();
        seen.append(&mut lines);
    }
    seen
}

/// The bytes that come back, but for the time.
fn exchange(nginx: &Nginx, request: &str) -> String {
    let mut stream = nginx.connect();
    stream.write_all(request.as_bytes()).expect("nginx reads");
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("nginx closes");
    let text = bytes.escape_ascii().to_string();
    let lines = text.split_inclusive("\\r\\n").filter(|line| !line.starts_with("Date: "));
    lines.collect()
}

#[test]
fn without_a_directive_nothing_is_different() {
    // Built in, it cannot be left out.
    if MODULE.as_os_str().is_empty() {
        return;
    }
    let fapi = stand_in();
    let ports = [free_port(), free_port()];
    let without = seen(&fapi, Path::new(""), ports);
    let with = seen(&fapi, &MODULE, ports);
    for (with, without) in with.iter().zip(&without) {
        assert_eq!(with, without);
    }
    assert_eq!(with.len(), without.len());
}
