//! Whatever a client sends: the upstream URI begins with a slash, contains no space or control character and
//! no dot segment, and is the very bytes sent wherever it is a slice of them.

#![no_main]

use clerk_nginx_fuzz::upstream_uri::{RequestUri, UpstreamUri};
use libfuzzer_sys::fuzz_target;

const PREFIX: &[u8] = b"/__clerk";

// Three lines: the raw URI or `-` where nginx has changed it, the query, and all the rest, the decoded path.
fuzz_target!(|text: &[u8]| {
    let mut lines = text.splitn(3, |&b| b == b'\n');
    let [raw, args, path] = [(); 3].map(|()| lines.next().unwrap_or_default());
    let request = RequestUri { raw: (raw != b"-").then_some(raw), path, args };
    let Some(uri) = UpstreamUri::cut(request, PREFIX) else { return };
    let mut bytes = Vec::new();
    uri.bytes(|b| bytes.push(b));
    let shown = String::from_utf8_lossy(&bytes);
    assert_eq!(bytes.len(), uri.len());
    assert_eq!(bytes[0], b'/');
    assert!(!bytes.iter().any(|&b| b <= b' ' || b == 0x7f), "{shown}");
    let end = bytes.iter().position(|&b| b == b'?').unwrap_or(bytes.len());
    let plain = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
    let plain = plain.replace("%2e", ".").replace("%2f", "/").replace("%5c", "/");
    assert!(!plain.split(['/', '\\']).any(|segment| segment == "." || segment == ".."), "{shown}");
    assert!(raw.starts_with(PREFIX) || path.starts_with(PREFIX), "{shown}");
    if let Some(slice) = uri.as_slice() {
        assert_eq!(slice, bytes);
        assert!(slice == b"/" || raw.ends_with(slice), "{shown}");
        return;
    }
    // Written anew: the sent path or, with other bytes, the decoded one.
    let sent = raw.starts_with(PREFIX) && bytes[1..] == raw[PREFIX.len()..];
    let mut rest = path.strip_prefix(PREFIX).unwrap_or_default();
    rest = if rest.starts_with(b"//") { &rest[1..] } else { rest };
    let decoded = decode(&bytes[..end]);
    assert!(sent || decoded == if rest.is_empty() { b"/" } else { rest }, "{shown}");
});

fn decode(path: &[u8]) -> Vec<u8> {
    let mut parts = path.split(|&b| b == b'%');
    let mut plain = parts.next().unwrap_or_default().to_vec();
    for part in parts {
        let digits = std::str::from_utf8(&part[..2]).expect("two digits");
        plain.push(u8::from_str_radix(digits, 16).expect("two digits"));
        plain.extend(&part[2..]);
    }
    plain
}
