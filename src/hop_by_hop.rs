//! Headers that a `Connection` header names as hop-by-hop, and which of them may be dropped.

use std::cmp::Ordering;

use http::header::{self, HeaderName};

/// Headers that no `Connection` can remove: without them a message means something else. The headers of Clerk's
/// contract are not listed, since the module sets them.
static VITAL: [HeaderName; 22] = [
    header::ACCEPT_RANGES,
    header::AUTHORIZATION,
    header::CACHE_CONTROL,
    header::CONTENT_ENCODING,
    header::CONTENT_LENGTH,
    header::CONTENT_RANGE,
    header::CONTENT_TYPE,
    header::COOKIE,
    header::DATE,
    HeaderName::from_static("early-data"),
    header::ETAG,
    header::EXPIRES,
    header::HOST,
    header::LAST_MODIFIED,
    header::LOCATION,
    header::ORIGIN,
    header::REFRESH,
    header::SERVER,
    header::SET_COOKIE,
    header::TRANSFER_ENCODING,
    header::VARY,
    header::WWW_AUTHENTICATE,
];

/// The headers that `Connection` headers remove. They are sorted, so that many headers and many names together are
/// cheap, too.
#[derive(Default)]
pub struct Dropped<'a>(Vec<&'a [u8]>);

impl<'a> Dropped<'a> {
    /// Reads the values of all `Connection` headers of a message, which rarely name any header.
    pub fn by(connections: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut names: Vec<&[u8]> = connections.flat_map(names).collect();
        names.sort_unstable_by(|one, other| compare(one, other));
        Self(names)
    }

    /// The same names except some.
    pub fn but(mut self, stays: impl Fn(&[u8]) -> bool) -> Self {
        self.0.retain(|name| !stays(name));
        self
    }

    /// Whether there is no name.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the header `name` is one of them.
    pub fn contains(&self, name: &[u8]) -> bool {
        self.0.binary_search_by(|other| compare(other, name)).is_ok()
    }
}

/// Whether a `Connection` header is one of the two usual ones, which name no header.
pub fn names_nothing(connection: &[u8]) -> bool {
    // The usual spelling.
    connection == b"keep-alive"
        || [&b"keep-alive"[..], b"close"].iter().any(|word| word.eq_ignore_ascii_case(connection))
}

/// The names of headers in a `Connection` header, without those of headers that must stay.
fn names(connection: &[u8]) -> impl Iterator<Item = &[u8]> {
    connection.split(|&b| b == b',').map(<[u8]>::trim_ascii).filter(|name| {
        let is_vital =
            || VITAL.iter().any(|vital| vital.as_str().as_bytes().eq_ignore_ascii_case(name));
        !(name.is_empty() || names_nothing(name) || is_vital())
    })
}

fn compare(one: &[u8], other: &[u8]) -> Ordering {
    one.iter().map(u8::to_ascii_lowercase).cmp(other.iter().map(u8::to_ascii_lowercase))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_no_names() {
        for value in ["", "close", "Keep-Alive", "keep-alive, close", " , ,", "cookie, HOST"] {
            assert!(Dropped::by([value.as_bytes()].into_iter()).is_empty(), "{value}");
        }
        for (value, nothing) in
            [("close", true), ("Keep-Alive", true), ("close, x", false), ("", false)]
        {
            assert_eq!(names_nothing(value.as_bytes()), nothing, "{value}");
        }
        assert!(!Dropped::by([&b"close, X-Hop"[..]].into_iter()).is_empty());
    }

    #[test]
    fn named_headers_are_dropped_unless_they_are_vital() {
        let values = [&b"keep-alive, X-Hop ,cookie,\tContent-Length"[..], b"b-hop, A-Hop"];
        let dropped = Dropped::by(values.into_iter());
        for name in ["x-hop", "X-HOP", "a-hop", "B-Hop"] {
            assert!(dropped.contains(name.as_bytes()), "{name}");
        }
        assert!(!Dropped::by(values.into_iter()).but(|name| name == b"X-Hop").contains(b"x-hop"));
        for kept in ["Cookie", "content-length", "X-Ho", "X-Hops", "close", "keep-alive", ""] {
            assert!(!dropped.contains(kept.as_bytes()), "{kept}");
        }
    }
}
