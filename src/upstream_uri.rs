//! From the URI that a client sent to the URI that the Frontend API gets: the prefix cut off, nothing else.
//!
//! Nothing here allocates: the answer borrows from the request and, in the rare case that it is no single
//! slice of it, is written into a buffer of the caller's.

use std::ptr;

/// The URI of a request in the forms that nginx keeps.
#[derive(Clone, Copy, Debug)]
pub struct RequestUri<'a> {
    /// The bytes of the request line, query included; absent once nginx changed the URI (a rewrite, an
    /// internal redirect), because they no longer say what is asked for.
    pub raw: Option<&'a [u8]>,
    /// The path, decoded, dot segments and double slashes resolved.
    pub path: &'a [u8],
    /// The query without its `?`.
    pub args: &'a [u8],
}

impl RequestUri<'_> {
    /// Whether nginx had nothing to decode or to resolve: it leaves the path where it stands in the raw bytes then
    /// (`ngx_http_process_request_uri`), and makes a new one for any `%`, `#`, dot segment or double slash. Blanks
    /// and control characters it refuses (since 1.21.1).
    fn is_plain(&self) -> bool {
        self.raw.is_some_and(|raw| ptr::eq(raw.as_ptr(), self.path.as_ptr()))
    }
}

/// The URI for the Frontend API; always begins with `/`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct UpstreamUri<'a> {
    /// Whether a `/` stands before the path, since the prefix ended where the path did.
    slash: bool,
    path: &'a [u8],
    /// A query to append after `?`; the raw bytes hold theirs in `path`.
    args: &'a [u8],
    /// Whether `path` is decoded and must be escaped.
    decoded: bool,
}

impl<'a> UpstreamUri<'a> {
    /// Cuts `prefix` (empty, or `/…` without a slash at the end) off the request's URI; `None` if the
    /// request is outside the prefix.
    ///
    /// The raw bytes are taken where they are safe. They are not when a dot segment, as such or encoded,
    /// would climb out of the prefix at a server that resolves it, or when the prefix itself was sent in
    /// another spelling; then nginx's own reading of the path counts.
    pub fn cut(request: RequestUri<'a>, prefix: &[u8]) -> Option<Self> {
        if let Some(rest) = request.raw.and_then(|raw| raw.strip_prefix(prefix)) {
            if let Some(cut) = Self::from_raw(rest, request.is_plain()) {
                return Some(cut);
            }
        }
        let rest = request.path.strip_prefix(prefix)?;
        if !(rest.is_empty() || rest[0] == b'/') || has_dot_segment(rest) {
            return None;
        }
        let path = drop_extra_slash(rest);
        Some(Self { slash: path.is_empty(), path, args: request.args, decoded: true })
    }

    fn from_raw(rest: &'a [u8], plain: bool) -> Option<Self> {
        let bare = matches!(rest.first(), None | Some(b'?'));
        // To nginx a backslash is like a letter; other servers take it for a slash. Without an early end the compiler
        // looks at many bytes at once.
        let plain = plain && rest.iter().fold(0, |found, &b| found | u8::from(b == b'\\')) == 0;
        let says_it =
            || !rest.iter().any(|&b| needs_escape_everywhere(b)) && says_what_it_means(rest);
        let safe = (bare || rest[0] == b'/') && (plain || says_it());
        // An empty path needs a slash that the raw bytes do not have.
        safe.then(|| Self { slash: bare, path: drop_extra_slash(rest), args: &[], decoded: false })
    }

    /// The URI where it stands in the request as it is, which is nearly always.
    pub fn as_slice(&self) -> Option<&'a [u8]> {
        match self {
            Self { slash: false, decoded: false, path, .. } => Some(path),
            Self { slash: true, path: [], args: [], .. } => Some(b"/"),
            _ => None,
        }
    }

    /// Hands out the URI byte by byte.
    pub fn bytes(&self, mut each: impl FnMut(u8)) {
        const HEX: &[u8; 16] = b"0123456789ABCDEF";
        let mut escaped = |b: u8, escape: bool| {
            if escape {
                each(b'%');
                each(HEX[usize::from(b >> 4)]);
                each(HEX[usize::from(b & 15)]);
            } else {
                each(b);
            }
        };
        if self.slash {
            escaped(b'/', false);
        }
        for &b in self.path {
            escaped(b, self.decoded && !is_path_byte(b));
        }
        if !self.args.is_empty() {
            escaped(b'?', false);
            for &b in self.args {
                escaped(b, needs_escape_everywhere(b));
            }
        }
    }

    /// How many bytes [`Self::bytes`] hands out.
    pub fn len(&self) -> usize {
        self.as_slice().map_or_else(
            || {
                let mut len = 0;
                self.bytes(|_| len += 1);
                len
            },
            <[u8]>::len,
        )
    }
}

/// Whether the path of raw bytes has neither a fragment behind it, which no server should get, nor a dot segment.
fn says_what_it_means(rest: &[u8]) -> bool {
    let end = rest.iter().position(|b| matches!(b, b'?' | b'#')).unwrap_or(rest.len());
    rest.get(end) != Some(&b'#') && !has_dot_segment(&rest[..end])
}

