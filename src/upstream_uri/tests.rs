//! What the upstream URI of a request is, and what it never is.

use crate::upstream_uri::{RequestUri, UpstreamUri};
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

/// Whether some server may take a segment of the path for a dot segment.
fn has_dots(path: &str) -> bool {
    let path = path.to_lowercase().replace("%2e", ".").replace("%2f", "/").replace("%5c", "/");
    path.split(['/', '\\']).any(|segment| matches!(segment, "." | ".."))
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
            prop_assert!(!has_dots(&String::from_utf8_lossy(&bytes[..end])));
            if let Some(slice) = uri.as_slice() {
                prop_assert_eq!(slice, &bytes[..]);
            }
        }
    }

    #[test]
    fn safe_raw_bytes_are_equal(tail in "(/[a-zA-Z0-9_%;@:+,ü-]{1,8}){1,5}(\\?[!-~]{0,20})?") {
        prop_assume!(!has_dots(tail.split('?').next().unwrap_or_default()));
        let sent = format!("/__clerk{tail}");
        let request = RequestUri { raw: Some(sent.as_bytes()), path: b"", args: b"" };
        let uri = UpstreamUri::cut(request, b"/__clerk").unwrap();
        prop_assert_eq!(uri.as_slice(), Some(tail.as_bytes()));
    }
}
