//! `Connection` headers: just the names that they list are dropped, and none without which a message means
//! something else.

#![no_main]

use clerk_nginx_fuzz::hop_by_hop::Dropped;
use libfuzzer_sys::fuzz_target;

const KEPT: &[&str] =
    &["", "close", "keep-alive", "cookie", "authorization", "content-length", "host", "set-cookie"];

// One header line of a message in each line, the values of Connection.
fuzz_target!(|text: &[u8]| {
    let values: Vec<&[u8]> = text.split(|&b| b == b'\n').collect();
    let dropped = Dropped::by(values.iter().copied());
    let lower = |name: &[u8]| name.to_ascii_lowercase();
    let listed: Vec<Vec<u8>> = values
        .iter()
        .flat_map(|value| value.split(|&b| b == b','))
        .map(|name| lower(name.trim_ascii()))
        .collect();
    for name in &listed {
        let upper = name.to_ascii_uppercase();
        assert_eq!(dropped.contains(name), dropped.contains(&upper));
        let is_kept = KEPT.iter().any(|kept| kept.as_bytes() == name);
        assert!(!(is_kept && dropped.contains(name)));
        // No header that must stay begins so.
        assert!(!name.starts_with(b"x-") || dropped.contains(name));
    }
    let others =
        text.split(|b| !b.is_ascii_alphanumeric()).chain(KEPT.iter().map(|k| k.as_bytes()));
    for name in others {
        assert!(!dropped.contains(name) || listed.contains(&lower(name)));
    }
    assert!(!dropped.is_empty() || !listed.iter().any(|name| dropped.contains(name)));
    assert!(!dropped.but(|name| name.eq_ignore_ascii_case(b"upgrade")).contains(b"upgrade"));
});
