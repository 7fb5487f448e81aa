//! Several domains: variables in the host of the proxy URL and in keys, and what no client can change.

use crate::kit::domains::{ask, tenant, with_headers, KEYS};
use crate::kit::fapi::{json, Fapi};
use crate::kit::harness::{refuses_odd_hosts, Config, Nginx, KEY};

/// nginx on both ports with these lines in `http {}` and in the server.
fn nginx(fapi: &Fapi, http: &str, server: &str) -> Nginx {
    Config::new(&format!(
        "{http}\nclerk_proxy_upstream http://127.0.0.1:{};\n\
         server {{ listen 127.0.0.1:%PORT%; listen 127.0.0.1:%PORT2% http2;\n{server}\n}}",
        fapi.port
    ))
    .start()
}

#[test]
fn each_domain_has_its_url_and_its_key() {
    let fapi = Fapi::plain();
    let line = "location /__clerk/ { clerk_proxy https://$host/__clerk/ secret_key=$clerk_key; }";
    let nginx = nginx(&fapi, KEYS, line);
    let one = ["https://app.dev/__clerk", "sk_live_one", "app.dev", "https"];
    let two = ["https://shop.example/__clerk", "sk_live_two", "shop.example", "https"];
    for (index, (host, expected)) in [
        ("app.dev", one),
        ("shop.example", two),
        ("APP.dev", one),
        ("shop.example:8443", two),
        ("app.dev.", one),
    ]
    .into_iter()
    .enumerate()
    {
        assert_eq!(ask(&nginx, host, "/__clerk/v1/x?y").status, 200, "{host}");
        let host = format!("Host: {host}");
        assert_eq!(nginx.curl_h2("/__clerk/v1/x?y", &["-H", &host]).status, 200, "{host}");
        for request in &fapi.wait_for(2 * index + 2)[2 * index..] {
            assert_eq!(tenant(request), expected, "{host}");
            assert_eq!(request.target(), "/v1/x?y");
            assert_eq!(request.one("Host"), format!("127.0.0.1:{}", fapi.port));
        }
    }
    assert!(nginx.error_log().lines().all(|line| !line.contains("[error]")));
}

#[test]
fn requests_of_both_domains_on_one_connection() {
    let fapi = Fapi::plain();
    let line = "location /__clerk/ { clerk_proxy https://$host/__clerk secret_key=$clerk_key; }";
    let nginx = nginx(&fapi, KEYS, line);
    let get = |host: &str, end| format!("GET /__clerk/ HTTP/1.1\r\nHost: {host}\r\n{end}\r\n");
    let (one, two) = (get("app.dev", ""), get("shop.example", ""));
    nginx.send([one.clone(), two, one, get("shop.example", "Connection: close\r\n")].concat());
    let requests = fapi.wait_for(4);
    let keys: Vec<_> = requests.iter().map(|request| request.one("Clerk-Secret-Key")).collect();
    assert_eq!(keys, ["sk_live_one", "sk_live_two", "sk_live_one", "sk_live_two"]);
    assert!(requests.iter().all(|request| request.connection == 0), "one connection is enough");
}

#[test]
fn a_part_of_the_host_and_a_host_with_a_port() {
    let fapi = Fapi::plain();
    let nginx = nginx(
        &fapi,
        "map $host $key { ~^(?<y>[^.]+)\\. sk_live_$y; }",
        "server_name ~^(?<x>[^.]+)\\.app\\.dev$; clerk_proxy_secret_key $key;\n\
         location /x/ { clerk_proxy https://${x}.app.dev/x; }\n\
         location /port/ { clerk_proxy http://$x.app.dev:8080/port; }\n\
         location /host/ { clerk_proxy https://$http_host/host; }\n\
         location ~ ^/(?<tenant>[^/]+)/clerk { clerk_proxy https://$tenant.app.dev/two/clerk; }\n\
         location / { clerk_proxy https://$http_host; }",
    );
    let get = |host, target| {
        let before = fapi.requests().len();
        assert_eq!(ask(&nginx, host, target).status, 200, "{host} {target}");
        let header = format!("Host: {host}");
        assert_eq!(nginx.curl_h2(target, &["-H", &header]).status, 200, "{host} {target}");
        let requests = fapi.wait_for(before + 2);
        let told = [before, before + 1].map(|at| tenant(&requests[at]).map(str::to_owned));
        assert_eq!(told[0], told[1], "HTTP/2 is no other");
        told[0].clone()
    };
    for (target, url, host, scheme) in [
        ("/x/v1", "https://a.app.dev/x", "a.app.dev", "https"),
        ("/port/v1", "http://a.app.dev:8080/port", "a.app.dev:8080", "http"),
        ("/host/v1", "https://a.app.dev:8443/host", "a.app.dev:8443", "https"),
        ("/two/clerk/v1", "https://two.app.dev/two/clerk", "two.app.dev", "https"),
        ("/v1", "https://a.app.dev:8443", "a.app.dev:8443", "https"),
    ] {
        assert_eq!(get("a.app.dev:8443", target), [url, "sk_live_a", host, scheme], "{target}");
    }
}

