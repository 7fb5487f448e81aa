//! A location beside that of a `clerk_proxy` sends and answers the same bytes as without one, whatever of the
//! recipe's directives is set around both.

use std::collections::BTreeSet;

use crate::kit::fapi::{Fapi, Request, Stream, CA};
use crate::kit::harness::{Config, Nginx, Reply};

const RECIPE: &str = include_str!("../../../src/recipe.rs");

/// For each directive of the recipe a setting that is not the recipe's, and mostly not nginx's own, with what
/// shows it.
const OUTER: &[(&str, &str)] = &[
    ("add_after_body", "add_after_body /page; addition_types *;"),
    ("add_before_body", "add_before_body /page; addition_types *;"),
    ("charset", "charset utf-8;"),
    ("client_body_buffer_size", "client_body_buffer_size 1k;"),
    ("client_max_body_size", "client_max_body_size 1k;"),
    ("expires", "expires max;"),
    ("gunzip", "gunzip on;"),
    ("mirror", "mirror /page;"),
    ("output_buffers", "output_buffers 1 4k;"),
    ("postpone_output", "postpone_output 0;"),
    ("proxy_buffer_size", "proxy_buffer_size 8k;"),
    ("proxy_buffers", "proxy_buffers 4 8k;"),
    ("proxy_busy_buffers_size", "proxy_busy_buffers_size 8k;"),
    ("proxy_cache", "proxy_cache zone; proxy_cache_valid any 1h;"),
    (
        "proxy_cache_background_update",
        "proxy_cache zone; proxy_cache_use_stale updating; proxy_cache_background_update on;",
    ),
    (
        "proxy_cache_convert_head",
        "proxy_cache zone; proxy_cache_key $uri$request_method; proxy_cache_convert_head off;",
    ),
    ("proxy_cache_lock", "proxy_cache zone; proxy_cache_lock on;"),
    ("proxy_cache_revalidate", "proxy_cache zone; proxy_cache_revalidate on;"),
    ("proxy_cache_valid", "proxy_cache zone; proxy_cache_valid 404 1h;"),
    ("proxy_no_cache", "proxy_cache zone; proxy_no_cache $arg_a;"),
    ("proxy_cache_key", "proxy_cache zone; proxy_cache_valid any 1h; proxy_cache_key one;"),
    ("proxy_connect_timeout", "proxy_connect_timeout 7s;"),
    ("proxy_cookie_domain", "proxy_cookie_domain fapi.test own.test;"),
    ("proxy_cookie_flags", "proxy_cookie_flags a secure;"),
    ("proxy_cookie_path", "proxy_cookie_path / /own/;"),
    ("proxy_force_ranges", "proxy_force_ranges on;"),
    ("proxy_headers_hash_bucket_size", "proxy_headers_hash_bucket_size 64;"),
    ("proxy_headers_hash_max_size", "proxy_headers_hash_max_size 512;"),
    ("proxy_hide_header", "proxy_hide_header X-Country;"),
    ("proxy_http_version", "proxy_http_version 1.1;"),
    ("proxy_ignore_client_abort", "proxy_ignore_client_abort on;"),
    ("proxy_ignore_headers", "proxy_ignore_headers Set-Cookie X-Accel-Redirect; proxy_cache zone;"),
    ("proxy_intercept_errors", "proxy_intercept_errors on; error_page 404 =203 /page;"),
    ("proxy_max_temp_file_size", "proxy_max_temp_file_size 1m;"),
    ("proxy_next_upstream", "proxy_next_upstream http_404 non_idempotent;"),
    ("proxy_next_upstream_timeout", "proxy_next_upstream_timeout 9s;"),
    ("proxy_pass_header", "proxy_pass_header Server; proxy_pass_header X-Accel-Expires;"),
    (
        "proxy_pass_request_body",
        "proxy_pass_request_body off; proxy_set_header Content-Length \"\";",
    ),
    ("proxy_pass_request_headers", "proxy_pass_request_headers off;"),
    ("proxy_pass_trailers", "proxy_pass_trailers on;"),
    ("proxy_redirect", "proxy_redirect https://fapi.test/ https://own.test/;"),
    ("proxy_request_buffering", "proxy_request_buffering off; proxy_http_version 1.1;"),
    ("proxy_set_header", "proxy_set_header Host own.test; proxy_set_header TE trailers;"),
    ("proxy_socket_keepalive", "proxy_socket_keepalive off;"),
    ("proxy_ssl_name", "proxy_ssl_server_name on; proxy_ssl_name own.test;"),
    ("proxy_ssl_protocols", "proxy_ssl_protocols TLSv1.2;"),
    ("proxy_ssl_server_name", "proxy_ssl_server_name on;"),
    (
        "proxy_ssl_trusted_certificate",
        "proxy_ssl_trusted_certificate ca.pem; proxy_ssl_name localhost;",
    ),
    ("proxy_ssl_verify", "proxy_ssl_verify on; proxy_ssl_trusted_certificate ca.pem;"),
    ("proxy_ssl_verify_depth", "proxy_ssl_verify_depth 0;"),
    ("proxy_store", "proxy_store %DIR%/proxy/stored;"),
    ("sendfile", "sendfile on;"),
    ("ssi", "ssi on; ssi_types *;"),
    ("sub_filter", "sub_filter 34 changed; sub_filter_types *;"),
    ("userid", "userid on;"),
];

