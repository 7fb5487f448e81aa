//! The request line and the headers that the Frontend API gets.

use crate::kit::fapi::{Fapi, Request};
use crate::kit::harness::{Config, Nginx, KEY};

/// The location under test, and others that lead to it.
fn nginx(fapi: &Fapi, outer: &str) -> Nginx {
    Config::new(&format!(
        "{outer}\nserver {{ listen 127.0.0.1:%PORT%; listen 127.0.0.1:%PORT2% http2;\n\
         large_client_header_buffers 4 16k;\n\
         location /__clerk {{ clerk_proxy https://app.dev/__clerk secret_key=%KEY%\n\
         upstream=http://127.0.0.1:{}; }}\n\
         location /rewrite/ {{ rewrite ^/rewrite/(.*)$ /__clerk/$1 last; }}\n\
         location /args/ {{ rewrite ^ /__clerk/$arg_p? last; }}\n\
         location /try/ {{ try_files $uri /__clerk/v1/try?a=b; }}\n\
         location / {{ return 404; }} }}",
        fapi.port
    ))
    .start()
}

/// What the Frontend API gets for a request with these header lines.
fn with_headers(headers: &str) -> Request {
    let fapi = Fapi::plain();
    let nginx = nginx(&fapi, "");
    let reply = nginx.send(
        [b"POST /__clerk/v1 HTTP/1.1\r\nHost: app.dev\r\n", headers.as_bytes(), b"\r\n"].concat(),
    );
    assert_eq!(reply.status, 200);
    fapi.only()
}

#[test]
fn targets() {
    let fapi = Fapi::plain();
    let nginx = nginx(&fapi, "");
    let long = format!("/v1/client/handshake?__session={}", "e".repeat(7000));
    let same: &[&str] = &[
        "/v1/a%2Fb%2fc",
        "/v1/%40%25%3F%23%0A",
        "/v1//a///b",
        "/v1/a;b=c,d+e@f:g!$&'()*=",
        "/v1/client?a=\"b\"&c='d'&e=<f>|{g}\\^`",
        "/v1/client?a=b?c=d",
        "/v1/client?",
        "/v1/client?a=//evil.example/../x",
        "/v1/oauth_callback?code=4%2F0A+b&state=x%20y",
        "/.well-known/jwks.json",
        "/npm/@clerk/clerk-js@6/dist/clerk.browser.js",
        "/v1/\u{fc}?\u{fc}",
        &long,
    ];
    let own: Vec<(String, &str)> =
        same.iter().map(|&target| (format!("/__clerk{target}"), target)).collect();
    let others = [
        ("/__clerk", "/"),
        ("/__clerk/", "/"),
        ("/__clerk?x", "/?x"),
        ("/__clerk//npm/x", "/npm/x"),
        ("/__clerk///evil.example/x", "//evil.example/x"),
        ("/__clerk/a/../b?c", "/b?c"),
        ("/__clerk/a/%2e%2E/b%20c", "/b%20c"),
        ("/__clerk/./x", "/x"),
        ("/__clerk/v1/%2E%2E%2Fx", "/x"),
        ("/__clerk/v1%2F..%2Fx%2Fy", "/x/y"),
        ("/%5F_clerk/v1/a%2Fb", "/v1/a/b"),
        ("//__clerk/v1", "/v1"),
        ("http://evil.example/__clerk/v1?x", "/v1?x"),
        ("/rewrite/v1/a%20b%3Fc?d=e", "/v1/a%20b%3Fc?d=e"),
        ("/try/x", "/v1/try?a=b"),
    ];
    let others = others.iter().map(|&(sent, received)| (sent.to_owned(), received));
    for (index, (sent, received)) in own.into_iter().chain(others).enumerate() {
        assert_eq!(nginx.get(&sent).status, 200, "{sent}");
        let request = &fapi.wait_for(index + 1)[index];
        // The stand-in keeps one char per byte.
        let received: String = received.bytes().map(char::from).collect();
        assert_eq!(request.line, format!("GET {received} HTTP/1.1"), "for {sent}");
    }
}

/// A request over HTTP/2 has no line: the URI gets there by a variable.
#[test]
fn targets_for_an_http_2_upstream() {
    let config = Config::new(
        "server { listen 127.0.0.1:%PORT%; location /__clerk {\n\
         clerk_proxy https://app.dev/__clerk secret_key=%KEY% upstream=http://127.0.0.1:%PORT2%/base;\n\
         proxy_http_version 2; } }\n\
         server { listen 127.0.0.1:%PORT2%; http2 on; location / { return 200 \"$server_protocol $request_uri \
         $http_clerk_proxy_url\"; } }",
    );
    let (good, printed) = config.check();
    if !good {
        // Before 1.29.4.
        assert!(["directive \"http2\"", "invalid value \"2\""]
            .iter()
            .any(|why| printed.contains(why)));
        return;
    }
    let nginx = config.start();
    for (sent, received) in [
        ("/__clerk", "/"),
        ("/__clerk/v1/a%2Fb?c=%2F", "/v1/a%2Fb?c=%2F"),
        ("/__clerk/a/../b", "/b"),
    ] {
        let reply = nginx.get(sent);
        assert_eq!(reply.text(), format!("HTTP/2.0 /base{received} https://app.dev/__clerk"));
    }
    assert_eq!(nginx.get("/__clerkfoo").status, 404);
}

