//! `proxy_cache` beside `clerk_proxy`: public scripts are kept, and nothing else is, whatever is sent or
//! written.

use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crate::kit::assert::assert_json;
use crate::kit::domains::ask;
use crate::kit::fapi::{json, Fapi, Request, CA};
use crate::kit::harness::{Config, Nginx, Reply};
use crate::kit::printed::{expect, good, location};

const SCRIPT: &str = "/npm/@clerk/clerk-js@6.40.0/dist/clerk.browser.js";
const PUBLIC: &str = "Cache-Control: public, max-age=600\r\n";

/// A stand-in whose replies have these header lines, and in their bodies the number of the request, from 0.
fn numbering(headers: &str) -> Fapi {
    let headers = headers.to_owned();
    numbering_by(move |_| (200, headers.clone()))
}

/// The same, with a status and header lines for each request.
fn numbering_by(head: impl Fn(&Request) -> (u16, String) + Send + Sync + 'static) -> Fapi {
    let next = AtomicUsize::new(0);
    Fapi::start(None, move |request, stream| {
        let (status, headers) = head(request);
        let number = next.fetch_add(1, Ordering::Relaxed).to_string();
        stream.write_all(json(status, &headers, &number).as_bytes()).is_ok()
    })
}

/// nginx with a cache in `/__clerk/`, these lines in it and those in `http {}`; logs have the state of the
/// cache.
fn with_lines(fapi: &Fapi, http: &str, lines: &str) -> Config {
    Config::new(&format!(
        "proxy_cache_path %DIR%/cache keys_zone=c:64k; clerk_proxy_upstream http://127.0.0.1:{};\n\
         clerk_proxy_secret_key %KEY%;\n\
         log_format own '$upstream_cache_status $request_method $http_cookie';\n\
         {http}\nserver {{ listen 127.0.0.1:%PORT%; listen 127.0.0.1:%PORT2% http2;\n\
         access_log logs/own.log own;\n\
         location /__clerk/ {{ clerk_proxy https://app.dev/__clerk;\n{lines}\n}} }}",
        fapi.port
    ))
}

fn nginx(fapi: &Fapi) -> Nginx {
    with_lines(fapi, "", "proxy_cache c;").start()
}

/// A request to `/__clerk` with these header lines.
fn request(nginx: &Nginx, method: &str, target: &str, headers: &str) -> Reply {
    nginx.send(format!(
        "{method} /__clerk{target} HTTP/1.1\r\nHost: app.dev\r\nConnection: close\r\n{headers}\r\n"
    ))
}

fn get(nginx: &Nginx, target: &str) -> Reply {
    request(nginx, "GET", target, "")
}

/// Whether the second of two requests gets what the first one got.
fn is_kept(nginx: &Nginx, target: &str, headers: &str) -> bool {
    let [first, second] = [0, 1].map(|_| request(nginx, "GET", target, headers).text());
    first == second
}

/// The words of the log, of requests that have ended.
fn log(nginx: &mut Nginx) -> String {
    nginx.stop();
    nginx.config.folder.read("logs/own.log").replace('\n', "|")
}

#[test]
fn a_script_is_asked_for_once() {
    let fapi = numbering(&format!(
        "{PUBLIC}ETag: \"x\"\r\nX-One: 1\r\nX-Two: 2\r\nConnection: X-Two\r\nAlt-Svc: h3\r\n\
         Strict-Transport-Security: max-age=1\r\nX-Accel-Redirect: /v1\r\n"
    ));
    let mut nginx = nginx(&fapi);
    let first = get(&nginx, SCRIPT);
    let again = get(&nginx, SCRIPT);
    let stable = |reply: &Reply| {
        let mut headers = reply.headers.clone();
        headers.retain(|line| !line.starts_with("Date:") && !line.starts_with("Age:"));
        (reply.status, headers, reply.body.clone())
    };
    assert_eq!(stable(&first), stable(&again));
    assert_eq!((again.status, again.text().as_str(), again.all("X-One")), (200, "0", vec!["1"]));
    for hidden in ["X-Two", "Alt-Svc", "Strict-Transport-Security", "X-Accel-Redirect"] {
        assert!(again.all(hidden).is_empty(), "{hidden}");
    }
    // As clerk-js writes it when the proxy URL was typed with a slash at its end.
    assert_eq!(get(&nginx, &format!("/{SCRIPT}")).text(), "0");
    let head = request(&nginx, "HEAD", SCRIPT, "");
    assert_eq!((head.status, head.all("Content-Length"), head.body.len()), (200, vec!["1"], 0));
    assert_eq!(request(&nginx, "GET", SCRIPT, "If-None-Match: \"x\"\r\n").status, 304);
    assert_eq!(nginx.curl_h2(&format!("/__clerk{SCRIPT}"), &[]).text(), "0");
    assert_eq!(get(&nginx, "/npm/other.js").text(), "1");
    assert_eq!(fapi.requests().len(), 2);
    // What it is for: nothing is left to wait for.
    fapi.close();
    assert_eq!(get(&nginx, SCRIPT).text(), "0");
    let log = log(&mut nginx);
    assert_eq!(
        log,
        "MISS GET -|HIT GET -|HIT GET -|HIT HEAD -|HIT GET -|HIT GET -|MISS GET -|HIT GET -|"
    );
}

