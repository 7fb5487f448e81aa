//! Several domains in one location.

use crate::kit::fapi::Request;
use crate::kit::harness::{Nginx, Reply};

/// The key of each domain.
pub const KEYS: &str = "map $host $clerk_key { app.dev sk_live_one; shop.example sk_live_two; }";

/// A request of a client that calls the host so.
pub fn ask(nginx: &Nginx, host: &str, target: &str) -> Reply {
    with_headers(nginx, host, target, "")
}

/// The same with more header lines.
pub fn with_headers(nginx: &Nginx, host: &str, target: &str, headers: &str) -> Reply {
    let head = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n");
    nginx.send(format!("{head}{headers}\r\n"))
}

/// What tells tenants apart: URL, key, host, scheme.
pub fn tenant(request: &Request) -> [&str; 4] {
    ["Clerk-Proxy-Url", "Clerk-Secret-Key", "X-Forwarded-Host", "X-Forwarded-Proto"]
        .map(|name| request.one(name))
}
