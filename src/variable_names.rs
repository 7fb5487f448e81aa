//! The names of nginx's variables in a text.

/// The variables of a text that nginx compiles, in small letters, as nginx keeps their names.
pub fn variable_names(text: &str) -> impl Iterator<Item = String> + '_ {
    text.split('$').skip(1).map(|behind| {
        let name = behind.strip_prefix('{').unwrap_or(behind);
        let end = name.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        name[..end.unwrap_or(name.len())].to_ascii_lowercase()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for (text, names) in [
            ("", &[][..]),
            ("text", &[]),
            ("$host", &["host"]),
            ("https://${Tenant}x.$b_2-c/$", &["tenant", "b_2", ""]),
        ] {
            assert_eq!(variable_names(text).collect::<Vec<_>>(), names, "{text}");
        }
    }
}