#[test]
fn a_script_asked_for_by_head_is_whole() {
    let fapi = numbering(PUBLIC);
    let nginx = nginx(&fapi);
    let head = request(&nginx, "HEAD", SCRIPT, "");
    assert_eq!((head.status, head.all("Content-Length"), head.body.len()), (200, vec!["1"], 0));
    assert_eq!(get(&nginx, SCRIPT).text(), "0");
    assert!(fapi.only().line.starts_with("GET "));
}

/// What no `Cache-Control` makes public.
const OTHERS: &[&str] = &[
    "/v1/client",
    "/v1/client?x",
    "/v1/npm/x.js",
    "/",
    "/npm",
    "/npm/",
    "/npm/x.js?",
    "/npm/x.js?_method=PATCH",
    "/npm/x.js;y",
    "/npm/x%2ejs",
    "/npm//x.js",
    "//npm//x.js",
    "///npm/x.js",
    "/npm/../v1/client",
    "/npm/%2e%2e/v1/client",
    "/npm/.%2E/v1/client",
    "/npm/..%2fv1/client",
    "/npm/..;/v1/client",
    "/npm/x/../../v1/client",
    "/%6epm/x.js",
    "/oauth/authorize",
    "/.well-known/jwks.json",
];

/// Settings of outer blocks that would have nginx keep nearly everything.
const GREEDY: &str = "proxy_cache_valid any 1h; proxy_cache_key one; proxy_cache_convert_head off;\n\
    proxy_cache c; proxy_cache_methods POST;\n\
    proxy_ignore_headers Cache-Control Expires Set-Cookie Vary X-Accel-Expires;\n\
    proxy_no_cache 0; proxy_cache_use_stale error timeout updating http_500; proxy_force_ranges on;\n\
    proxy_hide_header Set-Cookie;";

#[test]
fn other_paths_are_never_kept() {
    let fapi = numbering(&format!(
        "{PUBLIC}Expires: Thu, 31 Dec 2037 23:55:55 GMT\r\nX-Accel-Expires: 600\r\n"
    ));
    for (http, lines) in [
        ("", "proxy_cache c;"),
        ("map $host $zone { default c; }", "proxy_cache $zone;"),
        (GREEDY, "proxy_cache c; proxy_cache_methods GET HEAD POST; proxy_cache_min_uses 1;"),
        (GREEDY, "proxy_cache c; if ($host) { add_header X-If 1; }"),
        (GREEDY, "proxy_cache c; limit_except GET POST { deny 192.0.2.1; }"),
    ] {
        let mut nginx = with_lines(&fapi, http, lines).start();
        assert!(is_kept(&nginx, SCRIPT, ""), "{lines}");
        for target in OTHERS {
            let before = fapi.requests().len();
            // All of it arrives, as without a cache.
            let headers = [
                "Cookie: a=b",
                "Authorization: Bearer x",
                "If-None-Match: \"x\"",
                "Range: bytes=0-0",
            ];
            let lines = format!("{}\r\n", headers.join("\r\n"));
            assert!(!is_kept(&nginx, target, &lines), "{target}");
            assert_eq!(request(&nginx, "HEAD", target, &lines).status, 200, "{target}");
            let requests = &fapi.requests()[before..];
            assert_eq!(requests.len(), 3, "{target}");
            assert!(requests[2].line.starts_with("HEAD "), "{target}");
            for (request, header) in requests.iter().flat_map(|r| headers.map(|header| (r, header)))
            {
                let (name, value) = header.split_once(": ").unwrap();
                assert_eq!(request.all(name), [value], "{target}");
            }
        }
        let states = log(&mut nginx);
        assert_eq!(states.matches("MISS").count(), 1, "{states}");
        assert_eq!(states.matches("HIT").count(), 1, "{states}");
        assert_eq!(states.matches("- GET a=b|").count(), 2 * OTHERS.len(), "{states}");
    }
}

