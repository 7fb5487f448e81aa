//! What stands before the location and around it does not change what a client says to the Frontend API, and does not
//! reach it either.

use crate::kit::fapi::{Fapi, Request};
use crate::kit::harness::{Config, Nginx};
use crate::kit::location;

const EDGE: &str = include_str!("../../../src/request_headers.rs");

/// The headers of edges, as the source has them.
fn edge() -> Vec<&'static str> {
    let (_, list) = EDGE.split_once("pub const EDGE: &[&str] = &[").expect("the list");
    let (list, _) = list.split_once("];").expect("its end");
    list.split('"').skip(1).step_by(2).collect()
}

/// `location /__clerk/` inside of a server with these lines, in an `http` block with those.
fn site(fapi: &Fapi, http: &str, server: &str, beside: &str) -> Nginx {
    let location = location::location(fapi, beside);
    Config::server(&format!("{server}\n{location}")).http(http).start()
}

fn send(nginx: &Nginx, request: &str, headers: &str) {
    let length = if request.starts_with("POST ") { "Content-Length: 0\r\n" } else { "" };
    let reply = nginx.send(format!(
        "{request} HTTP/1.1\r\nHost: app.dev\r\nConnection: close\r\n{length}{headers}\r\n"
    ));
    assert_eq!(reply.status, 200, "{request} {headers}");
}

fn get(nginx: &Nginx, headers: &str) {
    send(nginx, "GET /__clerk/v1/client", headers);
}

#[test]
fn headers_of_one_edge_are_not_shown_to_the_next() {
    assert!(edge().len() > 30 && edge().contains(&"X-Real-IP"));
    let headers =
        edge().iter().map(|name| format!("{name}: 192.0.2.7\r\n")).collect::<Vec<_>>().concat();
    let others = "CDN-Loop: cloudflare\r\nCF-Ray: 1-FRA\r\nVia: 1.1 edge\r\ntraceparent: 00-1\r\n";
    let fapi = Fapi::tls();
    let realip = "set_real_ip_from 127.0.0.1; real_ip_header CF-Connecting-IP;";
    get(&site(&fapi, "", realip, ""), &(headers + others));
    let request = fapi.only();
    for name in edge() {
        assert!(request.all(name).is_empty(), "{name}");
    }
    // It is read here.
    assert_eq!(request.one("X-Forwarded-For"), "192.0.2.7");
    for name in ["CDN-Loop", "CF-Ray", "Via", "traceparent"] {
        assert!(!request.one(name).is_empty());
    }
}

#[test]
fn a_line_in_the_location_brings_one_back() {
    let fapi = Fapi::tls();
    let nginx = site(&fapi, "", "", "proxy_set_header CF-Connecting-IP $http_cf_connecting_ip;");
    get(&nginx, "CF-Connecting-IP: 192.0.2.1\r\nX-Real-IP: 192.0.2.1\r\n");
    assert_eq!(fapi.only().one("CF-Connecting-IP"), "192.0.2.1");
    assert!(fapi.only().all("X-Real-IP").is_empty());
}

#[test]
fn lines_for_the_applications_backend_do_not_reach_the_location() {
    const HEADERS: &str = "Authorization: Bearer x\r\nCookie: __client=a\r\nOrigin: https://app.dev\r\n\
        Accept: */*\r\nAccept-Encoding: br\r\nAccept-Language: de\r\nUser-Agent: T\r\nReferer: https://app.dev/\r\n\
        Range: bytes=0-1\r\nIf-None-Match: \"x\"\r\nContent-Type: text/x\r\nSec-Fetch-Mode: cors\r\n\
        X-Requested-With: x\r\nCache-Control: no-cache\r\n";
    let names = || HEADERS.split("\r\n").filter_map(|line| line.split(':').next());
    let lines = |value: &str| {
        let names = names().filter(|name| !name.is_empty());
        names.map(|name| format!("proxy_set_header {name} {value};\n")).collect::<Vec<_>>().concat()
    };
    let marks = "proxy_set_header X-Request-Id $request_id; proxy_set_header X-Own \"own\";\n\
                 proxy_set_header X-Real-IP $remote_addr; proxy_set_header X-Forwarded-Port 81;\n";
    for value in ["\"Basic the backend's\"", "\"\"", "$remote_addr"] {
        for (http, server) in
            [(lines(value) + marks, String::new()), (String::new(), lines(value) + marks)]
        {
            let fapi = Fapi::tls();
            get(&site(&fapi, &http, &server, ""), HEADERS);
            let request = fapi.only();
            for line in HEADERS.split("\r\n").filter(|line| !line.is_empty()) {
                let (name, sent) = line.split_once(": ").expect("a header");
                assert_eq!(request.one(name), sent, "{name} beside {value}");
            }
            assert_eq!(request.one("X-Request-Id").len(), 32);
            assert_eq!((request.one("X-Own"), request.one("X-Forwarded-Port")), ("own", "81"));
            assert!(request.all("X-Real-IP").is_empty());
        }
    }
}

