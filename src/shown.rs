//! A value of the configuration as it may be printed: a key that was typed in the wrong place is not repeated.

/// A value of the configuration as it may be printed: without keys, without credentials of a URL and
/// without control characters.
pub fn shown(value: &str) -> String {
    let mut text = value.escape_debug().to_string();
    // escape_debug quotes for Rust; in nginx's messages quotes stand as they are.
    text = text.replace("\\\"", "\"").replace("\\'", "'");
    if let Some(scheme) = text.find("://") {
        let authority = scheme + 3;
        let end = text[authority..].find(['/', '?', '#']).map_or(text.len(), |i| authority + i);
        if let Some(at) = text[authority..end].rfind('@') {
            text.replace_range(authority..authority + at, "***");
        }
    }
    // What follows may be a key; without "sk_" only if it is as long as one.
    for (mark, least) in [("sk_live_", 1), ("sk_test_", 1), ("live_", 16), ("test_", 16)] {
        let mut from = 0;
        while let Some(found) = text[from..].find(mark) {
            let start = from + found + mark.len();
            let end = text[start..]
                .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '-'))
                .map_or(text.len(), |i| start + i);
            if end - start >= least {
                text.replace_range(start..end, "***");
            }
            from = start;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_values_are_shown_as_they_are() {
        for value in ["https://app.dev/__clerk", "/x y", "a\"b'c", "", "upstream="] {
            assert_eq!(shown(value), value);
        }
    }

    #[test]
    fn keys_and_credentials_are_not_shown() {
        assert_eq!(shown("sk_live_abcDEF123"), "sk_live_***");
        assert_eq!(shown("x sk_live_abc,sk_test_def;"), "x sk_live_***,sk_test_***;");
        assert_eq!(shown("live_abcdefghij0123456789"), "live_***");
        assert_eq!(shown("https://test_site.dev/sk_live_/x"), "https://test_site.dev/sk_live_/x");
        assert_eq!(shown("https://user:secret@app.dev/x@y"), "https://***@app.dev/x@y");
        assert_eq!(shown("https://user:se@cret@app.dev"), "https://***@app.dev");
    }

    #[test]
    fn control_characters_stay_on_one_line() {
        assert_eq!(shown("a\nb\u{1}"), "a\\nb\\u{1}");
    }
}