#[test]
fn other_requests_for_scripts_are_never_kept() {
    let fapi = numbering(PUBLIC);
    for http in ["", GREEDY] {
        let nginx =
            with_lines(&fapi, http, "proxy_cache c; proxy_cache_methods GET HEAD POST;").start();
        let cookie = "Cookie: a=b\r\n";
        for (method, headers) in [
            ("POST", "Content-Length: 0\r\n"),
            ("PUT", "Content-Length: 0\r\n"),
            ("DELETE", ""),
            ("OPTIONS", ""),
            // An answer may be meant for that origin alone.
            ("GET", "Origin: https://other.example\r\n"),
        ] {
            let before = fapi.requests().len();
            let headers = format!("{headers}{cookie}");
            let send = |_| request(&nginx, method, SCRIPT, &headers).text();
            let [first, second] = [0, 1].map(send);
            assert_ne!(first, second, "{method} {headers}");
            assert!(
                fapi.requests()[before..].iter().all(|r| r.all("Cookie") == ["a=b"]),
                "{method}"
            );
        }
        // A body changes the request and is not a part of the key.
        for body in
            ["Content-Length: 1\r\n\r\nx", "Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n"]
        {
            let head = format!("GET /__clerk{SCRIPT} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n");
            let [first, second] = [0, 1].map(|_| nginx.send(format!("{head}{body}\r\n")).text());
            assert_ne!(first, second, "{body}");
        }
        let target = format!("/__clerk{SCRIPT}");
        let [first, second] =
            [0, 1].map(|_| nginx.curl_h2(&target, &["-X", "GET", "--data", "x"]).text());
        assert_ne!(first, second);
        assert_eq!(fapi.requests().last().unwrap().body, b"x");
        assert!(is_kept(&nginx, SCRIPT, ""));
    }
}

#[test]
fn replies_that_must_not_be_kept() {
    const CASES: &[(u16, &str)] = &[
        (200, ""),
        (200, "Cache-Control: public\r\n"),
        (200, "Cache-Control: private, max-age=60\r\n"),
        (200, "Cache-Control: max-age=60, no-store\r\n"),
        (200, "Cache-Control: no-cache, max-age=60\r\n"),
        (200, "Cache-Control: max-age=0\r\n"),
        (200, "Cache-Control: max-age=60\r\nCache-Control: private\r\n"),
        (200, "X-Accel-Expires: 60\r\n"),
        (200, "Cache-Control: max-age=60\r\nSet-Cookie: a=b\r\n"),
        (200, "Set-Cookie: a=b\r\nCache-Control: public, max-age=60\r\nX-Accel-Expires: 60\r\n"),
        (200, "Cache-Control: max-age=60\r\nVary: *\r\n"),
        (200, "Cache-Control: max-age=60\r\nContent-Encoding: gzip\r\n"),
        (200, "Cache-Control: max-age=60\r\nContent-Encoding: gzip\r\nVary: Origin\r\n"),
        (200, "Cache-Control: max-age=60\r\nVary: Cookie\r\nVary: Accept-Encoding\r\n"),
        (206, "Cache-Control: max-age=60\r\nContent-Range: bytes 0-0/1\r\n"),
        (307, "Cache-Control: max-age=60\r\nLocation: https://evil.example/npm/x.js\r\n"),
        (307, "Cache-Control: max-age=60\r\nLocation: //evil.example/npm/x.js\r\n"),
        (307, "Cache-Control: max-age=60\r\nLocation: /v1/client\r\n"),
        (307, "Cache-Control: private\r\nLocation: /npm/x.js\r\n"),
        (307, "Cache-Control: max-age=60\r\n"),
        (303, "Cache-Control: max-age=60\r\nLocation: /npm/x.js\r\n"),
        (400, "Cache-Control: max-age=60\r\n"),
        (401, "Cache-Control: max-age=60\r\n"),
        (404, "Cache-Control: max-age=60\r\n"),
        (429, "Cache-Control: max-age=60\r\n"),
        (500, "Cache-Control: max-age=60\r\n"),
        (503, "Cache-Control: max-age=60\r\n"),
    ];
    let fapi = numbering_by(|request| {
        let number = request.target().trim_start_matches("/npm/").parse().ok();
        let case: Option<&(u16, &str)> = number.and_then(|number: usize| CASES.get(number));
        case.map_or((200, PUBLIC.to_owned()), |(status, headers)| (*status, (*headers).to_owned()))
    });
    for (http, lines) in [
        ("", "proxy_cache c;"),
        (GREEDY, "proxy_cache c; proxy_hide_header Set-Cookie; proxy_hide_header Cache-Control;"),
        (
            GREEDY,
            "proxy_cache c; proxy_no_cache $arg_n; proxy_cache_bypass $arg_n; proxy_redirect off;",
        ),
    ] {
        let mut nginx = with_lines(&fapi, http, lines).start();
        for (number, (status, headers)) in CASES.iter().enumerate() {
            let target = format!("/npm/{number}");
            assert_eq!(get(&nginx, &target).status, *status, "{headers}");
            assert!(!is_kept(&nginx, &target, ""), "{status} {headers}");
        }
        assert!(is_kept(&nginx, "/npm/x", ""));
        assert_eq!(log(&mut nginx).matches("HIT").count(), 1);
    }
}

#[test]
fn event_streams_are_not_kept() {
    let next = AtomicUsize::new(0);
    let fapi = Fapi::start(None, move |_, stream| {
        let number = next.fetch_add(1, Ordering::Relaxed);
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 1\r\n";
        stream.write_all(format!("{head}{PUBLIC}\r\n{number}").as_bytes()).is_ok()
    });
    assert!(!is_kept(&nginx(&fapi), SCRIPT, ""));
}

