//! Every nginx configuration of the documents passes `nginx -t`, and those for several domains, behind CDNs and
//! for caches do what the documents say of them.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command};

use crate::kit::assert::assert_json;
use crate::kit::connect_proxy::ConnectProxy;
use crate::kit::documents::{block, blocks, page, PAGES};
use crate::kit::domains::{ask, tenant};
use crate::kit::fapi::{json, Fapi, CA};
use crate::kit::harness::{free_port, has, Config, Nginx, KEY};

const SNIPPET: &str = include_str!("../../../nginx/clerk-proxy.conf");

/// Puts what a block expects to find around it, and this machine's things in place of the reader's.
fn config(block: &str) -> Config {
    let text = block
        .replace("listen 443 ssl;", "listen 127.0.0.1:%PORT%;")
        .replace("listen 80", "listen 127.0.0.1:%PORT%")
        .replace("file:/etc/nginx/clerk_secret_key", "file:clerk_secret_key")
        .replace("/var/cache/", "%DIR%/")
        .replace("server frontend-api.clerk.dev:443", "server 127.0.0.1:443")
        .replace("/var/log/nginx", "logs");
    let text = if has("proxy_pass_trailers") {
        text
    } else {
        text.replace("    proxy_pass_trailers on;\n", "")
    };
    // The harness has that line with the path of the module under test.
    let text = text.replace("load_module modules/ngx_http_clerk_proxy_module.so;\n", "");
    let http = if let Some((_, rest)) = text.split_once("http {") {
        rest.trim_end().strip_suffix('}').expect("the end of http {}").to_owned()
    } else if text.lines().any(|line| line.starts_with("upstream ") || line.starts_with("server "))
    {
        text
    } else {
        let listen = if text.contains("PRIVATE_NAME") { "" } else { "listen 127.0.0.1:%PORT%;\n" };
        format!("upstream PRIVATE_NAME {{ server 127.0.0.1:1; }} server {{\n{listen}{text}\n}}")
    };
    Config::new(&http).file("clerk_secret_key", KEY).env("CLERK_SECRET_KEY", KEY)
}

/// Runs a block whose `clerk_proxy` lines reach a stand-in.
fn started(block: &str, fapi: &Fapi) -> Nginx {
    let upstream = format!("clerk_proxy_upstream http://127.0.0.1:{};", fapi.port);
    let block = match block.split_once("http {") {
        Some((front, rest)) => format!("{front}http {{\n{upstream}{rest}"),
        None if block.contains("server {") => format!("{upstream}\n{block}"),
        None => format!("{block}\n{upstream}"),
    };
    config(&block).start()
}

/// The block without the lines that begin with one of these words.
fn without(block: &str, words: &[&str]) -> String {
    let stays = |line: &&str| !words.iter().any(|word| line.trim_start().starts_with(word));
    let kept: Vec<&str> = block.lines().filter(stays).collect();
    assert!(kept.len() < block.lines().count(), "{words:?} in {block}");
    kept.join("\n")
}

/// What arrives as the client's address when nginx with this block gets these bytes and header lines.
fn address(block: &str, front: &str, headers: &str) -> String {
    let fapi = Fapi::plain();
    let nginx = started(block, &fapi);
    let head = "GET /__clerk/v1 HTTP/1.1\r\nHost: app.example\r\nConnection: close\r\n";
    let reply = nginx.send(format!("{front}{head}{headers}\r\n"));
    assert_eq!(reply.status, 200, "{block}");
    let request = fapi.only();
    assert_eq!(tenant(&request), ["https://app.example/__clerk", KEY, "app.example", "https"]);
    request.one("X-Forwarded-For").to_owned()
}

#[test]
fn blocks_of_the_documents() {
    assert!(blocks("nginx").len() >= 15, "the documents have lost their configurations");
    for page in PAGES.iter() {
        for block in page.blocks("nginx") {
            let (ok, printed) = config(block).check();
            assert!(ok, "{}: {block}\n{printed}", page.path.display());
        }
    }
}

#[test]
fn the_snippet() {
    let (ok, printed) = config(SNIPPET).check();
    assert!(ok, "{printed}");
    assert_eq!(address(SNIPPET, "", ""), "127.0.0.1");
}

