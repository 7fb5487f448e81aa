//! The recipe: the stock nginx directives that one `clerk_proxy` line stands for, as data.
//!
//! docs/recipe.md prints this table and a test compares the two. `{names}` are filled in per location.

use std::borrow::Cow;

use zeroize::Zeroizing;

use crate::buffer_sizes::Sizes;
use crate::directive::InForce;

/// How much a line weighs against what the user wrote.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Class {
    /// Correct and safe only so: settings of `http` and `server` never change it, the same directive in the
    /// same location does.
    Contract,
    /// A better default: the same directive anywhere around the location wins.
    Tuning,
    /// In place of the user's `proxy_cache`, where the location has one. The same directive in the location
    /// is a mistake; settings of `http` and `server` change nothing.
    Cache,
}

/// One stock directive and its arguments.
#[derive(Debug)]
pub struct Line {
    /// How it weighs.
    pub class: Class,
    /// Whether it only means something where TLS is spoken.
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
    // The contract with Clerk. A name given here is set by the module whatever an outer block says.
    contract("proxy_set_header", &["Host", "{host}"]),
    contract("proxy_set_header", &["Connection", ""]),
    contract("proxy_set_header", &["Clerk-Proxy-Url", "{proxy_url}"]),
    contract("proxy_set_header", &["Clerk-Secret-Key", "{secret_key}"]),
    contract("proxy_set_header", &["X-Forwarded-For", "$clerk_proxy_client_ip"]),
    contract("proxy_set_header", &["X-Forwarded-Host", "{proxy_url_host}"]),
    contract("proxy_set_header", &["X-Forwarded-Proto", "{proxy_url_scheme}"]),
    // Headers for this hop alone.
    contract("proxy_set_header", &["Expect", ""]),
    contract("proxy_set_header", &["Keep-Alive", ""]),
    contract("proxy_set_header", &["Proxy", ""]),
    contract("proxy_set_header", &["Proxy-Authorization", ""]),
    contract("proxy_set_header", &["Proxy-Connection", ""]),
    contract("proxy_set_header", &["TE", ""]),
    contract("proxy_set_header", &["Trailer", ""]),
    contract("proxy_set_header", &["Upgrade", ""]),
    contract("proxy_pass_request_headers", &["on"]),
    contract("proxy_pass_request_body", &["on"]),
    // A request may be tried again only where nginx knows that this is safe.
    contract("proxy_next_upstream", &["error", "timeout"]),
    contract("proxy_ignore_client_abort", &["off"]),
    // Connections that are kept ready have no mark of nginx's that TLS cannot do it.
    contract_tls("sendfile", &["off"]),
    contract_tls("proxy_ssl_server_name", &["on"]),
    contract_tls("proxy_ssl_name", &["{tls_name}"]),
    contract_tls("proxy_ssl_verify", &["on"]),
    contract_tls("proxy_ssl_verify_depth", &["5"]),
    contract_tls("proxy_ssl_trusted_certificate", &["{ca_bundle}"]),
    contract_tls("proxy_ssl_protocols", &["TLSv1.2", "TLSv1.3"]),
    // Replies pass as they are.
    contract("proxy_intercept_errors", &["off"]),
    contract("charset", &["off"]),
    contract("expires", &["off"]),
    contract("proxy_force_ranges", &["off"]),
    contract("proxy_cookie_domain", &["off"]),
    contract("proxy_cookie_path", &["off"]),
    contract("proxy_cookie_flags", &["off"]),
    contract("proxy_store", &["off"]),
    // Before "proxy_cache off", which changes nothing then.
    cache("proxy_cache", &["$clerk_proxy_cache"]),
    // What the Frontend API answers may depend on the tenant, who is told by the proxy URL. A blank is in
    // neither.
    cache("proxy_cache_key", &["{proxy_url} {origin}$clerk_proxy_uri"]),
    // Its Cache-Control decides alone.
    cache("proxy_cache_valid", &["any", "0"]),
    // The key does not tell the methods apart.
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
    // These speak of Clerk's host; a browser would take them for the application's.
    contract("proxy_hide_header", &["Alt-Svc"]),
    contract("proxy_hide_header", &["Strict-Transport-Security"]),
    contract("proxy_hide_header", &["NEL"]),
    contract("proxy_hide_header", &["Report-To"]),
    // Names nothing that is hidden: it keeps the list of an outer block away.
    contract("proxy_pass_header", &["Content-Type"]),
    // Headers of a reply for this hop alone.
    contract("proxy_hide_header", &["Proxy-Authenticate"]),
    contract("proxy_hide_header", &["Proxy-Connection"]),
    // Since nginx 1.27.2.
    contract("proxy_pass_trailers", &["on"]),
    // Redirects to the Frontend API come back to the proxy; "//host" goes elsewhere and stays.
    // Named, since a variable in the proxy URL may have captures of its own.
    contract(
        "proxy_redirect",
        &["~*^{base_url_regex}(?<clerk_proxy_rest>[/?].*)?$", "{proxy_url}$clerk_proxy_rest"],
    ),
    contract(
        "proxy_redirect",
        &["~^{base_path_regex}/(?<clerk_proxy_rest>[^/].*)?$", "{proxy_url}/$clerk_proxy_rest"],
    ),
    // clerk-js gives up after 7 s: two addresses must have been tried before.
    tuning("proxy_connect_timeout", &["3s"]),
    tuning("proxy_next_upstream_timeout", &["5s"]),
    // A sign-in answers with more than 4 KB of headers.
    tuning("proxy_buffer_size", &["{buffer_size}"]),
    tuning("proxy_buffers", &["{buffers}", "{buffers_size}"]),
    tuning("proxy_busy_buffers_size", &["{busy_buffers_size}"]),
    tuning("proxy_max_temp_file_size", &["0"]),
    // Uploads go through as they come; Clerk's own limit is 10 MB and its answer must reach the user.
    tuning("proxy_request_buffering", &["off"]),
    tuning("client_body_buffer_size", &["128k"]),
    tuning("client_max_body_size", &["16m"]),
    // One request for a script that many want; an old one as long as stale-while-revalidate says.
    // What is read from a cache goes out in one piece or two. A client takes no more memory than without a cache.
    tuning("output_buffers", &["1", "256k"]),
    tuning("proxy_cache_lock", &["on"]),
    tuning("proxy_cache_background_update", &["on"]),
    tuning("proxy_cache_revalidate", &["on"]),
];

