//! Redirects by the Frontend API: one that leads to the Frontend API itself comes back to the proxy.

use url::Url;

use crate::frontend_api::Origin;

/// What redirects of a location are held against.
#[derive(Debug)]
pub struct Redirects {
    /// The Frontend API as it calls itself, without a path.
    origin: Url,
    /// The path of ORIGIN.
    path: String,
    /// The proxy URL, unless it holds variables.
    pub proxy_url: String,
}

impl Redirects {
    /// `None` if ORIGIN is not the name of a host.
    pub fn new(origin: &Origin, in_block: bool, proxy_url: &str) -> Option<Self> {
        let url = format!("{}://{}/", origin.scheme(), origin.host_header(in_block));
        let (path, proxy_url) = (origin.path.clone(), proxy_url.to_owned());
        Some(Self { origin: Url::parse(&url).ok()?, path, proxy_url })
    }

    /// What replaces the value of a header, if that leads a browser to the Frontend API past the proxy.
    pub fn header(&self, name: &[u8], value: &[u8], asked: &[u8], url: &str) -> Option<Vec<u8>> {
        if name.eq_ignore_ascii_case(b"Location") {
            return self.location(value, asked, url).map(String::into_bytes);
        }
        self.refresh(value, asked, url).filter(|_| name.eq_ignore_ascii_case(b"Refresh"))
    }

    /// What replaces a `Location`, if a browser would not come back to the proxy by it. `asked` is the URI that the
    /// Frontend API was asked for, behind the path of ORIGIN, and `proxy_url` the URL that it has for browsers.
    fn location(&self, location: &[u8], asked: &[u8], proxy_url: &str) -> Option<String> {
        let location = text(location);
        let asked = text(asked);
        let meant =
            with_uri(&self.origin, &format!("{}{asked}", self.path)).join(&location).ok()?;
        let rest = self.rest(&meant)?;
        let proxied = format!("{proxy_url}{rest}");
        // A relative one may be right as it is.
        if is_relative(&location) {
            let (base, path) = (Url::parse(proxy_url).ok()?, Url::parse(&proxied).ok()?);
            let there = with_uri(&base, &format!("{}{asked}", base.path().trim_end_matches('/')));
            if there.join(&location).is_ok_and(|url| url == path) {
                return None;
            }
        }
        Some(proxied)
    }

    /// The same for a `Refresh`, which has a URL behind its time.
    fn refresh(&self, refresh: &[u8], asked: &[u8], proxy_url: &str) -> Option<Vec<u8>> {
        let at = refresh.windows(4).position(|word| word.eq_ignore_ascii_case(b"url="))? + 4;
        let (before, url) = refresh.split_at(at);
        let quote = url.first().copied().filter(|byte| b"\"'".contains(byte));
        let inner = quote.map_or(url, |_| &url[1..]);
        let end = inner.iter().position(|&byte| Some(byte) == quote).unwrap_or(inner.len());
        let rewritten = self.location(&inner[..end], asked, proxy_url)?;
        let quote = quote.as_slice();
        Some([before, quote, rewritten.as_bytes(), quote].concat())
    }

    /// What stands behind the path of ORIGIN, if the URL means the Frontend API.
    fn rest<'a>(&self, url: &'a Url) -> Option<&'a str> {
        let is_http = matches!(url.scheme(), "http" | "https");
        // Either scheme may be meant, each with its own port.
        let port = match self.origin.port() {
            Some(_) => url.port_or_known_default() == self.origin.port(),
            None => url.port().is_none() || url.port() == self.origin.port_or_known_default(),
        };
        let is_host = url.host() == self.origin.host();
        let rest = url[url::Position::BeforePath..].strip_prefix(&self.path)?;
        let is_below = rest.is_empty() || rest.starts_with(['/', '?', '#']);
        (is_http && port && is_host && is_below).then_some(rest)
    }
}