#[test]
fn targets_that_leave_the_prefix() {
    let fapi = Fapi::plain();
    let nginx = nginx(&fapi, "");
    for target in [
        "/__clerk/../admin",
        "/__clerk/%2e%2e/admin",
        "/__clerk/a/../../admin",
        "/__clerk/%2e%2e%2fadmin",
        "/__clerk/..\\admin",
        "/__clerk/a/..%5C..%5Cadmin",
        "/__clerkfoo/v1",
        "/args/?p=../../admin",
    ] {
        assert_eq!(nginx.get(target).status, 404, "{target}");
    }
    assert!(fapi.requests().is_empty());
}

#[test]
fn headers_pass_as_they_are() {
    let headers = "X-One: 1\r\nx-dup: a\r\nX-Empty:\r\nX-Dup: b\r\nCookie: a=b; c=d\r\n\
                   X-Spaces: a  b\r\nX-Comma: a, b,c\r\nAccept-Encoding: gzip, br\r\n\
                   Authorization: Bearer x.y.z\r\nOrigin: https://app.dev\r\nUser-Agent: T\u{fc}st\r\n\
                   Forwarded: for=1.2.3.4\r\nReferer: https://app.dev/x\r\n";
    let request = with_headers(&format!("{headers}Connection: close\r\n"));
    let own = request.headers.iter().position(|line| line == "X-One: 1").expect("the first header");
    let received = request.headers[own..].join("\r\n") + "\r\n";
    let expected: String = headers.bytes().map(char::from).collect();
    assert_eq!(received, expected.replace("X-Empty:\r", "X-Empty: \r"));
    // What stands before is set by the module or frames the body.
    let names: Vec<&str> =
        request.headers[..own].iter().map(|line| line.split(':').next().unwrap()).collect();
    let contract = ["Host", "Clerk-Proxy-Url", "Clerk-Secret-Key", "X-Forwarded-For"];
    let contract = contract.iter().chain(&["X-Forwarded-Host", "X-Forwarded-Proto"]).copied();
    assert_eq!(names, contract.collect::<Vec<_>>());
}

#[test]
fn headers_for_one_hop_are_dropped() {
    let request = with_headers(
        "Proxy-Authorization: Basic x\r\nProxy: http://evil\r\nProxy-Connection: keep-alive\r\n\
         Keep-Alive: timeout=5\r\nTE: trailers\r\nTrailer: X\r\nUpgrade: websocket\r\n\
         Connection: close, Upgrade, X-Hop, x-hop-2\r\nX-Hop: 1\r\nX-HOP-2: 2\r\nX-Hop-3: 3\r\n",
    );
    for name in [
        "Proxy-Authorization",
        "Proxy",
        "Proxy-Connection",
        "Keep-Alive",
        "TE",
        "Trailer",
        "Upgrade",
        "Connection",
        "X-Hop",
        "X-Hop-2",
    ] {
        assert!(request.all(name).is_empty(), "{name}");
    }
    assert_eq!(request.one("X-Hop-3"), "3");
}

#[test]
fn connection_cannot_take_vital_headers_away() {
    let request = with_headers(
        "Connection: close\r\nConnection: Cookie, Authorization, Host, Content-Type, Clerk-Secret-Key\r\n\
         Connection: clerk-proxy-url, X-Forwarded-For, Origin, X-Hop\r\nX-Hop: 1\r\nCookie: a=b\r\n\
         Authorization: Bearer x\r\nContent-Type: text/x\r\nOrigin: https://app.dev\r\n",
    );
    for (name, value) in [
        ("Cookie", "a=b"),
        ("Authorization", "Bearer x"),
        ("Content-Type", "text/x"),
        ("Origin", "https://app.dev"),
        ("Clerk-Secret-Key", KEY),
        ("Clerk-Proxy-Url", "https://app.dev/__clerk"),
        ("X-Forwarded-For", "127.0.0.1"),
    ] {
        assert_eq!(request.one(name), value);
    }
    assert_eq!(request.all("Host").len(), 1);
    assert!(request.all("X-Hop").is_empty() && request.all("Connection").is_empty());
}

