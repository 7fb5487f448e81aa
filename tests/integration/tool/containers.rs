//! The files for containers: they do what they say, and agree with each other and with the documents.

use std::fs;
use std::process::Command;

use crate::kit::container::{admitted, after, image, memory_limit, sysctls, variables};
use crate::kit::container::{COMPOSE, DOCKERFILE, MANIFEST, NGINX, TEMPLATE};
use crate::kit::documents::page;
use crate::kit::fapi::Fapi;
use crate::kit::harness::{Config, KEY};

const LOCATION: &str = include_str!("../../../packaging/compose/location.conf");
const APPLICATION: &str = include_str!("../../../packaging/compose/application.conf");
const SCRIPT: &str = include_str!("../../../packaging/docker/40-clerk-proxy.sh");
const STAND_IN: &str = include_str!("../../../packaging/compose/stand-in.conf");

/// One of the other two services of the compose file, on this machine.
fn service(text: &str) -> Config {
    let (_, http) = text.split_once("http {").expect("http {");
    let http = http.trim_end().strip_suffix('}').expect("its end");
    assert!(http.contains("listen 8080;"));
    Config::new(&http.replace("listen 8080;", "listen 127.0.0.1:%PORT%;"))
}

#[test]
fn the_compose_file() {
    let application = service(APPLICATION).start();
    let stand_in = service(STAND_IN).start();
    let url = after(COMPOSE, "CLERK_PROXY_URL: ");
    let upstream = after(COMPOSE, "CLERK_PROXY_UPSTREAM: ");
    assert_eq!(upstream, "http://stand-in:8080");
    let upstream = format!("http://127.0.0.1:{}", stand_in.port());
    let config = image(&[("CLERK_PROXY_URL", url), ("CLERK_PROXY_UPSTREAM", &upstream)]);
    let there = LOCATION
        .replace("http://application:8080", &format!("http://127.0.0.1:{}", application.port()));
    assert_ne!(there, LOCATION);
    fs::create_dir(config.folder.path().join("server.d")).expect("a folder");
    // What the documents say of the key.
    let config = config.file("clerk_secret_key", "sk_live_x");
    let nginx = config.file("server.d/location.conf", there).start();
    assert_eq!(nginx.get("/").text(), "<title>The application</title>\n");
    assert_eq!(
        nginx.get("/__clerk/v1/client?a=b").text(),
        "{\"path\":\"/v1/client\",\"proxy_url\":\"https://app.example/__clerk\",\
         \"secret_key\":\"a live key\",\"client\":\"127.0.0.1\"}\n"
    );
    assert_eq!(nginx.get("/healthz").status, 204);
    for name in ["application", "stand-in", "location"] {
        assert!(COMPOSE.contains(&format!("./{name}.conf:/etc/nginx/")), "{name}");
    }
}

#[test]
fn the_image_believes_who_is_trusted() {
    for (trusted, client) in [("127.0.0.0/8", "203.0.113.9"), ("192.0.2.1", "127.0.0.1")] {
        let fapi = Fapi::plain();
        let upstream = format!("http://127.0.0.1:{}", fapi.port);
        let nginx = image(&[
            ("CLERK_PROXY_URL", "https://app.example/auth"),
            ("CLERK_PROXY_PATH", "/auth/"),
            ("CLERK_PROXY_UPSTREAM", &upstream),
            ("CLERK_PROXY_TRUSTED", trusted),
        ])
        .start();
        let head = "GET /auth/v1 HTTP/1.1\r\nHost: app.example\r\nConnection: close\r\n";
        let reply = nginx.send(format!("{head}X-Forwarded-For: 203.0.113.9\r\n\r\n"));
        assert_eq!(reply.status, 200);
        let request = fapi.only();
        assert_eq!(request.one("X-Forwarded-For"), client);
        assert_eq!(request.one("Clerk-Proxy-Url"), "https://app.example/auth");
        assert_eq!(request.one("Clerk-Secret-Key"), KEY);
    }
}