/// Takes one of two slashes at the front: a proxy URL typed with a slash at its end makes clerk-js ask for
/// `/__clerk//npm/…`.
fn drop_extra_slash(path: &[u8]) -> &[u8] {
    if path.starts_with(b"//") {
        &path[1..]
    } else {
        path
    }
}

/// Blanks and control characters, which would end the request line or the header.
fn needs_escape_everywhere(b: u8) -> bool {
    b <= b' ' || b == 0x7f
}

/// Bytes that stand for themselves in a path (RFC 3986, `pchar` and `/`).
fn is_path_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/".contains(&b)
}

/// Whether a whole segment is `.` or `..`, in plain or encoded form, also where a server takes `%2F` or a
/// backslash for a slash before it resolves them.
fn has_dot_segment(path: &[u8]) -> bool {
    // Nearly no path has a dot right after a slash: look at the bytes once.
    let mut from = 0;
    while let Some(found) = path[from..].iter().position(|b| matches!(b, b'/' | b'\\' | b'%')) {
        from += found;
        let slash = slash_len(&path[from..]);
        from += slash.max(1);
        let dots = dot_len(&path[from..]);
        if slash == 0 || dots == 0 {
            continue;
        }
        let rest = &path[from + dots..];
        let rest = &rest[dot_len(rest)..];
        if rest.is_empty() || slash_len(rest) > 0 {
            return true;
        }
    }
    false
}

/// The length of a slash or backslash at the front, plain or encoded; 0 if there is none.
fn slash_len(path: &[u8]) -> usize {
    match path {
        [b'/' | b'\\', ..] => 1,
        [b'%', b'2', b'f' | b'F', ..] | [b'%', b'5', b'c' | b'C', ..] => 3,
        _ => 0,
    }
}

