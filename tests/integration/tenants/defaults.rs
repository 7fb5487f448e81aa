//! `clerk_proxy_secret_key` and `clerk_proxy_upstream` for whole blocks: the inner one wins.

use crate::kit::domains::ask;
use crate::kit::fapi::{json, Fapi, CA};
use crate::kit::harness::{refuses_odd_hosts, Config, Nginx};

/// Which of the stand-ins gets the request, and with which key.
fn arrives(nginx: &Nginx, fapis: &[Fapi], host: &str, target: &str) -> (usize, String) {
    let before: Vec<usize> = fapis.iter().map(|fapi| fapi.requests().len()).collect();
    assert_eq!(ask(nginx, host, target).status, 200, "{host} {target}");
    let got = |index: &usize| fapis[*index].requests().len() > before[*index];
    let which: Vec<usize> = (0..fapis.len()).filter(got).collect();
    let [which] = which[..] else { panic!("{host} {target}: {which:?}") };
    let request = &fapis[which].requests()[before[which]];
    (which, request.one("Clerk-Secret-Key").to_owned())
}

/// The lines of one block; `parameters` are those of `clerk_proxy`.
fn lines(fapis: &[Fapi], index: usize) -> [String; 2] {
    let upstream = format!("http://127.0.0.1:{}", fapis[index].port);
    let key = format!("sk_live_{index}");
    [
        format!("clerk_proxy_secret_key {key}; clerk_proxy_upstream {upstream};"),
        format!("secret_key={key} upstream={upstream}"),
    ]
}

#[test]
fn the_innermost_line_wins() {
    let fapis = [(); 5].map(|()| Fapi::plain());
    let [http, server, location, nested, _] = [0, 1, 2, 3, 4].map(|i| lines(&fapis, i)[0].clone());
    let parameters = &lines(&fapis, 4)[1];
    let nginx = Config::new(&format!(
        "{http} server {{ listen 127.0.0.1:%PORT%; server_name of.http;\n\
         location /a/ {{ clerk_proxy https://a.dev/a; }}\n\
         location /b/ {{ clerk_proxy https://a.dev/b; {location} }}\n\
         location /c/ {{ {location} clerk_proxy https://a.dev/c {parameters}; }} }}\n\
         server {{ listen 127.0.0.1:%PORT%; server_name of.server; {server}\n\
         location /a/ {{ clerk_proxy https://a.dev/a; }}\n\
         location ~ ^/b/ {{ clerk_proxy https://a.dev/b; {location} }}\n\
         location /c {{ {location}\n\
         location /c/ {{ clerk_proxy https://a.dev/c; }}\n\
         location /c/d/ {{ {nested} clerk_proxy https://a.dev/c/d;\n\
         location /c/d/e/ {{ clerk_proxy https://a.dev/c/d/e; }}\n\
         location /c/d/f/ {{ clerk_proxy https://a.dev/c/d/f {parameters}; }} }} }}\n\
         location /n {{ error_page 418 = @n; return 418; }}\n\
         location @n {{ clerk_proxy https://a.dev/n; }} }}"
    ))
    .start();
    for (host, target, expected) in [
        ("of.http", "/a/", 0),
        ("of.http", "/b/", 2),
        ("of.http", "/c/", 4),
        ("of.server", "/a/", 1),
        ("of.server", "/b/", 2),
        ("of.server", "/c/", 2),
        ("of.server", "/c/d/", 3),
        ("of.server", "/c/d/e/", 3),
        ("of.server", "/c/d/f/", 4),
        ("of.server", "/n/v1", 1),
    ] {
        let got = arrives(&nginx, &fapis, host, target);
        assert_eq!(got, (expected, format!("sk_live_{expected}")), "{host} {target}");
    }
}

#[test]
fn one_of_the_two_is_inherited_alone() {
    let fapis = [(); 2].map(|()| Fapi::plain());
    let upstream = |index: usize| format!("http://127.0.0.1:{}", fapis[index].port);
    let nginx = Config::server(&format!(
        "clerk_proxy_secret_key sk_live_0; clerk_proxy_upstream {};\n\
         location /a/ {{ clerk_proxy https://a.dev/a; clerk_proxy_secret_key sk_live_1; }}\n\
         location /b/ {{ clerk_proxy https://a.dev/b; clerk_proxy_upstream {}; }}\n\
         location /c/ {{ clerk_proxy https://a.dev/c secret_key=sk_live_1; }}\n\
         location /d/ {{ clerk_proxy https://a.dev/d upstream={}; }}",
        upstream(0),
        upstream(1),
        upstream(1)
    ))
    .start();
    for (target, fapi, key) in [("/a/", 0, 1), ("/b/", 1, 0), ("/c/", 0, 1), ("/d/", 1, 0)] {
        let got = arrives(&nginx, &fapis, "a.dev", target);
        assert_eq!(got, (fapi, format!("sk_live_{key}")), "{target}");
    }
}

