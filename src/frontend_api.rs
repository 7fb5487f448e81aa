//! ORIGIN: where the Frontend API is, as in `upstream=https://frontend-api.clerk.dev`.

use std::net::{IpAddr, Ipv4Addr};

use crate::http_url::{parse_http_url, UrlFault};

/// The name of Clerk's Frontend API, which all its customers share.
pub const DEFAULT_HOST: &str = "frontend-api.clerk.dev";

/// A parsed ORIGIN.
#[derive(Clone, Debug, PartialEq)]
pub struct Origin {
    /// Whether TLS is spoken: `https`.
    pub tls: bool,
    /// Where connections go.
    pub address: Address,
    /// The path that is put before the URI of a request: empty, or `/…` without a slash at the end.
    pub path: String,
}

/// Where connections go.
#[derive(Clone, Debug, PartialEq)]
pub enum Address {
    /// A name or an IP address (IPv6 in brackets), and the port if one was typed.
    Host { name: String, port: Option<u16> },
    /// The path of a socket.
    Unix(String),
}

impl Default for Origin {
    fn default() -> Self {
        let address = Address::Host { name: DEFAULT_HOST.to_owned(), port: None };
        Self { tls: true, address, path: String::new() }
    }
}

impl Origin {
    /// Reads `http(s)://host[:port][/path]` or `http(s)://unix:/path:[/path]`; trailing slashes are dropped.
    ///
    /// # Errors
    ///
    /// The first fault found.
    pub fn parse(typed: &str) -> Result<Self, UrlFault> {
        for (scheme, tls) in [("https://unix:", true), ("http://unix:", false)] {
            if let Some(rest) = typed.strip_prefix(scheme) {
                return Self::parse_unix(rest, tls);
            }
        }
        let (url, authority) = parse_http_url(typed)?;
        let name = url.host_str().ok_or(UrlFault::NoHost)?.to_owned();
        // `url` drops the default port, but a typed one must be kept: nginx reads `name:443` as an address and never as
        // the name of an upstream{} block. An IPv6 address contains colons, too.
        let has_port = authority.rsplit(']').next().is_some_and(|rest| rest.contains(':'));
        let port = url.port_or_known_default().filter(|_| has_port);
        let address = Address::Host { name, port };
        let path = url.path().trim_end_matches('/').to_owned();
        Ok(Self { tls: url.scheme() == "https", address, path })
    }

