//! What a cache may keep: scripts below `/npm/`, which are the same for everybody.

/// Whether a request header asks for a reply for a single user.
pub fn is_personal(name: &[u8]) -> bool {
    [&b"Authorization"[..], b"Cookie"].iter().any(|other| other.eq_ignore_ascii_case(name))
}

/// Whether the reply is one that the next client gets as well, and not a failure of this request.
pub fn is_lasting(status: usize) -> bool {
    matches!(status, 200 | 301 | 302 | 307 | 308)
}

/// Whether the URI, as the Frontend API gets it, is that of a script: below `/npm/`, without a query, and in
/// characters that all servers read alike. Replies to any other URI are not kept.
pub fn is_public_script(uri: &[u8]) -> bool {
    let plain = |&b: &u8| b.is_ascii_alphanumeric() || b"@._-+~".contains(&b);
    let name = |segment: &[u8]| !matches!(segment, b"" | b"." | b"..") && segment.iter().all(plain);
    uri.strip_prefix(b"/npm/").is_some_and(|path| path.split(|&b| b == b'/').all(name))
}

/// Whether the reply to such a request may be kept, if its `Cache-Control` says so. `stays` is whether a
/// redirect leads to another script of the same proxy.
///
/// Errors are never kept: a client that makes a request fail must not take the script away from others.
pub fn may_be_kept<'a>(
    status: usize,
    stays: bool,
    headers: impl Iterator<Item = (&'a [u8], &'a [u8])>,
) -> bool {
    if !is_lasting(status) || status != 200 && !stays {
        return false;
    }
    let (mut encoded, mut vary) = (false, Vec::new());
    let (mut has_age, mut has_odd_time) = (false, false);
    for (name, value) in headers {
        let is = |other: &str| name.eq_ignore_ascii_case(other.as_bytes());
        if is("Set-Cookie") {
            return false;
        }
        encoded |= is("Content-Encoding");
        has_age |= is("Cache-Control") && has_max_age(value);
        // nginx reads other zones as this one.
        has_odd_time |= is("Expires") && !value.ends_with(b" GMT");
        if is("Vary") {
            vary.push(value);
        }
    }
    if has_odd_time && !has_age {
        return false;
    }
    // nginx looked at one of several lines until 1.23.
    match vary[..] {
        [] => !encoded,
        [one] if lists(one, "*") => false,
        [one] => !encoded || lists(one, "Accept-Encoding"),
        _ => false,
    }
}

/// What a reply says of the time that it has spent before this cache, which nginx does not count.
#[derive(Debug, Default, PartialEq)]
pub struct Past<'a> {
    /// The seconds that it was in other caches.
    pub age: i64,
    /// Whether it may be kept for so many seconds, and not until a time of day.
    pub has_max_age: bool,
    /// When it was made.
    pub date: Option<&'a [u8]>,
}

/// Reads it from the headers of the reply.
pub fn past<'a>(headers: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Past<'a> {
    let (mut past, mut age) = (Past::default(), None);
    for (name, value) in headers {
        if name.eq_ignore_ascii_case(b"Age") {
            age.get_or_insert(age_of(value));
        } else if name.eq_ignore_ascii_case(b"Date") {
            past.date.get_or_insert(value);
        } else if name.eq_ignore_ascii_case(b"Cache-Control") {
            past.has_max_age |= has_max_age(value);
        }
    }
    Past { age: age.unwrap_or(0), ..past }
}

/// Whether a `Cache-Control` says for how many seconds a reply may be kept.
fn has_max_age(value: &[u8]) -> bool {
    let value = value.to_ascii_lowercase();
    [&b"max-age="[..], b"s-maxage="]
        .iter()
        .any(|word| value.windows(word.len()).any(|part| part == *word))
}

/// The seconds in a value of `Age`, of several the first ones; what is no number counts as none (RFC 9111).
pub fn age_of(value: &[u8]) -> i64 {
    let first = value.split(|&b| b == b',').next().unwrap_or_default().trim_ascii();
    let digits = !first.is_empty() && first.iter().all(u8::is_ascii_digit);
    let number = std::str::from_utf8(first).ok().filter(|_| digits);
    number.map_or(0, |number| number.parse().unwrap_or(i32::MAX).into())
}