/// The lines of the implicit upstream beside its servers.
pub fn upstream(keepalive: &str) -> [(&'static str, &str); 3] {
    [("keepalive", keepalive), ("keepalive_requests", "100000"), ("keepalive_timeout", "300s")]
}

/// Idle connections that a worker keeps to an implicit upstream.
pub const KEEPALIVE: u16 = 32;

/// The parameters of the implicit upstream's servers, which all have the same addresses: one that failed is
/// asked last for a while, and never does a failure take Clerk away from all users.
pub const SERVERS: [&str; 2] = ["max_fails=1 fail_timeout=30s", "max_fails=0 backup"];

/// The parameters where there is one address and no other to ask first.
pub const ONLY_SERVER: &str = "max_fails=0";

/// Headers of an outer block that are not taken over although no line sets them: nginx knows the body better.
const BODY_HEADERS: &[&str] = &["Content-Length", "Transfer-Encoding"];

/// What a user is told to do about a header of Clerk's contract that he sets himself.
const CLERK_HEADERS: &[(&str, &str)] = &[
    ("Clerk-Proxy-Url", "write the value as the URL of \"clerk_proxy\""),
    ("Clerk-Secret-Key", "write the key as its parameter \"secret_key=\""),
    (
        "X-Forwarded-For",
        "let \"set_real_ip_from\" and \"real_ip_header\" find the address of the client, or write \
         \"clerk_proxy_client_ip\"",
    ),
];

/// Stock directives that add up: our words join those that the user wrote in the location.
pub const LISTS: &[&str] = &["proxy_hide_header", "proxy_ignore_headers", "proxy_no_cache"];

/// Stock directives that `clerk_proxy` cannot undo when an outer block has them.
pub const CANNOT_BE_INHERITED: &[&str] = &["proxy_method", "proxy_set_body"];

/// Whether the module decides about the request header `name`, so that an outer block's value is dropped.
pub fn owns_header(name: &str) -> bool {
    let is = |other: &&str| other.eq_ignore_ascii_case(name);
    BODY_HEADERS.iter().any(is) || headers().any(|line| is(&line.arguments[0]))
}

/// What to do instead of setting the header `name` beside `clerk_proxy`, if that is forbidden.
pub fn instead_of_header(name: &str) -> Option<&'static str> {
    CLERK_HEADERS.iter().find(|(own, _)| own.eq_ignore_ascii_case(name)).map(|&(_, what)| what)
}