/// What arrives of these headers of a request.
fn authorization(request: &str, headers: &str) -> Vec<String> {
    let fapi = Fapi::tls();
    let outer = "auth_basic staging; auth_basic_user_file passwords;";
    let location = location::location(&fapi, "auth_basic off;");
    let nginx =
        Config::server(&format!("{outer}\n{location}")).file("passwords", "x:{PLAIN}y\n").start();
    send(&nginx, request, headers);
    let request: Request = fapi.only();
    request.all("Authorization").into_iter().map(str::to_owned).collect()
}

#[test]
fn the_password_of_the_site_stays_here() {
    const GET: &str = "GET /__clerk/v1/client";
    const TOKEN: &str = "POST /__clerk/oauth/token";
    let none: &[&str] = &[];
    for site in ["Basic eDp5", "basic eDp5", "Digest username=\"x\"", "Negotiate x", "NTLM x"] {
        let header = format!("Authorization: {site}\r\n");
        let origin = format!("{header}Origin: https://app.dev\r\n");
        assert_eq!(authorization(GET, &header), none, "{site}");
        assert_eq!(authorization("POST /__clerk/v1/client/sign_ins", &origin), none, "{site}");
        // A browser's, on its way to sign in to another application.
        assert_eq!(authorization("GET /__clerk/oauth/authorize", &header), none, "{site}");
        assert_eq!(authorization(TOKEN, &origin), none, "{site}");
        // An application's own.
        assert_eq!(authorization(TOKEN, &header), [site], "{site}");
    }
    for token in ["Bearer eyJ.x.y", "eyJ.x.y"] {
        for more in ["", "Origin: https://app.dev\r\n"] {
            assert_eq!(authorization(GET, &format!("Authorization: {token}\r\n{more}")), [token]);
        }
    }
}