#[test]
fn the_order_of_lines_does_not_matter() {
    let fapis = [(); 3].map(|()| Fapi::plain());
    let [http, server, location] = [0, 1, 2].map(|index| lines(&fapis, index)[0].clone());
    let nginx = Config::new(&format!(
        "server {{ listen 127.0.0.1:%PORT%; server_name of.http;\n\
         location /a/ {{ clerk_proxy https://a.dev/a; }}\n\
         location /v/ {{ clerk_proxy https://$host/v secret_key=$late; }} }}\n\
         server {{ listen 127.0.0.1:%PORT%;\n\
         location /a/ {{ clerk_proxy https://a.dev/a; }}\n\
         location /b {{ location /b/ {{ clerk_proxy https://a.dev/b; }} {location} }}\n\
         server_name of.server; {server} }}\n\
         {http} map $host $late {{ default sk_live_late; }}"
    ))
    .start();
    for (host, target, expected) in
        [("of.http", "/a/", 0), ("of.server", "/a/", 1), ("of.server", "/b/", 2)]
    {
        let got = arrives(&nginx, &fapis, host, target);
        assert_eq!(got, (expected, format!("sk_live_{expected}")), "{host} {target}");
    }
    assert_eq!(arrives(&nginx, &fapis, "of.http", "/v/"), (0, "sk_live_late".to_owned()));
}

#[test]
fn blocks_inside_the_location_say_the_same() {
    let fapis = [Fapi::plain()];
    let [defaults, _] = lines(&fapis, 0);
    let nginx = Config::new(&format!(
        "map $host $key {{ default sk_live_map; none.example ''; }}\n\
         {defaults} clerk_proxy_client_ip $http_x_client; server {{ listen 127.0.0.1:%PORT%;\n\
         location /a/ {{ clerk_proxy https://$host/a secret_key=$key;\n\
         if ($arg_if) {{ set $x y; }}\n\
         limit_except GET {{ allow all; }} }}\n\
         location /b/ {{ clerk_proxy https://$host/b; if ($arg_if) {{ set $x y; }} }} }}"
    ))
    .start();
    let ask = |method: &str, host: &str, target: &str| {
        nginx.send(format!(
            "{method} {target} HTTP/1.1\r\nHost: {host}\r\nX-Client: 192.0.2.9\r\n\
             Content-Length: 0\r\nConnection: close\r\n\r\n"
        ))
    };
    for (index, (method, target, key)) in [
        ("GET", "/a/", "sk_live_map"),
        ("GET", "/a/?if=1", "sk_live_map"),
        ("POST", "/a/", "sk_live_map"),
        ("POST", "/a/?if=1", "sk_live_map"),
        ("GET", "/b/?if=1", "sk_live_0"),
    ]
    .into_iter()
    .enumerate()
    {
        assert_eq!(ask(method, "a.dev", target).status, 200, "{method} {target}");
        let request = &fapis[0].requests()[index];
        assert_eq!(request.one("Clerk-Secret-Key"), key, "{method} {target}");
        assert_eq!(request.one("Clerk-Proxy-Url"), format!("https://a.dev{}", &target[..2]));
        assert_eq!(request.one("X-Forwarded-For"), "192.0.2.9", "{method} {target}");
    }
    // The values are looked at there as well.
    let before = fapis[0].requests().len();
    for (method, target) in [("GET", "/a/?if=1"), ("POST", "/a/"), ("POST", "/a/?if=1")] {
        assert_eq!(ask(method, "none.example", target).status, 500, "{method} {target}");
        let own = if refuses_odd_hosts() { 400 } else { 500 };
        assert_eq!(ask(method, "u@a.dev", target).status, own, "{method} {target}");
    }
    assert_eq!(fapis[0].requests().len(), before);
}

