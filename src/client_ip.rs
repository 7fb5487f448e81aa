//! The client's address as a CDN or load balancer writes it, with or without a port.

use std::io::Write as _;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// How a value writes addresses.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Form {
    /// `IP`, `IPv4:port` or `[IPv6]:port`.
    Usual,
    /// The same, but an IPv6 address has no brackets and always a port: `2001:db8::1:50000`.
    AlwaysPort,
}

impl Form {
    /// The form of the values of an nginx expression: only the CDN `CloudFront` writes a port behind a bare
    /// address.
    pub fn of(expression: &str) -> Self {
        // nginx ignores the case of variables.
        if expression.to_ascii_lowercase().contains("http_cloudfront_viewer_address") {
            Self::AlwaysPort
        } else {
            Self::Usual
        }
    }
}

/// Whether an expression of nginx is `$name` or `${name}`. Anything else is not an address, or the same for everybody.
pub fn is_one_variable(expression: &str) -> bool {
    let name = expression.strip_prefix('$').unwrap_or_default();
    let name = name.strip_prefix('{').and_then(|name| name.strip_suffix('}')).unwrap_or(name);
    let is_capture = name.starts_with(|c: char| c.is_ascii_digit());
    !name.is_empty() && !is_capture && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// The name of the header, in the characters of variables, if an expression is the variable of a request header.
pub fn header_of(expression: &str) -> Option<String> {
    let name = expression.trim_start_matches(['$', '{']).trim_end_matches('}').to_ascii_lowercase();
    name.strip_prefix("http_").filter(|_| is_one_variable(expression)).map(str::to_owned)
}

/// Whether a header has the name, as nginx finds it for a variable.
pub fn is_in_variable(header: &[u8], name: &str) -> bool {
    let folded = |b: &u8| if *b == b'-' { b'_' } else { b.to_ascii_lowercase() };
    header.len() == name.len() && header.iter().map(folded).eq(name.bytes())
}

/// The address in a value, without brackets and port; `None` if the value is anything else. A zone id means nothing to
/// other machines and makes a value invalid.
pub fn client_ip(value: &str, form: Form) -> Option<&str> {
    if let Some(rest) = value.strip_prefix('[') {
        let (ip, port) = rest.split_once(']')?;
        let has_port = port.is_empty() || value.parse::<SocketAddr>().is_ok();
        return (has_port && ip.parse::<Ipv6Addr>().is_ok()).then_some(ip);
    }
    let without_port = value.rsplit_once(':').and_then(|(ip, port)| {
        let digits = port.bytes().all(|b| b.is_ascii_digit());
        (digits && port.parse::<u16>().is_ok()).then_some(ip)
    });
    let ip = match without_port {
        // An IPv6 address may end in a group of digits.
        Some(ip) if !ip.contains(':') || form == Form::AlwaysPort => ip,
        _ => value,
    };
    ip.parse::<IpAddr>().is_ok().then_some(ip)
}

/// An address in one spelling, by which requests are counted (RFC 5952; IPv4 in IPv6 as IPv4).
#[derive(Debug)]
pub struct Spelling {
    bytes: [u8; 45],
    len: usize,
}

impl Spelling {
    /// The spelling, if `ip` is an address in another one.
    pub fn unlike(ip: &str) -> Option<Self> {
        // IPv4 addresses have only one valid spelling.
        if !ip.contains(':') {
            return None;
        }
        let mut bytes = [0; 45];
        let mut rest = &mut bytes[..];
        write!(rest, "{}", ip.parse::<IpAddr>().ok()?.to_canonical()).ok()?;
        let len = 45 - rest.len();
        let spelling = Self { bytes, len };
        (spelling.as_bytes() != ip.as_bytes()).then_some(spelling)
    }

    /// The text.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn addresses() {
        for (value, expected) in [
            ("192.0.2.1", Some("192.0.2.1")),
            ("192.0.2.1:50000", Some("192.0.2.1")),
            ("2001:db8::1", Some("2001:db8::1")),
            ("2001:db8::1:443", Some("2001:db8::1:443")),
            ("[2001:db8::1]", Some("2001:db8::1")),
            ("[2001:db8::1]:443", Some("2001:db8::1")),
            ("::ffff:192.0.2.1", Some("::ffff:192.0.2.1")),
            ("::", Some("::")),
        ] {
            assert_eq!(client_ip(value, Form::Usual), expected, "{value}");
        }
        for (value, expected) in [
            ("192.0.2.1:50000", Some("192.0.2.1")),
            ("2001:db8::1:443", Some("2001:db8::1")),
            ("2001:db8:0:0:0:0:0:1:50000", Some("2001:db8:0:0:0:0:0:1")),
            ("[2001:db8::1]:443", Some("2001:db8::1")),
            ("2001:db8::ff", Some("2001:db8::ff")),
        ] {
            assert_eq!(client_ip(value, Form::AlwaysPort), expected, "{value}");
        }
    }

    #[test]
    fn one_spelling() {
        let other = |ip: &str| {
            let spelling = Spelling::unlike(ip)?;
            Some(String::from_utf8_lossy(spelling.as_bytes()).into_owned())
        };
        for (ip, expected) in [
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("::FFFF:c000:201", "192.0.2.1"),
            ("2001:DB8::1", "2001:db8::1"),
            ("2001:0db8:0:0:0:0:0:1", "2001:db8::1"),
            ("2001:db8::0:1", "2001:db8::1"),
            ("2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"),
        ] {
            assert_eq!(other(ip).as_deref(), Some(expected), "{ip}");
        }
        for ip in ["192.0.2.1", "2001:db8::1", "::1", "::", "x:y", ""] {
            assert_eq!(other(ip), None, "{ip}");
        }
    }

    #[test]
    fn garbage() {
        for value in [
            "",
            "unix:",
            "-",
            "unknown",
            "_hidden",
            "192.0.2.1, 192.0.2.2",
            " 192.0.2.1",
            "192.0.2.1 ",
            "192.0.2",
            "192.0.2.256",
            "0300.0.2.1",
            "192.0.2.1:",
            "192.0.2.1:x",
            "192.0.2.1:65536",
            "192.0.2.1:+1",
            "192.0.2.1:1:2",
            "[192.0.2.1]",
            "[::1",
            "::1]",
            "[::1]x",
            "[::1]:",
            "[::1]:65536",
            "fe80::1%eth0",
            "[fe80::1%eth0]:1",
            "192.0.2.1\r\nX: y",
            "for=192.0.2.1",
        ] {
            assert_eq!(client_ip(value, Form::Usual), None, "{value}");
            assert_eq!(client_ip(value, Form::AlwaysPort), None, "{value}");
        }
    }

    #[test]
    fn variables() {
        for expression in ["$remote_addr", "${http_x_real_ip}"] {
            assert!(is_one_variable(expression), "{expression}");
        }
        for expression in
            ["", "$", "$1", "${}", "${x", "remote_addr", "$a$b", "$a,$b", " $a", "192.0.2.1"]
        {
            assert!(!is_one_variable(expression), "{expression}");
        }
    }

    #[test]
    fn headers() {
        for (expression, name) in [
            ("$http_cf_connecting_ip", Some("cf_connecting_ip")),
            ("${HTTP_X}", Some("x")),
            ("$remote_addr", None),
            ("$http_a$http_b", None),
            ("http_x", None),
        ] {
            assert_eq!(header_of(expression).as_deref(), name, "{expression}");
        }
        assert!(is_in_variable(b"X-Own", "x_own") && is_in_variable(b"x_own", "x_own"));
        assert!(!is_in_variable(b"X-Own-", "x_own") && !is_in_variable(b"X.Own", "x_own"));
    }

    #[test]
    fn forms() {
        assert_eq!(Form::of("$http_cloudfront_viewer_address"), Form::AlwaysPort);
        assert_eq!(Form::of("${HTTP_CloudFront_Viewer_Address}"), Form::AlwaysPort);
        assert_eq!(Form::of("$http_cf_connecting_ip"), Form::Usual);
    }

    proptest! {
        #[test]
        fn all_forms_of_all_addresses(ip: IpAddr, port: u16) {
            let text = ip.to_string();
            prop_assert_eq!(client_ip(&text, Form::Usual), Some(&text[..]));
            let with_port = SocketAddr::new(ip, port).to_string();
            prop_assert_eq!(client_ip(&with_port, Form::Usual), Some(&text[..]));
            prop_assert_eq!(client_ip(&with_port, Form::AlwaysPort), Some(&text[..]));
            let bare = format!("{text}:{port}");
            prop_assert_eq!(client_ip(&bare, Form::AlwaysPort), Some(&text[..]));
        }

        #[test]
        fn one_spelling_of_all_addresses(ip: IpAddr) {
            let spelt = |ip: &str| {
                let other = Spelling::unlike(ip).map(|other| other.as_bytes().to_vec());
                String::from_utf8(other.unwrap_or_else(|| ip.into())).unwrap()
            };
            let spelling = spelt(&ip.to_string());
            prop_assert_eq!(spelling.parse::<IpAddr>().unwrap(), ip.to_canonical());
            prop_assert_eq!(spelt(&spelling), spelling.clone());
            if let IpAddr::V6(ip) = ip {
                let long = ip.segments().map(|part| format!("{part:04X}")).join(":");
                prop_assert_eq!(spelt(&long), spelling);
            }
        }

        #[test]
        fn nothing_but_addresses(value in "\\PC*|[0-9a-f.:\\[\\]%]*") {
            for form in [Form::Usual, Form::AlwaysPort] {
                if let Some(ip) = client_ip(&value, form) {
                    prop_assert!(ip.parse::<IpAddr>().is_ok());
                    prop_assert!(value.contains(ip));
                }
            }
        }
    }
}
