//! The public proxy URL, `https://app.dev/__clerk`, which is set in the Clerk Dashboard and which browsers call.

use crate::http_url::{parse_http_url, UrlFault};
use crate::variable_names::variable_names;

/// A proxy URL that can be used.
#[derive(Clone, Debug, PartialEq)]
pub struct ProxyUrl {
    text: String,
    scheme_len: usize,
    prefix_at: usize,
}

impl ProxyUrl {
    /// Reads a proxy URL. Trailing slashes are dropped; the rest must be spelt as browsers do. The host may contain
    /// variables of nginx.
    ///
    /// # Errors
    ///
    /// The first fault found.
    pub fn parse(typed: &str) -> Result<Self, UrlFault> {
        let (scheme, rest) = typed.split_once("://").unwrap_or((typed, ""));
        let host_len = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (host, behind) = rest.split_at(host_len);
        if scheme.contains('$') || behind.contains('$') {
            return Err(UrlFault::VariableOutsideHost);
        }
        if host.contains('$') {
            // The value of a variable must be like a part of a label.
            parse_http_url(&format!("{scheme}://{}{behind}", without_variables(host)?))?;
        } else {
            parse_http_url(typed)?;
        }
        let text = typed.trim_end_matches('/').to_owned();
        let scheme_len = scheme.len();
        Ok(Self { text, scheme_len, prefix_at: scheme_len + "://".len() + host_len })
    }

    /// Whether the host contains variables.
    pub fn has_variables(&self) -> bool {
        self.text.contains('$')
    }

    /// Whether `value`, this URL with the values of its variables, can be sent to Clerk.
    pub fn is_met_by(&self, value: &str) -> bool {
        let met = Self::parse(value).is_ok_and(|url| url.prefix() == self.prefix());
        met && !value.contains('$') && !value.ends_with('/')
    }

    /// Whether the host contains this variable; the name is in small letters.
    pub fn has_variable(&self, name: &str) -> bool {
        variable_names(&self.text).any(|other| other == name)
    }

    /// The value of `Clerk-Proxy-Url`: the URL as typed, without trailing slashes.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// `https` or `http`.
    pub fn scheme(&self) -> &str {
        &self.text[..self.scheme_len]
    }

    /// The host, and the port if one was typed.
    pub fn authority(&self) -> &str {
        &self.text[self.scheme_len + "://".len()..self.prefix_at]
    }

    /// The path that is cut off requests: empty, or `/…` without a slash at the end.
    pub fn prefix(&self) -> &str {
        &self.text[self.prefix_at..]
    }
}