/// The directives of the recipe, as its source has them.
fn recipe() -> BTreeSet<&'static str> {
    let (_, lines) = RECIPE.split_once("pub const RECIPE: &[Line] = &[").expect("the recipe");
    let (lines, _) = lines.split_once("\n];").expect("its end");
    let calls = lines.split("contract(").flat_map(|part| part.split("contract_tls("));
    let calls = calls.flat_map(|part| part.split("tuning(")).flat_map(|part| part.split("cache("));
    let calls = calls.skip(1);
    calls.filter_map(|call| call.split('"').nth(1)).collect()
}

/// What stands behind the locations under test: something for each of the directives to change.
fn answer(request: &Request, stream: &mut dyn Stream) -> bool {
    let (status, more, body) = match request.target() {
        "/404" => (404, String::new(), "missing".to_owned()),
        "/header" => (200, format!("X-Long: {}\r\n", "x".repeat(6000)), "long".to_owned()),
        "/redirect" => (302, "Location: https://fapi.test/x\r\n".to_owned(), String::new()),
        "/accel" => (200, "X-Accel-Redirect: /page\r\n".to_owned(), "accel".to_owned()),
        "/large" => (200, String::new(), "large ".repeat(30_000)),
        _ => (200, "Cache-Control: max-age=9\r\n".to_owned(), "0123456789".to_owned()),
    };
    let head = format!(
        "HTTP/1.1 {status} Whatever\r\nServer: theirs\r\nContent-Type: text/html\r\nX-Country: DE\r\n\
         Set-Cookie: a=b; Domain=fapi.test; Path=/\r\nAlt-Svc: h3\r\nStrict-Transport-Security: x\r\n\
         NEL: x\r\nReport-To: x\r\nProxy-Authenticate: x\r\nProxy-Connection: x\r\n\
         X-Accel-Expires: 9\r\nX-Accel-Charset: x\r\n\
         Connection: X-Hop\r\nX-Hop: 1\r\n{more}Content-Length: {}\r\n\r\n",
        body.len()
    );
    let body = if request.line.starts_with("HEAD ") { "" } else { &body };
    stream.write_all((head + body).as_bytes()).is_ok()
}

/// Where the location of `clerk_proxy` stands.
#[derive(Clone, Copy, Debug)]
enum Clerk {
    Nowhere,
    Before,
    After,
}

struct World {
    clerk: [Fapi; 2],
    own: [Fapi; 2],
}

