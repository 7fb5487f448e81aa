//! What the Frontend API gets of a request for a script that a cache keeps: nothing in which clients differ, but for the
//! encodings that they take, in one spelling.

/// The encodings that a client takes.
#[derive(Clone, Copy, Default, Debug, PartialEq)]
pub struct Encodings {
    brotli: bool,
    gzip: bool,
}

impl Encodings {
    /// Reads the headers `Accept-Encoding`.
    pub fn of<'a>(headers: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Self {
        let mut found = Self::default();
        for (_, value) in headers.filter(|(name, _)| is_accept_encoding(name)) {
            for item in value.split(|&b| b == b',') {
                let mut parts = item.split(|&b| b == b';').map(<[u8]>::trim_ascii);
                let name = parts.next().unwrap_or_default();
                // A quality of 0 says that it is not taken.
                let none = |part: &[u8]| {
                    let digits = part.strip_prefix(b"q=").or(part.strip_prefix(b"Q="));
                    digits.is_some_and(|digits| digits.iter().all(|b| b"0.".contains(b)))
                };
                let taken = !parts.any(none);
                found.brotli |= taken && name.eq_ignore_ascii_case(b"br");
                found.gzip |= taken && name.eq_ignore_ascii_case(b"gzip");
            }
        }
        found
    }

    /// The same in one spelling.
    fn text(self) -> Option<&'static str> {
        match (self.brotli, self.gzip) {
            (true, true) => Some("br, gzip"),
            (true, false) => Some("br"),
            (false, true) => Some("gzip"),
            (false, false) => None,
        }
    }
}

fn is_accept_encoding(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"Accept-Encoding")
}

/// What the Frontend API gets of a client's request header when it is asked for a script: nothing that the reply could
/// depend on and that is neither a part of the key nor of what `Vary` tells apart. Edges may refuse a request without a
/// `User-Agent`, so it is replaced.
pub enum Said {
    /// The header as it is.
    Unchanged,
    /// Another value.
    Instead(&'static str),
    /// No such header.
    Nothing,
}

/// What the Frontend API gets of a header; the first `Accept-Encoding` takes the encodings.
pub fn said_for_script(name: &[u8], encodings: &mut Option<Encodings>) -> Said {
    let is = |other: &str| name.eq_ignore_ascii_case(other.as_bytes());
    if is("Early-Data") {
        Said::Unchanged
    } else if is("User-Agent") {
        Said::Instead("Mozilla/5.0 (compatible; ngx_http_clerk_proxy_module)")
    } else if is_accept_encoding(name) {
        encodings.take().and_then(Encodings::text).map_or(Said::Nothing, Said::Instead)
    } else {
        Said::Nothing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodings() {
        for (values, expected) in [
            (&["gzip, deflate, br, zstd"][..], Some("br, gzip")),
            (&["BR;q=1.0, gzip;q=0.8"], Some("br, gzip")),
            (&["gzip", "br"], Some("br, gzip")),
            (&["br"], Some("br")),
            (&["x-gzip, gzip ;q=0.001"], Some("gzip")),
            (&["br;q=0, gzip; q=0.000"], None),
            (&["identity", "*", ""], None),
            (&[], None),
        ] {
            let headers = values.iter().map(|value| (&b"accept-encoding"[..], value.as_bytes()));
            let encodings = Encodings::of(headers.chain([(&b"Accept"[..], &b"br"[..])]));
            assert_eq!(encodings.text(), expected, "{values:?}");
            let again = expected.map(|text| (&b"Accept-Encoding"[..], text.as_bytes()));
            assert_eq!(Encodings::of(again.into_iter()), encodings);
        }
    }
}
