//! Every nginx configuration that a user can copy passes `nginx -t`.

use crate::harness::{at_least, free_port, Config, KEY};

const README: &str = include_str!("../../README.md");
const SNIPPET: &str = include_str!("../../nginx/clerk-proxy.conf");

/// The fenced blocks of the README in nginx's language.
fn blocks() -> Vec<&'static str> {
    let fenced = README.split("```nginx\n").skip(1);
    fenced.map(|rest| rest.split("```").next().expect("an end")).collect()
}

/// Puts what a block expects to find around it, and this machine's things in place of the reader's.
fn config(block: &str) -> Config {
    let (port, other) = (free_port(), free_port());
    let text = block
        .replace("listen 443 ssl;", &format!("listen 127.0.0.1:{port};"))
        .replace("listen 80;", &format!("listen 127.0.0.1:{other};"))
        .replace("file:/etc/nginx/clerk_secret_key", "file:clerk_secret_key")
        .replace("server frontend-api.clerk.dev:443", "server 127.0.0.1:443");
    let text =
        if at_least([1, 27, 2]) { text } else { text.replace("    proxy_pass_trailers on;\n", "") };
    let http = if let Some((_, rest)) = text.split_once("http {") {
        rest.trim_end().strip_suffix('}').expect("the end of http {}").to_owned()
    } else if text.lines().any(|line| line.starts_with("upstream ") || line.starts_with("server "))
    {
        text
    } else {
        format!("upstream PRIVATE_NAME {{ server 127.0.0.1:1; }} server {{\n{text}\n}}")
    };
    Config::new(&http).file("clerk_secret_key", KEY).env("CLERK_SECRET_KEY", KEY)
}

#[test]
fn blocks_of_the_readme() {
    assert!(blocks().len() >= 4, "the README has lost its configurations");
    for block in blocks() {
        let config = config(block);
        let (ok, printed) = config.check();
        assert!(ok, "{block}\n{printed}");
    }
}

#[test]
fn the_snippet() {
    let (ok, printed) = config(SNIPPET).check();
    assert!(ok, "{printed}");
}

#[test]
fn the_readme_starts_with_what_works() {
    assert!(blocks()[0].contains("load_module") && blocks()[0].contains("clerk_proxy https://"));
}