impl World {
    fn new() -> Self {
        let tls = || CA.server(&["localhost", "own.test", "clerk"]);
        let own = [Fapi::start(None, answer), Fapi::start(tls(), answer)];
        Self { clerk: [Fapi::plain(), Fapi::tls()], own }
    }

    /// A server with these settings around the locations.
    fn server(&self, name: &str, settings: &str, clerk: Clerk) -> String {
        let ([plain, tls], [own, own_tls]) = (&self.clerk, &self.own);
        let clerk_proxy = |path: &str, origin: &str, port: u16| {
            format!(
                "location {path}/ {{ clerk_proxy https://app.dev{path} secret_key=%KEY%\n\
                 upstream={origin}:{port}; proxy_ssl_trusted_certificate ca.pem; }}\n"
            )
        };
        let lines = clerk_proxy("/__clerk", "https://localhost", tls.port)
            + &clerk_proxy("/a", "http://127.0.0.1", plain.port);
        let [before, after] = match clerk {
            Clerk::Nowhere => ["", ""],
            Clerk::Before => [lines.as_str(), ""],
            Clerk::After => ["", lines.as_str()],
        };
        format!(
            "server {{ listen 127.0.0.1:%PORT%; server_name {name}; {settings}\n{before}\
             location /own/ {{ proxy_pass http://127.0.0.1:{}/; }}\n\
             location /tls/ {{ proxy_pass https://127.0.0.1:{}/; }}\n\
             location /raw/ {{ rewrite ^/raw(.*)$ $1 break; proxy_pass http://127.0.0.1:{}; }}\n\
             location = /page {{ return 200 page; }} location /file/ {{ alias %DIR%/; }}\n{after}}}\n",
            own.port, own_tls.port, own.port
        )
    }

    /// All that can be seen of these servers by clients and by what stands behind the locations.
    fn seen(&self, http: &str, names: &[String], clerk: Clerk) -> Vec<String> {
        let before =
            self.own.each_ref().map(|fapi| (fapi.requests().len(), fapi.handshakes().len()));
        let http =
            format!("proxy_cache_path %DIR%/cache keys_zone=zone:1m use_temp_path=off;\n{http}");
        let config = Config::new(&http).file("text.html", "a file\n");
        let mut nginx = config.start();
        let mut seen: Vec<String> = Vec::new();
        for name in names {
            seen.push(format!("--- {name}"));
            for reply in exchange(&nginx, name) {
                let headers = reply.headers.iter().filter(|line| is_constant(line));
                let headers: Vec<&str> = headers.map(String::as_str).collect();
                // Error pages of Tengine have a table with the port and the time.
                let text = reply.text();
                let lines = text.split_inclusive('\n').filter(|line| !line.starts_with("<td>"));
                let text: String = lines.collect();
                seen.push(format!("{} {headers:?} {text}", reply.status));
            }
            seen.push(nginx.config.folder.read("proxy/stored"));
            if !matches!(clerk, Clerk::Nowhere) && name != "two" {
                assert_eq!(ask(&nginx, name, "GET /__clerk/x").status, 200, "{name}");
            }
        }
        nginx.stop();
        for (fapi, (requests, handshakes)) in self.own.iter().zip(before) {
            for request in &fapi.requests()[requests..] {
                let Request { sni, line, headers, body, complete, .. } = request;
                seen.push(format!("{sni:?} {line} {headers:?} {} {complete}", body.escape_ascii()));
            }
            let versions = fapi.handshakes().split_off(handshakes);
            seen.push(format!(
                "{:?}",
                versions.iter().map(|(version, _)| version).collect::<Vec<_>>()
            ));
        }
        seen
    }
}

/// Whether a header is the same whenever it is sent.
fn is_constant(line: &str) -> bool {
    !["Date: ", "Last-Modified: ", "ETag: ", "Set-Cookie: uid="]
        .iter()
        .any(|name| line.starts_with(name))
}

fn ask(nginx: &Nginx, name: &str, request: &str) -> Reply {
    let (line, rest) = request.split_once('|').unwrap_or((request, "\r\n"));
    nginx.send(format!("{line} HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n{rest}"))
}

