//! The container image as its Dockerfile, its entry point and the manifests lay it out, without their engines.

use crate::kit::harness::{Config, KEY};

pub const DOCKERFILE: &str = include_str!("../../../packaging/docker/Dockerfile");
pub const MANIFEST: &str = include_str!("../../../packaging/kubernetes/clerk-proxy.yaml");
pub const COMPOSE: &str = include_str!("../../../packaging/compose/compose.yaml");
pub const TEMPLATE: &str = include_str!("../../../packaging/docker/clerk-proxy.conf.template");
pub const NGINX: &str = include_str!("../../../packaging/docker/nginx.conf");

/// The variables that the image sets, and their values.
pub fn variables() -> Vec<(&'static str, &'static str)> {
    let (_, rest) = DOCKERFILE.split_once("\nENV ").expect("variables");
    let mut continued = true;
    let mine = |line: &&str| std::mem::replace(&mut continued, line.ends_with('\\'));
    let lines = rest.lines().take_while(mine).map(|line| line.trim_end_matches('\\').trim());
    lines.map(|line| line.split_once('=').expect("a value")).collect()
}

/// The image's nginx, with these variables in place of those of the image. Its folders are that of the test.
pub fn image(given: &[(&str, &str)]) -> Config {
    let template = variables().into_iter().fold(TEMPLATE.to_owned(), |text, (name, value)| {
        let value =
            given.iter().find(|(other, _)| *other == name).map_or(value, |(_, value)| value);
        text.replace(&format!("${{{name}}}"), value)
    });
    let text = [
        ("include /etc/nginx/conf.d/*.conf;", template.as_str()),
        ("/etc/nginx/server.d/", "%DIR%/server.d/"),
        ("file:/run/secrets/", "file:%DIR%/"),
        ("listen 8080 ", "listen 127.0.0.1:%PORT% "),
        ("error_log stderr ", "error_log logs/error.log "),
        ("/dev/stdout", "logs/access.log"),
        ("/tmp/", "%DIR%/"),
    ];
    let text = text.iter().fold(NGINX.to_owned(), |text, (there, here)| {
        let new = text.replace(there, here);
        assert_ne!(new, text, "no {there}");
        new
    });
    Config::whole(&text).file("clerk_secret_key", KEY)
}

/// What stands behind this text in its line, wherever that stands last.
pub fn after<'a>(text: &'a str, name: &str) -> &'a str {
    let (_, rest) = text.rsplit_once(name).unwrap_or_else(|| panic!("no {name}"));
    rest.lines().next().expect("a line").trim()
}

/// How many requests a replica lets in.
pub fn admitted() -> usize {
    after(TEMPLATE, "limit_conn clerk_all ").trim_end_matches(';').parse().expect("a number")
}

/// The limit of a replica's memory in MiB, as the manifest has it.
pub fn memory_limit() -> usize {
    after(MANIFEST, "memory: ").strip_suffix("Mi").and_then(|mib| mib.parse().ok()).expect("MiB")
}

/// The manifest's settings of the kernel: names and values.
pub fn sysctls() -> Vec<(&'static str, &'static str)> {
    let settings = MANIFEST.split("- name: net.").skip(1);
    settings
        .map(|text| (text.lines().next().unwrap(), text))
        .map(|(name, text)| {
            let value = text.lines().nth(1).and_then(|line| line.trim().strip_prefix("value: "));
            (name, value.expect("a value"))
        })
        .collect()
}
