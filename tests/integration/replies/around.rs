//! What is around the location for the application's replies does not change those of the Frontend API, nor errors.

use crate::kit::assert::assert_json;
use crate::kit::fapi::{Fapi, Request, Stream, CA};
use crate::kit::harness::{has, Config, Nginx, Reply};
use crate::kit::location;

const BODY: &str = "<html><!--#echo var=\"request_uri\" --></head> replace me</html>";

/// A page with something in it for each filter, that says itself how long it may be kept.
fn fapi() -> Fapi {
    Fapi::start(CA.server(&["localhost"]), |request: &Request, stream: &mut dyn Stream| {
        let status = if request.target() == "/v1/missing" { 422 } else { 200 };
        let head = format!(
            "HTTP/1.1 {status} Whatever\r\nContent-Type: text/html\r\nCache-Control: no-store\r\nVary: Origin\r\n\
             Access-Control-Allow-Origin: https://app.dev\r\nSet-Cookie: __client=a\r\nETag: \"x\"\r\n\
             Last-Modified: Sun, 01 Nov 2026 00:00:00 GMT\r\nContent-Length: {}\r\n\r\n",
            BODY.len()
        );
        stream.write_all((head + BODY).as_bytes()).is_ok()
    })
}

/// The lines in `http` and in `server`.
fn both(fapi: &Fapi, lines: &str, beside: &str) -> [Nginx; 2] {
    let location = location::location(fapi, beside);
    let others = "location /page { return 200 page; } location / { return 200 other; }";
    let site = |server: &str, http: &str| {
        Config::server(&format!("{server}\n{location}\n{others}")).http(http).start()
    };
    [site(lines, ""), site("", lines)]
}

/// Headers that differ from one reply to the next are left out.
fn shown(reply: &Reply) -> (u16, Vec<String>, String) {
    let constant = |line: &&String| !line.starts_with("Date: ");
    (reply.status, reply.headers.iter().filter(constant).cloned().collect(), reply.text())
}

#[test]
fn replies_are_not_made_cacheable() {
    const OF_REPLIES: [&str; 12] = [
        "Cache-Control \"public, max-age=31536000, immutable\"",
        "CDN-Cache-Control \"max-age=60\"",
        "Surrogate-Control max-age=60",
        "Expires \"Thu, 31 Dec 2037 23:55:55 GMT\"",
        "Pragma public",
        "Access-Control-Allow-Origin *",
        "Access-Control-Allow-Credentials true",
        "Vary Accept-Encoding",
        "ETag \\\"y\\\"",
        "Set-Cookie seen=1",
        "Content-Type text/plain",
        "Last-Modified \"\"",
    ];
    const OF_SITE: [&str; 4] = [
        "Strict-Transport-Security max-age=63072000",
        "X-Frame-Options DENY",
        "Content-Security-Policy \"default-src 'self'\"",
        "X-Own $host",
    ];
    let lines = |headers: &[&str]| {
        headers
            .iter()
            .map(|header| format!("add_header {header} always;\n"))
            .collect::<Vec<_>>()
            .concat()
    };
    let fapi = fapi();
    let asked = |nginx: &Nginx| {
        ["/__clerk/v1/client", "/__clerk/v1/missing"].map(|target| nginx.get(target))
    };
    let all = lines(&OF_REPLIES) + &lines(&OF_SITE);
    let plain =
        both(&fapi, &lines(&OF_SITE), "").map(|nginx| asked(&nginx).map(|reply| shown(&reply)));
    for (nginx, plain) in both(&fapi, &all, "").iter().zip(plain) {
        let replies = asked(nginx);
        assert_eq!(replies.each_ref().map(shown), plain);
        for reply in replies {
            assert_eq!(reply.all("Cache-Control"), ["no-store"]);
            assert_eq!(reply.all("Strict-Transport-Security"), ["max-age=63072000"]);
            assert_eq!(reply.all("X-Own"), ["app.dev"]);
        }
        // Its other locations have all of them.
        assert_eq!(nginx.get("/").all("Access-Control-Allow-Origin"), ["*"]);
    }
    // An error of nginx's own.
    let upload = "POST /__clerk/v1 HTTP/1.1\r\nHost: app.dev\r\nContent-Length: 9\r\nConnection: close\r\n\r\n";
    for nginx in both(&fapi, &(all + "client_max_body_size 1;"), "") {
        let reply = nginx.send(upload);
        assert_json(&reply, 413, "request_body_too_large");
        assert!(reply.all("Access-Control-Allow-Origin").is_empty());
    }
}

#[test]
fn lines_of_the_location_win_as_anywhere() {
    let outer = "add_header Cache-Control public; add_header X-Frame-Options DENY;";
    for nginx in both(&fapi(), outer, "add_header X-Own 1; add_header Cache-Control private;") {
        let reply = nginx.get("/__clerk/v1/client");
        assert_eq!(reply.all("Cache-Control"), ["no-store", "private"]);
        assert_eq!((reply.all("X-Own"), reply.all("X-Frame-Options")), (vec!["1"], vec![]));
    }
}

#[test]
fn headers_that_are_merged_since_nginx_1_29_3() {
    let outer = "add_header_inherit merge; add_header Cache-Control public; add_header X-Frame-Options DENY;";
    let config = Config::server(outer);
    if config.check().1.contains("unknown directive") {
        return;
    }
    for nginx in both(&fapi(), outer, "add_header X-Own 1;") {
        let reply = nginx.get("/__clerk/v1/client");
        assert_eq!(reply.all("Cache-Control"), ["no-store"]);
        assert_eq!((reply.all("X-Own"), reply.all("X-Frame-Options")), (vec!["1"], vec!["DENY"]));
    }
}

#[test]
fn bodies_and_their_lengths_stay() {
    let fapi = fapi();
    let asked = |nginx: &Nginx| shown(&nginx.get("/__clerk/v1/client"));
    let [plain, _] = both(&fapi, "", "").map(|nginx| asked(&nginx));
    assert_eq!(plain.2, BODY);
    for lines in [
        "add_trailer X-Trailer 1 always;",
        "ssi on; ssi_types *;",
        "sub_filter 'replace me' replaced; sub_filter_types *; sub_filter_once off;",
        "sub_filter $host replaced; sub_filter html changed;",
        "add_before_body /page; addition_types *;",
        "add_after_body /page;",
        "gunzip on;",
        "userid on; userid_name seen;",
        "expires max;",
        "charset utf-8;",
        "etag off;",
        "slice 1k;",
        "mirror /__clerk/mirror;",
    ] {
        // Not every build has all modules.
        if !has(lines.split(' ').next().expect("a directive")) {
            continue;
        }
        let before = fapi.requests().len();
        for nginx in both(&fapi, lines, "") {
            assert_eq!(asked(&nginx), plain, "{lines}");
        }
        assert_eq!(fapi.requests().len(), before + 2, "{lines}");
    }
    // In the location itself they do what they do.
    let beside = "sub_filter 'replace me' replaced;";
    for nginx in both(&fapi, "sub_filter html changed;", beside) {
        assert_eq!(nginx.get("/__clerk/v1/client").text(), BODY.replace("replace me", "replaced"));
    }
}
