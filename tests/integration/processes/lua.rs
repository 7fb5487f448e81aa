//! Debian's Lua module around the line and beside it, as in `OpenResty`. Only Debian's nginx takes it.

use std::env;
use std::path::Path;

use crate::kit::assert::assert_json;
use crate::kit::fapi::{json, Fapi, CA};
use crate::kit::harness::{Config, Nginx, KEY, PROGRAM};

/// Of an upstream that fails, and of nginx's own failure.
const CODES: [&str; 2] = ["proxy_request_failed", "proxy_configuration_error"];
const REPLY: &str = "{\"object\":\"client\"}";

/// The configuration with the module, which a test with all modules of Debian has already.
fn with_lua(http: &str) -> Option<Config> {
    let loaded = env::var("CLERK_PROXY_TEST_MODULES").is_ok_and(|lines| lines.contains("_lua_"));
    let names: &[&str] = if loaded { &[] } else { &["ndk_http_module", "ngx_http_lua_module"] };
    (*PROGRAM == *"/usr/sbin/nginx").then(|| {
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