/// The length of a dot at the front, plain or encoded; 0 if there is none.
fn dot_len(path: &[u8]) -> usize {
    match path {
        [b'.', ..] => 1,
        [b'%', b'2', b'e' | b'E', ..] => 3,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(uri: UpstreamUri) -> String {
        let mut bytes = Vec::new();
        uri.bytes(|b| bytes.push(b));
        assert_eq!(bytes.len(), uri.len());
        if let Some(slice) = uri.as_slice() {
            assert_eq!(slice, bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn raw(raw: &str, path: &str) -> Option<String> {
        let args = raw.split_once('?').map_or("", |(_, args)| args);
        let request =
            RequestUri { raw: Some(raw.as_bytes()), path: path.as_bytes(), args: args.as_bytes() };
        UpstreamUri::cut(request, b"/__clerk").map(written)
    }

    fn internal(path: &str, args: &str) -> Option<String> {
        let request = RequestUri { raw: None, path: path.as_bytes(), args: args.as_bytes() };
        UpstreamUri::cut(request, b"/__clerk").map(written)
    }

    #[test]
    fn raw_bytes_are_kept() {
        for rest in [
            "/",
            "/v1/client",
            "/v1/a%2Fb%2fc%40%25%3F%23%0A",
            "/v1/..a/.b/a..",
            "/v1/..a%2F.b%5c...\\a..",
            "/v1//x///y",
            "/v1/a;b+c@d:e!$&'()*,=",
            "/v1?a=b?c=%2F&d=\"'ü",
            "/v1?",
            "/?a#b",
            "/v1/üñ",
            "/...",
        ] {
            assert_eq!(raw(&format!("/__clerk{rest}"), "/unused").as_deref(), Some(rest));
        }
    }

    #[test]
    fn the_front_is_always_a_slash() {
        assert_eq!(raw("/__clerk", "/__clerk").as_deref(), Some("/"));
        assert_eq!(raw("/__clerk?a=b", "/__clerk").as_deref(), Some("/?a=b"));
        assert_eq!(raw("/__clerk?", "/__clerk").as_deref(), Some("/?"));
        assert_eq!(raw("/__clerk//npm/x", "/__clerk/npm/x").as_deref(), Some("/npm/x"));
        assert_eq!(raw("/__clerk///evil.com", "/__clerk/evil.com").as_deref(), Some("//evil.com"));
        assert_eq!(internal("/__clerk", "").as_deref(), Some("/"));
        assert_eq!(internal("/__clerk", "a").as_deref(), Some("/?a"));
    }

    #[test]
    fn other_paths_are_outside() {
        for other in ["/__clerkfoo", "/__clerkfoo/v1", "/", "/x/__clerk", "/__cler", ""] {
            assert_eq!(raw(other, other), None, "{other}");
            assert_eq!(internal(other, ""), None, "{other}");
        }
    }

    #[test]
    fn unsafe_raw_bytes_give_way_to_the_normalized_path() {
        // nginx resolved what the raw bytes spell in another way.
        assert_eq!(raw("/__clerk/a/../b", "/__clerk/b").as_deref(), Some("/b"));
        assert_eq!(raw("/__clerk/%2e%2E/x", "/x"), None);
        assert_eq!(raw("/__clerk/a/.%2e/b c", "/__clerk/b c").as_deref(), Some("/b%20c"));
        assert_eq!(raw("/__clerk/./x?y", "/__clerk/x").as_deref(), Some("/x?y"));
        for sent in ["/%2E%2E%2Fx", "/a%2f..", "/a%2F.%2fb", "/.%2e%5C", "/..\\..\\x", "/a\\."] {
            let sent = format!("/__clerk{sent}");
            assert_eq!(raw(&sent, "/__clerk/b").as_deref(), Some("/b"), "{sent}");
        }
        assert_eq!(raw("/x/..%2f__clerk/v1", "/__clerk/v1").as_deref(), Some("/v1"));
        assert_eq!(raw("/%5F_clerk/a%2Fb", "/__clerk/a/b").as_deref(), Some("/a/b"));
        assert_eq!(raw("//__clerk/v1", "/__clerk/v1").as_deref(), Some("/v1"));
        assert_eq!(raw("/__clerk/v1#/../x", "/__clerk/v1").as_deref(), Some("/v1"));
    }

    #[test]
    fn normalized_paths_are_escaped() {
        assert_eq!(
            internal("/__clerk/a b?c#d%e\u{1}\"<ü", "x=1 2").as_deref(),
            Some("/a%20b%3Fc%23d%25e%01%22%3C%C3%BC?x=1%202")
        );
        assert_eq!(internal("/__clerk//x", "").as_deref(), Some("/x"));
        // A rewrite can compose a path that nginx does not resolve again.
        assert_eq!(internal("/__clerk/../x", ""), None);
        assert_eq!(internal("/__clerk/a/..", ""), None);
        assert_eq!(internal("/__clerk/..\\x", ""), None);
    }

    #[test]
    fn paths_that_nginx_left_where_they_are() {
        for (sent, wanted) in [
            ("/__clerk/v1/client?a=%2F/../b", Some("/v1/client?a=%2F/../b")),
            ("/__clerk?a", Some("/?a")),
            ("/__clerk", Some("/")),
            ("/__clerk/v1?", Some("/v1?")),
            ("/__clerk/v1\\x", Some("/v1\\x")),
            ("/__clerk/\\..\\x", None),
            ("/__clerkfoo?a", None),
        ] {
            let (path, args) = sent.split_once('?').unwrap_or((sent, ""));
            let (sent, args) = (sent.as_bytes(), args.as_bytes());
            let request = RequestUri { raw: Some(sent), path: &sent[..path.len()], args };
            assert!(request.is_plain());
            let uri = UpstreamUri::cut(request, b"/__clerk").map(written);
            assert_eq!(uri.as_deref(), wanted, "{path}");
        }
    }

    #[test]
    fn an_empty_prefix_takes_all() {
        let request = RequestUri { raw: Some(b"/v1/x?y"), path: b"/v1/x", args: b"y" };
        assert_eq!(UpstreamUri::cut(request, b"").map(written).as_deref(), Some("/v1/x?y"));
    }

    fn uri_bytes() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            Just(b"/".to_vec()),
            Just(b"..".to_vec()),
            Just(b"%2e".to_vec()),
            Just(b"%2F".to_vec()),
            Just(b"?".to_vec()),
            Just(b"#".to_vec()),
            Just(b"/__clerk".to_vec()),
            proptest::collection::vec(any::<u8>(), 0..4),
        ];
        proptest::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn promises(front in prop_oneof![Just(b"/__clerk".to_vec()), Just(Vec::new())],
                    tail in uri_bytes(), path in uri_bytes(), args in uri_bytes(),
                    use_raw in any::<bool>()) {
            let sent = [front.clone(), tail].concat();
            let path = [front, path].concat();
            let request = RequestUri { raw: use_raw.then_some(&sent[..]), path: &path, args: &args };
            if let Some(uri) = UpstreamUri::cut(request, b"/__clerk") {
                let mut bytes = Vec::new();
                uri.bytes(|b| bytes.push(b));
                prop_assert_eq!(bytes.len(), uri.len());
                prop_assert_eq!(bytes.first(), Some(&b'/'));
                prop_assert!(!bytes.iter().any(|&b| b <= b' ' || b == 0x7f));
                let end = bytes.iter().position(|&b| b == b'?').unwrap_or(bytes.len());
                let path = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
                let path = path.replace("%2e", ".").replace("%2f", "/").replace("%5c", "/");
                for segment in path.split(['/', '\\']) {
                    prop_assert!(segment != "." && segment != "..");
                }
                if let Some(slice) = uri.as_slice() {
                    prop_assert_eq!(slice, &bytes[..]);
                }
            }
        }

        #[test]
        fn safe_raw_bytes_are_equal(tail in "(/[a-zA-Z0-9_%;@:+,ü-]{1,8}){1,5}(\\?[!-~]{0,20})?") {
            let sent = format!("/__clerk{tail}");
            let request = RequestUri { raw: Some(sent.as_bytes()), path: b"", args: b"" };
            let uri = UpstreamUri::cut(request, b"/__clerk").unwrap();
            prop_assert_eq!(uri.as_slice(), Some(tail.as_bytes()));
        }
    }
}