#[test]
fn redirects_come_back_to_the_domain_that_was_asked() {
    let fapi = Fapi::redirecting();
    let own = format!("http://127.0.0.1:{}", fapi.port);
    let nginx = nginx(
        &fapi,
        KEYS,
        "clerk_proxy_secret_key sk_live_x;\n\
         location /__clerk/ { clerk_proxy https://$host/__clerk; }\n\
         location /port/ { clerk_proxy https://$http_host/port; }",
    );
    for (sent, behind) in [
        (format!("{own}/v1/x?y=$1"), Some("/v1/x?y=$1")),
        (format!("{own}?y"), Some("/?y")),
        (own.clone(), Some("/")),
        ("/v1/x#y".to_owned(), Some("/v1/x#y")),
        ("/".to_owned(), Some("/")),
        (format!("{own}0/v1"), None),
        ("//evil.example/x".to_owned(), None),
        ("https://app.dev/home".to_owned(), None),
    ] {
        for (host, target, url) in [
            ("app.dev", "/__clerk/v1", "https://app.dev/__clerk"),
            ("shop.example:8443", "/__clerk/v1", "https://shop.example/__clerk"),
            ("shop.example:8443", "/port/v1", "https://shop.example:8443/port"),
        ] {
            let expected = behind.map_or(sent.clone(), |behind| format!("{url}{behind}"));
            let location = format!("X-Location: {sent}");
            let reply = with_headers(&nginx, host, target, &format!("{location}\r\n"));
            assert_eq!(reply.all("Location"), [expected.as_str()], "{host} {sent}");
            let reply = nginx.curl_h2(target, &["-H", &format!("Host: {host}"), "-H", &location]);
            assert_eq!(reply.all("Location"), [expected.as_str()], "{host} {sent}");
        }
    }
}

#[test]
fn no_regular_expression_in_between_changes_a_redirect() {
    let fapi = Fapi::redirecting();
    // Evaluated anew for each use, with captures of its own.
    let map = "map $host $volatile { volatile; ~^([^.]+)\\. $1; }";
    let nginx = nginx(
        &fapi,
        map,
        "clerk_proxy_secret_key sk_live_x; server_name ~^(?<named>[^.]+)\\.;\n\
         location /x/ { clerk_proxy https://$volatile.app.dev/x; }\n\
         location ~ ^/(y)/ { clerk_proxy https://$named.app.dev/y; }",
    );
    for path in ["/x", "/y"] {
        let target = format!("{path}/v1");
        let reply = with_headers(&nginx, "shop.app.dev", &target, "X-Location: /v1/z\r\n");
        assert_eq!(reply.all("Location"), [format!("https://shop.app.dev{path}/v1/z")]);
    }
}

#[test]
fn a_capture_is_that_of_the_location_whatever_is_matched_later() {
    let fapi = Fapi::plain();
    let map = "map $http_t $key { ~^(.*)$ sk_live_two; }";
    let line =
        "location ~ ^/x/(?<shop>[a-z]+)$ { clerk_proxy https://$shop.app.dev/x secret_key=$key; }";
    let nginx = nginx(&fapi, map, line);
    let reply = with_headers(&nginx, "a.dev", "/x/shop", "T: evil.example/\" ?\r\n");
    assert_eq!(reply.status, 200);
    let expected = ["https://shop.app.dev/x", "sk_live_two", "shop.app.dev", "https"];
    assert_eq!(tenant(&fapi.only()), expected);
}

