//! Values as they may be printed: on one line, and without a key, with its mark or without, wherever it stands.

#![no_main]

use clerk_nginx_fuzz::shown::shown;
use libfuzzer_sys::fuzz_target;

const SECRET: &str = "QqZzJjXx0123456789abcdefghijABCDEFGHIJ01";

// The text before and behind the first "KEY".
fuzz_target!(|text: &str| {
    let printed = shown(text);
    assert!(!printed.contains(|c: char| c.is_control()), "{printed:?}");
    let tells = |text: &str| text.contains(&SECRET[..8]) || text.contains(&SECRET[30..]);
    if tells(text) {
        return;
    }
    let (before, behind) = text.split_once("KEY").unwrap_or((text, ""));
    for mark in ["sk_live_", "sk_test_", "live_", ""] {
        let printed = shown(&format!("{before}{mark}{SECRET}{behind}"));
        assert!(!tells(&printed), "{printed}");
    }
});
