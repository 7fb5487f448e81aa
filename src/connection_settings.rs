//! The settings that must agree before locations share a connection, and what follows from them.

/// The settings of the expected certificate's name, which belongs to a connection and not to the context.
const NAMES: &[&str] = &["proxy_ssl_name", "proxy_ssl_server_name"];

/// Settings by content: directives by name, and what they are set to.
pub type Content = Vec<(&'static str, Vec<u8>)>;

/// Whether the directive affects how a connection is made. Locations share connections and their TLS sessions only if
/// all of these agree.
pub fn is_of_connection(name: &str) -> bool {
    // Those of newer nginx and of forks begin like this, too.
    const KINDS: &[&str] = &["proxy_http", "proxy_quic_", "proxy_socket_"];
    is_of_tls(name)
        || name == "proxy_bind"
        || KINDS.iter().any(|beginning| name.starts_with(beginning))
}

/// Whether the directive affects TLS.
pub fn is_of_tls(name: &str) -> bool {
    // Tengine's second.
    name.starts_with("proxy_ssl_") || name == "proxy_enable_ntls"
}

/// The settings that make a TLS context.
pub fn context_of(connection: &Content) -> Content {
    let of_context = |name: &str| name.starts_with("proxy_ssl_") && !NAMES.contains(&name);
    connection.iter().filter(|(name, _)| of_context(name)).cloned().collect()
}

/// Whether connections with these settings are verified.
pub fn is_verified(connection: &Content) -> bool {
    connection
        .iter()
        .any(|(name, content)| *name == "proxy_ssl_verify" && content.iter().any(|&byte| byte != 0))
}

/// The first setting that is worked out for each request and belongs to the connection, which nginx would use for
/// requests with other values, too.
pub fn varying(connection: &Content) -> Option<&'static str> {
    const WITH_VARIABLES: &[&str] =
        &["proxy_bind", "proxy_ssl_certificate", "proxy_ssl_certificate_key", "proxy_ssl_name"];
    let mut settings = connection.iter().filter(|(name, _)| WITH_VARIABLES.contains(name));
    settings.find(|(_, content)| content.contains(&b'$')).map(|(name, _)| *name)
}

/// Whether requests over connections made with these settings have a request line.
pub fn speaks_http_1(connection: &Content) -> bool {
    let mut versions = connection.iter().filter(|(name, _)| *name == "proxy_http_version");
    versions.all(|(_, content)| {
        [1000_usize, 1001].iter().any(|v| content.starts_with(&v.to_ne_bytes()))
    })
}

/// Whether such a connection serves any request and can be made before one.
pub fn can_wait(connection: &Content) -> bool {
    connection.iter().all(|(name, content)| match *name {
        // HTTP/2 begins with a preface; HTTP/1.0 keeps no connection.
        "proxy_http_version" => content.starts_with(&1001_usize.to_ne_bytes()),
        "proxy_bind" => content.is_empty(),
        "proxy_socket_keepalive" => true,
        // Connections that are kept ready know nothing of the rest.
        _ => name.starts_with("proxy_ssl_") && !content.contains(&b'$'),
    })
}

/// What locations with the same upstream share.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Key {
    /// The scheme of ORIGIN.
    pub scheme: &'static str,
    /// Its server, as `upstream {}` has it.
    pub server: String,
    /// How many idle connections a worker keeps.
    pub keepalive: String,
    /// The settings of connections.
    pub connection: Content,
}

impl Key {
    /// The first difference, in a user's words.
    pub fn difference(&self, other: &Self) -> Option<String> {
        if self.scheme != other.scheme {
            return Some("scheme".to_owned());
        }
        let only = |one: &Self, other: &Self| {
            let mut settings = one.connection.iter();
            settings.find(|setting| !other.connection.contains(setting)).map(|(name, _)| *name)
        };
        only(self, other).or_else(|| only(other, self)).map(str::to_owned)
    }

    /// The name of the first implicit upstream for the server. It contains a space, which no user's name does: a user's
    /// `proxy_pass` does not lead there, and ours never to a user's block. nginx would read a colon as a port and a slash
    /// as a path.
    pub fn name(&self) -> String {
        let server = self.server.strip_suffix(":443").unwrap_or(&self.server);
        format!("clerk_proxy {}", server.replace([':', '/'], "|"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directives_of_newer_nginx_and_of_forks_count() {
        for name in [
            "proxy_bind",
            "proxy_enable_ntls",
            "proxy_http3_hq",
            "proxy_http_version",
            "proxy_quic_gso",
            "proxy_socket_keepalive",
            "proxy_socket_rcvbuf",
            "proxy_socket_sndbuf",
            "proxy_ssl_keylog_file",
            "proxy_ssl_of_tomorrow",
        ] {
            assert!(is_of_connection(name), "{name}");
        }
        for name in ["proxy_buffers", "proxy_hide_header", "proxy_pass", "proxy_read_timeout"] {
            assert!(!is_of_connection(name), "{name}");
        }
    }

    #[test]
    fn connections_that_are_made_in_an_unknown_way_are_not_kept_ready() {
        let one = |name, content: &[u8]| can_wait(&vec![(name, content.to_vec())]);
        assert!(one("proxy_http_version", &1001_usize.to_ne_bytes()));
        assert!(!one("proxy_http_version", &2000_usize.to_ne_bytes()));
        assert!(one("proxy_socket_keepalive", &[1]) && one("proxy_ssl_name", b"localhost"));
        assert!(one("proxy_bind", b"") && !one("proxy_bind", b"127.0.0.1"));
        for name in ["proxy_socket_rcvbuf", "proxy_http3_hq", "proxy_quic_gso", "proxy_enable_ntls"]
        {
            assert!(!one(name, &[1]), "{name}");
        }
        assert!(!one("proxy_ssl_name", b"$name"));
    }

    fn key(scheme: &'static str, server: &str, connection: &[(&'static str, &[u8])]) -> Key {
        let connection = connection.iter().map(|(name, value)| (*name, value.to_vec())).collect();
        Key { scheme, server: server.to_owned(), keepalive: "8".to_owned(), connection }
    }

    #[test]
    fn the_first_difference_is_named() {
        let one = key("https", "a:443", &[("proxy_bind", b"1"), ("proxy_ssl_verify", b"1")]);
        assert_eq!(one.difference(&one), None);
        let plain = key("http", "a:443", &[]);
        assert_eq!(one.difference(&plain).as_deref(), Some("scheme"));
        let other = key("https", "a:443", &[("proxy_bind", b"1"), ("proxy_ssl_verify", b"0")]);
        assert_eq!(one.difference(&other).as_deref(), Some("proxy_ssl_verify"));
        let less = key("https", "a:443", &[("proxy_ssl_verify", b"1")]);
        assert_eq!(less.difference(&one).as_deref(), Some("proxy_bind"));
    }

    #[test]
    fn names_are_none_that_a_user_could_write() {
        for (server, name) in [
            ("app.example:443", "clerk_proxy app.example"),
            ("app.example:8443", "clerk_proxy app.example|8443"),
            ("[::1]:443", "clerk_proxy [||1]"),
            ("unix:/run/x.sock", "clerk_proxy unix||run|x.sock"),
        ] {
            assert_eq!(key("https", server, &[]).name(), name);
        }
    }
}