#[test]
fn cached_replies_are_kept_by_domain() {
    let fapi = Fapi::start(None, |request, stream| {
        let body = format!("{} {}", request.one("X-Forwarded-Host"), request.target());
        stream.write_all(json(200, "Cache-Control: max-age=60\r\n", &body).as_bytes()).is_ok()
    });
    let nginx = nginx(
        &fapi,
        &format!("{KEYS} proxy_cache_path %DIR%/cache keys_zone=c:64k;"),
        "location /__clerk/ { clerk_proxy https://$host/__clerk secret_key=$clerk_key; proxy_cache c; }\n\
         location /port/ { clerk_proxy https://$http_host/port secret_key=$clerk_key; proxy_cache c; }",
    );
    let asked = [
        ("app.dev", "/__clerk/npm/x", "app.dev /npm/x"),
        ("shop.example", "/__clerk/npm/x", "shop.example /npm/x"),
        ("app.dev", "/__clerk/npm/y", "app.dev /npm/y"),
        ("app.dev:81", "/port/npm/x", "app.dev:81 /npm/x"),
        ("app.dev:82", "/port/npm/x", "app.dev:82 /npm/x"),
    ];
    for _ in 0..3 {
        for (host, target, body) in asked {
            assert_eq!(ask(&nginx, host, target).text(), body);
        }
    }
    assert_eq!(fapi.requests().len(), asked.len(), "the others came from the cache");
}

#[test]
fn two_domains_with_literal_lines() {
    let fapi = Fapi::plain();
    let nginx = nginx(
        &fapi,
        "clerk_proxy_secret_key sk_live_http;",
        "server_name app.dev shop.example; clerk_proxy_secret_key sk_live_server;\n\
         location /one/ { clerk_proxy https://app.dev/one; }\n\
         location /two/ { clerk_proxy https://shop.example/two secret_key=sk_live_two; }\n\
         } server { listen 127.0.0.1:%PORT%; server_name third.example;\n\
         location /one/ { clerk_proxy https://third.example/one; }",
    );
    for (index, (host, target, expected)) in [
        ("app.dev", "/one/", ["https://app.dev/one", "sk_live_server", "app.dev"]),
        ("shop.example", "/two/", ["https://shop.example/two", "sk_live_two", "shop.example"]),
        ("third.example", "/one/", ["https://third.example/one", "sk_live_http", "third.example"]),
    ]
    .into_iter()
    .enumerate()
    {
        assert_eq!(ask(&nginx, host, target).status, 200);
        let request = &fapi.wait_for(index + 1)[index];
        assert_eq!(tenant(request)[..3], expected);
        assert_eq!(request.connection, 0, "they share a connection");
    }
}

#[test]
fn nothing_that_a_client_sends_changes_a_literal_url() {
    let fapi = Fapi::plain();
    let line = "location /__clerk/ { clerk_proxy https://app.dev/__clerk secret_key=%KEY%; }";
    let nginx = nginx(&fapi, "", line);
    let forged = [
        "X-Forwarded-Host: evil.example",
        "X-Forwarded-Proto: http",
        "X-Forwarded-For: 6.6.6.6",
        "Clerk-Proxy-Url: https://evil.example/__clerk",
        "Clerk-Secret-Key: sk_live_forged",
        "clerk-secret-key: sk_live_again",
        "Clerk_Secret_Key: sk_live_third",
    ];
    let lines = format!("{}\r\n", forged.join("\r\n"));
    let arguments: Vec<&str> = forged.iter().flat_map(|header| ["-H", *header]).collect();
    // A newer nginx refuses the last one itself.
    let hosts = ["evil.example", "app.dev:81", "_", "[::1]", "a\"b"];
    let hosts = if refuses_odd_hosts() { &hosts[..4] } else { &hosts[..] };
    for (index, host) in hosts.iter().enumerate() {
        assert_eq!(with_headers(&nginx, host, "/__clerk/v1", &lines).status, 200, "{host}");
        let own = format!("Host: {host}");
        let arguments = [&arguments[..], &["-H", &own]].concat();
        assert_eq!(nginx.curl_h2("/__clerk/v1", &arguments).status, 200, "{host}");
        for request in &fapi.wait_for(2 * index + 2)[2 * index..] {
            assert_eq!(tenant(request), ["https://app.dev/__clerk", KEY, "app.dev", "https"]);
            assert_eq!(request.one("X-Forwarded-For"), "127.0.0.1");
            assert!(request.headers.iter().all(|line| !line.contains("evil.example")));
            assert!(request.headers.iter().all(|line| !line.contains("sk_live_third")));
        }
    }
}
