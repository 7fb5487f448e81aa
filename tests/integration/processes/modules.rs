//! Debian's modules around the line and beside it: Lua, as in `OpenResty`, and with scripts/matrix all that there are. Only
//! Debian's nginx takes them.

use std::env;
use std::fs;
use std::io::{Read, Write};
use std::path::Path;

use crate::kit::assert::assert_json;
use crate::kit::fapi::{json, Fapi, Request, Stream, CA};
use crate::kit::harness::{Config, Nginx, KEY, PROGRAM};

/// Of an upstream that fails, and of nginx's own failure.
const CODES: [&str; 2] = ["proxy_request_failed", "proxy_configuration_error"];
const REPLY: &str = "{\"object\":\"client\"}";

/// The configuration with the module, which a test with all modules of Debian has already.
fn with_lua(http: &str) -> Option<Config> {
    let loaded = env::var("CLERK_PROXY_TEST_MODULES").is_ok_and(|lines| lines.contains("_lua_"));
    let names: &[&str] = if loaded { &[] } else { &["ndk_http_module", "ngx_http_lua_module"] };
    (*PROGRAM == Path::new("/usr/sbin/nginx")).then(|| {
        names.iter().fold(Config::new(http), |config, name| {
            config.beside(Path::new(&format!("/usr/lib/nginx/modules/{name}.so")))
        })
    })
}

/// A location that leads to the stand-in over TLS, with these lines around it and beside it.
fn nginx(fapi: &Fapi, around: &str, beside: &str) -> Option<Nginx> {
    let config = with_lua(&format!(
        "server {{ listen 127.0.0.1:%PORT%;\n{around}\n\
         location /__clerk/ {{ clerk_proxy https://app.dev/__clerk secret_key=%KEY% \
         upstream=https://localhost:{};\nproxy_ssl_trusted_certificate ca.pem;\n{beside}\n}} }}",
        fapi.port
    ))?;
    Some(config.main("error_log logs/error.log notice;").start())
}

fn fapi() -> Fapi {
    Fapi::answering(Some(CA.server(&["localhost"])), json(200, "", REPLY))
}

/// Code that sees and changes all that it may, writes what it saw into the log, and finds no key.
#[test]
fn phases_of_a_request() {
    const ACCESS: &str = "access_by_lua_block {\n\
        if ngx.var.arg_deny then ngx.exit(403) end\n\
        if ngx.var.arg_fail then error('on purpose') end\n\
        ngx.req.set_header('Clerk-Secret-Key', 'of Lua')\n\
        ngx.req.set_header('X-Forwarded-For', '203.0.113.9')\n\
        ngx.req.set_header('X-Lua', 'here') }\n";
    const FILTERS: &str = "header_filter_by_lua_block {\n\
        ngx.header.content_length = nil\n\
        ngx.header['X-Seen'] = (ngx.var.http_clerk_secret_key or '') .. (ngx.var.upstream_status or '') }\n\
        body_filter_by_lua_block { ngx.arg[1] = string.upper(ngx.arg[1]) }\n\
        log_by_lua_block {\n\
        for _, list in ipairs({ngx.req.get_headers(), ngx.resp.get_headers()}) do\n\
        for name, value in pairs(list) do ngx.log(ngx.NOTICE, name, '=', tostring(value)) end end }\n";
    let both = [ACCESS, FILTERS].concat();
    for (around, beside) in [(&*both, ""), ("", &*both), (ACCESS, FILTERS)] {
        let fapi = fapi();
        let Some(nginx) = nginx(&fapi, around, beside) else { return };
        for round in 1..=2 {
            let reply = nginx.get("/__clerk/v1/client?a=%2F");
            assert_eq!((reply.status, reply.text()), (200, REPLY.to_uppercase()));
            assert_eq!(reply.all("X-Seen"), ["of Lua200"]);
            let request = fapi.wait_for(round).pop().expect("a request");
            assert_eq!(request.line, "GET /v1/client?a=%2F HTTP/1.1");
            assert_eq!(request.one("Clerk-Secret-Key"), KEY);
            assert_eq!(request.one("X-Forwarded-For"), "127.0.0.1");
            assert_eq!(request.one("X-Lua"), "here");
            assert_eq!(request.connection, 0);
        }
        // What Lua refuses is an error of nginx's. Its filters, which come before ours, see that and not the JSON.
        for (query, status, code) in [("deny", 403, "forbidden"), ("fail", 500, CODES[1])] {
            assert_json(&nginx.get(&format!("/__clerk/v1/client?{query}=1")), status, code);
        }
        assert_eq!(fapi.requests().len(), 2);
        assert!(nginx.count("x-lua=here") > 0);
    }
}

