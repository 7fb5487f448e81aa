//! What the Frontend API gets and what the client gets back.

use crate::kit::fapi::{json, Fapi, Request};
use crate::kit::harness::{Config, Nginx, KEY};
use crate::kit::location::nginx;

fn assert_contract(request: &Request, host: &str) {
    assert_eq!(request.one("Clerk-Proxy-Url"), "https://app.dev/__clerk");
    assert_eq!(request.one("Clerk-Secret-Key"), KEY);
    assert_eq!(request.one("X-Forwarded-For"), "127.0.0.1");
    assert_eq!(request.one("X-Forwarded-Host"), "app.dev");
    assert_eq!(request.one("X-Forwarded-Proto"), "https");
    assert_eq!(request.one("Host"), host);
}

#[test]
fn the_contract_of_one_line() {
    let fapi = Fapi::tls();
    let nginx = nginx(&fapi, "");
    let reply = nginx.get("/__clerk/v1/client?a=b");
    assert_eq!((reply.status, reply.text().as_str()), (200, r#"{"ok":true}"#));
    let request = fapi.only();
    assert_eq!(request.line, "GET /v1/client?a=b HTTP/1.1");
    assert_contract(&request, &format!("localhost:{}", fapi.port));
    assert_eq!(request.sni.as_deref(), Some("localhost"));
    assert!(request.all("Connection").is_empty());
}

#[test]
fn headers_that_the_client_forges() {
    let fapi = Fapi::tls();
    let nginx = nginx(&fapi, "");
    let reply = nginx.send(
        "POST /__clerk/v1/x HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\
         clerk-secret-key: sk_live_forged\r\nClerk-Secret-Key: sk_live_again\r\n\
         CLERK-PROXY-URL: https://evil.example\r\nX-Forwarded-For: 6.6.6.6\r\nx-forwarded-for: 7.7.7.7\r\n\
         X-Forwarded-Host: evil.example\r\nX-Forwarded-Proto: gopher\r\nX-Own: kept\r\n\
         Content-Length: 5\r\n\r\nhello",
    );
    assert_eq!(reply.status, 200);
    let request = fapi.only();
    assert_contract(&request, &format!("localhost:{}", fapi.port));
    assert_eq!(request.one("X-Own"), "kept");
    assert_eq!(request.body, b"hello");
}

#[test]
fn sources_of_the_key() {
    let fapi = Fapi::plain();
    let line = |source: &str| {
        Config::server(&format!(
            "location /__clerk/ {{ clerk_proxy https://app.dev/__clerk {source} \
             upstream=http://127.0.0.1:{}; }}",
            fapi.port
        ))
    };
    let configs = [
        line("secret_key=%KEY%"),
        line("secret_key=file:key").file("key", format!("{KEY}\n")),
        line("secret_key=file:%DIR%/key").file("key", KEY),
        line("secret_key=env:MY_KEY").env("MY_KEY", KEY),
        line("").env("CLERK_SECRET_KEY", KEY),
    ];
    for (index, config) in configs.into_iter().enumerate() {
        let nginx = config.start();
        assert_eq!(nginx.get("/__clerk/v1").status, 200);
        assert_eq!(fapi.wait_for(index + 1)[index].one("Clerk-Secret-Key"), KEY);
    }
}

#[test]
fn a_key_file_that_only_root_can_read() {
    let fapi = Fapi::plain();
    let config = Config::server(&format!(
        "location /__clerk/ {{ clerk_proxy https://app.dev/__clerk secret_key=file:key \
         upstream=http://127.0.0.1:{}; }}",
        fapi.port
    ))
    .file_of_mode("key", KEY, 0o600);
    // Run by root, the worker is another user and could not read it.
    let nginx = config.start();
    assert_eq!(nginx.get("/__clerk/v1").status, 200);
    assert_eq!(fapi.only().one("Clerk-Secret-Key"), KEY);
}

#[test]
fn forms_of_the_location() {
    let fapi = Fapi::plain();
    for (form, target, sent) in [
        ("/__clerk/", "/__clerk/v1?x", "/v1?x"),
        ("/__clerk", "/__clerk/v1", "/v1"),
        ("/__clerk", "/__clerk", "/"),
        ("= /__clerk", "/__clerk?x=y", "/?x=y"),
        ("^~ /__clerk/", "/__clerk/a%2Fb", "/a%2Fb"),
        ("~ ^/__clerk(/|$)", "/__clerk//npm/x", "/npm/x"),
        ("/__clerk/v1/", "/__clerk/v1/x", "/v1/x"),
    ] {
        let before = fapi.requests().len();
        let nginx = Config::server(&format!(
            "location {form} {{ clerk_proxy https://app.dev/__clerk secret_key=%KEY% \
             upstream=http://127.0.0.1:{}; }}",
            fapi.port
        ))
        .start();
        assert_eq!(nginx.get(target).status, 200, "{form}");
        assert_eq!(fapi.wait_for(before + 1)[before].target(), sent, "{form}");
    }
}

#[test]
fn nested_locations_and_blocks() {
    let fapi = Fapi::plain();
    let line = format!(
        "clerk_proxy https://app.dev/__clerk secret_key=%KEY% upstream=http://127.0.0.1:{}",
        fapi.port
    );
    let nginx = Config::server(&format!(
        "location / {{ location /__clerk/ {{ {line};\n\
         location /__clerk/v2/ {{ {line}/two/; }}\n\
         if ($arg_if) {{ set $x y; }}\n\
         limit_except GET {{ allow all; }} }} }}"
    ))
    .start();
    for (index, (target, sent)) in
        [("/__clerk/v1", "/v1"), ("/__clerk/v2/x", "/two/v2/x"), ("/__clerk/v1?if=1", "/v1?if=1")]
            .into_iter()
            .enumerate()
    {
        assert_eq!(nginx.get(target).status, 200, "{target}");
        let request = fapi.wait_for(index + 1)[index].clone();
        assert_eq!(request.target(), sent);
        assert_contract(&request, &format!("127.0.0.1:{}", fapi.port));
    }
    let post =
        "POST /__clerk/v3 HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx";
    assert_eq!(nginx.send(post).status, 200);
    let request = fapi.wait_for(4)[3].clone();
    assert_eq!((request.target(), &request.body[..]), ("/v3", &b"x"[..]));
    assert_contract(&request, &format!("127.0.0.1:{}", fapi.port));
}

#[test]
fn paths_beside_the_prefix_are_not_proxied() {
    let fapi = Fapi::plain();
    let nginx = Config::server(&format!(
        "location /__clerk {{ clerk_proxy https://app.dev/__clerk secret_key=%KEY% \
         upstream=http://127.0.0.1:{}; }}",
        fapi.port
    ))
    .start();
    assert_eq!(nginx.get("/__clerkfoo").status, 404);
    assert_eq!(nginx.get("/__clerkfoo/v1").status, 404);
    assert!(fapi.requests().is_empty());
}

#[test]
fn headers_of_outer_blocks() {
    let fapi = Fapi::plain();
    let nginx = Config::new(&format!(
        "proxy_set_header X-Outer http; proxy_set_header Host $host; proxy_set_header Upgrade $http_x;\n\
         proxy_set_header Connection upgrade; proxy_set_header X-Forwarded-For $http_x_forwarded_for;\n\
         proxy_set_header Clerk-Secret-Key outer; proxy_http_version 1.0; proxy_buffering off;\n\
         proxy_pass_request_headers off; proxy_pass_request_body off; proxy_redirect off;\n\
         proxy_hide_header Set-Cookie; proxy_intercept_errors on; proxy_cookie_path / /x;\n\
         server {{ listen 127.0.0.1:%PORT%; location /__clerk/ {{\n\
         clerk_proxy https://app.dev/__clerk secret_key=%KEY% upstream=http://127.0.0.1:{}; }} }}",
        fapi.port
    ))
    .start();
    let reply = nginx.send(
        "POST /__clerk/v1 HTTP/1.1\r\nHost: h.example\r\nConnection: close\r\nX: websocket\r\n\
         Content-Length: 2\r\n\r\nhi",
    );
    assert_eq!(reply.status, 200);
    let request = fapi.only();
    assert_eq!(request.line, "POST /v1 HTTP/1.1");
    assert_contract(&request, &format!("127.0.0.1:{}", fapi.port));
    assert_eq!(request.one("X-Outer"), "http");
    assert_eq!(request.one("X"), "websocket");
    assert_eq!(request.body, b"hi");
    assert!(request.all("Upgrade").is_empty() && request.all("Connection").is_empty());
}

#[test]
fn directives_of_the_same_location_win() {
    let fapi = Fapi::tls();
    let nginx = nginx(
        &fapi,
        "proxy_set_header Host other.example; proxy_set_header X-Own own; proxy_hide_header X-Hide;\n\
         proxy_redirect https://elsewhere/ /mine/; proxy_ssl_verify off; proxy_ssl_name other.example;",
    );
    assert_eq!(nginx.get("/__clerk/v1").status, 200);
    let request = fapi.only();
    assert_contract(&request, "other.example");
    assert_eq!(request.one("X-Own"), "own");
    assert_eq!(request.sni.as_deref(), Some("other.example"));
}

fn assert_redirect(nginx: &Nginx, sent: &str, received: &str) {
    let reply = nginx.send(format!(
        "GET /__clerk/v1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX-Location: {sent}\r\n\r\n"
    ));
    assert_eq!(reply.all("Location"), [received]);
}

#[test]
fn redirects_come_back_to_the_proxy() {
    let fapi = Fapi::redirecting();
    let own = format!("http://127.0.0.1:{}", fapi.port);
    let nginx = Config::server(&format!(
        "location /__clerk/ {{ clerk_proxy https://app.dev/__clerk secret_key=%KEY% upstream={own}; }}"
    ))
    .start();
    for (sent, received) in [
        (format!("{own}/v1/x?y"), "https://app.dev/__clerk/v1/x?y"),
        (own.to_uppercase(), "https://app.dev/__clerk/"),
        (format!("{own}?y"), "https://app.dev/__clerk/?y"),
        (format!("{own}0/v1"), &format!("{own}0/v1")),
        (own.replace("http:", ""), "https://app.dev/__clerk/"),
        (format!("{}/x#y", own.replace("//", "//user@")), "https://app.dev/__clerk/x#y"),
        (format!("{own}/a/../../../b/%2e%2e/c"), "https://app.dev/__clerk/c"),
        ("../../../x".into(), "https://app.dev/__clerk/x"),
        ("#fragment".into(), "#fragment"),
        ("client?x".into(), "client?x"),
        ("/v1/x".into(), "https://app.dev/__clerk/v1/x"),
        ("//evil.example/x".into(), "//evil.example/x"),
        ("https://app.dev/home".into(), "https://app.dev/home"),
        ("https://127.0.0.1.evil.example/".into(), "https://127.0.0.1.evil.example/"),
        (format!("https://idp.example/?to={own}/x"), &format!("https://idp.example/?to={own}/x")),
    ] {
        assert_redirect(&nginx, &sent, received);
    }
}

#[test]
fn redirects_in_a_location_inside() {
    const OTHER: &str = "proxy_redirect https://other.example/ /other/;";
    let fapi = Fapi::redirecting();
    let own = format!("http://127.0.0.1:{}/v1/x", fapi.port);
    let (proxy, other) = ("https://app.dev/__clerk/v1/x", "https://other.example/");
    for (around, inside, received, of_other) in [
        ("", "", proxy, other),
        ("", OTHER, proxy, "/other/"),
        ("", "proxy_redirect off;", proxy, other),
        ("proxy_redirect off;", "", &own, other),
        ("proxy_redirect off;", OTHER, &own, "/other/"),
        (OTHER, "", proxy, "/other/"),
        (OTHER, "proxy_redirect off;", proxy, other),
    ] {
        let nginx = Config::server(&format!(
            "absolute_redirect off; location /__clerk/ {{ {around}\n\
             clerk_proxy https://app.dev/__clerk secret_key=%KEY% upstream=http://127.0.0.1:{};\n\
             location /__clerk/v1 {{ limit_rate 1m; {inside} }} }}",
            fapi.port
        ))
        .start();
        assert_redirect(&nginx, &own, received);
        assert_redirect(&nginx, other, of_other);
    }
}

#[test]
fn redirects_of_a_block_of_the_user() {
    let fapi = Fapi::redirecting();
    let nginx = Config::new(&format!(
        "upstream fapi {{ server 127.0.0.1:{}; }} server {{ listen 127.0.0.1:%PORT%;\n\
         location /__clerk/ {{ clerk_proxy https://app.dev/__clerk secret_key=%KEY% \
         upstream=http://fapi/base; }} }}",
        fapi.port
    ))
    .start();
    for (sent, received) in [
        ("https://frontend-api.clerk.dev/base/v1", "https://app.dev/__clerk/v1"),
        ("https://frontend-api.clerk.dev:443/base/v1", "https://app.dev/__clerk/v1"),
        ("http://Frontend-API.clerk.dev/base", "https://app.dev/__clerk"),
        ("/base/v1", "https://app.dev/__clerk/v1"),
        ("https://frontend-api.clerk.dev/other", "https://frontend-api.clerk.dev/other"),
        ("https://frontend-apixclerk.dev/base/v1", "https://frontend-apixclerk.dev/base/v1"),
    ] {
        assert_redirect(&nginx, sent, received);
    }
}

#[test]
fn signals_need_no_key() {
    let fapi = Fapi::plain();
    let mut nginx = Config::server(&format!(
        "location /__clerk/ {{ clerk_proxy https://app.dev/__clerk upstream=http://127.0.0.1:{}; }}",
        fapi.port
    ))
    .env("CLERK_SECRET_KEY", KEY)
    .start();
    let before = nginx.workers();
    // As from another shell, or by sudo, which passes no environment on.
    let mut reload = nginx.config.command();
    let status = reload.args(["-s", "reload"]).env_remove("CLERK_SECRET_KEY").status();
    assert!(status.unwrap().success());
    nginx.until("there are new workers", |nginx| {
        let workers = nginx.workers();
        !workers.is_empty() && !workers.iter().any(|worker| before.contains(worker))
    });
    assert_eq!(nginx.get("/__clerk/v1").status, 200);
    assert_eq!(fapi.only().one("Clerk-Secret-Key"), KEY);
}

#[test]
fn replies_with_many_headers_and_large_uploads() {
    let cookie = |n| format!("Set-Cookie: c{n}={}; Path=/\r\n", "v".repeat(3500));
    let cookies = (0..8).map(cookie).collect::<Vec<_>>().concat();
    let fapi =
        Fapi::answering(None, json(200, &format!("{cookies}Alt-Svc: h3=\":443\"\r\n"), "{}"));
    let nginx = Config::server(&format!(
        "location /__clerk/ {{ clerk_proxy https://app.dev/__clerk secret_key=%KEY% \
         upstream=http://127.0.0.1:{}; }}",
        fapi.port
    ))
    .start();
    let body = vec![b'x'; 2_000_000];
    let head = format!(
        "POST /__clerk/v1/me/profile_image HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    let reply = nginx.send([head.as_bytes(), &body].concat());
    assert_eq!(reply.status, 200);
    let names: Vec<&str> = reply.all("Set-Cookie").iter().map(|cookie| &cookie[..2]).collect();
    assert_eq!(names, ["c0", "c1", "c2", "c3", "c4", "c5", "c6", "c7"]);
    assert!(reply.all("Alt-Svc").is_empty());
    assert!(fapi.only().body == body);
}

#[test]
fn variables_of_the_log_stay_what_the_client_sent() {
    let fapi = Fapi::plain();
    let nginx = Config::new(&format!(
        "log_format own '$request|$uri|$args|$clerk_proxy_uri|$http_clerk_secret_key';\n\
         server {{ listen 127.0.0.1:%PORT%; access_log logs/own.log own;\n\
         location / {{ return 204; }} location /__clerk/ {{ clerk_proxy https://app.dev/__clerk \
         secret_key=%KEY% upstream=http://127.0.0.1:{}; }} }}",
        fapi.port
    ))
    .start();
    nginx.get("/__clerk/a%2Fb?c");
    nginx.get("/other");
    let log = nginx.config.folder.read("logs/own.log");
    let expected = "GET /__clerk/a%2Fb?c HTTP/1.1|/__clerk/a/b|c|/a%2Fb?c|-\n\
                    GET /other HTTP/1.1|/other|-|-|-\n";
    assert_eq!(log, expected);
}
