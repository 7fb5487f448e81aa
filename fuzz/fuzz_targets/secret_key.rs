//! Keys and their sources: a key that is accepted is in the input as it is and has no other characters than
//! keys have; what is refused, or where it comes from, never tells it.

#![no_main]

use clerk_nginx_fuzz::key_source::{Key, Source};
use clerk_nginx_fuzz::secret_key::SecretKey;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    match SecretKey::parse(bytes) {
        Ok(key) => {
            let text = key.expose();
            let ends: [&[u8]; 3] = [b"", b"\n", b"\r\n"];
            assert!(
                ends.iter().any(|end| [text.as_bytes(), end].concat() == bytes)
                    || bytes.ends_with(b"\r")
            );
            assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b)));
            let form = text.strip_prefix("sk_").unwrap_or(text);
            assert!(form.starts_with("live_") || form.starts_with("test_"));
            assert_eq!(key.is_of_development(), form.starts_with("test_"));
            assert_eq!(SecretKey::parse(text.as_bytes()).as_ref(), Ok(&key));
            assert!(SecretKey::is_value(text) && Source::parse(text).fault().is_none());
            assert_eq!(format!("{key:?}"), "SecretKey(***)");
            assert_eq!(Key::Known(key.clone()).expose(), text);
        }
        Err(fault) => assert!(!fault.is_absence() && !fault.to_string().is_empty()),
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    assert!(
        !SecretKey::is_value(text) || SecretKey::parse(bytes).is_ok_and(|key| key.expose() == text)
    );
    // A key of Clerk's length behind what was typed, and in front of it.
    let secret = "QqZzJjXx0123456789abcdefghijABCDEFGHIJ01";
    for typed in [format!("{text}sk_live_{secret}"), format!("sk_test_{secret}{text}")] {
        let source = Source::parse(&typed);
        let told = format!("{source} {source:?}");
        assert!(!told.contains(&secret[..8]), "{told}");
        assert!(!told.contains(|c: char| c.is_control()), "{told:?}");
    }
});