#[test]
fn http2() {
    let fapi = Fapi::plain();
    let nginx = nginx(&fapi, "");
    let arguments = ["-H", "Cookie: a=b", "-H", "Cookie: c=d", "-H", "X-Own: x", "--data", "a=b&c"];
    assert_eq!(nginx.curl_h2("/__clerk/v1/a%2Fb//c?d=%2F", &arguments).status, 200);
    let request = fapi.only();
    assert_eq!(request.line, "POST /v1/a%2Fb//c?d=%2F HTTP/1.1");
    assert_eq!(request.one("Cookie"), "a=b; c=d");
    assert_eq!(request.one("X-Own"), "x");
    assert_eq!(request.body, b"a=b&c");
}

#[test]
fn headers_of_outer_blocks_stay_but_for_owned_names() {
    let fapi = Fapi::plain();
    let nginx = nginx(
        &fapi,
        "proxy_set_header X-Outer $request_method; proxy_set_header Origin https://outer.example;\n\
         proxy_set_header Content-Length 1; proxy_set_header TE trailers;",
    );
    let post =
        "POST /__clerk/v1 HTTP/1.1\r\nHost: a\r\nOrigin: https://app.dev\r\nConnection: close\r\n\
                Content-Length: 3\r\n\r\nabc";
    assert_eq!(nginx.send(post).status, 200);
    let request = fapi.only();
    assert_eq!(request.one("X-Outer"), "POST");
    assert_eq!(request.one("Origin"), "https://app.dev");
    assert_eq!(request.one("Content-Length"), "3");
    assert!(request.all("TE").is_empty());
    assert_eq!(request.body, b"abc");
}

#[test]
fn names_that_a_backend_may_fold_are_dropped() {
    let twins = [
        "Clerk_Secret_Key",
        "clerk-secret_key",
        "CLERK_PROXY_URL",
        "X_Forwarded_For",
        "x_forwarded-host",
        "X_Forwarded_Proto",
        "CF_Connecting_IP",
        "X_Real_IP",
        "Proxy_Connection",
        "Content_Length",
        "Transfer_Encoding",
        "Early_Data",
    ];
    for (lines, more) in [
        ("underscores_in_headers on;", &[][..]),
        ("ignore_invalid_headers off;", &["Clerk.Secret.Key", "Clerk!Secret_Key"]),
    ] {
        let fapi = Fapi::plain();
        let nginx = nginx(&fapi, lines);
        let mut headers = "X_Own: 7\r\n".to_owned();
        twins.iter().chain(more).for_each(|name| headers.extend([name, ": 7\r\n"]));
        let reply = nginx.send(format!(
            "GET /__clerk/v1 HTTP/1.1\r\nHost: app.dev\r\nConnection: close\r\n{headers}\r\n"
        ));
        assert_eq!(reply.status, 200, "{lines}");
        let request = fapi.only();
        let arrived: Vec<_> = request.headers.iter().filter(|line| line.ends_with(": 7")).collect();
        assert_eq!(arrived, ["X_Own: 7"], "{lines}");
    }
}

/// nginx takes such names before 1.21.1, and refuses them since.
#[test]
fn names_with_spaces_around_them() {
    for name in ["Clerk-Secret-Key ", "Transfer-Encoding\t", " X-Forwarded-For", "Host\x01 "] {
        let fapi = Fapi::plain();
        let nginx = nginx(&fapi, "ignore_invalid_headers off;");
        let head = format!("Host: app.dev\r\nConnection: close\r\nX-Own: 7\r\n{name}: 7\r\n\r\n");
        if nginx.send(format!("GET /__clerk/v1 HTTP/1.1\r\n{head}")).status == 400 {
            assert_eq!(fapi.received(), 0, "{name:?}");
            continue;
        }
        let request = fapi.only();
        let arrived: Vec<_> = request.headers.iter().filter(|line| line.ends_with(": 7")).collect();
        assert_eq!(arrived, ["X-Own: 7"], "{name:?}");
    }
}

/// Variables that are called like those of headers and are none.
#[test]
fn what_is_dropped_settles_no_variable_of_the_users() {
    let fapi = Fapi::plain();
    // The value of the first comes with the reply; the second has none, since it needs itself.
    let outer = "map $upstream_status $http_own { default none; 200 good; }\n\
        map $http_endless $http_endless { default $http_endless; }\n\
        log_format own '$http_own $http_host $http_x_hop $http_user_agent'; access_log logs/own.log own;";
    let mut nginx = nginx(&fapi, &format!("{outer} log_format other '$http_endless';"));
    let reply = nginx.send(
        "GET /__clerk/v1 HTTP/1.1\r\nHost: app.dev\r\nUser-Agent: one\r\nX-Hop: two\r\n\
         Connection: close, X-Hop, User-Agent\r\n\r\n",
    );
    assert_eq!(reply.status, 200, "{}", nginx.error_log());
    assert!(fapi.only().all("X-Hop").is_empty() && fapi.only().all("User-Agent").is_empty());
    nginx.stop();
    assert_eq!(nginx.config.folder.read("logs/own.log"), "good app.dev two one\n");
    assert!(nginx.errors().is_empty(), "{:?}", nginx.errors());
}