fn exchange(nginx: &Nginx, name: &str) -> Vec<Reply> {
    let long = format!("POST /own/x|Content-Length: 3000\r\n\r\n{}", "b".repeat(3000));
    [
        "GET /own/x?a=%2F&b|Clerk-Secret-Key: mine\r\nClerk-Proxy-Url: mine\r\nX-Forwarded-For: mine\r\n\
         X-Forwarded-Host: mine\r\nX-Forwarded-Proto: mine\r\nTE: trailers\r\nTrailer: x\r\nUpgrade: h2c\r\n\
         Proxy: x\r\nProxy-Connection: x\r\nProxy-Authorization: x\r\nKeep-Alive: x\r\nCookie: a=b\r\n\
         Connection: X-Hop\r\nX-Hop: 1\r\n\r\n",
        "HEAD /own/x",
        "GET /own/x|Range: bytes=2-4\r\n\r\n",
        "POST /own/x|Transfer-Encoding: chunked\r\n\r\n3\r\na=b\r\n0\r\n\r\n",
        &long,
        "GET /own/404",
        "GET /own/header",
        "GET /own/redirect",
        "GET /own/accel",
        "GET /own/large",
        "GET /raw/%2e/a%2Fb//c",
        "GET /tls/x",
        "GET /tls/404",
        "GET /file/text.html",
        "GET /file/none",
        "GET /%2e%2e/x",
    ]
    .map(|request| ask(nginx, name, request))
    .into()
}

fn assert_untouched(world: &World, config: impl Fn(Clerk) -> String, names: &[String]) {
    let without = world.seen(&config(Clerk::Nowhere), names, Clerk::Nowhere);
    for clerk in [Clerk::Before, Clerk::After] {
        let with = world.seen(&config(clerk), names, clerk);
        for (with, without) in with.iter().zip(&without) {
            assert_eq!(with, without, "with clerk_proxy {clerk:?}");
        }
        assert_eq!(with.len(), without.len());
    }
}

/// The settings that this nginx knows.
fn known() -> Vec<(&'static str, &'static str)> {
    let known = |(_, settings): &&(&str, &str)| {
        let zone = "proxy_cache_path cache keys_zone=zone:1m;";
        let (ok, printed) = Config::new(&format!("{zone} {settings}")).check();
        assert!(ok || printed.contains("unknown directive"), "{printed}");
        ok
    };
    OUTER.iter().filter(known).copied().collect()
}

#[test]
fn settings_of_the_server_are_for_all_its_locations() {
    let covered: BTreeSet<&str> = OUTER.iter().map(|(name, _)| *name).collect();
    assert_eq!(covered, recipe(), "each directive of the recipe needs a setting here");
    let world = World::new();
    let mut settings = vec![("default", "")];
    settings.extend(known());
    let names: Vec<String> = settings.iter().map(|(name, _)| name.replace('_', "-")).collect();
    let config = |clerk| -> String {
        let servers = names.iter().zip(&settings);
        servers.map(|(name, (_, settings))| world.server(name, settings, clerk)).collect()
    };
    assert_untouched(&world, config, &names);
}

#[test]
fn settings_of_http_are_for_all_servers() {
    let world = World::new();
    // All together, but each directive once, and none that excludes another.
    let mut seen = BTreeSet::from(["proxy_store"]);
    let lines = known().into_iter().flat_map(|(_, settings)| settings.split_inclusive(';'));
    let lines = lines.filter(|line| {
        let name = line.trim_start().split(' ').next().unwrap_or_default();
        name == "proxy_set_header" || seen.insert(name)
    });
    let settings: String = lines.collect();
    let names = ["one".to_owned(), "two".to_owned()];
    let config = |clerk| {
        let beside = world.server("one", "", clerk);
        format!("{settings}\n{beside}{}", world.server("two", "", Clerk::Nowhere))
    };
    assert_untouched(&world, config, &names);
}
