//! A location with `clerk_proxy` that leads to a stand-in.

use crate::kit::fapi::Fapi;
use crate::kit::harness::{Config, Nginx};

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