/// A location inside of one with a line that names another key, another server or both.
#[test]
fn a_location_inside_the_location_has_its_own() {
    let tls = CA.server(&["localhost"]);
    let fapis = [None, None, Some(tls)].map(|tls| Fapi::answering(tls, json(200, "", "{}")));
    let [one, two, three] = fapis.each_ref().map(|fapi| fapi.port);
    let nginx = Config::new(&format!(
        "proxy_cache_path %DIR%/cache keys_zone=c:64k;\n\
         server {{ listen 127.0.0.1:%PORT%; clerk_proxy_upstream http://127.0.0.1:{one};\n\
         location /a/ {{ clerk_proxy https://a.dev/a; clerk_proxy_secret_key sk_live_0; proxy_set_header X-Own 1;\n\
         proxy_hide_header X-Hide; proxy_cache c;\n\
         location /a/key {{ clerk_proxy_secret_key sk_live_1;\n\
         location /a/key/same {{ limit_rate 1m; }} }}\n\
         location /a/server {{ clerk_proxy_upstream http://127.0.0.1:{two}; }}\n\
         location /a/tls {{ clerk_proxy_upstream https://localhost:{three}; clerk_proxy_secret_key sk_live_2;\n\
         proxy_ssl_trusted_certificate ca.pem; location /a/tls/plain {{ clerk_proxy_upstream http://127.0.0.1:{two}; }} }}\n\
         location /a/impostor {{ clerk_proxy_upstream https://localhost:{three}; }}\n\
         location /a/name {{ clerk_proxy_upstream https://127.0.0.1:{three}; proxy_ssl_trusted_certificate ca.pem; }} }} }}",
    ))
    .start();
    for (target, expected) in [
        ("/a/v1", (0, "sk_live_0")),
        ("/a/key", (0, "sk_live_1")),
        ("/a/key/same", (0, "sk_live_1")),
        ("/a/server", (1, "sk_live_0")),
        ("/a/tls", (2, "sk_live_2")),
        ("/a/tls/plain", (1, "sk_live_2")),
    ] {
        let (index, key) = arrives(&nginx, &fapis, "a.dev", target);
        assert_eq!((index, key.as_str()), expected, "{target}");
        let request = fapis[index].requests().pop().expect("it has arrived");
        let host = if index == 2 { "localhost" } else { "127.0.0.1" };
        assert_eq!(request.one("Host"), format!("{host}:{}", fapis[index].port), "{target}");
        assert_eq!(request.sni.as_deref(), (index == 2).then_some("localhost"), "{target}");
        assert_eq!(
            (request.one("X-Own"), request.one("Clerk-Proxy-Url")),
            ("1", "https://a.dev/a")
        );
    }
    for target in ["/a/impostor", "/a/name"] {
        assert_eq!(nginx.get(target).status, 502, "{target}");
    }
    assert_eq!(fapis[2].requests().len(), 1, "nobody else was trusted");
}

/// What the location's own line says, no location inside says otherwise, and none says so in vain.
#[test]
fn a_location_inside_of_a_line_with_parameters() {
    for (parameter, directive) in
        [("secret_key", "clerk_proxy_secret_key"), ("upstream", "clerk_proxy_upstream")]
    {
        let value = |number: u8| match parameter {
            "upstream" => format!("http://127.0.0.{number}"),
            _ => format!("sk_live_{number}"),
        };
        let config = |outer: &str, inner: &str| {
            Config::server(&format!(
                "{directive} {};\nlocation /a/ {{ clerk_proxy https://a.dev/a {parameter}={};\n\
                 {outer}\nlocation /a/b/ {{ limit_rate 1m; location /a/b/c/ {{\n{inner} }} }} }}",
                value(1),
                value(2)
            ))
            .env("CLERK_SECRET_KEY", "sk_live_x")
        };
        let own = format!("{directive} {};", value(3));
        let (good, printed) = config("", &own).check();
        let emergencies: Vec<_> = printed.lines().filter(|line| line.contains("[emerg]")).collect();
        let [line] = emergencies[..] else { panic!("{printed}") };
        let message = format!(
            "\"{directive}\" has no effect inside the location of a \"clerk_proxy\" with \
             \"{parameter}=\", write \"{directive}\" there in place of the parameter in "
        );
        assert!(!good && line.contains(&message), "{line}");
        assert!(line.ends_with("nginx.conf:8") && !line.contains(&value(3)), "{line}");
        // In the location itself the parameter counts, and a location inside may have a line of its own.
        let line = format!("{own} clerk_proxy https://a.dev/a/b/c;");
        for (outer, inner) in [(own.as_str(), ""), ("", &line)] {
            let (good, printed) = config(outer, inner).check();
            assert!(good, "{printed}");
        }
    }
}
