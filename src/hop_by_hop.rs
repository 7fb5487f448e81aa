//! Headers that a `Connection` header names as meant for one hop, and which of them may be dropped.

use http::header::{self, HeaderName};

/// Headers that no `Connection` can take away: without them a message means something else. The headers of
/// Clerk's contract need no place here, since the module sets them itself.
const VITAL: &[HeaderName] = &[
    header::ACCEPT_RANGES,
    header::AUTHORIZATION,
    header::CACHE_CONTROL,
    header::CONTENT_ENCODING,
    header::CONTENT_LENGTH,
    header::CONTENT_RANGE,
    header::CONTENT_TYPE,
    header::COOKIE,
    header::DATE,
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

/// Whether the value of a `Connection` header names headers at all; nearly none does.
pub fn names_headers(connection: &[u8]) -> bool {
    names(connection).next().is_some()
}

/// Whether the value of a `Connection` header takes the header `name` away.
pub fn is_dropped(connection: &[u8], name: &[u8]) -> bool {
    names(connection).any(|other| other.eq_ignore_ascii_case(name))
        && !VITAL.iter().any(|vital| vital.as_str().as_bytes().eq_ignore_ascii_case(name))
}

/// The names in a `Connection` header but for the two options that say nothing about headers.
fn names(connection: &[u8]) -> impl Iterator<Item = &[u8]> {
    connection.split(|&b| b == b',').map(<[u8]>::trim_ascii).filter(|option| {
        !(option.is_empty()
            || option.eq_ignore_ascii_case(b"close")
            || option.eq_ignore_ascii_case(b"keep-alive"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_no_names() {
        for value in ["", "close", "Keep-Alive", "keep-alive, close", " , ,"] {
            assert!(!names_headers(value.as_bytes()), "{value}");
        }
        assert!(names_headers(b"close, X-Hop"));
    }

    #[test]
    fn named_headers_are_dropped_unless_they_are_vital() {
        let value = b"keep-alive, X-Hop ,cookie,\tContent-Length";
        assert!(is_dropped(value, b"x-hop"));
        for kept in ["Cookie", "content-length", "X-Ho", "X-Hops", "close", "keep-alive", ""] {
            assert!(!is_dropped(value, kept.as_bytes()), "{kept}");
        }
    }
}
