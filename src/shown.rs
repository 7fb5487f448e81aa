//! Values of the configuration as they may be printed: a key that was typed in the wrong place is masked.

/// A value of the configuration as it may be printed: without keys, without credentials of a URL and
/// without control characters.
pub fn shown(value: &str) -> String {
    let mut text = value.escape_debug().to_string();
    // escape_debug escapes quotes for Rust; nginx's messages contain them as they are.
    text = text.replace("\\\"", "\"").replace("\\'", "'");
    if let Some(scheme) = text.find("://") {
        let authority = scheme + 3;
        let end = text[authority..].find(['/', '?', '#']).map_or(text.len(), |i| authority + i);
        if let Some(at) = text[authority..end].rfind('@') {
            text.replace_range(authority..authority + at, "***");
        }
    }
    let is_of_key = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let mut masked = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some(start) = rest.find(is_of_key) {
        let (before, run) = rest.split_at(start);
        let (run, behind) = run.split_at(run.find(|c| !is_of_key(c)).unwrap_or(run.len()));
        masked.push_str(before);
        push_masked(&mut masked, run);
        rest = behind;
    }
    masked + rest
}

/// Appends the printable part of a run of characters that keys consist of.
fn push_masked(text: &mut String, run: &str) {
    // Without "sk_" the rest is a key only if it is as long as one.
    let key = [("sk_live_", 1), ("sk_test_", 1), ("live_", 16), ("test_", 16)]
        .iter()
        .flat_map(|&(mark, least)| {
            let ends = run.match_indices(mark).map(move |(at, _)| at + mark.len());
            ends.filter(move |end| run.len() - end >= least)
        })
        .min();
    let (shown, hidden) = run.split_at(key.unwrap_or(run.len()));
    for part in shown.split_inclusive(['_', '-']) {
        let (word, end) = part.split_at(part.trim_end_matches(['_', '-']).len());
        text.push_str(if is_like_key(word) { "***" } else { word });
        text.push_str(end);
    }
    text.push_str(if hidden.is_empty() { "" } else { "***" });
}

/// Whether letters and digits look like a key without its mark: they are many and, unlike names, of several kinds. A
/// host has lost its capital letters, so very many are enough.
fn is_like_key(word: &str) -> bool {
    let kinds = [u8::is_ascii_lowercase, u8::is_ascii_uppercase, u8::is_ascii_digit];
    let kinds = kinds.iter().filter(|is| word.bytes().any(|b| is(&b))).count();
    word.len() >= 32 || word.len() >= 20 && kinds > 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_values_are_shown_as_they_are() {
        for value in [
            "https://app.dev/__clerk",
            "/x y",
            "a\"b'c",
            "",
            "upstream=",
            "CLERK_SECRET_KEY_2_ABCDEFGHIJKLMNOPQRST",
            "internationalizations.dev",
            "20261129121725201726",
        ] {
            assert_eq!(shown(value), value);
        }
    }

    #[test]
    fn keys_and_credentials_are_not_shown() {
        assert_eq!(shown("sk_live_abcDEF123"), "sk_live_***");
        assert_eq!(shown("x sk_live_abc,sk_test_def;"), "x sk_live_***,sk_test_***;");
        assert_eq!(shown("live_abcdefghij0123456789"), "live_***");
        assert_eq!(shown("/etc/AbcdefghijKlmnopqrst.x"), "/etc/***.x");
        assert_eq!(shown("AbcdefghijKlmnopqrst_sk_live_x"), "***_sk_live_***");
        assert_eq!(shown("sk-abcdefghij0123456789-x"), "sk-***-x");
        assert_eq!(shown("abcdefghijklmnopqrstuvwxyzabcdef.dev"), "***.dev");
        assert_eq!(shown("https://test_site.dev/sk_live_/x"), "https://test_site.dev/sk_live_/x");
        assert_eq!(shown("https://user:secret@app.dev/x@y"), "https://***@app.dev/x@y");
        assert_eq!(shown("https://user:se@cret@app.dev"), "https://***@app.dev");
    }

    #[test]
    fn control_characters_stay_on_one_line() {
        assert_eq!(shown("a\nb\u{1}"), "a\\nb\\u{1}");
    }
}
