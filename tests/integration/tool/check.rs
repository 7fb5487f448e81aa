//! tools/clerk-proxy-check against proxies and APIs that misbehave in each of the ways that it tells apart.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rcgen::{date_time_ymd, CertificateParams};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::ServerConfig;
use serde_json::Value;

use crate::kit::documents::{block, blocks};
use crate::kit::fapi::{json, Fapi, Request, Stream, CA};
use crate::kit::harness::{free_port, Config, Folder, Nginx, KEY};
use crate::kit::json_schema::assert_valid;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tools/clerk-proxy-check");
const MAN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tools/clerk-proxy-check.1");
const DOMAIN: &str = "dmn_ofTheTests";

/// A run of the script that is prepared.
struct Run {
    command: Command,
    input: &'static str,
}

/// The script in the system's own shell.
fn script(arguments: &[&str]) -> Run {
    script_in(&["sh"], arguments)
}

fn script_in(shell: &[&str], arguments: &[&str]) -> Run {
    let mut command = Command::new(shell[0]);
    command.args(&shell[1..]).arg(SCRIPT).args(arguments);
    // No proxy of the machine, no key and no other API but those of the test.
    command.env("NO_PROXY", "*").env_remove("CLERK_SECRET_KEY");
    command.env("CLERK_API_URL", "http://127.0.0.1:1");
    Run { command, input: "" }
}

impl Run {
    fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    fn input(mut self, text: &'static str) -> Self {
        self.input = text;
        self
    }

    fn output(mut self) -> (i32, String, String) {
        self.command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.command.spawn().expect("the shell runs");
        // The script may end without a look at it.
        let _ = child.stdin.take().expect("a pipe").write_all(self.input.as_bytes());
        let Output { status, stdout, stderr } = child.wait_with_output().expect("a child");
        let text = |bytes| String::from_utf8(bytes).expect("plain characters");
        (status.code().expect("no signal"), text(stdout), text(stderr))
    }

    /// With `--json`: the exit status, and status and finding of each check.
    fn findings(mut self) -> (i32, BTreeMap<String, String>) {
        self.command.arg("--json");
        let (status, stdout, stderr) = self.output();
        let value: Value = serde_json::from_str(&stdout)
            .unwrap_or_else(|why| panic!("{why} in {stdout:?}, {stderr:?}"));
        assert_valid(&schema(), &value);
        assert_eq!(value["exit_status"], status);
        let word = |check: &Value, name: &str| check[name].as_str().expect("a text").to_owned();
        let checks = value["checks"].as_array().expect("a list").iter().map(|check| {
            let (status, finding) = (word(check, "status"), word(check, "finding"));
            assert!(!word(check, "message").is_empty(), "{check}");
            let bad = ["fail", "warn", "unchecked"].contains(&status.as_str());
            assert_eq!(check["fix"].as_str().is_some_and(|fix| !fix.is_empty()), bad, "{check}");
            (word(check, "check"), format!("{status} {finding}"))
        });
        (status, checks.collect())
    }

    /// Expects these results among others, and this exit status.
    fn expect(self, status: i32, expected: &[(&str, &str)]) {
        let (got, checks) = self.findings();
        for (check, result) in expected {
            assert_eq!(
                checks.get(*check).map_or("none", |result| result),
                *result,
                "{check}: {checks:#?}"
            );
        }
        assert_eq!(got, status, "{checks:#?}");
    }
}

/// That of `--json`, as the documents have it.
fn schema() -> Value {
    serde_json::from_str(block("json", "exit_status")).expect("a schema")
}

/// The Frontend API as the script knows it, for a proxy at this URL with this key.
fn clerk(url: &'static Mutex<String>) -> impl Fn(&Request, &mut dyn Stream) -> bool + Send + Sync {
    move |request, stream| {
        let url = url.lock().unwrap().clone();
        stream.write_all(answer(request, &url).as_bytes()).is_ok()
    }
}

fn error(status: u16, code: &str) -> String {
    let body = format!(
        r#"{{"errors":[{{"message":"m","long_message":"l","code":"{code}"}}],"clerk_trace_id":"{}"}}"#,
        number()
    );
    json(status, &format!("CF-Ray: {}\r\n", number()), &body)
}

/// Another one for each reply.
fn number() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

