//! Interim replies: what a server sends in parts is read as if it came at once, and only 1xx are taken out.

#![no_main]

use clerk_nginx_fuzz::interim::{interim, Interim};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let whole = interim(bytes);
    for end in 0..bytes.len() {
        let part = interim(&bytes[..end]);
        assert!(part == Interim::Partial || part == whole, "{end}");
    }
    if let Interim::Whole(digits, len) = whole {
        assert!(len <= bytes.len() && &bytes[9..12] == [b'1', digits[0], digits[1]]);
        assert!(digits != *b"01" && bytes[..len].ends_with(b"\n"));
    }
});
