//! Whatever a client sends: the upstream URI begins with a slash, holds no blank or control character and
//! no dot segment, and is the very bytes sent wherever it is a slice of them.

#![no_main]

use libfuzzer_sys::fuzz_target;

// The module is a cdylib, which nothing can depend on; its pure files stand alone.
#[allow(dead_code)]
#[path = "../../src/upstream_uri.rs"]
mod upstream_uri;

use upstream_uri::{RequestUri, UpstreamUri};

const PREFIX: &[u8] = b"/__clerk";

fuzz_target!(|input: (Vec<u8>, Vec<u8>, Vec<u8>, bool, bool)| {
    let (mut raw, mut path, args, has_raw, with_prefix) = input;
    if with_prefix {
        raw.splice(0..0, PREFIX.iter().copied());
        path.splice(0..0, PREFIX.iter().copied());
    }
    let request = RequestUri { raw: has_raw.then_some(&raw[..]), path: &path, args: &args };
    let Some(uri) = UpstreamUri::cut(request, PREFIX) else { return };
    let mut bytes = Vec::new();
    uri.bytes(|b| bytes.push(b));
    assert_eq!(bytes.len(), uri.len());
    assert_eq!(bytes[0], b'/');
    assert!(!bytes.iter().any(|&b| b <= b' ' || b == 0x7f));
    let end = bytes.iter().position(|&b| b == b'?').unwrap_or(bytes.len());
    for segment in bytes[..end].split(|&b| b == b'/') {
        let plain = String::from_utf8_lossy(segment).to_lowercase().replace("%2e", ".");
        assert!(plain != "." && plain != "..", "{:?}", String::from_utf8_lossy(&bytes));
    }
    if let Some(slice) = uri.as_slice() {
        assert_eq!(slice, bytes);
        assert!(slice == b"/" || raw.ends_with(slice));
    }
});