/// Names of variables in a text.
fn named(text: &str) -> Vec<&str> {
    let is_name = |c: char| c.is_ascii_uppercase() || c == '_';
    text.split(|c| !is_name(c)).filter(|word| word.starts_with("CLERK_")).collect()
}

#[test]
fn variables_that_there_are() {
    let known = variables();
    assert!(known.contains(&("CLERK_PROXY_URL", "")), "{known:?}");
    let chapter = chapter();
    for (name, _) in &known {
        assert!(TEMPLATE.contains(&format!("${{{name}}}")), "{name}");
        assert!(chapter.contains(name), "the documents lack {name}");
    }
    let mut found = 0;
    for text in [chapter, MANIFEST, COMPOSE] {
        for name in named(text) {
            // The name of the key's own variable is the reader's choice.
            assert!(name == "CLERK_SECRET_KEY" || known.iter().any(|(k, _)| *k == name), "{name}");
            found += 1;
        }
    }
    assert!(found > 10, "{found}");
}

/// What docs/install.md has for containers.
fn chapter() -> &'static str {
    let text = &page("docs/install.md").text;
    let (_, chapter) = text.split_once("\n## Containers\n").expect("the chapter");
    chapter
}

#[test]
fn numbers_that_agree() {
    let limit = memory_limit();
    assert_eq!(after(COMPOSE, "mem_limit: "), format!("{limit}m"));
    let chapter = chapter();
    assert!(chapter.contains(&format!("--memory {limit}m")), "{chapter}");
    for (name, value) in sysctls() {
        assert_eq!(after(COMPOSE, &format!("net.{name}: ")), value);
        assert!(chapter.contains(&format!("--sysctl net.{name}='{value}'")), "{name}");
    }
    let most = admitted();
    // The rule of the documents, and a worker that gets all requests.
    assert!(64 + most * 3 / 4 <= limit, "{most} in {limit} MiB");
    let connections = after(NGINX, "worker_connections ").trim_end_matches(';');
    assert!(connections.parse::<usize>().is_ok_and(|count| count > 2 * most), "{connections}");
    for text in [chapter, MANIFEST, COMPOSE] {
        assert!(text.contains(&format!("{most} clients that do not read their replies")), "{text}");
    }
    let version = format!("org.opencontainers.image.version=\"{}\"", env!("CARGO_PKG_VERSION"));
    assert!(DOCKERFILE.contains(&version));
    for text in [MANIFEST, COMPOSE] {
        assert_eq!(after(text, "image: clerk-nginx:"), env!("CARGO_PKG_VERSION"));
    }
    for said in ["nginx uses the new key", "nginx keeps the key that it has"] {
        let said = format!("clerk-proxy: {said}");
        assert!(SCRIPT.contains(&said) && chapter.contains(&said), "{said}");
    }
    let base = after(DOCKERFILE, "ARG NGINX_VERSION=");
    for said in ["NGINX_DIGEST", "REVISION"] {
        assert!(DOCKERFILE.contains(&format!("\nARG {said}=\n")), "{said}");
        assert!(chapter.contains(&format!("--build-arg {said}=")), "{said}");
    }
    assert!(chapter.contains(&format!("nginx:{base}`")));
    assert!(COMPOSE.contains(&format!("image: nginx:{base}")));
}

#[test]
fn an_image_to_publish_is_built_from_a_digest() {
    let (_, rest) = DOCKERFILE.split_once("\nRUN [ -z \"$REVISION\"").expect("the command");
    let (command, _) = rest.split_once("; }\n").expect("its end");
    let command = format!("[ -z \"$REVISION\"{command}; }}");
    for (revision, digest, built) in
        [("", "", true), ("", "sha256:1", true), ("1", "sha256:1", true), ("1", "", false)]
    {
        let output = Command::new("sh")
            .args(["-c", &command])
            .env("NGINX_VERSION", "1.30.6")
            .env("REVISION", revision)
            .env("NGINX_DIGEST", digest)
            .output()
            .expect("a shell");
        assert_eq!(output.status.success(), built, "{revision} {digest}");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(
            said.contains("needs NGINX_DIGEST, the digest of nginx:1.30.6"),
            !built,
            "{said}"
        );
    }
}