#[test]
fn no_user_has_a_say_in_what_others_get() {
    let fapi = Fapi::start(None, |request, stream| {
        let personal = [request.all("Cookie"), request.all("Authorization")].concat().concat();
        let headers = format!("{PUBLIC}Vary: Cookie, Authorization\r\n");
        stream.write_all(json(200, &headers, &format!("[{personal}]")).as_bytes()).is_ok()
    });
    let mut nginx = nginx(&fapi);
    let target = format!("/__clerk{SCRIPT}");
    let h2 = |user: &str| nginx.curl_h2(&target, &["-H", &format!("Cookie: __client={user}; x=y")]);
    for user in ["one", "two"] {
        let headers = format!(
            "Cookie: __client={user}\r\nCookie: x={user}\r\nAuthorization: Bearer {user}\r\n"
        );
        assert_eq!(request(&nginx, "GET", SCRIPT, &headers).text(), "[]");
        assert_eq!(h2(user).text(), "[]");
        let reply = request(&nginx, "GET", "/v1/client", &headers).text();
        assert!(reply.contains(user), "{reply}");
    }
    assert_eq!(get(&nginx, SCRIPT).text(), "[]");
    let scripts = fapi.requests().iter().filter(|r| r.target() == SCRIPT).count();
    assert_eq!(scripts, 1, "they share one");
    // Logs know all the same.
    let log = log(&mut nginx);
    assert!(log.starts_with("MISS GET __client=one"), "{log}");
}

#[test]
fn lines_of_the_user_that_would_undo_it() {
    let location = |lines: &str| {
        location(&format!(
            "clerk_proxy https://app.dev/__clerk secret_key=%KEY% upstream=http://127.0.0.1:1;\n{lines}"
        ))
        .http("proxy_cache_path %DIR%/cache keys_zone=c:64k;\n")
    };
    for line in [
        "proxy_cache_key $host$uri",
        "proxy_cache_valid 200 1h",
        "proxy_cache_convert_head off",
        "proxy_ignore_headers Set-Cookie",
        "proxy_ignore_headers Cache-Control",
        "proxy_ignore_headers Expires",
        "proxy_ignore_headers Vary",
        "proxy_set_header Cookie",
        "proxy_set_header authorization",
        "proxy_method",
        "proxy_set_body",
    ] {
        let name = line.split(' ').next().expect("a name");
        let what = match name {
            "proxy_ignore_headers" | "proxy_set_header" => line,
            directive => directive,
        };
        let line = match name {
            "proxy_set_header" | "proxy_method" | "proxy_set_body" => format!("{line} $http_x"),
            _ => line.to_owned(),
        };
        let message = format!(
            "\"{what}\" beside \"proxy_cache\" conflicts with \"clerk_proxy\", which decides what is cached and \
             under which key, remove \"{what}\""
        );
        for cache in ["proxy_cache c;", "proxy_cache $arg_x;"] {
            expect(&location(&format!("{line}; {cache}")), 6, &message);
            expect(&location(&format!("{cache} {line};")), 6, &message);
        }
        good(&location(&format!("{line};")));
        good(&location(&format!("{line}; proxy_cache off;")));
    }
    let cookie = "proxy_set_header Cookie $http_x; proxy_cache_path %DIR%/d keys_zone=d:64k;\n";
    good(&location("proxy_cache d;").http(cookie));
    good(&location(
        "proxy_cache c; proxy_ignore_headers X-Accel-Limit-Rate; proxy_cache_methods POST;",
    ));
    let (ok, printed) = location("proxy_cache nowhere;").check();
    assert!(!ok && printed.contains("\"proxy_cache\" zone \"nowhere\" is unknown"), "{printed}");
    let (ok, printed) = location("proxy_cache c; proxy_store on;").check();
    assert!(!ok && printed.contains("\"proxy_cache\""), "{printed}");
}

#[test]
fn lines_of_the_user_that_keep_less() {
    let fapi = numbering(PUBLIC);
    let lines = "proxy_cache c; proxy_no_cache $arg_x $http_x; proxy_cache_bypass $http_y; access_log logs/x.log x;";
    let mut nginx = with_lines(&fapi, "log_format x '$http_x_logged';", lines).start();
    assert!(!is_kept(&nginx, SCRIPT, "X: 1\r\nX-Logged: logged\r\n"));
    assert!(is_kept(&nginx, "/npm/x.js", ""));
    let before = get(&nginx, "/npm/x.js").text();
    let fresh = request(&nginx, "GET", "/npm/x.js", "Y: 1\r\n").text();
    assert_ne!(before, fresh);
    assert_eq!(get(&nginx, "/npm/x.js").text(), fresh, "what was fetched anew is kept");
    nginx.stop();
    assert!(nginx.config.folder.read("logs/x.log").starts_with("logged\nlogged\n-\n"));
}

