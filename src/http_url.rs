//! URLs of `http` and `https` that browsers, nginx and Clerk read alike, and the faults of others.

use std::fmt;

use url::Url;

use crate::shown::shown;

/// Why a URL cannot be used.
#[derive(Clone, Debug, PartialEq)]
pub enum UrlFault {
    /// No `https://` at the front.
    NoScheme,
    /// Neither http nor https.
    Scheme(String),
    /// Nothing between `//` and the path.
    NoHost,
    /// `user:password@`.
    Credentials,
    /// `?…`.
    Query,
    /// `#…`.
    Fragment,
    /// `$name`.
    Variable,
    /// `$name` outside the host.
    VariableOutsideHost,
    /// `$1`, which any regular expression replaces.
    Capture,
    /// A space, a control character or a byte above 0x7e.
    NotAscii,
    /// A path that a browser or nginx would change: `//`, dot segments, `%`, `\`.
    Path(String),
    /// Anything else that the URL standard forbids, in its words.
    Malformed(String),
    /// The path of a socket is missing or relative.
    UnixSocket,
}

impl fmt::Display for UrlFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoScheme => f.write_str("it has no scheme"),
            Self::Scheme(scheme) => {
                write!(f, "its scheme \"{}\" is neither \"https\" nor \"http\"", shown(scheme))
            }
            Self::NoHost => f.write_str("it has no host"),
            Self::Credentials => f.write_str("it has credentials"),
            Self::Query => f.write_str("it has a query"),
            Self::Fragment => f.write_str("it has a fragment"),
            Self::Variable => f.write_str("variables are not supported here"),
            Self::Capture => {
                f.write_str("\"$1\" changes with each regular expression, use a named capture")
            }
            Self::VariableOutsideHost => f.write_str("only its host may contain variables"),
            Self::NotAscii => f.write_str("it contains a space or a character outside ASCII"),
            Self::Path(path) => write!(f, "its path \"{}\" is not normalized", shown(path)),
            Self::Malformed(why) => f.write_str(why),
            Self::UnixSocket => {
                f.write_str("the absolute path of a socket is missing after \"unix:\"")
            }
        }
    }
}

/// Parses an `http` or `https` URL without credentials, query, fragment and variables that all readers read alike.
/// Also returns the host and port as typed.
pub fn parse_http_url(typed: &str) -> Result<(Url, &str), UrlFault> {
    if typed.contains('$') {
        return Err(UrlFault::Variable);
    }
    // The URL standard drops spaces at the ends and new lines anywhere; a header would contain them.
    if !typed.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(UrlFault::NotAscii);
    }
    let Some((scheme, rest)) = typed.split_once("://") else {
        return Err(UrlFault::NoScheme);
    };
    // nginx ignores the case of the scheme, browsers write it small, and the header has what was typed.
    if scheme != "https" && scheme != "http" {
        return Err(UrlFault::Scheme(scheme.to_owned()));
    }
    // The standard accepts `https:///host`.
    if rest.is_empty() || rest.starts_with(['/', '?', '#', ':']) {
        return Err(UrlFault::NoHost);
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.contains('@') {
        return Err(UrlFault::Credentials);
    }
    if typed.contains('#') {
        return Err(UrlFault::Fragment);
    }
    if typed.contains('?') {
        return Err(UrlFault::Query);
    }
    // The standard accepts characters that no name contains and that other readers may take for syntax.
    if !authority.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b)) {
        return Err(UrlFault::Malformed("invalid character in the host".to_owned()));
    }
    let url = Url::parse(typed).map_err(|why| UrlFault::Malformed(why.to_string()))?;
    if authority.ends_with(':') || url.port() == Some(0) {
        return Err(UrlFault::Malformed("invalid port number".to_owned()));
    }
    let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
    // A label is empty if a variable such as that of "$tenant.app.dev" is.
    let labels_are_empty = host.starts_with('.') || host.contains("..");
    if labels_are_empty {
        return Err(UrlFault::Malformed("empty label in the host".to_owned()));
    }
    // The standard reads numbers as addresses: "2" is 0.0.0.2.
    if !authority.starts_with('[')
        && url.host_str().is_none_or(|read| !read.eq_ignore_ascii_case(host))
    {
        return Err(UrlFault::Malformed("its host is not normalized".to_owned()));
    }
    let path = &rest[authority.len()..];
    let plain = path.trim_end_matches('/');
    // Where the parser changes a path, nginx or a browser may read it differently than the user.
    if url.path().trim_end_matches('/') != plain || plain.contains("//") || plain.contains('%') {
        return Err(UrlFault::Path(path.to_owned()));
    }
    Ok((url, authority))
}

/// A name or an address without the port behind it. An nginx without TLS has no use for it.
#[cfg_attr(not(nginx_http_ssl), allow(dead_code))]
pub fn without_port(name: &str) -> &str {
    let behind = if name.starts_with('[') { name.find(']').unwrap_or(0) } else { 0 };
    let port = name[behind..].find(':').map_or(name.len(), |colon| behind + colon);
    &name[..port]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_cut_off() {
        for (name, without) in [
            ("app.example", "app.example"),
            ("app.example:8443", "app.example"),
            ("[::1]", "[::1]"),
            ("[::1]:8443", "[::1]"),
            ("", ""),
            (":1", ""),
        ] {
            assert_eq!(without_port(name), without);
        }
    }
}