    fn parse_unix(rest: &str, tls: bool) -> Result<Self, UrlFault> {
        if rest.contains('$') {
            return Err(UrlFault::Variable);
        }
        if !rest.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(UrlFault::NotAscii);
        }
        let (socket, path) = rest.split_once(':').unwrap_or((rest, ""));
        if !socket.starts_with('/') {
            return Err(UrlFault::UnixSocket);
        }
        // The path becomes a word of nginx's configuration.
        if socket.contains(['{', '}', ';', '"', '\'', '\\']) {
            return Err(UrlFault::Malformed("invalid character in the socket's path".to_owned()));
        }
        // The path has the same rules as in any other URL.
        let path = parse_http_url(&format!("http://localhost{path}"))
            .ok()
            .filter(|_| path.is_empty() || path.starts_with('/'))
            .ok_or_else(|| UrlFault::Path(path.to_owned()))?
            .0
            .path()
            .trim_end_matches('/')
            .to_owned();
        Ok(Self { tls, address: Address::Unix(socket.to_owned()), path })
    }

    /// Whether connections go to a socket.
    pub fn is_unix(&self) -> bool {
        matches!(self.address, Address::Unix(_))
    }

    /// Whether connections stay on this machine.
    pub fn is_local(&self) -> bool {
        match &self.address {
            Address::Host { name, .. } => {
                let ip = name.trim_matches(['[', ']']).parse::<IpAddr>();
                name == "localhost" || ip.is_ok_and(|ip| ip.is_loopback())
            }
            Address::Unix(_) => true,
        }
    }

    /// The name or the address of another machine.
    pub fn remote_host(&self) -> Option<&str> {
        match &self.address {
            Address::Host { name, .. } if !self.is_local() => Some(name),
            _ => None,
        }
    }

    /// `https` or `http`.
    pub fn scheme(&self) -> &'static str {
        if self.tls {
            "https"
        } else {
            "http"
        }
    }

    /// The name of the `upstream {}` block that this ORIGIN means, if there is such a block.
    pub fn block_name(&self) -> Option<&str> {
        match &self.address {
            Address::Host { name, port: None } => Some(name),
            _ => None,
        }
    }

    /// The name that the server's certificate must carry, also sent as SNI.
    ///
    /// It is Clerk's for a socket and for an `upstream {}` block of the user (`in_block`) whose name has no dot: both
    /// lead to Clerk.
    pub fn tls_name(&self, in_block: bool) -> &str {
        match &self.address {
            Address::Host { name, .. } if !in_block || name.contains('.') => name,
            _ => DEFAULT_HOST,
        }
    }

    /// The value of `Host`: the name, and the port unless it is the default of the scheme.
    pub fn host_header(&self, in_block: bool) -> String {
        let name = self.tls_name(in_block);
        match self.address {
            Address::Host { port: Some(port), .. } if port != self.default_port() => {
                format!("{name}:{port}")
            }
            _ => name.to_owned(),
        }
    }

    /// The address as nginx's `server` directive takes it.
    pub fn server(&self) -> String {
        match &self.address {
            Address::Host { name, port } => {
                format!("{name}:{}", port.unwrap_or(self.default_port()))
            }
            Address::Unix(socket) => format!("unix:{socket}"),
        }
    }

    /// The ORIGIN as text. No two ORIGINs have the same text, even if a path is appended.
    pub fn text(&self) -> String {
        let end = if self.is_unix() { ":" } else { "" };
        format!("{}://{}{end}{}", self.scheme(), self.server(), self.path)
    }

    /// The name to resolve, and the port; `None` for an address or a socket.
    pub fn name_and_port(&self) -> Option<(&str, u16)> {
        match &self.address {
            Address::Host { name, port } => {
                let is_name = !name.starts_with('[') && name.parse::<Ipv4Addr>().is_err();
                is_name.then(|| (name.as_str(), port.unwrap_or(self.default_port())))
            }
            Address::Unix(_) => None,
        }
    }

    fn default_port(&self) -> u16 {
        if self.tls {
            443
        } else {
            80
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// (typed, TLS name, Host, server, path)
    const ORIGINS: &[(&str, &str, &str, &str, &str)] = &[
        ("https://a.dev", "a.dev", "a.dev", "a.dev:443", ""),
        ("https://a.dev/", "a.dev", "a.dev", "a.dev:443", ""),
        ("https://A.dev/x/", "a.dev", "a.dev", "a.dev:443", "/x"),
        ("http://a.dev", "a.dev", "a.dev", "a.dev:80", ""),
        ("http://a.dev:443/x", "a.dev", "a.dev:443", "a.dev:443", "/x"),
        ("https://a.dev:443", "a.dev", "a.dev", "a.dev:443", ""),
        ("http://127.0.0.1:8080", "127.0.0.1", "127.0.0.1:8080", "127.0.0.1:8080", ""),
        ("https://[::1]:8443", "[::1]", "[::1]:8443", "[::1]:8443", ""),
        ("https://[::1]", "[::1]", "[::1]", "[::1]:443", ""),
        ("http://unix:/run/f.sock", DEFAULT_HOST, DEFAULT_HOST, "unix:/run/f.sock", ""),
        ("https://unix:/run/f.sock:/x/", DEFAULT_HOST, DEFAULT_HOST, "unix:/run/f.sock", "/x"),
    ];

    #[test]
    fn origins() {
        for &(typed, name, host, server, path) in ORIGINS {
            let origin = Origin::parse(typed).expect(typed);
            assert_eq!(origin.tls_name(false), name, "{typed}");
            assert_eq!(origin.host_header(false), host, "{typed}");
            assert_eq!(origin.server(), server, "{typed}");
            assert_eq!(origin.path, path, "{typed}");
        }
    }

    #[test]
    fn names_are_told_from_addresses() {
        let of = |typed| Origin::parse(typed).unwrap();
        assert_eq!(of("https://a.dev/x").name_and_port(), Some(("a.dev", 443)));
        assert_eq!(of("http://localhost:81").name_and_port(), Some(("localhost", 81)));
        for typed in ["http://127.0.0.1", "https://[::1]:8443", "http://unix:/run/f.sock"] {
            assert_eq!(of(typed).name_and_port(), None, "{typed}");
        }
    }

    #[test]
    fn what_stays_on_this_machine() {
        let is_local = |typed| Origin::parse(typed).unwrap().is_local();
        assert!(is_local("http://localhost:81") && is_local("http://127.1.2.3"));
        assert!(is_local("http://[::1]") && is_local("http://unix:/run/f.sock"));
        assert!(!is_local("http://192.0.2.1") && !is_local("http://fapi.test"));
        assert_eq!(
            Origin::parse("https://fapi.test:444").unwrap().remote_host(),
            Some("fapi.test")
        );
        assert_eq!(Origin::parse("https://localhost").unwrap().remote_host(), None);
    }

    #[test]
    fn default_is_clerk() {
        assert_eq!(Origin::default(), Origin::parse("https://frontend-api.clerk.dev").unwrap());
    }

    #[test]
    fn blocks_without_a_dot_lead_to_clerk() {
        let block = Origin::parse("https://clerk_fapi").unwrap();
        assert_eq!(block.block_name(), Some("clerk_fapi"));
        assert_eq!(block.tls_name(true), DEFAULT_HOST);
        let named = Origin::parse("https://fapi.test").unwrap();
        assert_eq!(named.tls_name(true), "fapi.test");
        assert_eq!(Origin::parse("https://clerk_fapi:443").unwrap().block_name(), None);
    }

    #[test]
    fn faults() {
        for (typed, fault) in [
            ("frontend-api.clerk.dev", UrlFault::NoScheme),
            ("https://", UrlFault::NoHost),
            ("https://u:p@a.dev", UrlFault::Credentials),
            ("https://a.dev/?x", UrlFault::Query),
            ("https://a.dev/#x", UrlFault::Fragment),
            ("https://$fapi", UrlFault::Variable),
            ("https://a.dev:0", UrlFault::Malformed("invalid port number".into())),
            ("https://a.dev:x", UrlFault::Malformed("invalid port number".into())),
            ("http://unix:", UrlFault::UnixSocket),
            ("http://unix:run/f.sock", UrlFault::UnixSocket),
            ("http://unix:/run/f.sock:x", UrlFault::Path("x".into())),
            ("http://unix:/run/f.sock:/x?y", UrlFault::Path("/x?y".into())),
            ("http://unix:/run/$f", UrlFault::Variable),
            (
                "http://unix:/run/f;x",
                UrlFault::Malformed("invalid character in the socket's path".into()),
            ),
        ] {
            assert_eq!(Origin::parse(typed), Err(fault), "{typed}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(typed in "(https?://)?(unix:)?\\PC*") {
            if let Ok(origin) = Origin::parse(&typed) {
                prop_assert!(!origin.path.ends_with('/'));
                prop_assert!(origin.path.is_empty() || origin.path.starts_with('/'));
                prop_assert!(origin.server().contains(':'));
            }
        }
    }
}