/// The lines that set request headers.
pub fn headers() -> impl Iterator<Item = &'static Line> {
    RECIPE.iter().filter(|line| line.directive == "proxy_set_header")
}

/// The values of the `{names}` for one location.
#[derive(Debug)]
pub struct Values<'a> {
    /// What is in force.
    pub line: &'a InForce,
    /// Whether ORIGIN names an `upstream {}` block of the user.
    pub in_block: bool,
    /// Whether the certificate of the Frontend API is verified, where TLS is spoken.
    pub verified: bool,
    /// The file of trusted certificates.
    pub ca_bundle: &'a str,
    /// Sizes that go with what the user set.
    pub buffers: Sizes,
}

impl Values<'_> {
    /// Fills in one argument of a line.
    pub fn fill(&self, argument: &str) -> Zeroizing<String> {
        // Wiped, since one of the values is the key; it grows once at most, and never for the key.
        let mut filled = Zeroizing::new(String::with_capacity(argument.len() + 512));
        let mut rest = argument;
        while let Some((text, behind)) = rest.split_once('{') {
            let (name, behind) = behind.split_once('}').unwrap_or((behind, ""));
            filled.push_str(text);
            filled.push_str(&self.value(name));
            rest = behind;
        }
        filled.push_str(rest);
        filled
    }

    /// The absolute URLs that mean the Frontend API. By a socket or a block of the user it is reached in
    /// another way than the one it speaks of.
    fn base_url_regex(&self) -> String {
        let origin = &self.line.origin;
        let host = origin.host_header(self.in_block);
        let scheme = if self.in_block || origin.is_unix() { "https?" } else { origin.scheme() };
        // A default port may be spelt out.
        let port = match host == origin.tls_name(self.in_block) {
            true if origin.tls => "(?::443)?",
            true => "(?::80|:443)?",
            false => "",
        };
        format!("{scheme}://{}{port}{}", escape_regex(&host), escape_regex(&origin.path))
    }

    fn value(&self, name: &str) -> Cow<'_, str> {
        let origin = &self.line.origin;
        match name {
            "host" => origin.host_header(self.in_block).into(),
            "tls_name" => origin.tls_name(self.in_block).into(),
            // What came from nobody knows whom is not taken for the Frontend API's once that is verified.
            "origin" if self.verified => origin.text().into(),
            "origin" => format!("unverified {}", origin.text()).into(),
            "base_url_regex" => self.base_url_regex().into(),
            "base_path_regex" => escape_regex(&origin.path).into(),
            "proxy_url" => self.line.url.as_str().into(),
            "proxy_url_host" => self.line.url.authority().into(),
            "proxy_url_scheme" => self.line.url.scheme().into(),
            "secret_key" => self.line.key.expose().into(),
            "ca_bundle" => self.ca_bundle.into(),
            "buffer_size" => size(self.buffers.buffer_size).into(),
            "buffers" => self.buffers.buffers.0.to_string().into(),
            "buffers_size" => size(self.buffers.buffers.1).into(),
            "busy_buffers_size" => size(self.buffers.busy_buffers_size).into(),
            other => unreachable!("no value for {{{other}}}"),
        }
    }
}

/// Where systems keep the certificates that they trust.
pub const CA_BUNDLES: &[&str] = &[
    // Debian, Ubuntu, Alpine, Arch
    "/etc/ssl/certs/ca-certificates.crt",
    // Fedora, RHEL and their kin
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    // SUSE
    "/etc/ssl/ca-bundle.pem",
    // Alpine without the package ca-certificates, FreeBSD, OpenBSD, macOS
    "/etc/ssl/cert.pem",
    "/usr/local/share/certs/ca-root-nss.crt",
];

