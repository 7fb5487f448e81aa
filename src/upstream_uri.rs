//! From the URI that a client sent to the URI that the Frontend API gets: the prefix cut off, nothing else.
//!
//! Nothing here allocates: the result borrows from the request. In the rare case that it is not a single slice of the
//! request, the caller has it written into a buffer.

use std::ptr;

/// The URI of a request in the forms that nginx keeps.
#[derive(Clone, Copy, Debug)]
pub struct RequestUri<'a> {
    /// The bytes of the request line with the query; `None` after a rewrite or an internal redirect, since the line is
    /// then not what is asked for.
    pub raw: Option<&'a [u8]>,
    /// The path, decoded, dot segments and double slashes resolved.
    pub path: &'a [u8],
    /// The query without its `?`.
    pub args: &'a [u8],
}

impl RequestUri<'_> {
    /// Whether nginx had nothing to decode or to resolve. The path is then a part of the raw bytes
    /// (`ngx_http_process_request_uri`); for `%`, `#`, dot segments and double slashes nginx makes a new one. It refuses
    /// spaces and control characters (since 1.21.1).
    fn is_plain(&self) -> bool {
        self.raw.is_some_and(|raw| ptr::eq(raw.as_ptr(), self.path.as_ptr()))
    }
}

/// The URI for the Frontend API; always begins with `/`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct UpstreamUri<'a> {
    /// Whether a `/` is put before the path, since the prefix was the whole path.
    slash: bool,
    path: &'a [u8],
    /// A query to append after `?`. Raw bytes in `path` contain their query.
    args: &'a [u8],
    /// Whether `path` is decoded and must be escaped.
    decoded: bool,
}

impl<'a> UpstreamUri<'a> {
    /// Cuts `prefix` (empty, or `/…` without a slash at the end) off the request's URI; `None` if the
    /// request is outside the prefix.
    ///
    /// The raw bytes are used if they are safe. They are not if a dot segment, plain or encoded, could leave the prefix
    /// at a server that resolves it, or if the client spelt the prefix differently. nginx's normalized path is used
    /// then.
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
        // nginx treats a backslash as a letter, other servers as a slash. Without an early exit the compiler compares
        // many bytes at once.
        let plain = plain && rest.iter().fold(0, |found, &b| found | u8::from(b == b'\\')) == 0;
        let says_it =
            || !rest.iter().any(|&b| needs_escape_everywhere(b)) && says_what_it_means(rest);
        let safe = (bare || rest[0] == b'/') && (plain || says_it());
        // An empty path needs a slash that is not in the raw bytes.
        safe.then(|| Self { slash: bare, path: drop_extra_slash(rest), args: &[], decoded: false })
    }

    /// The URI as a slice of the request, which it nearly always is.
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

    /// Writes the URI to memory of its length that is not a part of the request.
    pub fn write(&self, to: &mut [u8]) {
        if let Some(slice) = self.as_slice() {
            return to.copy_from_slice(slice);
        }
        let mut rest = to.iter_mut();
        self.bytes(|b| rest.next().into_iter().for_each(|place| *place = b));
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

/// Whether raw bytes contain neither a fragment, which no server should get, nor a dot segment in their path.
fn says_what_it_means(rest: &[u8]) -> bool {
    let end = rest.iter().position(|b| matches!(b, b'?' | b'#')).unwrap_or(rest.len());
    rest.get(end) != Some(&b'#') && !has_dot_segment(&rest[..end])
}

/// Drops one of two slashes at the front: clerk-js asks for `/__clerk//npm/…` if its proxy URL ends with a slash.
fn drop_extra_slash(path: &[u8]) -> &[u8] {
    if path.starts_with(b"//") {
        &path[1..]
    } else {
        path
    }
}

/// Spaces and control characters, which would end the request line or the header.
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
    // Few paths have a dot right after a slash: each byte is looked at once.
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
#[path = "upstream_uri/tests.rs"]
mod tests;
