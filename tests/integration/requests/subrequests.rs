//! Subrequests of nginx that lead to `clerk_proxy`, or that it makes itself.

use std::io::{Read, Write};

use crate::kit::domains::{ask, tenant, KEYS};
use crate::kit::fapi::{json, Fapi};
use crate::kit::harness::{Config, Nginx, Reply};

fn started(fapi: &Fapi, http: &str, server: &str) -> Nginx {
    Config::new(&format!(
        "{http}\nclerk_proxy_upstream http://127.0.0.1:{}; clerk_proxy_secret_key sk_live_x;\n\
         server {{ listen 127.0.0.1:%PORT%;\n{server}\n}}",
        fapi.port
    ))
    .start()
}

/// Mirrors, permissions and includes of an application whose stand-in is `app`.
fn with_subrequests(fapi: &Fapi, app: &Fapi) -> Nginx {
    started(
        fapi,
        KEYS,
        &format!(
            "set $app 127.0.0.1:{};\n\
             location /mirror/ {{ mirror /m; proxy_pass http://$app; }}\n\
             location = /m {{ internal; clerk_proxy https://$host/m secret_key=$clerk_key; }}\n\
             location /auth/ {{ auth_request /__clerk/v1/me; proxy_pass http://$app; }}\n\
             location /page {{ ssi on; default_type text/html;\n\
             return 200 '[<!--#include virtual=\"/__clerk/v1/a?b\" -->]'; }}\n\
             location /__clerk/ {{ clerk_proxy https://$host/__clerk secret_key=$clerk_key; mirror /m; }}",
            app.port
        ),
    )
}