/// The host with a letter in place of each `$name` and `${name}`.
fn without_variables(host: &str) -> Result<String, UrlFault> {
    let invalid = || UrlFault::Malformed("invalid variable name".to_owned());
    let mut parts = host.split('$');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let is_of_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let (name, rest) = if let Some(part) = part.strip_prefix('{') {
            part.split_once('}').ok_or_else(invalid)?
        } else {
            part.split_at(part.find(|c| !is_of_name(c)).unwrap_or(part.len()))
        };
        if name.is_empty() || !name.chars().all(is_of_name) {
            return Err(invalid());
        }
        if name.starts_with(|c: char| c.is_ascii_digit()) {
            return Err(UrlFault::Capture);
        }
        plain.push('v');
        plain.push_str(rest);
    }
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parts(typed: &str) -> (String, String, String, String) {
        let url = ProxyUrl::parse(typed).expect(typed);
        let own = str::to_owned;
        (own(url.as_str()), own(url.scheme()), own(url.authority()), own(url.prefix()))
    }

    #[test]
    fn parts_of_urls() {
        for (typed, text, scheme, authority, prefix) in [
            ("https://app.dev/__clerk", "https://app.dev/__clerk", "https", "app.dev", "/__clerk"),
            ("https://app.dev/__clerk/", "https://app.dev/__clerk", "https", "app.dev", "/__clerk"),
            ("https://app.dev/a/b//", "https://app.dev/a/b", "https", "app.dev", "/a/b"),
            ("https://app.dev", "https://app.dev", "https", "app.dev", ""),
            ("https://app.dev/", "https://app.dev", "https", "app.dev", ""),
            ("http://App.dev:8080/x", "http://App.dev:8080/x", "http", "App.dev:8080", "/x"),
            ("https://[::1]:8443/x", "https://[::1]:8443/x", "https", "[::1]:8443", "/x"),
            (
                "https://xn--pp-fka.dev/x",
                "https://xn--pp-fka.dev/x",
                "https",
                "xn--pp-fka.dev",
                "/x",
            ),
        ] {
            let expected = [text, scheme, authority, prefix].map(str::to_owned);
            assert_eq!(parts(typed), expected.into());
        }
    }

    #[test]
    fn faults() {
        for (typed, fault) in [
            ("", UrlFault::NoScheme),
            ("app.dev/__clerk", UrlFault::NoScheme),
            ("/__clerk", UrlFault::NoScheme),
            ("ftp://app.dev/x", UrlFault::Scheme("ftp".into())),
            ("HTTPS://app.dev/x", UrlFault::Scheme("HTTPS".into())),
            ("https://", UrlFault::NoHost),
            ("https:///__clerk", UrlFault::NoHost),
            ("https://:443/__clerk", UrlFault::NoHost),
            ("https://u:p@app.dev/x", UrlFault::Credentials),
            ("https://@app.dev/x", UrlFault::Credentials),
            ("https://app.dev/x?y", UrlFault::Query),
            ("https://app.dev/x?", UrlFault::Query),
            ("https://app.dev/x#y", UrlFault::Fragment),
            ("https://app.dev/$x", UrlFault::VariableOutsideHost),
            ("https://app.dev?$x", UrlFault::VariableOutsideHost),
            ("$scheme://app.dev/x", UrlFault::VariableOutsideHost),
            ("$url", UrlFault::VariableOutsideHost),
            ("https://$/x", UrlFault::Malformed("invalid variable name".into())),
            ("https://${host/x", UrlFault::Malformed("invalid variable name".into())),
            ("https://${ho st}/x", UrlFault::Malformed("invalid variable name".into())),
            ("https://$a@$b/x", UrlFault::Credentials),
            ("https://$1.app.dev/x", UrlFault::Capture),
            ("https://.app.dev/x", UrlFault::Malformed("empty label in the host".into())),
            ("https://app.dev:$port/x", UrlFault::Malformed("invalid port number".into())),
            ("https://app.dev/x ", UrlFault::NotAscii),
            ("https://app.dev/\nx", UrlFault::NotAscii),
            ("https://äpp.dev/x", UrlFault::NotAscii),
            ("https://app.dev/a/../b", UrlFault::Path("/a/../b".into())),
            ("https://app.dev/a//b", UrlFault::Path("/a//b".into())),
            ("https://app.dev/a%20b", UrlFault::Path("/a%20b".into())),
            ("https://app.dev/a\\b", UrlFault::Path("/a\\b".into())),
            ("https://app.dev:99999/x", UrlFault::Malformed("invalid port number".into())),
            ("https://app.dev:0/x", UrlFault::Malformed("invalid port number".into())),
            ("https://app.dev:/x", UrlFault::Malformed("invalid port number".into())),
            ("https://2/x", UrlFault::Malformed("its host is not normalized".into())),
            ("https://0x7f.1:80/x", UrlFault::Malformed("its host is not normalized".into())),
            ("https://{x}/x", UrlFault::Malformed("invalid character in the host".into())),
            // Debug builds of the parser of URLs panic at this one.
            ("https://appM%de/x", UrlFault::Malformed("invalid character in the host".into())),
        ] {
            assert_eq!(ProxyUrl::parse(typed), Err(fault), "{typed}");
        }
    }

    #[test]
    fn variables_in_the_host() {
        for (typed, authority, prefix) in [
            ("https://$host/__clerk/", "$host", "/__clerk"),
            ("https://$http_host", "$http_host", ""),
            ("https://${tenant}.app.dev:8443/x", "${tenant}.app.dev:8443", "/x"),
            ("https://$a$b/x", "$a$b", "/x"),
        ] {
            let url = ProxyUrl::parse(typed).expect(typed);
            assert!(url.has_variables());
            assert_eq!((url.authority(), url.prefix()), (authority, prefix));
        }
        let url = ProxyUrl::parse("https://$host/x").unwrap();
        for value in ["https://app.dev/x", "https://app.dev:8443/x", "https://[::1]/x"] {
            assert!(url.is_met_by(value), "{value}");
        }
        for value in [
            "https:///x",
            "https://a b/x",
            "https://app.dev\r\nX: y/x",
            "https://app.dev\n/x",
            "https://app.dev/y/x",
            "https://app.dev?/x",
            "https://u@app.dev/x",
            "https://$host/x",
            "https://app.dev/x/y",
            "https://.app.dev/x",
            "https://a..b/x",
            "https://./x",
            "https://app.dev/x/",
            "https://app\0.dev/x",
            "https://app_dev,b.dev/x",
        ] {
            assert!(!url.is_met_by(value), "{value}");
        }
    }

    #[test]
    fn variables_by_name() {
        let url = ProxyUrl::parse("https://${http_host}.$Server_Name:80/__clerk").unwrap();
        assert!(url.has_variable("http_host") && url.has_variable("server_name"));
        assert!(!url.has_variable("host") && !url.has_variable("server"));
    }

    proptest! {
        #[test]
        fn never_panics_and_keeps_the_text(typed in "\\PC*") {
            if let Ok(url) = ProxyUrl::parse(&typed) {
                prop_assert!(typed.starts_with(url.as_str()));
                prop_assert_eq!(
                    format!("{}://{}{}", url.scheme(), url.authority(), url.prefix()),
                    url.as_str()
                );
                prop_assert!(!url.prefix().ends_with('/'));
            }
        }

        #[test]
        fn plain_urls_are_taken(host in "[a-z][a-z0-9]{0,9}(\\.[a-z]{2,5}){1,2}",
                                path in "(/[a-zA-Z_][a-zA-Z0-9_.~-]{0,8}){0,3}/{0,2}") {
            let typed = format!("https://{host}{path}");
            let url = ProxyUrl::parse(&typed).unwrap();
            prop_assert_eq!(url.authority(), host);
            prop_assert_eq!(url.prefix(), path.trim_end_matches('/'));
        }
    }
}