/// What answers in place of the proxy is refused.
#[test]
fn content_of_lua() {
    let fapi = fapi();
    for directive in ["content_by_lua_block { ngx.say('x') }", "content_by_lua_file x.lua;"] {
        let config = with_lua(&format!(
            "server {{ listen 127.0.0.1:%PORT%; location /__clerk/ {{\n\
             clerk_proxy https://app.dev/__clerk secret_key=%KEY% upstream=http://127.0.0.1:{};\n\
             {directive} }} }}",
            fapi.port
        ));
        let Some(config) = config else { return };
        let (good, printed) = config.check();
        let lines: Vec<_> = printed.lines().filter(|line| line.contains("[emerg]")).collect();
        assert!(!good && lines.len() == 1 && lines[0].contains("\"clerk_proxy\""), "{printed}");
    }
}

/// A block of the user's, whose server Lua chooses: it is verified and its connections are kept, as without Lua.
#[test]
fn a_balancer() {
    let certificate = |name| Fapi::answering(Some(CA.server(&[name])), json(200, "", REPLY));
    let (fapi, impostor) = (certificate("frontend-api.clerk.dev"), certificate("evil.example"));
    let location = |name: &str| {
        format!(
            "location /{name}/ {{ clerk_proxy https://{name}.dev/{name} secret_key=%KEY% upstream=https://own;\n\
             proxy_ssl_trusted_certificate ca.pem; }}"
        )
    };
    let config = with_lua(&format!(
        "clerk_proxy_warm 1; upstream own {{ server 192.0.2.1:1; balancer_by_lua_block {{\n\
         local to = ngx.var.arg_to\n\
         if to == 'nobody' then error('on purpose') end\n\
         local port = to == 'evil' and {} or {}\n\
         assert(require('ngx.balancer').set_current_peer('127.0.0.1', port)) }}\n\
         keepalive 4; }}\nserver {{ listen 127.0.0.1:%PORT%;\n{}\n{} }}",
        impostor.port,
        fapi.port,
        location("app"),
        location("other")
    ));
    let Some(config) = config else { return };
    let mut nginx = config.main("error_log logs/error.log info;").start();
    for round in 0..2 {
        for (target, status) in [
            ("/app/v1", 200),
            ("/app/v1?to=evil", 502),
            ("/other/v1", 200),
            ("/other/v1?to=nobody", 500),
            ("/app/v1", 200),
        ] {
            let reply = nginx.get(target);
            match status {
                200 => assert_eq!((reply.status, reply.text()), (200, REPLY.to_owned())),
                _ => assert_json(&reply, status, CODES[usize::from(status == 500)]),
            }
        }
        let requests = fapi.requests();
        assert_eq!(requests.len(), 3 * (round + 1));
        let new = &requests[3 * round..];
        assert!(new.iter().all(|request| request.connection == round), "{round}");
        let tenants = new.iter().map(|request| request.one("Clerk-Proxy-Url"));
        let (app, other) = ("https://app.dev/app", "https://other.dev/other");
        assert_eq!(tenants.collect::<Vec<_>>(), [app, other, app]);
        nginx.reload();
    }
    assert!(impostor.requests().is_empty());
    // None is kept ready for a block of the user's.
    assert_eq!(nginx.count("is ready"), 0);
}