#[test]
fn redirects_are_kept_for_the_domain_that_was_asked() {
    let fapi = Fapi::start(None, |request, stream| {
        let to = format!("{}.0.0", request.target());
        let to = match request.target() {
            "/npm/absolute@6" => format!("http://{}{to}", request.one("Host")),
            "/npm/own@6" => format!("{}{to}", request.one("Clerk-Proxy-Url")),
            _ => to,
        };
        stream.write_all(json(307, &format!("{PUBLIC}Location: {to}\r\n"), "").as_bytes()).is_ok()
    });
    let other = "server { listen 127.0.0.1:%PORT%; server_name a.dev b.dev;\n\
        location /x/ { clerk_proxy https://$host/x; proxy_cache c; } }\n";
    let nginx = with_lines(&fapi, "", "proxy_cache c;").http(other).start();
    for (host, path) in [("a.dev", "/x"), ("b.dev", "/x"), ("app.dev", "/__clerk")] {
        for name in ["relative", "absolute", "own"] {
            let before = fapi.requests().len();
            for _ in 0..2 {
                let reply = ask(&nginx, host, &format!("{path}/npm/{name}@6"));
                let expected = format!("https://{host}{path}/npm/{name}@6.0.0");
                assert_eq!((reply.status, reply.all("Location")), (307, vec![&*expected]));
            }
            assert_eq!(fapi.requests().len(), before + 1, "{host} {name}");
        }
    }
}

#[test]
fn each_encoding_is_kept_on_its_own() {
    let fapi = numbering_by(|request| {
        let wanted = request.all("Accept-Encoding").concat();
        let encoding = ["br", "gzip"].into_iter().find(|name| wanted.contains(name));
        let encoding =
            encoding.map_or(String::new(), |name| format!("Content-Encoding: {name}\r\n"));
        (200, format!("{PUBLIC}Vary: Accept-Encoding\r\n{encoding}"))
    });
    let nginx = nginx(&fapi);
    for _ in 0..2 {
        for (number, accepted) in [(0, "gzip, br"), (1, "gzip"), (2, "identity"), (2, "")] {
            let headers = match accepted {
                "" => String::new(),
                _ => format!("Accept-Encoding: {accepted}\r\n"),
            };
            let reply = request(&nginx, "GET", SCRIPT, &headers);
            let encoding = match number {
                0 => vec!["br"],
                1 => vec!["gzip"],
                _ => vec![],
            };
            assert_eq!(reply.all("Content-Encoding"), encoding, "{accepted}");
            assert_eq!(reply.text(), number.to_string(), "{accepted}");
        }
    }
    assert_eq!(fapi.requests().len(), 3);
}

#[test]
fn parts_of_a_script() {
    let body = "0123456789";
    let fapi = Fapi::answering(None, json(200, &format!("{PUBLIC}Accept-Ranges: bytes\r\n"), body));
    let nginx = nginx(&fapi);
    for range in ["2-4", "5-6"] {
        let reply = request(&nginx, "GET", SCRIPT, &format!("Range: bytes={range}\r\n"));
        let (from, to) = range.split_once('-').unwrap();
        let part = &body[from.parse().unwrap()..=to.parse().unwrap()];
        assert_eq!((reply.status, reply.text().as_str()), (206, part));
    }
    assert_eq!(get(&nginx, SCRIPT).text(), body);
    // It is the whole that was asked for.
    assert!(fapi.only().all("Range").is_empty());
}

#[test]
fn many_that_want_one_script_get_one() {
    let open = Arc::new(AtomicBool::new(false));
    let gate = Arc::clone(&open);
    let fapi = Fapi::start(None, move |_, stream| {
        while !gate.load(Ordering::Relaxed) {
            thread::sleep(Duration::from_millis(1));
        }
        stream.write_all(json(200, PUBLIC, "script").as_bytes()).is_ok()
    });
    let mut nginx = with_lines(
        &fapi,
        "",
        "proxy_cache c; proxy_cache_lock_timeout 60s; proxy_cache_lock_age 60s;",
    )
    .http("server { listen 127.0.0.1:%PORT%; server_name status; location / { stub_status; } }\n")
    .start();
    let waiting = |nginx: &Nginx| {
        let text = ask(nginx, "status", "/").text();
        let number = text.lines().find_map(|line| line.strip_prefix("Active connections: "));
        number.and_then(|number| number.trim().parse::<usize>().ok()).expect("a number")
    };
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let mut stream = nginx.connect();
            let head =
                format!("GET /__clerk{SCRIPT} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
            stream.write_all(head.as_bytes()).unwrap();
            stream
        })
        .collect();
    // All of them, and the one that asks.
    nginx.until("all requests are there", |nginx| waiting(nginx) >= 9);
    fapi.wait_for(1);
    open.store(true, Ordering::Relaxed);
    for mut stream in clients {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        assert_eq!(Reply::parse(&bytes).text(), "script");
    }
    assert_eq!(fapi.requests().len(), 1);
    let log = log(&mut nginx);
    assert_eq!((log.matches("MISS").count(), log.matches("HIT").count()), (1, 7), "{log}");
}