fn answer(request: &Request, url: &str) -> String {
    let one =
        |name: &str| request.all(name).first().map_or(String::new(), |value| (*value).to_owned());
    match one("Clerk-Secret-Key").as_str() {
        "" => return error(400, "proxy_request_missing_secret_key"),
        KEY => {}
        _ => return error(401, "proxy_request_invalid_secret_key"),
    }
    if one("Clerk-Proxy-Url") != url {
        return error(400, "host_invalid");
    }
    let origin = one("Origin");
    if !origin.is_empty() && !url.starts_with(&origin) {
        return error(400, "origin_invalid");
    }
    if !origin.is_empty() && !one("Authorization").is_empty() {
        return error(400, "origin_authorization_headers_conflict");
    }
    let path = request.target().split('?').next().unwrap_or_default();
    let cookie = format!("CF-Ray: {}\r\nSet-Cookie: __client=eyJhbGciOi; HttpOnly\r\n", number());
    match (request.line.split(' ').next().unwrap_or_default(), path) {
        ("GET", "/v1/environment") => json(
            200,
            &cookie,
            r#"{"auth_config":{"first_factors":["phone_code"]},"display_config":{}}"#,
        ),
        ("GET", "/v1/proxy-health") => json(200, "", "{}"),
        ("GET", "/.well-known/jwks.json") => json(200, "", r#"{"keys":[]}"#),
        ("GET", "/v1/client") => json(200, &cookie, r#"{"response":null,"client":null}"#),
        ("GET", "/npm/@clerk/clerk-js@6/dist/clerk.browser.js") => {
            json(307, "Location: /npm/@clerk/clerk-js@6.40.0/dist/clerk.browser.js\r\n", "")
        }
        ("GET", "/npm/@clerk/clerk-js@6.40.0/dist/clerk.browser.js") => {
            json(200, "", "(()=>{})();").replace("application/json", "application/javascript")
        }
        ("POST", "/v1/me/profile_image") => error(401, "authentication_invalid"),
        _ => error(404, "resource_not_found"),
    }
}

/// nginx with these lines, in which `%FAPI%` is a stand-in of the Frontend API, and the URL of the proxy.
struct Proxy {
    _nginx: Nginx,
    fapi: Fapi,
    url: String,
}

/// The location that is right.
const RIGHT: &str = "location /__clerk/ {\n\
    clerk_proxy http://127.0.0.1:%PORT%/__clerk secret_key=%KEY% upstream=%FAPI%; }";

fn proxy(lines: &str) -> Proxy {
    proxy_with("", lines)
}

/// The same with lines beside the server.
fn proxy_with(http: &str, lines: &str) -> Proxy {
    // Known when nginx has a port.
    let url: &'static Mutex<String> = Box::leak(Box::default());
    let fapi = Fapi::start(None, clerk(url));
    let text = format!("{http}\nserver {{\nlisten 127.0.0.1:%PORT%;\n{lines}\n}}");
    let text = text.replace("%FAPI%", &format!("http://127.0.0.1:{}", fapi.port));
    let nginx = Config::new(&text).start();
    let typed = format!("http://127.0.0.1:{}/__clerk", nginx.port());
    typed.clone_into(&mut url.lock().unwrap());
    Proxy { _nginx: nginx, fapi, url: typed }
}

/// The right location with more in it.
fn right(lines: &str) -> String {
    RIGHT.replace("upstream=%FAPI%;", &format!("upstream=%FAPI%; {lines}"))
}

/// A stand-in of something else than nginx, and the URL of a proxy there.
fn other(
    answer: impl Fn(&Request, &mut dyn Stream) -> bool + Send + Sync + 'static,
) -> (Fapi, String) {
    let fapi = Fapi::start(None, answer);
    let url = format!("http://127.0.0.1:{}/__clerk", fapi.port);
    (fapi, url)
}

/// What the Frontend API says to a request that came through a proxy which is right.
fn proxied(request: &Request) -> String {
    let mut request = request.clone();
    request.line = request.line.replacen("/__clerk", "", 1);
    request.headers.push(format!("Clerk-Secret-Key: {KEY}"));
    let url = format!("http://{}/__clerk", request.one("Host"));
    request.headers.push(format!("Clerk-Proxy-Url: {url}"));
    answer(&request, &url).replace("Location: ", "Location: /__clerk")
}

#[test]
fn all_is_well() {
    let (leaf, key) =
        CA.sign(CertificateParams::new(vec!["app.example".to_owned()]).expect("a name"));
    let url: &'static Mutex<String> =
        Box::leak(Box::new(Mutex::new("https://app.example/__clerk".to_owned())));
    let fapi = Fapi::start(None, clerk(url));
    let config = Config::new(&format!(
        "server {{ listen 127.0.0.1:%PORT% ssl; ssl_certificate app.pem; ssl_certificate_key app.key;\n\
         location /__clerk/ {{ clerk_proxy https://app.example/__clerk secret_key=%KEY%\n\
         upstream=http://127.0.0.1:{}; }} }}",
        fapi.port
    ));
    let nginx = config.file("app.pem", leaf.pem()).file("app.key", key.serialize_pem()).start();
    let ca = nginx.config.folder.path().join("ca.pem").display().to_string();
    let to = format!("app.example:443:127.0.0.1:{}", nginx.port());
    // A slash at the end is what the Dashboard's readers type.
    let arguments = [
        "https://app.example/__clerk/",
        "--cacert",
        &ca,
        "--connect-to",
        &to,
        "--domain-id",
        DOMAIN,
    ];
    for shell in [&["dash"][..], &["busybox", "sh"], &["bash", "--posix"]] {
        script_in(shell, &arguments).expect(
            0,
            &[
                ("name", "skip connect_to"),
                ("certificate", "ok ok"),
                ("path", "ok ok"),
                ("health", "ok ok"),
                ("api", "ok ok"),
                ("cache", "ok ok"),
                ("errors", "ok ok"),
                ("origin", "ok ok"),
                ("keys", "ok ok"),
                ("script", "ok ok"),
                ("large", "ok ok"),
                ("upload", "ok ok"),
                ("clerk", "skip no_key"),
            ],
        );
        let (status, text, _) = script_in(shell, &arguments).output();
        assert_eq!(status, 0, "{text}");
        assert!(text.ends_with("clerk-proxy-check: all is well\n"), "{text}");
        assert!(
            !text.contains("fix") && !text.contains("__client") && !text.contains("eyJ"),
            "{text}"
        );
    }
    let uploads = fapi.requests().into_iter().filter(|request| request.line.starts_with("POST "));
    let sizes: Vec<usize> = uploads.map(|request| request.body.len()).collect();
    assert_eq!(sizes, [2_000_000; 6]);
}

/// Milliseconds differ from run to run, and with them whether the connection seemed warm.
fn without_times(text: &str) -> String {
    let lines = text.lines().map(|line| match line.split_once("first reply after ") {
        Some((front, _)) => format!("{front}first reply"),
        None => line.to_owned(),
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// What the documents show is what the same command prints.
#[test]
fn samples_of_the_documents() {
    let (leaf, key) =
        CA.sign(CertificateParams::new(vec!["app.example".to_owned()]).expect("a name"));
    let url: &'static Mutex<String> =
        Box::leak(Box::new(Mutex::new("https://app.example/__clerk".to_owned())));
    let fapi = Fapi::start(None, clerk(url));
    let samples = blocks("console");
    assert_eq!(samples.len(), 2, "{samples:?}");
    for sample in samples {
        let (command, output) = sample.split_once('\n').expect("a command and its output");
        let lines = if output.contains("all is well") {
            format!(
                "location /__clerk/ {{ clerk_proxy https://app.example/__clerk secret_key=%KEY%\n\
                 upstream=http://127.0.0.1:{}; }}",
                fapi.port
            )
        } else {
            "return 302 https://app.example/login;".to_owned()
        };
        let config = Config::new(&format!(
            "server {{ listen 127.0.0.1:%PORT% ssl; ssl_certificate app.pem;\n\
             ssl_certificate_key app.key; {lines} }}"
        ));
        let nginx = config.file("app.pem", leaf.pem()).file("app.key", key.serialize_pem()).start();
        let command = command.replace("127.0.0.1:443", &format!("127.0.0.1:{}", nginx.port()));
        let words: Vec<&str> = command.split(' ').collect();
        assert_eq!(words[..2], ["$", "clerk-proxy-check"]);
        let ca = nginx.config.folder.path().join("ca.pem").display().to_string();
        let (_, printed, _) = script(&[&["--cacert", &ca], &words[2..]].concat()).output();
        assert_eq!(without_times(&printed), without_times(output), "{printed}");
    }
}

/// A TLS server for this name, until that year.
fn server(name: &str, year: i32) -> Arc<ServerConfig> {
    let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
    params.not_after = date_time_ymd(year, 1, 1);
    let (leaf, key) = CA.sign(params);
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder().with_no_client_auth();
    Arc::new(config.with_single_cert(vec![leaf.der().clone()], key).expect("a certificate"))
}

#[test]
fn names_and_certificates() {
    let folder = Folder::new();
    let ca = folder.write("ca.pem", CA.pem()).display().to_string();
    let run = |url: &str, port: u16| {
        let to = format!("::127.0.0.1:{port}");
        script(&[url, "--cacert", &ca, "--connect-to", &to, "--timeout", "15"])
    };
    for (server, finding) in
        [(server("app.example", 2020), "expired"), (server("other.dev", 4000), "wrong_name")]
    {
        let fapi = Fapi::answering(Some(server), json(200, "", "{}"));
        let expected = format!("fail {finding}");
        run("https://app.example/__clerk", fapi.port).expect(1, &[("certificate", &expected)]);
        assert!(fapi.requests().is_empty());
    }
    // An authority that this machine does not know.
    let fapi = Fapi::answering(Some(server("app.example", 4000)), json(200, "", "{}"));
    let to = format!("::127.0.0.1:{}", fapi.port);
    let run_alone = script(&["https://app.example/__clerk", "--connect-to", &to]);
    run_alone.expect(1, &[("certificate", "fail untrusted")]);
    let plain = Config::server("return 204;").start();
    run("https://app.example/__clerk", plain.port()).expect(1, &[("certificate", "fail no_tls")]);
    run("http://app.example/__clerk", plain.port()).expect(1, &[("certificate", "fail no_https")]);
    run("https://app.example/__clerk", free_port()).expect(1, &[("connection", "fail refused")]);
    // The resolver refuses a label of this length itself; no name server is asked.
    let long = format!("https://{}.dev/__clerk", "a".repeat(64));
    script(&[&long]).expect(1, &[("name", "fail no_address")]);
    let silent = Fapi::start(None, |_, _| {
        thread::sleep(Duration::from_secs(2));
        false
    });
    let url = format!("http://127.0.0.1:{}/__clerk", silent.port);
    script(&[&url, "--timeout", "1"]).expect(1, &[("connection", "fail timeout")]);
    // No certificates are in that file.
    let to = format!("::127.0.0.1:{}", plain.port());
    let run = script(&["https://app.example/__clerk", "--cacert", SCRIPT, "--connect-to", &to]);
    run.expect(3, &[("name", "unchecked curl")]);
}

#[test]
fn what_answers_instead() {
    for (lines, finding) in [
        ("location / { root html; }", "app_404"),
        ("location / { return 200 '<html><title>Shop</title>'; default_type text/html; }", "app_page"),
        ("location / { return 200 '{\"shop\": 1}'; default_type application/json; }", "app_page"),
        ("location / { return 404 '{\"error\": \"not found\"}'; default_type application/json; }", "app_404"),
        ("location / { return 200 '<form><input type=\"password\">'; default_type text/html; }", "login_page"),
        ("location / { return 200 '<title>Sign in</title>'; default_type text/html; }", "login_page"),
        ("return 302 /login?next=$uri;", "login_redirect"),
        ("return 301 https://www.app.example$request_uri;", "redirect"),
        ("add_header cf-mitigated challenge always; return 403 x;", "cdn_challenge"),
        ("location / { return 503 '<title>Just a moment...</title>'; default_type text/html; }", "cdn_challenge"),
        ("location / { return 200 '<script src=/cdn-cgi/challenge-platform/>'; }", "cdn_challenge"),
        ("location / { return 403 'error code: 1000'; }", "edge_headers"),
        ("location / { return 403 '<h1>Error <span>x</span></h1><span class=\"cf-error-code\">1000</span>'; }", "edge_headers"),
        ("location / { return 403 '<title>Direct IP access not allowed</title> Error 1003'; }", "edge_host"),
        ("location / { return 403 'error code: 1020'; }", "blocked"),
        ("location / { return 403 'Error 10001'; }", "blocked"),
        ("deny all;", "blocked"),
        ("auth_basic Shop; auth_basic_user_file /dev/null; root html;", "access_control"),
        ("location / { proxy_pass http://127.0.0.1:1; }", "gateway_error"),
        ("return 410;", "not_clerk"),
        ("return 444;", "no_reply"),
    ] {
        let proxy = proxy(lines);
        let (status, checks) = script(&[&proxy.url]).findings();
        assert_eq!((status, checks["path"].as_str()), (1, format!("fail {finding}").as_str()), "{lines}");
        assert!(!checks.contains_key("api"), "{checks:?}");
        assert!(proxy.fapi.requests().is_empty());
    }
}

#[test]
fn complaints() {
    for (lines, code) in [
        (
            "location /__clerk/ { proxy_pass %FAPI%/; proxy_set_header Clerk-Proxy-Url http://x/__clerk; }",
            "proxy_request_missing_secret_key",
        ),
        (
            "location /__clerk { clerk_proxy http://127.0.0.1:%PORT%/__clerk upstream=%FAPI%\n\
             secret_key=sk_live_other; }",
            "proxy_request_invalid_secret_key",
        ),
        (
            "location /__clerk { clerk_proxy http://localhost/__clerk upstream=%FAPI% secret_key=%KEY%; }",
            "host_invalid",
        ),
        (
            "location /__clerk { clerk_proxy http://$arg_x/__clerk upstream=%FAPI% secret_key=%KEY%; }",
            "proxy_configuration_error",
        ),
        (
            "location /__cl { clerk_proxy http://127.0.0.1:%PORT%/__cl upstream=%FAPI% secret_key=%KEY%; }",
            "proxy_path_mismatch",
        ),
        (
            "location / { clerk_proxy http://127.0.0.1:%PORT% upstream=http://127.0.0.1:1 secret_key=%KEY%; }",
            "proxy_request_failed",
        ),
        (
            "location /__clerk { clerk_proxy http://127.0.0.1:%PORT%/__clerk upstream=%FAPI% secret_key=%KEY%;\n\
             if ($arg__clerk_proxy_check) { return 429; } }",
            "too_many_requests",
        ),
    ] {
        let proxy = proxy(lines);
        let expected = format!("fail {code}");
        script(&[&proxy.url]).expect(1, &[("path", "ok ok"), ("api", &expected), ("errors", "ok ok")]);
    }
}

#[test]
fn origins() {
    // The page is at this host and clerk_proxy at another, with everything else in order.
    let proxy = proxy(
        "location /__clerk { proxy_pass %FAPI%; rewrite ^/__clerk(.*) $1 break;\n\
         proxy_set_header Clerk-Proxy-Url http://127.0.0.1:%PORT%/__clerk;\n\
         proxy_set_header Clerk-Secret-Key %KEY%; proxy_set_header Origin http://other.dev; }",
    );
    script(&[&proxy.url]).expect(1, &[("api", "fail origin_invalid")]);
    // Credentials beside it are something else.
    let conflict = self::proxy(&format!(
        "{RIGHT} location = /__clerk/v1/client {{ return 400\n\
         '{{\"errors\":[{{\"code\":\"origin_authorization_headers_conflict\"}}]}}';\n\
         default_type application/json; }}"
    ));
    let finding = "fail origin_authorization_headers_conflict";
    script(&[&conflict.url]).expect(1, &[("api", "ok ok"), ("origin", finding)]);
    // Only where browsers send one.
    let proxy = self::proxy(&format!(
        "{RIGHT} location = /__clerk/v1/client {{ return 400\n\
         '{{\"errors\":[{{\"code\":\"multiple_origin_header_values_forbidden\"}}]}}';\n\
         default_type application/json; }}"
    ));
    script(&[&proxy.url]).expect(1, &[("api", "ok ok"), ("origin", "fail origin_invalid")]);
}

/// A proxy of the user's own that takes away what browsers and applications say.
#[test]
fn headers_that_are_lost() {
    for (line, finding) in [
        ("Origin \"\"", "warn origin_lost"),
        ("Origin http://127.0.0.1:%PORT%", "warn origin_lost"),
        ("Authorization \"\"", "warn authorization_lost"),
    ] {
        let proxy = proxy(&right(&format!("proxy_set_header {line};")));
        let expected = [("api", "ok ok"), ("origin", finding)];
        script(&[&proxy.url]).expect(0, &expected);
    }
}

/// Locations of the application that take a path from the one with `clerk_proxy`.
#[test]
fn paths_that_others_take() {
    for (lines, check, finding) in [
        ("location ~ /\\. { deny all; }", "keys", "fail blocked"),
        ("location ~ /\\. { root html; }", "keys", "fail app_404"),
        ("location ~ \\.js$ { root html; }", "script", "fail app_404"),
    ] {
        let proxy = proxy(&format!("{RIGHT} {lines}"));
        script(&[&proxy.url]).expect(1, &[("origin", "ok ok"), (check, finding)]);
    }
}

#[test]
fn large_requests() {
    let proxy = proxy(&format!("large_client_header_buffers 4 8k; {RIGHT}"));
    script(&[&proxy.url]).expect(1, &[("origin", "ok ok"), ("large", "fail header_limit")]);
    // Each by itself.
    for is_large in [
        |request: &Request| request.all("Cookie").iter().any(|cookie| cookie.len() > 8000),
        |request: &Request| request.target().len() > 8000,
    ] {
        let (_fapi, url) = other(move |request, stream| {
            let refused = "HTTP/1.1 431 x\r\nContent-Length: 0\r\n\r\n".to_owned();
            let reply = if is_large(request) { refused } else { proxied(request) };
            stream.write_all(reply.as_bytes()).is_ok()
        });
        script(&[&url]).expect(1, &[("origin", "ok ok"), ("large", "fail header_limit")]);
    }
}

#[test]
fn before_the_url_is_enabled() {
    let (_fapi, url) = other(|request, stream| {
        let healthy = request.target() == "/__clerk/v1/proxy-health?domain_id=dmn_ofTheTests";
        let script = request.target().contains("/npm/");
        let reply = if healthy || script { proxied(request) } else { error(400, "host_invalid") };
        stream.write_all(reply.as_bytes()).is_ok()
    });
    script(&[&url]).expect(1, &[("api", "fail host_invalid")]);
    let expected =
        [("api", "warn not_enabled"), ("origin", "skip not_enabled"), ("upload", "ok ok")];
    script(&[&url, "--domain-id", DOMAIN]).expect(0, &expected);
}

#[test]
fn caches() {
    let zone = "proxy_cache_path cache keys_zone=c:1m;";
    // Another layer, that says nothing of itself.
    let before = |lines: &str| {
        format!(
            "large_client_header_buffers 4 16k;\n\
             location / {{ proxy_pass http://unix:%DIR%/inner.sock; proxy_set_header Host $http_host;\n\
             proxy_cache c; proxy_cache_valid any 1m; client_max_body_size 16m; {lines} }} }}\n\
             server {{ listen unix:%DIR%/inner.sock;\n{}",
            right("")
        )
    };
    for (lines, finding) in [
        (before("proxy_ignore_headers Set-Cookie;"), "fail cached"),
        (before(""), "ok ok"),
        (right("proxy_cache c;"), "ok ok"),
        (right("add_header X-Cache HIT;"), "fail cached"),
        (right("add_header Age 31;"), "fail cached"),
        (right("add_header CF-Cache-Status DYNAMIC;"), "ok ok"),
        (right("add_header X-Cache Miss;"), "ok ok"),
        (right("add_header Cache-Control \"public, max-age=60\";"), "fail cacheable"),
        (right("expires 1h;"), "fail cacheable"),
        (right("add_header Cache-Control \"private, max-age=60\";"), "ok ok"),
    ] {
        let proxy = proxy_with(zone, &lines);
        let status = i32::from(finding != "ok ok");
        script(&[&proxy.url]).expect(status, &[("path", "ok ok"), ("cache", finding)]);
    }
}

#[test]
fn errors_that_are_replaced() {
    let proxy = proxy(&right("proxy_intercept_errors on; error_page 401 404 /404.html;"));
    let expected = [("api", "ok ok"), ("errors", "fail replaced")];
    script(&[&proxy.url]).expect(1, &expected);
}

#[test]
fn health() {
    let run = |lines: &str, expected: &str| {
        let proxy = proxy(&format!("{RIGHT} location = /__clerk/v1/proxy-health {{ {lines} }}"));
        let expected = [("api", "ok ok"), ("health", expected)];
        script(&[&proxy.url, "--domain-id", DOMAIN]).expect(1, &expected);
        script(&[&proxy.url]).expect(0, &[("health", "skip no_domain_id")]);
    };
    run("root html;", "fail app_404");
    run("deny all;", "fail blocked");
    run("add_header cf-mitigated challenge always; return 403;", "fail cdn_challenge");
    run("return 200 '<html>'; default_type text/html;", "fail app_page");
}

#[test]
fn clerk_js() {
    let run = |lines: &str, expected: &str| {
        let proxy = proxy(&format!("{RIGHT} location /__clerk/npm/ {{ {lines} }}"));
        script(&[&proxy.url]).expect(1, &[("api", "ok ok"), ("script", expected)]);
    };
    run("return 307 https://frontend-api.clerk.dev/npm/x.js;", "fail redirect_leaves");
    run("return 307 //127.0.0.1/__clerk/x.js;", "fail redirect_leaves");
    run("root html;", "fail app_404");
    run("return 200 '<html>'; default_type text/html;", "fail app_page");
    run(
        "add_header Content-Encoding gzip; return 200 '(()=>{})(); and so on'; default_type text/javascript;",
        "fail bad_encoding",
    );
    run("return 307 $request_uri;", "fail redirect");
}

#[test]
fn uploads() {
    let proxy = proxy(&right("client_max_body_size 1m;"));
    script(&[&proxy.url]).expect(1, &[("api", "ok ok"), ("upload", "fail request_body_too_large")]);
    // Another nginx before it, with the limit that it has by default.
    let front = self::proxy("location /__clerk { proxy_pass %FAPI%; rewrite ^/__clerk(.*) $1 break;\n\
        proxy_set_header Clerk-Proxy-Url http://127.0.0.1:%PORT%/__clerk; proxy_set_header Clerk-Secret-Key %KEY%; }");
    script(&[&front.url]).expect(1, &[("api", "ok ok"), ("upload", "fail body_limit")]);
    let (_fapi, url) = other(|request, stream| {
        let cut = request.line.starts_with("POST");
        !cut && stream.write_all(proxied(request).as_bytes()).is_ok()
    });
    script(&[&url]).expect(1, &[("api", "ok ok"), ("upload", "fail no_reply")]);
}

#[test]
fn times() {
    let slow = || {
        let (_fapi, url) = other(|request, stream| {
            if request.target().contains("/v1/environment") {
                thread::sleep(Duration::from_millis(1200));
            }
            stream.write_all(proxied(request).as_bytes()).is_ok()
        });
        script(&[&url]).expect(0, &[("path", "ok ok"), ("time", "warn slow")]);
    };
    let cold = || {
        let first = AtomicUsize::new(0);
        let (_fapi, url) = other(move |request, stream| {
            if first.fetch_add(1, Ordering::Relaxed) == 0 {
                thread::sleep(Duration::from_secs(3));
            }
            stream.write_all(proxied(request).as_bytes()).is_ok()
        });
        script(&[&url]).expect(0, &[("path", "ok ok"), ("time", "ok cold")]);
    };
    thread::scope(|scope| {
        scope.spawn(slow);
        cold();
    });
}

/// A Backend API with these replies to `POST /v1/proxy_checks` and `PATCH /v1/domains/ID`.
fn backend(check: String, update: String) -> (Fapi, String) {
    let fapi = Fapi::start(None, move |request: &Request, stream: &mut dyn Stream| {
        let reply = match request.line.as_str() {
            "POST /v1/proxy_checks HTTP/1.1" => check.clone(),
            "PATCH /v1/domains/dmn_ofTheTests HTTP/1.1" => update.clone(),
            _ => error(404, "resource_not_found"),
        };
        stream.write_all(reply.as_bytes()).is_ok()
    });
    let url = format!("http://127.0.0.1:{}", fapi.port);
    (fapi, url)
}

fn checked(successful: bool) -> String {
    json(200, "", &format!(r#"{{"object":"proxy_check","id":"x","successful":{successful}}}"#))
}

#[test]
fn clerks_own_check() {
    let proxy = proxy(RIGHT);
    for (reply, status, finding) in [
        (checked(true), 0, "ok ok"),
        (checked(false), 1, "fail invalid_proxy_configuration"),
        (error(401, "clerk_key_invalid"), 1, "fail bad_key"),
        (error(404, "resource_not_found"), 1, "fail unknown_domain"),
        (error(422, "invalid_proxy_configuration"), 1, "fail invalid_proxy_configuration"),
        (error(400, "domain_update_forbidden"), 1, "fail domain_update_forbidden"),
        (error(422, "form_param_invalid"), 1, "fail other_code"),
        (error(429, "too_many_requests"), 3, "unchecked backend_api"),
        (error(500, "internal_error"), 3, "unchecked backend_api"),
        (json(200, "", "{}"), 3, "unchecked backend_api"),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>".to_owned(),
            3,
            "unchecked backend_api",
        ),
        (json(302, "Location: /v1/other\r\n", "{}"), 3, "unchecked backend_api"),
        (String::from("nonsense"), 3, "unchecked backend_api"),
    ] {
        let (fapi, api) = backend(reply, String::new());
        let run = script(&[&proxy.url, "--domain-id", DOMAIN]);
        let run = run.env("CLERK_SECRET_KEY", KEY).env("CLERK_API_URL", &api);
        run.expect(status, &[("upload", "ok ok"), ("clerk", finding)]);
        let request = fapi.only();
        assert_eq!(request.one("Authorization"), format!("Bearer {KEY}"));
        let body: Value = serde_json::from_slice(&request.body).expect("JSON");
        assert_eq!(body, serde_json::json!({ "domain_id": DOMAIN, "proxy_url": proxy.url }));
    }
    let run = script(&[&proxy.url, "--domain-id", DOMAIN]).env("CLERK_SECRET_KEY", KEY);
    run.expect(3, &[("clerk", "unchecked backend_api")]);
}

#[test]
fn enabling() {
    let proxy = proxy(RIGHT);
    let done = json(200, "", &format!(r#"{{"object":"domain","proxy_url":"{}"}}"#, proxy.url));
    let arguments = [&proxy.url, "--domain-id", DOMAIN, "--enable"];
    for (check, update, yes, input, status, finding, asked) in [
        (true, &done, true, "", 0, "ok ok", true),
        (true, &done, false, "y\n", 0, "ok ok", true),
        (true, &done, false, "n\n", 3, "unchecked declined", false),
        (true, &done, false, "", 3, "unchecked declined", false),
        (false, &done, true, "", 1, "skip not_well", false),
        (
            true,
            &error(422, "invalid_proxy_configuration"),
            true,
            "",
            1,
            "fail invalid_proxy_configuration",
            true,
        ),
        (
            true,
            &error(400, "domain_update_forbidden"),
            true,
            "",
            1,
            "fail domain_update_forbidden",
            true,
        ),
        (true, &json(200, "", r#"{"proxy_url":null}"#), true, "", 3, "unchecked backend_api", true),
        (true, &error(503, "x"), true, "", 3, "unchecked backend_api", true),
    ] {
        let (fapi, api) = backend(checked(check), update.clone());
        let mut run = script(&arguments).input(input);
        run = run.env("CLERK_SECRET_KEY", KEY).env("CLERK_API_URL", &api);
        if yes {
            run.command.arg("--yes");
        }
        run.expect(status, &[("enable", finding)]);
        let requests = fapi.requests();
        assert_eq!(requests.len(), 1 + usize::from(asked), "{finding}");
        if let Some(request) = requests.get(1) {
            let body: Value = serde_json::from_slice(&request.body).expect("JSON");
            assert_eq!(body, serde_json::json!({ "proxy_url": proxy.url }));
        }
    }
}

/// Arguments and environment of all processes whose arguments have this text: name, arguments, environment.
fn processes(text: &str) -> Vec<(String, String, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").expect("/proc").flatten() {
        let read = |name: &str| {
            String::from_utf8_lossy(&fs::read(entry.path().join(name)).unwrap_or_default())
                .into_owned()
        };
        let arguments = read("cmdline");
        if arguments.contains(text) {
            found.push((read("comm").trim().to_owned(), arguments, read("environ")));
        }
    }
    found
}

#[test]
fn nobody_sees_the_key() {
    let secret = "sk_live_seenByNobody";
    let domain = "dmn_ofTheProcessList";
    let proxy = proxy(RIGHT);
    for shell in [&["dash"][..], &["busybox", "sh"], &["bash", "--posix"]] {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let list = Arc::clone(&seen);
        let (url, reply) = (proxy.url.clone(), checked(true));
        let fapi = Fapi::start(None, move |request: &Request, stream: &mut dyn Stream| {
            list.lock().unwrap().extend(processes(domain));
            // It says the key wherever it can.
            let all = format!(r#"{{"proxy_url":"{url}","code":"{secret}","x":"{secret}"}}"#);
            let head = format!("X-Key: {secret}\r\nSet-Cookie: a={secret}\r\n");
            let update = json(200, &head, &all);
            let reply = if request.line.starts_with("POST") { &reply } else { &update };
            stream.write_all(reply.as_bytes()).is_ok()
        });
        let arguments = [&proxy.url, "--domain-id", domain, "--enable", "--yes"];
        // Whatever the shell is told to do, and whatever names are exported.
        let run = script_in(shell, &arguments)
            .env("CLERK_SECRET_KEY", secret)
            .env("CLERK_API_URL", &format!("http://127.0.0.1:{}", fapi.port))
            .env("SHELLOPTS", "allexport:xtrace")
            .env("key", "x")
            .env("code", "x");
        let (status, stdout, stderr) = run.output();
        assert_eq!(status, 0, "{stdout}{stderr}");
        assert!(!stdout.contains(secret) && !stderr.contains(secret), "{stdout}{stderr}");
        let seen = seen.lock().unwrap();
        let curls: Vec<_> = seen.iter().filter(|(name, ..)| name == "curl").collect();
        assert!(curls.len() >= 2, "{seen:?}");
        for (name, arguments, environment) in seen.iter() {
            assert!(!arguments.contains(secret), "{name}");
            // The shell was started with the key; what it starts is not.
            assert!(name != "curl" || !environment.contains(secret), "{name}");
        }
        assert!(fapi
            .requests()
            .iter()
            .all(|request| request.one("Authorization").ends_with(secret)));
    }
}

#[test]
fn every_form_of_the_key_is_masked() {
    let proxy = proxy(RIGHT);
    for key in ["sk_live_Abcdefgh1", "live_Abcdefgh1", "sk_live_x-Abcdefgh1_y"] {
        let body = key.trim_start_matches("sk_").trim_start_matches("live_");
        let forms =
            [key, body, &key.to_lowercase(), &body.to_uppercase(), &body.replace('c', "c\u{1}")];
        for form in forms {
            let reply = error(422, &format!("x {form} y")).replace("\"x\"", form);
            let (fapi, api) = backend(reply, String::new());
            let run = script(&[&proxy.url, "--domain-id", DOMAIN]);
            let run = run.env("CLERK_SECRET_KEY", key).env("CLERK_API_URL", &api);
            let (status, stdout, stderr) = run.output();
            assert!(status == 1 && !fapi.requests().is_empty(), "{stdout}{stderr}");
            let printed = format!("{stdout}{stderr}").to_lowercase();
            assert!(!printed.contains(&body.to_lowercase()), "{form}: {printed}");
            // Of another server, and of the user's own words.
            let location = format!("Location: https://app.example/{form}\r\n");
            let (_other, url) = other(move |_, stream| {
                stream.write_all(json(302, &location, "{}").as_bytes()).is_ok()
            });
            let typed = form.replace('\u{1}', "");
            for arguments in [
                &[&*url][..],
                &[&url, "--json"],
                &[&*format!("{url}/{typed}//x")],
                &[&*format!("--{typed}")],
                &[&*format!("{url}/{typed}"), "--json"],
            ] {
                let (_, stdout, stderr) = script(arguments).env("CLERK_SECRET_KEY", key).output();
                let printed = format!("{stdout}{stderr}").to_lowercase();
                assert!(!printed.contains(&body.to_lowercase()), "{arguments:?}: {printed}");
                assert!(printed.contains("(key)"), "{arguments:?}: {printed}");
            }
        }
    }
}

#[test]
fn no_proxy_gets_the_key() {
    let (proxy, spy) = (proxy(RIGHT), Fapi::plain());
    let url = format!("http://127.0.0.1:{}", spy.port);
    let run = script(&[&proxy.url, "--domain-id", DOMAIN]).env("CLERK_SECRET_KEY", KEY);
    // Nothing listens there, and everything but the URL itself would go to the spy.
    let run = run.env("CLERK_API_URL", "http://127.0.0.2:1").env("http_proxy", &url);
    let mut run = run.env("ALL_PROXY", &url).env("no_proxy", "127.0.0.1");
    run.command.env_remove("NO_PROXY");
    run.expect(3, &[("upload", "ok ok"), ("clerk", "unchecked backend_api")]);
    assert!(spy.requests().is_empty());
}

#[test]
fn hostile_replies() {
    let nasty = "\"\\\u{1}\u{7f}\u{fc}\t</x>{}[]$(id)`id`%s%n";
    let key = "sk_live_ofSomebody";
    let big = "x".repeat(30_000_000);
    let replies = [
        json(200, "", &format!("{{\"auth_config\":\"{nasty}\"}}")),
        json(400, "", &format!("{{\"errors\":[{{\"code\":\"{nasty}\"}}]}}")),
        json(400, "", &format!("{{\"errors\":[{{\"code\":\"{key}\"}}]}}")),
        json(302, &format!("Location: https://{key}.dev/{key}?token=eyJhbGciOi.x{nasty}\r\n"), ""),
        json(307, &format!("Set-Cookie: __client={key}\r\nLocation: http://x/{nasty}\r\n"), ""),
        json(400, "", "{\"errors\":[{\"code\":\"a\u{0}b\"}]}"),
        format!("HTTP/1.1 999 {nasty}\r\nContent-Type: {nasty}\r\n\r\n"),
        json(200, &format!("X: {}\r\n", "x".repeat(60_000)), "{}"),
        json(200, "", &format!("{{{big}}}")),
        "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{".to_owned(),
        "nonsense".to_owned(),
        String::new(),
    ];
    for reply in replies {
        let shown = reply.chars().take(200).collect::<String>();
        let (_fapi, url) = other(move |_, stream| {
            let _ = stream.write_all(reply.as_bytes());
            false
        });
        let (status, checks) = script(&[&url, "--timeout", "5"]).findings();
        assert_eq!(status, 1, "{shown}: {checks:?}");
        let (_, stdout, stderr) = script(&[&url, "--timeout", "5"]).output();
        for secret in [key, "__client", "eyJhbGciOi", "\u{1}", "uid="] {
            assert!(
                !stdout.contains(secret) && !stderr.contains(secret),
                "{shown}: {stdout}{stderr}"
            );
        }
        assert_eq!(stderr, "", "{shown}");
    }
}

#[test]
fn urls_are_those_that_the_module_takes() {
    for url in [
        "https://app.example/__clerk",
        "https://app.example/a/b//",
        "https://app.example",
        "http://App.dev:8080/x",
        "https://[::1]:8443/x",
        "https://xn--pp-fka.dev/x",
        "https://1.2.3.4/x",
        "https://app.example./x",
        "app.example/__clerk",
        "/__clerk",
        "ftp://app.example/x",
        "HTTPS://app.example/x",
        "https://",
        "https:///__clerk",
        "https://:443/__clerk",
        "https://u:p@app.example/x",
        "https://@app.example/x",
        "https://app.example/x?y",
        "https://app.example/x?",
        "https://app.example/x#y",
        "https://.app.example/x",
        "https://a..dev/x",
        "https://äpp.dev/x",
        "https://app.example/a/../b",
        "https://app.example/a/..",
        "https://app.example/./b",
        "https://app.example/a//b",
        "https://app.example/a%20b",
        "https://app.example/a|b'c(d)",
        "https://app.example:99999/x",
        "https://app.example:0/x",
        "https://app.example:/x",
        "https://2/x",
        "https://0x7f.1:80/x",
        "https://1.2.3.256/x",
        "https://1.2.3.04/x",
        "https://[zz]/x",
        "https://[::1/x",
        "https://::1/x",
        "https://app.example/<x>",
        "https://a_b.dev/x",
    ] {
        let config =
            Config::server(&format!("location ~ ^ {{ clerk_proxy \"{url}\" secret_key=%KEY%; }}"));
        let (taken, printed) = config.check();
        // Nothing is asked for: a port where nothing listens stands for all.
        let (status, stdout, stderr) = script(&[url, "--connect-to", "::127.0.0.1:1"]).output();
        assert_eq!(status, if taken { 1 } else { 2 }, "{url}: {stdout}{stderr}{printed}");
    }
}

#[test]
fn usage() {
    let url = "https://app.example/__clerk";
    for arguments in [
        &[][..],
        &[url, url],
        &[url, "--nonsense"],
        &[url, "--timeout"],
        &[url, "--timeout", "0"],
        &[url, "--timeout=x"],
        &[url, "--domain-id", "a/b"],
        &[url, "--domain-id", "a\"b"],
        &[url, "--cacert", "/nonexistent"],
        &[url, "--cacert", "/"],
        &[url, "--domain-id="],
        &[url, "--domain-id", "", "--json"],
        &[url, "--domain-id", "--enable"],
        &["--json=yes", url],
        &["https://app.example/__clerk\n"],
        &[url, "--cacert", "/dev/null\nproxy = http://127.0.0.1:1"],
        &[url, "--connect-to", "a:1:b:2\n-o"],
        &[url, "--domain-id", "dmn_x\u{1b}[2J"],
        &[url, "--\u{7f}"],
        &[url, "--yes"],
        &[url, "--connect-to", "127.0.0.1:443"],
        &[url, "--connect-to", "app.example:443:127.0.0.1"],
        &[url, "--connect-to", "app.example:443:::1:443"],
        &[url, "--connect-to", "app.example:x:127.0.0.1:443"],
        &[url, "--enable"],
        &[url, "--enable", "--domain-id", DOMAIN],
    ] {
        let (status, stdout, stderr) = script(arguments).output();
        assert_eq!((status, stdout.as_str()), (2, ""), "{arguments:?}: {stderr}");
        // One sentence, or without a URL what can be typed.
        assert_eq!(stderr.lines().count() == 1, !arguments.is_empty(), "{arguments:?}: {stderr}");
    }
    for (name, value) in [
        ("CLERK_SECRET_KEY", "sk_test_ofTheTests"),
        ("CLERK_SECRET_KEY", "pk_live_ofTheTests"),
        ("CLERK_SECRET_KEY", "sk_live_of\"The\nTests"),
        ("CLERK_API_URL", "api.clerk.com"),
        // The key would be readable on the way.
        ("CLERK_API_URL", "http://api.clerk.com"),
        ("CLERK_API_URL", "http://localhost:1"),
        ("CLERK_API_URL", "http://[::1]:1"),
        ("CLERK_API_URL", "http://127.example.com"),
        ("CLERK_API_URL", "http://127.0.0.1.example.com"),
        ("CLERK_API_URL", "http://127.0.0.1.:1"),
        ("CLERK_API_URL", "http://128.0.0.1:1"),
        ("CLERK_API_URL", "http://127.0.0.1:1\n"),
        ("CLERK_API_URL", "http://127.0.0.1@example.com"),
    ] {
        let (status, _, stderr) = script(&[url, "--domain-id", DOMAIN]).env(name, value).output();
        assert_eq!(status, 2, "{value}");
        assert!(stderr.contains(name) && !stderr.contains("ofTheTests"), "{stderr}");
    }
    assert_eq!(script(&["--help"]).output().0, 0);
    let version = format!("clerk-proxy-check {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(script(&["--version"]).output(), (0, version, String::new()));
}

#[test]
fn the_man_page_has_all_options_and_findings() {
    let man = fs::read_to_string(MAN).expect("the man page").replace("\\-", "-");
    let (_, help, _) = script(&["--help"]).output();
    for option in
        help.split(|c: char| c.is_whitespace() || c == ',').filter(|word| word.starts_with("--"))
    {
        assert!(man.contains(option), "{option}");
    }
    let text = fs::read_to_string(SCRIPT).expect("the script");
    let table = text
        .split("cat <<END\n")
        .nth(1)
        .and_then(|rest| rest.split("\nEND\n").next())
        .expect("the table");
    // What the shell puts into a message stands in italics there.
    let words = [
        ("$(header cache-control)", "VALUE"),
        ("$(tail -n 1 \"$dir/error\" | clean)", "MESSAGE"),
        ("${code-}", "CODE"),
        ("$authority", "HOST:PORT"),
        ("$host", "HOST"),
        ("$timeout", "SECONDS"),
        ("$curl_exit", "STATUS"),
        ("$status", "STATUS"),
        ("$redirect", "ADDRESS"),
        ("$domain_id", "ID"),
        ("$url", "URL"),
        ("$api", "API"),
    ];
    let shown = |text: &str| {
        let filled = words.iter().fold(text.to_owned(), |text, (variable, word)| {
            text.replace(variable, &format!("\\fI{word}\\fR"))
        });
        filled.replace("\\$", "$")
    };
    let lines: Vec<&str> = table.lines().collect();
    let expected: Vec<String> = lines
        .chunks(2)
        .map(|lines| {
            let (name, message) = lines[0].split_once(' ').expect("a message");
            format!(".B {name} {} .br fix:{}", shown(message), shown(lines[1]))
        })
        .collect();
    let (_, findings) = man.split_once("\n.SH FINDINGS\n").expect("the section");
    let (findings, _) = findings.split_once("\n.SH ").expect("an end");
    let printed = findings.split("\n.TP\n").skip(1);
    let printed: Vec<String> =
        printed.map(|text| text.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(printed, expected);
}