/// What the stand-in answers, by the end of the URI.
fn answer(request: &Request, stream: &mut dyn Stream) -> bool {
    let page = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nSet-Cookie: a=b\r\nVary: Origin\r\n";
    let reply = match request.target().rsplit('/').next().expect("a target") {
        "chunked" => format!("{page}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
        "events" => format!("{page}Connection: close\r\n\r\ndata: 1\n\n"),
        "empty" => "HTTP/1.1 204 No Content\r\n\r\n".to_owned(),
        "old" => "HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\n\r\n".to_owned(),
        "error" => json(422, "", "{\"errors\":[]}"),
        "redirect" => json(307, "Location: https://frontend-api.clerk.dev/v1/x\r\n", "{}"),
        "nothing" => String::new(),
        _ => json(200, "Content-Encoding: br\r\nETag: \"a\"\r\n", &"x".repeat(30_000)),
    };
    let len = if request.line.starts_with("HEAD ") {
        reply.find("\r\n\r\n").map_or(0, |end| end + 4)
    } else {
        reply.len()
    };
    let stays = !reply.is_empty() && !reply.contains("Connection: close");
    stream.write_all(&reply.as_bytes()[..len]).is_ok() && stays
}

/// What the stand-in gets, and what clients get but for the time.
type Exchange = (Vec<(String, Vec<String>, Vec<u8>)>, Vec<u8>);

fn exchange(nginx: &Nginx, fapi: &Fapi, request: &str) -> Exchange {
    fapi.forget();
    let mut client = nginx.connect();
    client.write_all(request.as_bytes()).expect("nginx reads");
    let mut reply = Vec::new();
    client.read_to_end(&mut reply).expect("a reply");
    let arrived = fapi.requests().into_iter().map(|one| (one.line, one.headers, one.body));
    let mut lines = reply.split_inclusive(|&byte| byte == b'\n').collect::<Vec<_>>();
    lines.retain(|line| !line.starts_with(b"Date: "));
    (arrived.collect(), lines.concat())
}

/// What is only loaded changes no byte.
#[test]
fn modules_without_a_directive() {
    let fapi = Fapi::start(None, answer);
    let port = fapi.port;
    let http = format!(
        "server {{ listen 127.0.0.1:%PORT%;\n\
         location /__clerk/ {{ clerk_proxy https://app.dev/__clerk secret_key=%KEY% \
         upstream=http://127.0.0.1:{port}; }}\n\
         location /plain/ {{ proxy_pass http://127.0.0.1:{port}; }}\n\
         location / {{ return 200 site; }} }}"
    );
    let Some(beside) = with_lua(&http) else { return };
    let (beside, alone) = (beside.start(), Config::new(&http).alone().start());
    let large = "x".repeat(300_000);
    let mut count = 0;
    for location in ["/__clerk", "/plain", "/site"] {
        for end in [
            "v1?a=%2F&b",
            "v1/a%2Fb/../c",
            "chunked",
            "events",
            "empty",
            "old",
            "error",
            "redirect",
            "nothing",
        ] {
            for (method, more) in [
                (
                    "GET",
                    "Cookie: a=b\r\nX-Odd:  c\r\nx-odd: d\r\nAccept-Encoding: gzip\r\n\r\n"
                        .to_owned(),
                ),
                (
                    "GET",
                    "Range: bytes=1-3\r\nIf-None-Match: \"a\"\r\nTE: trailers\r\n\r\n".to_owned(),
                ),
                ("HEAD", "\r\n".to_owned()),
                ("OPTIONS", "Origin: https://app.dev\r\n\r\n".to_owned()),
                ("POST", format!("Content-Length: 300000\r\n\r\n{large}")),
                ("PUT", "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n".to_owned()),
            ] {
                let head = format!("{method} {location}/{end} HTTP/1.1\r\nHost: app.dev\r\n");
                let request = format!("{head}Connection: close\r\n{more}");
                let [ours, theirs] = [&beside, &alone].map(|n| exchange(n, &fapi, &request));
                assert!(ours == theirs, "{head}: {ours:?} and not {theirs:?}");
                count += usize::from(!ours.1.is_empty());
            }
        }
    }
    assert!(count > 100, "{count} replies");
}

/// The files in a folder and those in it, without the configuration.
fn written(folder: &Path, found: &mut Vec<Vec<u8>>) {
    for file in fs::read_dir(folder).expect("a folder") {
        let path = file.expect("a file").path();
        if path.is_dir() {
            written(&path, found);
        } else if !path.ends_with("nginx.conf") {
            found.push(fs::read(path).expect("a file"));
        }
    }
}

/// Modules that look into a request, or write down all of it, find no key. They are there where scripts/matrix loads them.
#[test]
fn what_modules_write_has_no_key() {
    const SEEN: &str = "function all(r) { return JSON.stringify([r.headersIn, r.headersOut, \
        r.variables.http_clerk_secret_key, r.variables.clerk_proxy_uri, r.variables.proxy_host]) }\n\
        export default { all };";
    let loaded = env::var("CLERK_PROXY_TEST_MODULES").unwrap_or_default();
    let needed = ["_lua_", "_js_", "_perl_", "_echo_", "modsecurity", "_cache_purge_"];
    if !needed.iter().all(|one| loaded.contains(one)) {
        return;
    }
    let fapi = fapi();
    let nginx = Config::new(&format!(
        "modsecurity on; modsecurity_rules 'SecRuleEngine DetectionOnly\n\
         SecRequestBodyAccess On\nSecResponseBodyAccess On\nSecResponseBodyMimeType application/json\n\
         SecAuditEngine On\nSecAuditLogParts ABCDEFGHIJKZ\nSecAuditLogType Serial\n\
         SecAuditLog %DIR%/logs/audit.log';\n\
         js_import seen from %DIR%/seen.js; js_set $js_seen seen.all;\n\
         perl_set $perl_seen 'sub {{ my $r = shift; \
         join \",\", map {{ $r->header_in($_) || $_ }} \"Clerk-Secret-Key\", \"X-Forwarded-For\"; }}';\n\
         log_format seen '$js_seen $perl_seen $http_clerk_secret_key $request_uri $clerk_proxy_uri';\n\
         proxy_cache_path %DIR%/cache keys_zone=zone:1m;\n\
         server {{ listen 127.0.0.1:%PORT%; access_log logs/seen.log seen;\n\
         location /purge/ {{ proxy_cache_purge zone $uri; }}\n\
         location /__clerk/ {{ clerk_proxy https://app.dev/__clerk secret_key=%KEY% \
         upstream=https://localhost:{}; proxy_ssl_trusted_certificate ca.pem; proxy_cache zone;\n\
         echo_before_body $http_clerk_secret_key; echo_after_body $js_seen$perl_seen;\n\
         log_by_lua_block {{ for name, value in pairs(ngx.req.get_headers()) do \
         ngx.log(ngx.NOTICE, name, '=', tostring(value)) end }} }} }}",
        fapi.port
    ))
    .file("seen.js", SEEN)
    .main("error_log logs/error.log notice;")
    .start();
    let body = "Content-Length: 5\r\n\r\nhello";
    for (method, target) in
        [("GET", "/__clerk/v1/x"), ("POST", "/__clerk/v1"), ("GET", "/__clerk/npm/x.js")]
    {
        let end = if method == "POST" { body } else { "\r\n" };
        let head = format!("{method} {target} HTTP/1.1\r\nHost: app.dev\r\nConnection: close\r\n");
        let reply = nginx.send(head + end);
        assert!(reply.status == 200 && reply.text().contains(REPLY), "{reply:?}");
        assert!(!reply.text().contains(KEY) && !reply.headers.concat().contains(KEY));
    }
    // What purges in the location itself is refused; elsewhere it finds nothing under this name.
    let inside = "location /__clerk/ { clerk_proxy https://app.dev/__clerk secret_key=%KEY%; \
                  proxy_cache zone; proxy_cache_purge PURGE from 127.0.0.1; }";
    let zone = "proxy_cache_path %DIR%/cache keys_zone=zone:1m;";
    let (good, printed) = Config::server(inside).http(zone).check();
    assert!(!good && printed.contains("conflicts with another content handler"), "{printed}");
    let reply = nginx.get("/purge/npm/x.js");
    assert!(reply.status == 404 && !reply.text().contains(KEY), "{reply:?}");
    assert!(fapi.requests().iter().all(|request| request.one("Clerk-Secret-Key") == KEY));
    for (file, text) in [
        ("audit.log", "/__clerk/v1/x"),
        ("seen.log", "Clerk-Secret-Key"),
        ("error.log", "host=app.dev"),
    ] {
        assert!(nginx.config.folder.read(&format!("logs/{file}")).contains(text), "{file}");
    }
    let mut files = Vec::new();
    written(nginx.config.folder.path(), &mut files);
    assert!(files.iter().all(|file| !file.windows(KEY.len()).any(|text| text == KEY.as_bytes())));
}