#[test]
fn nobody_waits_for_what_cannot_be_kept() {
    let held = Arc::new(AtomicBool::new(false));
    let gate = Arc::clone(&held);
    let fapi = numbering_by(move |request| {
        // The first of those that wait is not answered before another one was.
        while request.all("X-Held") == ["1"] && gate.load(Ordering::Relaxed) {
            thread::sleep(Duration::from_millis(1));
        }
        (307, "Cache-Control: private, max-age=60\r\nLocation: /npm/x\r\n".to_owned())
    });
    let locked = "proxy_cache c; proxy_cache_lock_timeout 60s; proxy_cache_lock_age 60s;";
    let nginx = with_lines(&fapi, "", locked).start();
    assert_eq!(get(&nginx, "/npm/tag").status, 307);
    held.store(true, Ordering::Relaxed);
    thread::scope(|scope| {
        let waits = scope.spawn(|| request(&nginx, "GET", "/npm/tag", "X-Held: 1\r\n").status);
        fapi.wait_for(2);
        assert_eq!(get(&nginx, "/npm/tag").status, 307);
        held.store(false, Ordering::Relaxed);
        assert_eq!(waits.join().unwrap(), 307);
    });
}

#[test]
fn an_old_script_is_sent_while_it_is_asked_for_anew() {
    let hold = Arc::new(AtomicBool::new(false));
    let gate = Arc::clone(&hold);
    let fapi = numbering_by(move |_| {
        while gate.load(Ordering::Relaxed) {
            thread::sleep(Duration::from_millis(1));
        }
        (200, "Cache-Control: max-age=1, stale-while-revalidate=600\r\n".to_owned())
    });
    let mut nginx = nginx(&fapi);
    assert_eq!(get(&nginx, SCRIPT).text(), "0");
    hold.store(true, Ordering::Relaxed);
    // nginx closes the connection when the update is done, too.
    let head = format!("GET /__clerk{SCRIPT} HTTP/1.1\r\nHost: a\r\nCookie: a=b\r\n\r\n");
    let ask = |nginx: &Nginx| {
        let mut stream = nginx.connect();
        stream.write_all(head.as_bytes()).unwrap();
        Reply::read(&mut stream).text()
    };
    nginx.until("the script is old", |nginx| {
        // Nobody is answered by the Frontend API now.
        assert_eq!(ask(nginx), "0");
        fapi.requests().len() > 1
    });
    assert_eq!(ask(&nginx), "0");
    hold.store(false, Ordering::Relaxed);
    nginx.until("there is a new one", |nginx| ask(nginx) != "0");
    assert!(fapi.requests().iter().all(|r| r.all("Cookie").is_empty() && r.target() == SCRIPT));
    let log = log(&mut nginx);
    assert!(log.contains("STALE GET") && log.contains("UPDATING GET"), "{log}");
}

#[test]
fn the_frontend_api_fails() {
    let broken = Arc::new(AtomicBool::new(false));
    let state = Arc::clone(&broken);
    let fapi = Fapi::start(None, move |request, stream| {
        let more = if request.target().contains("stale") { ", stale-if-error=600" } else { "" };
        let headers = format!("Cache-Control: max-age=1{more}\r\n");
        // Closed without a word.
        !state.load(Ordering::Relaxed)
            && stream.write_all(json(200, &headers, "script").as_bytes()).is_ok()
    });
    let mut nginx = nginx(&fapi);
    for target in ["/npm/stale", "/npm/strict"] {
        assert_eq!(get(&nginx, target).text(), "script");
    }
    broken.store(true, Ordering::Relaxed);
    let mut last = None;
    nginx.until("the script is old", |nginx| {
        let reply = get(nginx, "/npm/strict");
        let status = reply.status;
        last = Some(reply);
        status != 200
    });
    assert_json(&last.unwrap(), 502, "proxy_request_failed");
    assert_eq!(get(&nginx, "/npm/stale").text(), "script");
    assert_json(&get(&nginx, "/npm/other"), 502, "proxy_request_failed");
    broken.store(false, Ordering::Relaxed);
    assert_eq!(get(&nginx, "/npm/strict").text(), "script");
    assert!(log(&mut nginx).contains("STALE GET"));
}

#[test]
fn an_old_script_that_has_not_changed_is_not_sent_again() {
    let fapi = Fapi::start(None, |request, stream| {
        let status = if request.all("If-None-Match") == ["\"x\""] { 304 } else { 200 };
        let body = if status == 304 { "" } else { "script" };
        let head =
            format!("HTTP/1.1 {status} Whatever\r\nETag: \"x\"\r\nCache-Control: max-age=1\r\n");
        let length = if status == 304 {
            String::new()
        } else {
            format!("Content-Length: {}\r\n", body.len())
        };
        stream.write_all(format!("{head}{length}\r\n{body}").as_bytes()).is_ok()
    });
    let mut nginx = nginx(&fapi);
    nginx.until("the script is old", |nginx| {
        assert_eq!(get(nginx, SCRIPT).text(), "script");
        fapi.requests().len() > 1
    });
    assert_eq!(fapi.requests()[1].all("If-None-Match"), ["\"x\""]);
    assert!(log(&mut nginx).contains("REVALIDATED GET"));
}