#[test]
fn mirrors_permissions_and_includes() {
    let (fapi, app) = (Fapi::plain(), Fapi::plain());
    let nginx = with_subrequests(&fapi, &app);
    let reply = nginx.send(
        "POST /mirror/x HTTP/1.1\r\nHost: app.dev\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello",
    );
    assert_eq!((reply.status, &app.only().body[..]), (200, &b"hello"[..]));
    let request = fapi.only();
    assert_eq!(tenant(&request)[..2], ["https://app.dev/m", "sk_live_one"]);
    assert_eq!((request.line.as_str(), &request.body[..]), ("POST / HTTP/1.1", &b"hello"[..]));

    for (host, target, arrives) in [
        ("shop.example", "/auth/x", &[("/v1/me", "/__clerk")][..]),
        ("app.dev", "/page", &[("/v1/a?b", "/__clerk")]),
        ("shop.example", "/__clerk/v1/x", &[("/", "/m"), ("/v1/x", "/__clerk")]),
    ] {
        let before = fapi.requests().len();
        let reply = ask(&nginx, host, target);
        assert_eq!(reply.status, 200, "{target}");
        assert!(reply.text().contains(r#"{"ok":true}"#), "{target}: {}", reply.text());
        let requests = &fapi.wait_for(before + arrives.len())[before..];
        let mut arrived: Vec<_> = requests
            .iter()
            .map(|request| (request.target(), request.one("Clerk-Proxy-Url").to_owned()))
            .collect();
        arrived.sort_unstable();
        let url = |path: &str| format!("https://{host}{path}");
        let expected: Vec<_> = arrives.iter().map(|&(sent, path)| (sent, url(path))).collect();
        assert_eq!(arrived, expected, "{target}");
    }
}

#[test]
fn mirrors_and_permissions_without_a_key() {
    let (fapi, app) = (Fapi::plain(), Fapi::plain());
    let nginx = with_subrequests(&fapi, &app);
    assert_eq!(ask(&nginx, "other.example", "/mirror/x").status, 200, "a mirror is not waited for");
    assert_eq!(ask(&nginx, "other.example", "/auth/x").status, 500);
    assert_eq!(app.only().target(), "/mirror/x");
    assert!(fapi.requests().is_empty());
}

#[test]
fn updates_of_the_cache_in_the_background() {
    let fapi = Fapi::start(None, |request, stream| {
        let body = format!("reply to {}", request.target());
        let caching = "Cache-Control: max-age=1, stale-while-revalidate=60\r\n";
        stream.write_all(json(200, caching, &body).as_bytes()).is_ok()
    });
    let mut nginx = started(
        &fapi,
        "proxy_cache_path %DIR%/cache keys_zone=c:64k;",
        "location /x/ { clerk_proxy https://$host/x; proxy_cache c;\n\
         proxy_cache_background_update on; proxy_cache_use_stale updating; }",
    );
    nginx.until("updated", |nginx| {
        assert_eq!(ask(nginx, "a.dev", "/x//npm/a/b").text(), "reply to /npm/a/b");
        fapi.requests().len() > 1
    });
    for request in fapi.requests() {
        assert_eq!(request.target(), "/npm/a/b");
    }
}

/// An address that only the mirror's requests have.
const FIXED: &str = "map $host $fixed { default 192.0.2.9; }";

#[test]
fn the_log_of_a_request_with_a_mirror() {
    for subrequests in ["", "log_subrequest on;"] {
        let fapi = Fapi::plain();
        let mut nginx = started(
            &fapi,
            &format!("{FIXED} log_format own '$clerk_proxy_uri $clerk_proxy_client_ip';"),
            &format!(
                "access_log logs/own.log own; {subrequests}\n\
                 location = /m {{ internal; clerk_proxy https://a.dev/m; clerk_proxy_client_ip $fixed; }}\n\
                 location /x/ {{ clerk_proxy https://a.dev/x; mirror /m; }}"
            ),
        );
        assert_eq!(ask(&nginx, "a.dev", "/x/v1").status, 200);
        let mut requests = fapi.wait_for(2);
        requests.sort_by_key(|request| request.target().len());
        let arrived = requests.iter().map(|request| request.one("X-Forwarded-For"));
        assert_eq!(arrived.collect::<Vec<_>>(), ["192.0.2.9", "127.0.0.1"]);
        nginx.stop();
        let log = nginx.config.folder.read("logs/own.log");
        let mut lines: Vec<&str> = log.lines().collect();
        lines.sort_unstable();
        let both = ["/ 192.0.2.9", "/v1 127.0.0.1"];
        assert_eq!(lines, both[usize::from(subrequests.is_empty())..]);
    }
}

#[test]
fn the_address_and_cache_key_of_a_request_with_a_mirror() {
    let fapi = Fapi::start(None, |request, stream| {
        let body = format!("reply to {}", request.target());
        stream.write_all(json(200, "Cache-Control: max-age=60\r\n", &body).as_bytes()).is_ok()
    });
    let nginx = started(
        &fapi,
        &format!("{FIXED} proxy_cache_path %DIR%/cache keys_zone=c:64k;"),
        "location = /m { internal; clerk_proxy https://a.dev/m; clerk_proxy_client_ip $fixed;\n\
         proxy_set_header Content-Length \"\"; }\n\
         location /x/ { clerk_proxy https://a.dev/x; mirror /m; mirror_request_body off;\n\
         proxy_request_buffering on; proxy_cache c; }",
    );
    let mut stream = nginx.connect();
    let head =
        "GET /x/v1 HTTP/1.1\r\nHost: a.dev\r\nConnection: close\r\nContent-Length: 5\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    assert_eq!(fapi.only().target(), "/", "the mirror's");
    stream.write_all(b"hello").unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    assert_eq!(Reply::parse(&bytes).text(), "reply to /v1");
    let other = ask(&nginx, "a.dev", "/x/").text();
    let address = fapi.wait_for(2)[1].one("X-Forwarded-For").to_owned();
    assert_eq!((address.as_str(), other.as_str()), ("127.0.0.1", "reply to /"));
}

/// A key by the path, which a request and its subrequests do not have in common.
fn keys_by_path(kind: &str) -> String {
    let values =
        "/auth sk_live_auth; ~/m sk_live_mirror; ~/one/ sk_live_one; default sk_live_default;";
    match kind {
        "map" => format!("map $uri $inner {{ default $uri; }} map $inner $key {{ {values} }}"),
        "volatile" => format!("map $uri $key {{ volatile; {values} }}"),
        // An address by an argument.
        _ => "geo $arg_a $key { default sk_live_default; 192.0.2.1 sk_live_one; 192.0.2.2 sk_live_auth;\n\
              192.0.2.3 sk_live_mirror; }"
            .to_owned(),
    }
}

#[test]
fn each_request_has_its_own_key() {
    for kind in ["map", "volatile", "geo"] {
        let fapi = Fapi::plain();
        let nginx = started(
            &fapi,
            &keys_by_path(kind),
            &r"location = /auth { internal; set $args a=192.0.2.2; BODILESS
               clerk_proxy https://a.dev/auth secret_key=$key; }
               location = /m { internal; set $args a=192.0.2.3; BODILESS
               clerk_proxy https://a.dev/m secret_key=$key; }
               location /one/ { set $kept dev; auth_request /auth; auth_request_set $said $upstream_status;
               mirror /m; mirror_request_body off; proxy_request_buffering on; proxy_set_header X-Said $said;
               clerk_proxy https://$kept-a.dev/one secret_key=$key; }"
                .replace("BODILESS", "proxy_set_header Content-Length ''; proxy_pass_request_body off;"),
        );
        // The body comes once the mirror has evaluated all.
        let mut stream = nginx.connect();
        let head = "POST /one/v1?a=192.0.2.1 HTTP/1.1\r\nHost: a.dev\r\nConnection: close\r\nContent-Length: 5\r\n\r\n";
        stream.write_all(head.as_bytes()).unwrap();
        assert_eq!(fapi.wait_for(1)[0].one("Clerk-Secret-Key"), "sk_live_auth", "{kind}");
        stream.write_all(b"hello").unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        assert_eq!(Reply::parse(&bytes).status, 200, "{kind}");
        let mut keys: Vec<_> = fapi.wait_for(3).iter().map(|r| tenant(r)[..2].join(" ")).collect();
        keys.sort_unstable();
        let expected = [
            "https://a.dev/auth sk_live_auth",
            "https://a.dev/m sk_live_mirror",
            "https://dev-a.dev/one sk_live_one",
        ];
        assert_eq!(keys, expected, "{kind}");
        let requests = fapi.requests();
        let own = requests.iter().find(|r| tenant(r)[1] == "sk_live_one").unwrap();
        assert_eq!(own.one("X-Said"), "200", "what others set stays");
    }
}

#[test]
fn a_header_that_is_dropped_from_a_request_decides_the_key_of_its_mirror() {
    let fapi = Fapi::plain();
    let nginx = started(
        &fapi,
        "map $http_x_tenant $key { default sk_live_default; one sk_live_one; }",
        "location = /m { internal; clerk_proxy https://a.dev/m secret_key=$key; }\n\
         location /x/ { mirror /m; proxy_set_header X-Seen $http_x_tenant; clerk_proxy https://a.dev/x; }",
    );
    let reply = nginx.send(
        "GET /x/v1 HTTP/1.1\r\nHost: a.dev\r\nConnection: close, X-Tenant\r\nX-Tenant: one\r\n\r\n",
    );
    assert_eq!(reply.status, 200);
    let mut keys: Vec<_> = fapi.wait_for(2).iter().map(|r| tenant(r)[1].to_owned()).collect();
    keys.sort_unstable();
    assert_eq!(keys, ["sk_live_one", "sk_live_x"]);
}
