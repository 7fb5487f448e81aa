//! A location with `clerk_proxy` that leads to a stand-in.

use crate::kit::fapi::Fapi;
use crate::kit::harness::{Config, Nginx, KEY};

const BY_HAND: &str = include_str!("../../../nginx/by-hand.conf");

/// nginx with `location /__clerk/`, proxying to `fapi` over TLS; `lines` stand beside the directive.
pub fn nginx(fapi: &Fapi, lines: &str) -> Nginx {
    Config::server(&location(fapi, lines)).start()
}

pub fn location(fapi: &Fapi, lines: &str) -> String {
    let port = fapi.port;
    format!(
        "location /__clerk/ {{\nclerk_proxy https://app.dev/__clerk secret_key=%KEY% \
         upstream=https://localhost:{port};\nproxy_ssl_trusted_certificate ca.pem;\n{lines}\n}}"
    )
}

/// `/one/` proxies to one address, `/all/` to all that "localhost" has.
pub fn one_and_all(port: u16, lines: &str) -> Nginx {
    let location = |name: &str, host: &str| {
        format!(
            "location /{name}/ {{ clerk_proxy https://app.dev/{name} secret_key=%KEY% \
             upstream=http://{host}:{port};\n{lines}\n}}"
        )
    };
    Config::new(&format!(
        "server {{ listen 127.0.0.1:%PORT%; listen 127.0.0.1:%PORT2% http2;\n{}\n{}\n}}",
        location("one", "127.0.0.1"),
        location("all", "localhost")
    ))
    .start()
}

/// `by-hand.conf`, with the stand-in and the test's own port, authority and key in place of Clerk's.
pub fn by_hand(fapi: &Fapi, scheme: &str) -> Nginx {
    let host = format!("localhost:{}", fapi.port);
    let (_, http) = BY_HAND.split_once("http {").expect("an http block");
    let mut text = http.trim_end().strip_suffix('}').expect("its end").to_owned();
    for (from, to) in [
        ("frontend-api.clerk.dev:443", host.as_str()),
        ("proxy_ssl_name frontend-api.clerk.dev", "proxy_ssl_name localhost"),
        ("frontend-api.clerk.dev", &host),
        ("https://clerk;", &format!("{scheme}://clerk;")),
        ("127.0.0.1:8080", "127.0.0.1:%PORT%"),
        ("/etc/ssl/certs/ca-certificates.crt", "ca.pem"),
        ("sk_live_KEY", KEY),
        ("app.example", "app.dev"),
    ] {
        assert!(text.contains(from), "by-hand.conf has no {from}");
        text = text.replace(from, to);
    }
    Config::new(&text).start()
}