#[test]
fn where_there_is_no_cache() {
    let fapi = numbering(PUBLIC);
    for (http, lines) in [
        ("proxy_cache c;", ""),
        ("proxy_cache c;", "proxy_cache off;"),
        ("map $host $zone { default off; }", "proxy_cache $zone;"),
        ("map $host $zone { default ''; }", "proxy_cache $zone;"),
        ("", "proxy_cache c; location /__clerk/npm/ { clerk_proxy https://app.dev/__clerk; }"),
    ] {
        let mut nginx = with_lines(&fapi, http, lines).start();
        assert!(!is_kept(&nginx, SCRIPT, "Cookie: a=b\r\n"), "{http} {lines}");
        assert_eq!(log(&mut nginx), "- GET a=b|".repeat(2));
    }
}

#[test]
fn what_was_not_verified_is_not_taken_for_the_frontend_apis() {
    let reply = json(200, PUBLIC, "script");
    let fapi = Fapi::answering(Some(CA.server(&["localhost"])), reply);
    let server = |name: &str, verified: &str| {
        format!(
            "server {{ listen 127.0.0.1:%PORT%; server_name {name}; location /__clerk/ {{\n\
             clerk_proxy https://app.dev/__clerk secret_key=%KEY% upstream=https://localhost:{};\n\
             {verified} proxy_cache c; }} }}\n",
            fapi.port
        )
    };
    let zone = "proxy_cache_path %DIR%/cache keys_zone=c:64k;\n";
    let unverified = server("a.dev", "proxy_ssl_verify off;");
    let verified = server("b.dev", "proxy_ssl_trusted_certificate ca.pem;");
    let nginx = Config::new(&format!("{zone}{unverified}{verified}")).start();
    let target = format!("/__clerk{SCRIPT}");
    for (host, requests) in [("a.dev", 1), ("a.dev", 1), ("b.dev", 2), ("b.dev", 2), ("a.dev", 2)] {
        assert_eq!(ask(&nginx, host, &target).text(), "script");
        assert_eq!(fapi.requests().len(), requests, "{host}");
    }
}

#[test]
fn what_varies_with_anything_is_not_kept() {
    for vary in ["*", "Accept-Encoding, *", "*,Accept-Encoding", "Accept-Encoding\r\nVary: *"] {
        let fapi = numbering(&format!("{PUBLIC}Vary: {vary}\r\n"));
        let nginx = nginx(&fapi);
        assert!(!is_kept(&nginx, SCRIPT, ""), "{vary}");
    }
}

/// The `Age` of a reply.
fn age(reply: &Reply) -> Option<u64> {
    match reply.all("Age")[..] {
        [] => None,
        [age] => Some(age.parse().expect("seconds")),
        ref several => panic!("{several:?}"),
    }
}

#[test]
fn time_in_other_caches_counts_and_is_said() {
    let fapi = numbering(&format!("{PUBLIC}Age: 500\r\n"));
    let nginx = nginx(&fapi);
    let [first, second] = [0, 1].map(|_| get(&nginx, SCRIPT));
    assert_eq!((first.text(), second.text()), ("0".to_owned(), "0".to_owned()));
    assert_eq!(age(&first), Some(500));
    assert!((500..560).contains(&age(&second).expect("an age")), "{second:?}");
}

#[test]
fn a_reply_of_the_cache_says_its_age() {
    let fapi = numbering(PUBLIC);
    let nginx = nginx(&fapi);
    let [first, second] = [0, 1].map(|_| get(&nginx, SCRIPT));
    assert_eq!(age(&first), None);
    assert!(age(&second).is_some_and(|age| age < 60), "{second:?}");
    let head = request(&nginx, "HEAD", SCRIPT, "");
    assert!(age(&head).is_some());
}

#[test]
fn what_is_as_old_as_it_may_be_is_not_kept() {
    for (headers, kept) in [
        ("Cache-Control: max-age=600\r\nAge: 599\r\n", true),
        ("Cache-Control: max-age=600\r\nAge: 600\r\n", false),
        ("Cache-Control: public, s-maxage=600\r\nAge: 9999999999999\r\n", false),
        ("Cache-Control: max-age=600\r\nAge: x\r\n", true),
        ("Cache-Control: max-age=600\r\nAge: 600, 0\r\n", false),
        ("Cache-Control: max-age=600\r\nAge: 0\r\nAge: 600\r\n", true),
        // A time of day, by the clock of the server and in its zone.
        ("Expires: Thu, 31 Dec 2037 23:55:55 GMT\r\nAge: 600\r\n", true),
        ("Expires: Thu, 31 Dec 2037 23:55:55 GMT\r\nDate: Thu, 31 Dec 2037 23:55:55 GMT\r\n", false),
        (
            "Expires: Thu, 31 Dec 2037 23:55:55 GMT\r\nDate: Thu, 31 Dec 2037 23:50:55 GMT\r\nAge: 400\r\n",
            false,
        ),
        (
            "Expires: Thu, 31 Dec 2037 23:55:55 GMT\r\nDate: Thu, 31 Dec 2037 23:50:55 GMT\r\nAge: 100\r\n",
            true,
        ),
        ("Expires: Thu, 31 Dec 2037 23:55:55 UTC\r\n", false),
        ("Expires: Thu, 31 Dec 2037 23:55:55 AEST\r\nCache-Control: max-age=600\r\n", true),
    ] {
        let fapi = numbering(headers);
        let nginx = nginx(&fapi);
        let (first, second) = (get(&nginx, SCRIPT), get(&nginx, SCRIPT));
        // The second that is left may be over.
        let is_kept = first.text() == second.text();
        assert!(is_kept == kept || headers.contains("599"), "{headers}");
    }
}