#[test]
fn the_bare_prefix_is_proxied_and_not_redirected() {
    let fapi = Fapi::plain();
    let line = |url: &str| {
        format!(
            "clerk_proxy https://app.dev{url} secret_key=%KEY% upstream=http://127.0.0.1:{};",
            fapi.port
        )
    };
    // Names around it, and with it in front, are in the same tree.
    let others = "location / { return 200 root; } location /__cler { return 200 cler; } location /__clerk- { return 200 dash; }\n\
                  location = /__clerk/x { return 200 x; } location /_ { return 200 low; } location /a/b/c { return 200 abc; }\n\
                  location = /__clerl { return 200 clerl; } location /__clerk. { return 200 dot; }";
    let locations = format!(
        "{others}\nlocation /__clerk/ {{ {} location /__clerk/v2/ {{ {} }} }}\n\
         location ^~ /a/b/ {{ {} }} location /own/ {{ {} }} location = /own {{ return 200 own; }}\n\
         location /outer/ {{ location /outer/c/ {{ {} }} }}",
        line("/__clerk"),
        line("/__clerk"),
        line("/a/b"),
        line("/own"),
        line("/outer/c")
    );
    let nginx = Config::server(&locations).start();
    for (count, (request, arrives)) in [
        ("GET /__clerk", "GET /"),
        ("GET /__clerk?x=1", "GET /?x=1"),
        ("POST /__clerk?x=1", "POST /?x=1"),
        ("HEAD /__clerk", "HEAD /"),
        ("GET /%5F_clerk?y", "GET /?y"),
        ("GET //__clerk", "GET /"),
        ("GET /__clerk/", "GET /"),
        ("GET /__clerk/v2?z", "GET /v2?z"),
        ("GET /__clerk/v2/a", "GET /v2/a"),
        ("PUT /a/b", "PUT /"),
        ("GET /a/b/x", "GET /x"),
        ("GET /own/", "GET /"),
        ("GET /outer/c?x", "GET /?x"),
    ]
    .into_iter()
    .enumerate()
    {
        send(&nginx, request, "");
        let arrived = &fapi.wait_for(count + 1)[count];
        assert_eq!(arrived.line, format!("{arrives} HTTP/1.1"), "{request}");
    }
    let before = fapi.requests().len();
    for (target, text) in [
        ("/", "root"),
        ("/__cler", "cler"),
        ("/__clerk-", "dash"),
        ("/__clerk-x", "dash"),
        ("/__clerk.", "dot"),
        ("/__clerk.x/", "dot"),
        ("/__clerk/x", "x"),
        ("/__clerl", "clerl"),
        ("/__clerkx", "cler"),
        ("/__clerk0", "cler"),
        ("/_a", "low"),
        ("/a/b/c", "abc"),
        ("/a/bc", "root"),
        ("/a/", "root"),
        ("/own", "own"),
        ("/outer/x", "root"),
    ] {
        let reply = nginx.get(target);
        // No file exists.
        let is_nested = target.starts_with("/outer/") && reply.status == 404;
        assert!(is_nested || reply.text() == text, "{target} {reply:?}");
    }
    assert_eq!(fapi.requests().len(), before);
}

#[test]
fn a_rewrite_of_the_snippet_is_named_in_the_log() {
    let fapi = Fapi::tls();
    let nginx = site(&fapi, "", "", "rewrite ^/__clerk/(.*)$ /$1 break;");
    let reply = nginx.get("/__clerk/v1/client");
    crate::kit::assert::assert_json(&reply, 404, "proxy_path_mismatch");
    let why = "\"/v1/client\" is not below \"/__clerk/\" of \"clerk_proxy\", a \"rewrite\" has changed it";
    assert_eq!(nginx.count(why), 1);
    nginx.get("/__clerk/%2e%2e/__clerkfoo");
    assert_eq!(nginx.count("has changed it"), 1);
}

/// A location with the line around these, whose author wants something else for a part of the path.
fn nested(fapi: &Fapi, beside: &str, inner: &str) -> Config {
    let zone = "limit_req_zone $request_id zone=all:1m rate=1000r/s; limit_req_zone $host zone=one:1m rate=1r/m;\n\
                proxy_cache_path %DIR%/cache keys_zone=c:1m use_temp_path=off;";
    let lines = format!("{beside}\n{inner}");
    Config::server(&location::location(fapi, &lines)).http(zone)
}

