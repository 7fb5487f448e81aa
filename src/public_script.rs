//! What a cache may keep: scripts below `/npm/`, which are the same for everybody.

/// Whether a request header asks for a reply for a single user. It is dropped from requests for scripts.
pub fn is_personal(name: &[u8]) -> bool {
    [&b"Authorization"[..], b"Cookie"].iter().any(|other| other.eq_ignore_ascii_case(name))
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
    if !(status == 200 || matches!(status, 301 | 302 | 307 | 308) && stays) {
        return false;
    }
    let (mut encoded, mut vary) = (false, Vec::new());
    for (name, value) in headers {
        let is = |other: &str| name.eq_ignore_ascii_case(other.as_bytes());
        if is("Set-Cookie") {
            return false;
        }
        encoded |= is("Content-Encoding");
        if is("Vary") {
            vary.push(value);
        }
    }
    // nginx looked at one of several lines until 1.23.
    match vary[..] {
        [] => !encoded,
        [one] if lists(one, "*") => false,
        [one] => !encoded || lists(one, "Accept-Encoding"),
        _ => false,
    }
}

/// How many seconds of its time a reply has spent in caches before this one, as it says itself; nginx does not count
/// them. `Expires` is a time of day, and has passed them.
pub fn seconds_spent<'a>(headers: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> i64 {
    let (mut age, mut has_max_age) = (0, false);
    for (name, value) in headers {
        if name.eq_ignore_ascii_case(b"Age") {
            age = age_of(value).max(age);
        }
        let words = value.to_ascii_lowercase();
        has_max_age |= name.eq_ignore_ascii_case(b"Cache-Control")
            && words.windows(7).any(|word| word == b"max-age" || word == b"maxage=");
    }
    if has_max_age {
        age
    } else {
        0
    }
}

/// The seconds in a value of `Age`; what is no number counts as none (RFC 9111).
pub fn age_of(value: &[u8]) -> i64 {
    let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    let number = std::str::from_utf8(value).ok().filter(|_| digits);
    number.map_or(0, |number| number.parse().unwrap_or(i64::from(i32::MAX)))
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
            seconds_spent(headers.into_iter())
        };
        assert_eq!((spent("7", "public, max-age=9"), spent("7", "S-MaxAge=9")), (7, 7));
        assert_eq!(
            (spent("7", "public"), spent("", "max-age=9"), spent("-1", "max-age=9")),
            (0, 0, 0)
        );
        assert_eq!(spent("99999999999999999999", "max-age=9"), i64::from(i32::MAX));
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