#[test]
fn what_was_nearly_too_old_is_asked_for_again() {
    let fapi = numbering("Cache-Control: max-age=600\r\nAge: 598\r\n");
    let mut nginx = nginx(&fapi);
    get(&nginx, SCRIPT);
    nginx.until("the script is asked for again", |nginx| get(nginx, SCRIPT).text() != "0");
}

/// What a client may say besides, in lines.
const SAID: &str = "Accept: text/html\r\nAccept-Language: de\r\nForwarded: host=evil\r\nX-Original-URL: /v1\r\n\
    X-Rewrite-URL: /v1\r\nX-HTTP-Method-Override: POST\r\nX-Forwarded-Host: evil\r\nX-Forwarded-Port: 1\r\n\
    X-Forwarded-Scheme: http\r\nX-Own: 1\r\nReferer: http://evil\r\nSec-Fetch-Mode: cors\r\nCache-Control: no-cache\r\n\
    Pragma: x\r\nVia: 1.1 evil\r\nPriority: u=1\r\nX_Own: 1\r\nUser-Agent: evil\r\nCookie: a=b\r\n\
    Accept-Encoding: evil\r\nRange: bytes=0-0\r\nIf-None-Match: \"x\"\r\nContent-Type: a/b\r\nTE: trailers\r\n";

#[test]
fn no_client_has_a_say_in_what_others_get() {
    // The body is all that arrives.
    let fapi = Fapi::start(None, |request, stream| {
        let mut lines = request.headers.clone();
        lines.sort_unstable();
        stream.write_all(json(200, PUBLIC, &lines.join("|")).as_bytes()).is_ok()
    });
    let nginx = with_lines(&fapi, "underscores_in_headers on;", "proxy_cache c;").start();
    let agent = "User-Agent: curl\r\n";
    let plain = request(&nginx, "GET", "/npm/plain", agent).text();
    let range = "Range: bytes=0-0\r\n";
    request(&nginx, "GET", "/npm/said", SAID);
    assert_eq!(request(&nginx, "GET", "/npm/said", agent).text(), plain);
    assert!(plain.contains("User-Agent: Mozilla/5.0 (compatible;"), "{plain}");
    // All of it arrives where nothing is kept, but for what ends here.
    let other = request(&nginx, "GET", "/v1/client", &SAID.replace(range, "")).text();
    for line in
        ["Accept-Language: de", "X-Own: 1", "X_Own: 1", "User-Agent: evil", "Accept-Encoding: evil"]
    {
        assert!(other.contains(line) && !plain.contains(line), "{line} in {other}");
    }
}

#[test]
fn spellings_of_encodings_are_no_copies() {
    let fapi =
        numbering(&format!("{PUBLIC}Vary: Accept-Encoding, Accept-Language, User-Agent\r\n"));
    let nginx = nginx(&fapi);
    for number in 0..40 {
        let both = if number % 2 == 0 { "br, gzip" } else { "gzip, br" };
        let headers = format!(
            "Accept-Encoding: {both}, x{number};q=0.{number}\r\nAccept-Language: {number}\r\n"
        );
        let reply = request(&nginx, "GET", SCRIPT, &format!("{headers}User-Agent: {number}\r\n"));
        assert_eq!(reply.text(), "0", "{number}");
    }
    assert_eq!(fapi.only().one("Accept-Encoding"), "br, gzip");
}

#[test]
fn one_failure_does_not_switch_the_cache_off() {
    let fails = Arc::new(AtomicUsize::new(0));
    let status = Arc::clone(&fails);
    let fapi = numbering_by(move |_| match status.load(Ordering::Relaxed) {
        0 => (200, PUBLIC.to_owned()),
        status => (u16::try_from(status).unwrap(), String::new()),
    });
    let nginx = nginx(&fapi);
    for status in [400, 403, 404, 429, 500, 503, 206] {
        let target = format!("/npm/{status}");
        fails.store(status, Ordering::Relaxed);
        assert_eq!(usize::from(get(&nginx, &target).status), status);
        fails.store(0, Ordering::Relaxed);
        assert!(is_kept(&nginx, &target, ""), "{status}");
    }
}