/// The text as a regular expression that matches nothing else.
fn escape_regex(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/:-_".contains(c);
    let escape = |c: char| (!plain(c)).then_some('\\').into_iter().chain([c]);
    text.chars().flat_map(escape).collect()
}

/// A number of bytes as nginx writes it.
fn size(bytes: usize) -> String {
    if bytes % 1024 == 0 {
        format!("{}k", bytes / 1024)
    } else {
        bytes.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffer_sizes::UserSizes;
    use crate::frontend_api::Origin;
    use crate::proxy_url::ProxyUrl;
    use crate::secret_key::{Key, SecretKey};

    /// The upstream, the location and what a cache adds as a user would write them.
    fn printed() -> [String; 3] {
        let line = InForce {
            warm: 1,
            url: ProxyUrl::parse("https://app.dev/__clerk").unwrap(),
            key: Key::Known(SecretKey::parse(b"sk_live_KEY").unwrap()),
            origin: Origin::default(),
            keepalive: None,
            client_ip: None,
        };
        let values = Values {
            line: &line,
            in_block: false,
            verified: true,
            ca_bundle: CA_BUNDLES[0],
            buffers: Sizes::beside(UserSizes::default()),
        };
        let quoted = |word: &str| {
            let word = values.fill(word).to_string();
            let plain = !word.is_empty() && !word.contains(['{', '}', ';', ' ', '"', '\'']);
            if plain {
                word
            } else {
                format!("\"{word}\"")
            }
        };
        let line = |words: &[String]| format!("    {};\n", words.join(" "));
        let lines = |class: Class| {
            let mut printed = String::new();
            for entry in RECIPE.iter().filter(|entry| entry.class == class) {
                let mut words = vec![entry.directive.to_owned()];
                words.extend(entry.arguments.iter().map(|word| quoted(word)));
                printed += &line(&words);
            }
            printed
        };
        let mut upstream = "upstream PRIVATE_NAME {\n".to_owned();
        for parameters in SERVERS {
            let server = format!("{} {parameters}", values.line.origin.server());
            upstream += &line(&["server".to_owned(), server]);
        }
        for (directive, argument) in super::upstream(&KEEPALIVE.to_string()) {
            upstream += &line(&[directive.to_owned(), argument.to_owned()]);
        }
        let mut location =
            "location ^~ /__clerk/ {\n    proxy_pass https://PRIVATE_NAME;    # with $clerk_proxy_uri, see below\n"
                .to_owned();
        for class in [Class::Contract, Class::Tuning] {
            location.extend(["\n    # ", &format!("{class:?}").to_lowercase(), "\n"]);
            location += &lines(class);
        }
        let cache = format!("    # in place of \"proxy_cache ZONE\"\n{}", lines(Class::Cache));
        [upstream + "}\n", location + "}\n", cache]
    }

    #[test]
    fn the_page_of_the_recipe() {
        let page = include_str!("../docs/recipe.md");
        let mut blocks =
            page.split("```nginx\n").skip(1).filter_map(|rest| rest.split("```").next());
        for printed in printed() {
            assert_eq!(
                blocks.next(),
                Some(printed.as_str()),
                "docs/recipe.md lacks this:\n\n{printed}"
            );
        }
        assert_eq!(blocks.next(), None, "docs/recipe.md has more than the recipe");
    }

    #[test]
    fn headers_of_the_contract_are_owned() {
        for name in ["host", "CLERK-SECRET-KEY", "x-forwarded-for", "Upgrade", "content-length"] {
            assert!(owns_header(name), "{name}");
        }
        assert!(!owns_header("X-Request-Id") && !owns_header("Cookie"));
        assert!(instead_of_header("clerk-secret-key").is_some());
        assert!(instead_of_header("Host").is_none());
    }

    #[test]
    fn paths_in_expressions() {
        assert_eq!(escape_regex("/a.b/c-d(e)"), "/a\\.b/c-d\\(e\\)");
    }
}