/// The URL with this URI.
fn with_uri(url: &Url, uri: &str) -> Url {
    let mut url = url.clone();
    let (path, query) = match uri.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (uri, None),
    };
    url.set_path(path);
    url.set_query(query);
    url
}

/// Whether the text is a path without a slash in front, or less.
fn is_relative(location: &str) -> bool {
    // What the URL standard ignores, in front and anywhere.
    let mut chars = location.chars().filter(|c| !matches!(c, '\t' | '\n' | '\r'));
    let first = chars.find(|&c| c > ' ');
    !matches!(first, Some('/' | '\\'))
        && Url::parse(location) == Err(url::ParseError::RelativeUrlWithoutBase)
}

/// The bytes as text. What is not UTF-8 is escaped, as browsers do it.
fn text(bytes: &[u8]) -> String {
    let escaped = || {
        let escape = |&byte: &u8| match byte {
            0x80.. => format!("%{byte:02X}"),
            ascii => char::from(ascii).to_string(),
        };
        bytes.iter().map(escape).collect()
    };
    std::str::from_utf8(bytes).map_or_else(|_| escaped(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PROXY: &str = "https://app.dev/__clerk";

    fn redirects(origin: &str) -> Redirects {
        Redirects::new(&Origin::parse(origin).unwrap(), false, PROXY).unwrap()
    }

    #[test]
    fn spellings_that_browsers_resolve_to_the_frontend_api() {
        let own = redirects("https://frontend-api.clerk.dev");
        for (location, rest) in [
            ("https://frontend-api.clerk.dev/v1/x?y#z", "/v1/x?y#z"),
            ("https://frontend-api.clerk.dev", "/"),
            ("HTTPS://Frontend-API.Clerk.dev:443/v1", "/v1"),
            ("http://frontend-api.clerk.dev/v1", "/v1"),
            ("http://frontend-api.clerk.dev:80/v1", "/v1"),
            ("//frontend-api.clerk.dev/v1", "/v1"),
            (r"\\frontend-api.clerk.dev\v1", "/v1"),
            ("https:/frontend-api.clerk.dev/v1", "/frontend-api.clerk.dev/v1"),
            ("https://user:pw@frontend-api.clerk.dev/v1", "/v1"),
            ("https://frontend-api.clerk.dev/v1/../../../x", "/x"),
            ("https://frontend-api.clerk.dev/%2e%2E/x", "/x"),
            (" \thttps://frontend-api.cl\terk.dev/v1", "/v1"),
            ("/v1/x", "/v1/x"),
            ("/../x", "/x"),
            (r"\v1", "/v1"),
            ("../../../x", "/x"),
        ] {
            let found = own.location(location.as_bytes(), b"/v1/client?a=b", PROXY);
            assert_eq!(found, Some(format!("{PROXY}{rest}")), "{location}");
        }
        for location in [
            "#fragment",
            "?query",
            "",
            "x",
            "./x",
            "../x",
            "//evil.example/x",
            "https://evil.example/",
            "https://frontend-api.clerk.dev.evil.example/",
            "https://frontend-api.clerk.dev@evil.example/",
            "https://frontend-api.clerk.dev:444/",
            "https://app.dev/home",
            "mailto:x@frontend-api.clerk.dev",
            "javascript:alert(1)",
            "https://[",
        ] {
            assert_eq!(
                own.location(location.as_bytes(), b"/v1/client?a=b", PROXY),
                None,
                "{location}"
            );
        }
    }

    #[test]
    fn a_path_and_a_port_of_the_origin() {
        let own = redirects("http://127.0.0.1:8080/base");
        for (location, received) in [
            ("http://127.0.0.1:8080/base/v1", Some("/v1")),
            ("https://127.0.0.1:8080/base?x", Some("?x")),
            ("http://127.0.0.1/base/v1", None),
            ("/base/v1", Some("/v1")),
            ("/base", Some("")),
            ("/based/v1", None),
            ("/v1", None),
            ("../../x", None),
            ("../../base/../x", None),
            ("../../base/x", Some("/x")),
        ] {
            let found = own.location(location.as_bytes(), b"/v1/client", PROXY);
            let received = received.map(|rest| format!("{PROXY}{rest}"));
            assert_eq!(found, received, "{location}");
        }
    }

    #[test]
    fn what_is_not_utf_8_and_refreshes() {
        let own = redirects("https://fapi.test");
        assert_eq!(own.location(b"/\xff\xe4", b"/", PROXY), Some(format!("{PROXY}/%FF%E4")));
        for (refresh, received) in [
            ("5; url=/x", Some("5; url=https://app.dev/__clerk/x")),
            ("0;URL='https://fapi.test/x'", Some("0;URL='https://app.dev/__clerk/x'")),
            ("5", None),
            ("5; url=https://app.dev/", None),
        ] {
            let found = own.refresh(refresh.as_bytes(), b"/", PROXY);
            assert_eq!(found.as_deref(), received.map(str::as_bytes), "{refresh}");
        }
    }

    /// Parts of URLs, odd ones too.
    fn parts() -> impl Strategy<Value = String> {
        let part = proptest::sample::select(vec![
            "http:",
            "https:",
            "HTTPS:",
            "ftp:",
            "//",
            "/",
            "\\",
            "fapi.test",
            "FAPI.test",
            "evil.test",
            "app.dev",
            ":443",
            ":80",
            ":8443",
            ":",
            "user@",
            "u:p@",
            "@",
            "..",
            ".",
            "%2e%2e",
            "%2F",
            "base",
            "/base/",
            "v1",
            "?",
            "#",
            "a=b",
            ";",
            " ",
            "\t",
            "\u{e4}",
            "%",
            "[",
            "]",
        ]);
        proptest::collection::vec(part, 0..8).prop_map(|parts| parts.concat())
    }

    proptest! {
        /// A browser comes to where it would have come, below the proxy URL if that is below ORIGIN.
        #[test]
        fn a_browser_stays_at_the_proxy(
            location in parts(),
            origin in proptest::sample::select(vec![
                "https://fapi.test", "http://fapi.test", "https://fapi.test:8443", "https://fapi.test/base",
            ]),
            asked in proptest::sample::select(vec!["/", "/v1/client", "/v1/client?a=b", "//v1//x", "/a/../b"]),
            proxy in proptest::sample::select(vec!["https://app.dev/__clerk", "https://app.dev", "http://app.dev:81/a/b"]),
        ) {
            let origin = Origin::parse(origin).unwrap();
            let own = Redirects::new(&origin, false, proxy).unwrap();
            let found = own.location(location.as_bytes(), asked.as_bytes(), proxy);
            // What browsers make of it, without and behind the proxy.
            let direct = Url::parse(&format!("{}{asked}", origin.text())).unwrap().join(&location);
            let base = Url::parse(&format!("{proxy}{asked}")).unwrap();
            let there = base.join(found.as_deref().unwrap_or(&location));
            let Ok(direct) = direct else {
                prop_assert_eq!(found, None);
                return Ok(());
            };
            let default = if origin.tls { 443 } else { 80 };
            let is_port = if origin.text().contains(":8443") {
                direct.port() == Some(8443)
            } else {
                direct.port().is_none() || direct.port() == Some(default)
            };
            let is_http = matches!(direct.scheme(), "http" | "https");
            let meant = is_http && direct.host_str() == Some("fapi.test") && is_port;
            let rest = direct[url::Position::BeforePath..].strip_prefix(&*origin.path);
            let is_below = |rest: &&str| rest.is_empty() || rest.starts_with(['/', '?', '#']);
            if let Some(rest) = rest.filter(|_| meant).filter(is_below) {
                prop_assert_eq!(there, Url::parse(&format!("{proxy}{rest}")));
            } else {
                prop_assert_eq!(found, None);
            }
        }
    }
}