#[test]
fn the_readme_starts_with_what_works() {
    let first = page("README.md").blocks("nginx")[0];
    assert_eq!((first.lines().count(), SNIPPET.contains(first)), (3, true), "{first}");
    assert_eq!(address(first, "", "X-Forwarded-For: 6.6.6.6\r\n"), "127.0.0.1");
}

#[test]
fn a_block_of_the_users_own() {
    let reply = json(200, "", r#"{"ok":true}"#);
    let fapi = Fapi::answering(Some(CA.server(&["frontend-api.clerk.dev"])), reply);
    let server = format!("server 127.0.0.1:{}", fapi.port);
    let block = block("nginx", "upstream=https://clerk_fapi");
    let config = config(&block.replace("server frontend-api.clerk.dev:443", &server));
    let ca = config.folder.path().join("ca.pem");
    let nginx = config.env("SSL_CERT_FILE", &ca.to_string_lossy()).start();
    assert_eq!(nginx.get("/__clerk/v1").status, 200);
    let request = fapi.only();
    assert_eq!(request.one("Host"), "frontend-api.clerk.dev");
    assert_eq!(request.sni.as_deref(), Some("frontend-api.clerk.dev"));
    assert_eq!(request.one("Clerk-Secret-Key"), KEY);
}

/// The tunnel of the guide, as its unit starts it.
struct Tunnel {
    child: Child,
    port: u16,
}

impl Tunnel {
    fn start(proxy: &ConnectProxy) -> Self {
        let port = free_port();
        let mut commands =
            block("ini", "socat").lines().filter_map(|line| line.strip_prefix("ExecStart="));
        let command =
            commands.next().expect("a command").replace("LISTEN:8443", &format!("LISTEN:{port}"));
        let command = command.replace("proxy.example", "127.0.0.1");
        let command = command.replace("proxyport=3128", &format!("proxyport={}", proxy.port));
        let (program, arguments) = command.split_once(' ').expect("arguments");
        let child = Command::new(program).args(arguments.split(' ')).spawn().expect("socat runs");
        Self { child, port }
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("a child");
    }
}

#[test]
fn through_an_http_proxy() {
    let reply = || json(200, "", r#"{"ok":true}"#);
    let clerk = Fapi::answering(Some(CA.server(&["frontend-api.clerk.dev"])), reply());
    let impostor = Fapi::answering(Some(CA.server(&["proxy.example"])), reply());
    for (to, said) in [
        (Some(clerk.port), ""),
        (Some(impostor.port), "upstream SSL certificate does not match \"frontend-api.clerk.dev\""),
        (None, "peer closed connection in SSL handshake"),
    ] {
        let proxy = ConnectProxy::start(to);
        let tunnel = Tunnel::start(&proxy);
        let block = block("nginx", "upstream=https://clerk_tunnel");
        let config =
            config(&block.replace("127.0.0.1:8443", &format!("127.0.0.1:{}", tunnel.port)));
        let ca = config.folder.path().join("ca.pem");
        let mut nginx = config.env("SSL_CERT_FILE", &ca.to_string_lossy()).start();
        nginx.until("socat listens", |_| TcpStream::connect(("127.0.0.1", tunnel.port)).is_ok());
        if said.is_empty() {
            let replies = [(); 3].map(|()| nginx.get("/__clerk/v1").status);
            assert_eq!(replies, [200; 3]);
        } else {
            assert_json(&nginx.get("/__clerk/v1"), 502, "proxy_request_failed");
            assert!(nginx.error_log().contains(said), "{}", nginx.error_log());
        }
        let asked = proxy.asked();
        assert!(!asked.is_empty());
        assert!(asked
            .iter()
            .all(|line| line.starts_with("CONNECT frontend-api.clerk.dev:443 HTTP/1.")));
    }
    let requests = clerk.requests();
    assert_eq!((requests.len(), impostor.requests().len()), (3, 0));
    for request in requests {
        assert_eq!(request.one("Host"), "frontend-api.clerk.dev");
        assert_eq!(request.sni.as_deref(), Some("frontend-api.clerk.dev"));
        assert_eq!(request.one("Clerk-Secret-Key"), KEY);
        assert_eq!(request.connection, clerk.requests()[0].connection, "it is used again");
    }
}

#[test]
fn caching_the_scripts() {
    let reply = json(200, "Cache-Control: max-age=600\r\n", "script");
    let fapi = Fapi::answering(None, reply);
    let nginx = started(block("nginx", "proxy_cache clerk;"), &fapi);
    for (target, requests) in [("npm/x.js", 1), ("npm/x.js", 1), ("v1/client", 2), ("v1/client", 3)]
    {
        assert_eq!(ask(&nginx, "app.example", &format!("/__clerk/{target}")).text(), "script");
        assert_eq!(fapi.requests().len(), requests, "{target}");
    }
}

const CLOUDFLARE: &str = "set_real_ip_from 173.245.48.0/20;";

#[test]
fn behind_cloudflare() {
    let block = block("nginx", CLOUDFLARE);
    let near = block.replace(CLOUDFLARE, "set_real_ip_from 127.0.0.0/8;");
    let forged = "X-Forwarded-For: 6.6.6.6\r\n";
    for client in ["203.0.113.9", "2001:db8::9"] {
        let headers = format!("CF-Connecting-IP: {client}\r\n{forged}");
        assert_eq!(address(&near, "", &headers), client);
        // All users count as one.
        let bare = without(&near, &["set_real_ip_from", "real_ip_header"]);
        assert_eq!(address(&bare, "", &headers), "127.0.0.1");
        let half = without(&near, &["real_ip_header"]);
        assert_eq!(address(&half, "", &headers), "127.0.0.1");
        // Who is not Cloudflare is not believed.
        assert_eq!(address(block, "", &headers), "127.0.0.1");
    }
    assert_eq!(address(&near, "", forged), "127.0.0.1");
}

#[test]
fn behind_cloudfront() {
    let block = block("nginx", "$http_cloudfront_viewer_address;");
    let bare = without(block, &["clerk_proxy_client_ip"]);
    for (viewer, client) in [
        ("203.0.113.9:50000", "203.0.113.9"),
        ("2001:db8::9:50000", "2001:db8::9"),
        ("2001:db8::9:443", "2001:db8::9"),
    ] {
        let forged = "X-Forwarded-For: 6.6.6.6, 203.0.113.9\r\n";
        let headers = format!("CloudFront-Viewer-Address: {viewer}\r\n{forged}");
        assert_eq!(address(block, "", &headers), client);
        assert_eq!(address(&bare, "", &headers), "127.0.0.1");
        // It was not added to the origin request policy.
        assert_eq!(address(block, "", forged), "127.0.0.1");
        // A variable of another name takes the port for a part of the address, or the whole for none.
        let other = block.replace("$http_cloudfront", "$http_other");
        let headers = format!("Other-Viewer-Address: {viewer}\r\n");
        assert_eq!(address(&other, "", &headers) == client, viewer.contains('.'));
    }
}

#[test]
fn behind_a_load_balancer_of_layer_4() {
    let block = block("nginx", "listen 80 proxy_protocol;").replace("10.0.0.0/8", "127.0.0.0/8");
    let forged = "X-Forwarded-For: 6.6.6.6\r\n";
    for (family, client) in [("TCP4", "203.0.113.9"), ("TCP6", "2001:db8::9")] {
        let front = format!("PROXY {family} {client} {client} 50000 443\r\n");
        assert_eq!(address(&block, &front, forged), client);
        let bare = without(&block, &["set_real_ip_from", "real_ip_header"]);
        assert_eq!(address(&bare, &front, forged), "127.0.0.1");
        // One of the two sides does not speak it.
        let fapi = Fapi::plain();
        let deaf = started(&block.replace("80 proxy_protocol;", "80;"), &fapi);
        let reply = deaf.send(format!("{front}GET /__clerk/v1 HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert_eq!(reply.status, 400);
        assert!(is_ignored(&started(&block, &fapi), "app.example"));
        assert!(fapi.requests().is_empty());
    }
}

#[test]
fn in_kubernetes() {
    let block = block("nginx", "real_ip_recursive on;").replace("10.0.0.0/8", "127.0.0.0/8");
    let headers = "X-Forwarded-For: 6.6.6.6, 203.0.113.9, 127.0.0.7\r\n";
    assert_eq!(address(&block, "", headers), "203.0.113.9");
    let near = without(&block, &["real_ip_recursive"]);
    assert_eq!(address(&near, "", headers), "127.0.0.7");
    let bare = without(&block, &["set_real_ip_from", "real_ip"]);
    assert_eq!(address(&bare, "", headers), "127.0.0.1");
}

/// The server that the guide wants beside those of several domains.
fn with_default_server(block: &str) -> String {
    let line = "listen 80 default_server; return 444;";
    assert!(page("docs/guide.md").text.contains(line));
    format!("{block}\nserver {{ {line} }}")
}

/// Whether nginx closes without a word.
fn is_ignored(nginx: &Nginx, host: &str) -> bool {
    let mut stream = nginx.connect();
    let request = format!("GET /__clerk/v1 HTTP/1.1\r\nHost: {host}\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("nginx reads");
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("an end");
    bytes.is_empty()
}

#[test]
fn several_domains() {
    let block = block("nginx", "map $host $clerk_key");
    let expected = [
        ("app.example", "https://app.example/__clerk", "sk_live_KEY_OF_APP"),
        ("shop.example", "https://shop.example/__clerk", "sk_live_KEY_OF_SHOP"),
    ];
    for text in [block.to_owned(), with_default_server(block)] {
        let fapi = Fapi::plain();
        let nginx = started(&text, &fapi);
        for (index, (host, url, key)) in expected.into_iter().enumerate() {
            assert_eq!(ask(&nginx, host, "/__clerk/v1").status, 200);
            assert_eq!(tenant(&fapi.wait_for(index + 1)[index])[..3], [url, key, host]);
        }
        if text == block {
            let reply = ask(&nginx, "evil.example", "/__clerk/v1");
            assert_json(&reply, 500, "proxy_configuration_error");
        } else {
            assert!(is_ignored(&nginx, "evil.example"));
        }
        assert_eq!(fapi.requests().len(), 2);
    }
    // One key for all: the second domain's users are looked for in the first one's instance.
    let fapi = Fapi::plain();
    let nginx = started(&block.replace(" secret_key=$clerk_key", ""), &fapi);
    assert_eq!(ask(&nginx, "shop.example", "/__clerk/v1").status, 200);
    assert_eq!(tenant(&fapi.only())[..2], ["https://shop.example/__clerk", KEY]);
    // One URL for all: redirects and cookies are those of the first domain.
    let fapi = Fapi::plain();
    let nginx = started(&block.replace("https://$host/", "https://app.example/"), &fapi);
    assert_eq!(ask(&nginx, "shop.example", "/__clerk/v1").status, 200);
    assert_eq!(tenant(&fapi.only())[..2], ["https://app.example/__clerk", "sk_live_KEY_OF_SHOP"]);
}

#[test]
fn satellites() {
    let block = block("nginx", "satellite.example");
    let fapi = Fapi::plain();
    let nginx = started(&with_default_server(block), &fapi);
    for (index, host) in ["app.example", "satellite.example"].into_iter().enumerate() {
        assert_eq!(ask(&nginx, host, "/__clerk/v1").status, 200);
        let url = format!("https://{host}/__clerk");
        let request = &fapi.wait_for(index + 1)[index];
        assert_eq!(tenant(request), [url.as_str(), KEY, host, "https"]);
    }
    assert!(is_ignored(&nginx, "evil.example"));
    assert_eq!(fapi.requests().len(), 2);
    // Without that server whatever a client says is sent, beside the key.
    let fapi = Fapi::plain();
    let nginx = started(block, &fapi);
    assert_eq!(ask(&nginx, "evil.example", "/__clerk/v1").status, 200);
    assert_eq!(tenant(&fapi.only())[..2], ["https://evil.example/__clerk", KEY]);
}

/// What the text says of the log: a reply with its upstream, and one of nginx's own.
#[test]
fn logs() {
    let fapi = Fapi::plain();
    let nginx = started(block("nginx", "log_format clerk"), &fapi);
    assert_eq!(nginx.get("/__clerk/v1/client?__session=secret").status, 200);
    assert_eq!(nginx.get("/__clerk/../x").status, 404);
    let log = nginx.config.folder.read("logs/clerk.log");
    let (front, rest) = log.split_once(" upstream ").expect("a line");
    assert!(
        front.starts_with("127.0.0.1 [") && front.contains("] \"GET /__clerk/v1/client\" 200 0.")
    );
    assert!(rest.starts_with(&format!("127.0.0.1:{} 200 connect 0.", fapi.port)), "{log}");
    assert_eq!((log.lines().count(), log.contains("secret")), (1, false), "{log}");
}

#[test]
fn the_host_is_that_of_the_origin() {
    let fapi = Fapi::plain(); // a stand-in of the Frontend API, without TLS
    let nginx = Config::server(&format!(
        "location /__clerk/ {{ clerk_proxy https://app.example/__clerk secret_key=%KEY%\n\
         upstream=http://127.0.0.1:{}; }}",
        fapi.port
    ))
    .start(); // ends with the test, which then looks at its error log
    assert_eq!(nginx.get("/__clerk/v1/client").status, 200);
    let request = fapi.only(); // the only request that has arrived
    assert_eq!(request.one("Host"), format!("127.0.0.1:{}", fapi.port));
}

/// What a reader may paste names no domain that somebody owns.
#[test]
fn examples_are_of_nobodys_domain() {
    let files = [
        SNIPPET,
        include_str!("../../../nginx/by-hand.conf"),
        include_str!("../../../tools/clerk-proxy-check.1"),
    ];
    let pages = PAGES.iter().map(|page| page.text.as_str());
    for text in pages.chain(files) {
        assert!(!text.contains("app.dev"), "{text}");
    }
}

/// What the page on neighbours promises of its blocks; none of them has a warning.
#[test]
fn neighbours() {
    for block in page("docs/beside.md").blocks("nginx") {
        let (ok, printed) = config(block).check();
        // Of this machine.
        let known = ["can be read by every user", "host not found in upstream"];
        let mut warnings = printed.lines().filter(|line| line.contains("[warn]"));
        let all_known = warnings.all(|line| known.iter().any(|known| line.contains(known)));
        assert!(ok && all_known, "{block}\n{printed}");
    }
    let of = |text: &str| page_block("docs/beside.md", text);
    let (fapi, get) = (Fapi::plain(), |nginx: &Nginx, target: &str| nginx.get(target));
    let assets = started(
        &of("try_files $uri /index.html;\n    }\n\n    location ^~")
            .replace("/var/www/app", "%DIR%"),
        &fapi,
    );
    for target in ["/__clerk/npm/x.js", "/__clerk/.well-known/jwks.json"] {
        let reply = get(&assets, target);
        assert_eq!((reply.status, reply.all("Cache-Control").len()), (200, 0), "{target}");
    }
    assert_eq!([get(&assets, "/x.js").status, get(&assets, "/.env").status], [404, 403]);

    let staging = of("auth_basic \"Staging\"").replace("/etc/nginx/staging_passwords", "passwords");
    let staging = started(&staging, &fapi);
    let head = "GET /__clerk/v1/client HTTP/1.1\r\nHost: app.example\r\nConnection: close\r\n";
    let reply = staging.send(format!("{head}Authorization: Basic eDp5\r\n\r\n"));
    assert_eq!((reply.status, get(&staging, "/").status), (200, 401));
    assert!(fapi.requests().last().expect("a request").all("Authorization").is_empty());

    let headers = started(&of("X-Request-Id"), &fapi);
    let reply = get(&headers, "/__clerk/v1/client");
    assert_eq!(reply.all("Strict-Transport-Security").len(), 1);
    assert!(reply.all("Cache-Control").is_empty());
    let last = fapi.requests().pop().expect("a request");
    assert!(last.all("Authorization").is_empty() && last.one("X-Request-Id").len() == 32);

    let maintenance = of("/etc/nginx/maintenance").replace("/var/www/app", "%DIR%");
    let maintenance =
        started(&maintenance.replace("/etc/nginx/maintenance", "%DIR%/ca.pem"), &fapi);
    maintenance.config.folder.write("maintenance.html", "soon");
    assert_eq!(
        [get(&maintenance, "/").status, get(&maintenance, "/__clerk/v1").status],
        [503, 200]
    );

    let limited = started(&of("limit_req_status"), &fapi);
    let statuses: Vec<u16> =
        (0..40).map(|_| get(&limited, "/__clerk/v1/client/sign_ins").status).collect();
    assert!(
        statuses[..20].iter().all(|&status| status == 200) && statuses.contains(&429),
        "{statuses:?}"
    );
    assert_eq!(get(&limited, "/__clerk/v1/client").status, 200);
}

/// The only nginx block of a page that contains this text.
fn page_block(path: &str, text: &str) -> String {
    let mut found = page(path).blocks("nginx").into_iter().filter(|block| block.contains(text));
    let block = found.next().expect("a block");
    assert!(found.next().is_none(), "{text}");
    block.to_owned()
}