/// Whether the comma-separated value contains the word.
fn lists(value: &[u8], word: &str) -> bool {
    let mut words = value.split(|&b| b == b',').map(<[u8]>::trim_ascii);
    words.any(|other| other.eq_ignore_ascii_case(word.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn replies_that_vary_with_anything() {
        for value in ["*", "Accept-Encoding, *", "*, Origin", "Accept-Encoding,*"] {
            let headers = [(&b"Vary"[..], value.as_bytes()), (b"Cache-Control", b"max-age=9")];
            assert!(!may_be_kept(200, false, headers.into_iter()), "{value}");
        }
    }

    #[test]
    fn time_in_other_caches() {
        let spent = |age: &str, control: &str| {
            let headers = [(&b"age"[..], age.as_bytes()), (b"Cache-Control", control.as_bytes())];
            let past = past(headers.into_iter());
            (past.age, past.has_max_age)
        };
        assert_eq!(spent("7", "public, max-age=9"), (7, true));
        assert_eq!(spent("7, 0", "S-MaxAge=9"), (7, true));
        assert_eq!(spent("0, old", "public"), (0, false));
        assert_eq!((spent("", "max-age=9"), spent("-1", "max-age=9")), ((0, true), (0, true)));
        for most in ["99999999999999999999", "9223372036854775807", "2147483647"] {
            assert_eq!(spent(most, ""), (i64::from(i32::MAX), false));
        }
        let lines = [(&b"Age"[..], &b"0"[..]), (b"Age", b"7200"), (b"Date", b"x")];
        let expected = Past { age: 0, has_max_age: false, date: Some(b"x") };
        assert_eq!(past(lines.into_iter()), expected);
    }

    #[test]
    fn scripts() {
        for uri in [
            "/npm/@clerk/clerk-js@6/dist/clerk.browser.js",
            "/npm/@clerk/clerk-js@5.61.2-snapshot.v20250417032557/dist/zxcvbn_abc_5.61.2.js",
            "/npm/x",
            "/npm/..x/.y/z~+",
        ] {
            assert!(is_public_script(uri.as_bytes()), "{uri}");
        }
    }

    #[test]
    fn other_paths() {
        for uri in [
            "",
            "/",
            "/npm",
            "/npm/",
            "/NPM/x",
            "/v1/client",
            "//npm/x",
            "/npm//x",
            "/npm/x/",
            "/npm/../v1/client",
            "/npm/x/..",
            "/npm/./x",
            "/npm/%2e%2e/v1/client",
            "/npm/..%2fv1/client",
            "/npm/..\\v1\\client",
            "/npm/..;/v1/client",
            "/npm/x?",
            "/npm/x?y",
            "/npm/x;y",
            "/npm/x%00",
            "/npm/x#y",
            "/npm/x y",
            "/npm/\u{fc}",
            "/npmx/y",
            "/v1/npm/x",
        ] {
            assert!(!is_public_script(uri.as_bytes()), "{uri}");
        }
    }

    fn kept(status: usize, headers: &[(&str, &str)]) -> bool {
        let headers = headers.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        may_be_kept(status, true, headers)
    }

    #[test]
    fn replies() {
        assert!(kept(200, &[]) && kept(307, &[("location", "x")]));
        assert!(kept(200, &[("content-encoding", "br"), ("vary", "Origin , accept-encoding")]));
        assert!(kept(200, &[("Vary", "Cookie")]));
        assert!(
            !may_be_kept(307, false, [].into_iter()) && may_be_kept(200, false, [].into_iter())
        );
        for status in [0, 100, 204, 206, 303, 304, 400, 401, 404, 429, 500, 503] {
            assert!(!kept(status, &[]), "{status}");
        }
        for headers in [
            &[("set-cookie", "a=b")][..],
            &[("Content-Encoding", "gzip")],
            &[("Content-Encoding", "gzip"), ("Vary", "Accept")],
            &[("Vary", "Accept-Encoding"), ("Vary", "Cookie")],
        ] {
            assert!(!kept(200, headers), "{headers:?}");
        }
    }

    proptest! {
        #[test]
        fn no_script_leaves_its_folder(uri in "/npm/[a-z@./%?;\\\\]{0,12}") {
            if is_public_script(uri.as_bytes()) {
                prop_assert!(!uri.contains(['%', '?', ';', '\\']));
                prop_assert!(uri.split('/').skip(1).all(|part| !["", ".", ".."].contains(&part)));
            }
        }
    }
}
