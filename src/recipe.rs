//! The recipe: the stock nginx directives that one `clerk_proxy` line stands for, as data.
//!
//! docs/recipe.md prints this table and a test compares the two. `{names}` are filled in per location.

use crate::request_headers::{is_clients, EDGE};

/// The header that announces trailers, which is hidden where nginx does not pass them.
pub const TRAILER: &str = "Trailer";

/// The header of a switch of protocols, which is hidden in a location that does not ask for one.
pub const UPGRADE: &str = "Upgrade";

/// Whether a line or the user's own directive wins.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Class {
    /// Needed to be correct and safe: the same directive wins in the same location, but not in `http` or `server`.
    Contract,
    /// A better default: the same directive wins in the location and in any block around it.
    Tuning,
    /// Replaces the user's `proxy_cache` in the location. The same directive in the location is a mistake, in `http` or
    /// `server` it has no effect.
    Cache,
}

/// One stock directive and its arguments.
#[derive(Debug)]
pub struct Line {
    /// Its class.
    pub class: Class,
    /// Whether it is for TLS alone.
    pub tls: bool,
    /// The directive's name.
    pub directive: &'static str,
    /// Its arguments.
    pub arguments: &'static [&'static str],
}

const fn contract(directive: &'static str, arguments: &'static [&'static str]) -> Line {
    Line { class: Class::Contract, tls: false, directive, arguments }
}

const fn contract_tls(directive: &'static str, arguments: &'static [&'static str]) -> Line {
    Line { class: Class::Contract, tls: true, directive, arguments }
}

const fn tuning(directive: &'static str, arguments: &'static [&'static str]) -> Line {
    Line { class: Class::Tuning, tls: false, directive, arguments }
}

const fn cache(directive: &'static str, arguments: &'static [&'static str]) -> Line {
    Line { class: Class::Cache, tls: false, directive, arguments }
}

/// The lines of the location, in the order in which they are applied and headers are sent.
pub const RECIPE: &[Line] = &[
    contract("proxy_http_version", &["1.1"]),
    // The contract with Clerk. Outer blocks cannot change these headers.
    contract("proxy_set_header", &["Host", "{host}"]),
    contract("proxy_set_header", &["Connection", ""]),
    contract("proxy_set_header", &["Clerk-Proxy-Url", "{proxy_url}"]),
    contract("proxy_set_header", &["Clerk-Secret-Key", "{secret_key}"]),
    contract("proxy_set_header", &["X-Forwarded-For", "$clerk_proxy_client_ip"]),
    contract("proxy_set_header", &["X-Forwarded-Host", "{proxy_url_host}"]),
    contract("proxy_set_header", &["X-Forwarded-Proto", "{proxy_url_scheme}"]),
    // Hop-by-hop headers.
    contract("proxy_set_header", &["Expect", ""]),
    contract("proxy_set_header", &["Keep-Alive", ""]),
    contract("proxy_set_header", &["Proxy", ""]),
    contract("proxy_set_header", &["Proxy-Authenticate", ""]),
    contract("proxy_set_header", &["Proxy-Authorization", ""]),
    contract("proxy_set_header", &["Proxy-Connection", ""]),
    contract("proxy_set_header", &["TE", ""]),
    contract("proxy_set_header", &["Trailer", ""]),
    contract("proxy_set_header", &["Upgrade", ""]),
    contract("proxy_pass_request_headers", &["on"]),
    contract("proxy_pass_request_body", &["on"]),
    // A request is tried again only if nginx knows that this is safe.
    contract("proxy_next_upstream", &["error", "timeout"]),
    contract("proxy_ignore_client_abort", &["off"]),
    // The kernel watches connections, see `liveness`.
    contract("proxy_socket_keepalive", &["on"]),
    // A connection that is kept ready lacks nginx's mark that TLS cannot use sendfile.
    contract_tls("sendfile", &["off"]),
    contract_tls("proxy_ssl_server_name", &["on"]),
    contract_tls("proxy_ssl_name", &["{tls_name}"]),
    contract_tls("proxy_ssl_verify", &["on"]),
    contract_tls("proxy_ssl_verify_depth", &["5"]),
    contract_tls("proxy_ssl_trusted_certificate", &["{ca_bundle}"]),
    contract_tls("proxy_ssl_protocols", &["TLSv1.2", "TLSv1.3"]),
    // Replies pass unchanged.
    contract("proxy_intercept_errors", &["off"]),
    contract("charset", &["off"]),
    contract("expires", &["off"]),
    contract("gunzip", &["off"]),
    contract("ssi", &["off"]),
    // An empty search replaces that of an outer block.
    contract("sub_filter", &["$clerk_proxy_empty", ""]),
    contract("add_before_body", &[""]),
    contract("add_after_body", &[""]),
    contract("userid", &["off"]),
    // Requests contain passwords.
    contract("mirror", &["off"]),
    contract("proxy_force_ranges", &["off"]),
    contract("proxy_cookie_domain", &["off"]),
    contract("proxy_cookie_path", &["off"]),
    contract("proxy_cookie_flags", &["off"]),
    contract("proxy_store", &["off"]),
    // These stand before "proxy_cache off", which then has no effect.
    cache("proxy_cache", &["$clerk_proxy_cache"]),
    // Replies may depend on the tenant, whom the proxy URL identifies. Neither part contains a space.
    cache("proxy_cache_key", &["{proxy_url} {origin}$clerk_proxy_uri"]),
    // Only Cache-Control of the reply decides.
    cache("proxy_cache_valid", &["any", "0"]),
    // The key is the same for all methods.
    cache("proxy_cache_convert_head", &["on"]),
    cache("proxy_no_cache", &["$clerk_proxy_no_cache"]),
    contract("proxy_cache", &["off"]),
    contract(
        "proxy_ignore_headers",
        &[
            "X-Accel-Redirect",
            "X-Accel-Expires",
            "X-Accel-Limit-Rate",
            "X-Accel-Buffering",
            "X-Accel-Charset",
        ],
    ),
    // These are about Clerk's host; a browser would apply them to the application's.
    contract("proxy_hide_header", &["Alt-Svc"]),
    contract("proxy_hide_header", &["Strict-Transport-Security"]),
    contract("proxy_hide_header", &["NEL"]),
    contract("proxy_hide_header", &["Report-To"]),
    // This header is never hidden: the line only replaces the list of an outer block.
    contract("proxy_pass_header", &["Content-Type"]),
    // Hop-by-hop headers of replies.
    contract("proxy_hide_header", &["Proxy-Authenticate"]),
    contract("proxy_hide_header", &["Proxy-Authentication-Info"]),
    contract("proxy_hide_header", &["Proxy-Authorization"]),
    contract("proxy_hide_header", &["Proxy-Connection"]),
    contract("proxy_hide_header", &["TE"]),
    contract("proxy_hide_header", &[TRAILER]),
    contract("proxy_hide_header", &[UPGRADE]),
    // Since nginx 1.27.2.
    contract("proxy_pass_trailers", &["on"]),
    // Redirects to the Frontend API are changed to lead to the proxy, see `redirects`. This line changes none: it only
    // replaces the list of an outer block.
    contract("proxy_redirect", &["nowhere:", "nowhere:"]),
    // clerk-js gives up after 7 s: two addresses are tried before that.
    tuning("proxy_connect_timeout", &["3s"]),
    tuning("proxy_next_upstream_timeout", &["5s"]),
    // nginx has a place for the names above to begin with, and the user may have more.
    tuning("proxy_headers_hash_max_size", &["1024"]),
    tuning("proxy_headers_hash_bucket_size", &["128"]),
    // The reply to a sign-in has more than 4 KB of headers. A client that does not read its reply holds all of these
    // buffers, so they are no larger than a script needs that goes out as fast as it comes.
    tuning("proxy_buffer_size", &["{buffer_size}"]),
    tuning("proxy_buffers", &["{buffers}", "{buffers_size}"]),
    tuning("proxy_busy_buffers_size", &["{busy_buffers_size}"]),
    tuning("proxy_max_temp_file_size", &["0"]),
    // Uploads are not buffered. Clerk's own limit is 10 MB, and its error must reach the user.
    tuning("proxy_request_buffering", &["off"]),
    tuning("client_body_buffer_size", &["128k"]),
    tuning("client_max_body_size", &["16m"]),
    // Head and body of an API call leave in one piece: with the cookies of a sign-in the head alone is longer than
    // nginx waits for by itself.
    tuning("postpone_output", &["8k"]),
    // Cached scripts go out in one or two pieces. A client takes no more memory than without a cache.
    // Many clients that want one script cause one request. An old script is used as long as stale-while-revalidate
    // says.
    tuning("output_buffers", &["1", "128k"]),
    tuning("proxy_cache_lock", &["on"]),
    tuning("proxy_cache_background_update", &["on"]),
    tuning("proxy_cache_revalidate", &["on"]),
];

/// The lines of the implicit upstream except its servers.
pub fn upstream(keepalive: &str) -> [(&'static str, &str); 3] {
    [("keepalive", keepalive), ("keepalive_requests", "100000"), ("keepalive_timeout", "300s")]
}

/// Connections that a worker keeps ready: what a page asks for at once, after its script, takes that many.
pub const WARM: u16 = 2;

/// Idle connections that a worker keeps to an implicit upstream.
pub const KEEPALIVE: u16 = 32;

/// The parameters of the implicit upstream's servers, which all have the same addresses: a server that failed is
/// tried last for a while, and no failure makes Clerk unavailable for all users.
pub const SERVERS: [&str; 2] = ["max_fails=1 fail_timeout=30s", "max_fails=0 backup"];

/// The parameters of the only server, if the name has one address.
pub const ONLY_SERVER: &str = "max_fails=0";

/// Headers that are not taken from outer blocks although no line sets them: nginx sets them for each body.
const BODY_HEADERS: &[&str] = &["Content-Length", "Transfer-Encoding"];

/// Headers of Clerk's contract that the user must not set, and what to write instead.
const CLERK_HEADERS: &[(&str, &str)] = &[
    ("Clerk-Proxy-Url", "write the value as the URL of \"clerk_proxy\""),
    ("Clerk-Secret-Key", "write the key as its parameter \"secret_key=\""),
    (
        "X-Forwarded-For",
        "let \"set_real_ip_from\" and \"real_ip_header\" find the address of the client, or write \
         \"clerk_proxy_client_ip\"",
    ),
];

/// One request header more where a server takes early data, which somebody may send again (RFC 8470).
pub const EARLY_DATA: [&str; 2] = ["Early-Data", "$clerk_proxy_early_data"];

/// Stock directives that add up: our words join the user's in the location.
pub const LISTS: &[&str] = &["proxy_hide_header", "proxy_ignore_headers", "proxy_no_cache"];

/// Stock directives that `clerk_proxy` cannot undo when an outer block has them.
pub const CANNOT_BE_INHERITED: &[&str] = &["proxy_method", "proxy_set_body"];

/// Whether a name is not one that is set or dropped here, but would be if it had hyphens, or no spaces around it. Backends
/// that read headers as variables, as CGI has them, cannot tell the two, and others take the spaces away.
pub fn is_twin(name: &[u8]) -> bool {
    let is_plain = |b: &u8| b.is_ascii_alphanumeric() || *b == b'-';
    let mut text = name;
    // nginx before 1.21.1 takes spaces and control characters.
    while let [..=b' ' | b'\x7f', rest @ ..] | [rest @ .., ..=b' ' | b'\x7f'] = text {
        text = rest;
    }
    let folded = |own: &str| {
        let same = |(b, own): (&u8, u8)| {
            b.eq_ignore_ascii_case(&own) || own == b'-' && !b.is_ascii_alphanumeric()
        };
        own.len() == text.len() && text.iter().zip(own.bytes()).all(same)
    };
    !name.iter().all(is_plain)
        && (BODY_HEADERS.iter().any(|own| folded(own))
            || headers().chain([EARLY_DATA]).any(|[own, _]| folded(own)))
}

/// Whether the request header `name` of an outer block is dropped: its value is the module's or the client's.
pub fn owns_header(name: &str) -> bool {
    let is = |other: &&str| other.eq_ignore_ascii_case(name);
    BODY_HEADERS.iter().any(is) || is_clients(name) || headers().any(|[own, _]| is(&own))
}

/// What to do instead of setting the header `name` beside `clerk_proxy`, if that is forbidden.
pub fn instead_of_header(name: &str) -> Option<&'static str> {
    CLERK_HEADERS.iter().find(|(own, _)| own.eq_ignore_ascii_case(name)).map(|&(_, what)| what)
}

/// Names and values of the request headers that are set, and with an empty value dropped.
pub fn headers() -> impl Iterator<Item = [&'static str; 2]> {
    let lines = RECIPE.iter().filter(|line| line.directive == "proxy_set_header");
    lines
        .map(|line| [line.arguments[0], line.arguments[1]])
        .chain(EDGE.iter().map(|&edge| [edge, ""]))
}

/// Where systems keep their trusted certificates.
pub const CA_BUNDLES: &[&str] = &[
    // Debian, Ubuntu, Alpine, Arch
    "/etc/ssl/certs/ca-certificates.crt",
    // Fedora, RHEL and their derivatives
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    // SUSE
    "/etc/ssl/ca-bundle.pem",
    // Alpine without the package ca-certificates, FreeBSD, OpenBSD, macOS
    "/etc/ssl/cert.pem",
    "/usr/local/share/certs/ca-root-nss.crt",
];

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn twins() {
        let twins =
            "Clerk_Secret_Key|clerk-proxy_url|X.Forwarded For|CF_Connecting_IP|Content_Length|\
                     Clerk-Secret-Key |\t Transfer-Encoding\x7f";
        twins.split('|').for_each(|name| assert!(is_twin(name.as_bytes()), "{name}"));
        let others = "Clerk-Secret-Key|X_Own|Clerk_Secret_Keys|ClerkxSecretxKey|Host| X | |";
        others.split('|').for_each(|name| assert!(!is_twin(name.as_bytes()), "{name}"));
    }

    #[test]
    fn headers_of_the_contract_are_owned() {
        for name in ["host", "CLERK-SECRET-KEY", "Upgrade", "content-length", "x-real-ip", "Cookie"]
        {
            assert!(owns_header(name), "{name}");
        }
        assert!(!owns_header("X-Request-Id"));
        assert!(instead_of_header("clerk-secret-key").is_some());
        assert!(instead_of_header("Host").is_none());
    }
}