#[test]
fn nested_locations_proxy_as_the_one_around() {
    const HEADERS: &str = "Cookie: __client=a\r\nX-Forwarded-For: 6.6.6.6\r\nCF-Connecting-IP: 6.6.6.6\r\nTE: trailers\r\n";
    let plain = |request: &Request| (request.line.clone(), request.headers.clone());
    for (beside, inner, target) in [
        ("", "location /__clerk/v1/ { limit_req zone=all; }", "/v1/client?a=%2F"),
        ("", "location /__clerk/v1 { access_log off; }", "/v1//client"),
        ("", "location = /__clerk/v1/client { client_max_body_size 1k; }", "/v1/client"),
        ("", "location ~ \\.js$ { proxy_read_timeout 5s; }", "/npm/x.js"),
        ("", "location ~* /V1/ { location ~ client { limit_rate 1m; } }", "/v1/client"),
        ("", "location /__clerk/v1/ { location /__clerk/v1/client { allow all; } }", "/v1/client"),
        ("proxy_set_header X-Own 1;", "location /__clerk/v1/ { limit_rate 1m; }", "/v1/x"),
        ("proxy_set_header X-Own 2;", "location /__clerk/v1/ { proxy_set_header X-Own 1; }", "/v1/x"),
        ("proxy_http_version 1.1;", "location /__clerk/v1/ { proxy_buffers 4 4k; }", "/v1/x"),
        ("", "location /__clerk/v1/ { proxy_hide_header X-None; proxy_buffering off; }", "/v1/x"),
        ("proxy_cache c;", "location /__clerk/v1/ { limit_rate 1m; }", "/v1/x"),
        ("proxy_cache c;", "location /__clerk/v1/ { proxy_cache off; }", "/v1/x"),
        ("", "location /__clerk/v1/ { proxy_cache c; }", "/v1/x"),
        ("clerk_proxy_client_ip $http_x_ip;", "location /__clerk/v1/ { limit_rate 1m; }", "/v1/x"),
        ("", "location /__clerk/v1/ { if ($arg_x) { return 403; } limit_except GET POST { deny all; } }", "/v1/x"),
    ] {
        let fapi = Fapi::tls();
        let own = if inner.contains("X-Own 1") { "proxy_set_header X-Own 1;" } else { beside };
        let without = site(&fapi, "", "", &own.replace("proxy_cache c;", ""));
        let nginx = nested(&fapi, beside, inner).start();
        for nginx in [&without, &nginx] {
            send(nginx, &format!("GET /__clerk{target}"), HEADERS);
        }
        let requests = fapi.wait_for(2);
        assert_eq!(plain(&requests[1]), plain(&requests[0]), "{beside} {inner}");
        assert_eq!(requests[1].sni.as_deref(), Some("localhost"), "{inner}");
        // Errors are those of the module.
        let reply = nginx.get("/__clerk/%2e%2e/__clerk/v1/../../__clerkfoo");
        assert_ne!(reply.status, 200);
    }
}

#[test]
fn nested_locations_do_what_they_are_for() {
    let fapi = Fapi::tls();
    let inner = "location /__clerk/v1/client/sign_ins { limit_req zone=one; }\n\
                 location /__clerk/files/ { root %DIR%; } location /__clerk/gone/ { return 410; }\n\
                 location ~ \\.ico$ { empty_gif; } location /__clerk/tried/ { try_files /none =404; }\n\
                 location /__clerk/hidden/ { deny all; }";
    let config = nested(&fapi, "", inner);
    std::fs::create_dir_all(config.folder.path().join("__clerk/files")).expect("a folder of ours");
    config.folder.write("__clerk/files/x.txt", "a file");
    let nginx = config.allow("limiting requests").start();
    let sign_ins = || nginx.get("/__clerk/v1/client/sign_ins").status;
    assert_eq!([sign_ins(), sign_ins()], [200, 503]);
    assert_eq!(nginx.get("/__clerk/files/x.txt").text(), "a file");
    assert_eq!(nginx.get("/__clerk/gone/").status, 410);
    assert!(nginx.get("/__clerk/x.ico").all("Content-Type").contains(&"image/gif"));
    crate::kit::assert::assert_json(&nginx.get("/__clerk/hidden/"), 403, "forbidden");
    assert_eq!(nginx.get("/__clerk/tried/x").status, 404);
    assert_eq!(fapi.requests().len(), 1);
}

#[test]
fn a_nested_location_that_cannot_proxy_is_an_error() {
    let fapi = Fapi::tls();
    for (line, text) in [
        ("proxy_set_header X-Forwarded-For x;", "\"proxy_set_header X-Forwarded-For\" conflicts"),
        ("proxy_pass http://127.0.0.1:1;", "\"proxy_pass\" inside location \"/__clerk/\""),
    ] {
        let (ok, printed) =
            nested(&fapi, "", &format!("location /__clerk/v1/ {{ {line} }}")).check();
        assert!(!ok && printed.contains(text), "{printed}");
    }
}
