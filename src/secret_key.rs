//! Clerk's secret key: its form, the faults that a text can have instead, and a type that nobody can print.

use std::fmt;

use zeroize::Zeroizing;

use crate::shown::shown;

/// The environment variable that holds the key if no source is given.
pub const DEFAULT_VARIABLE: &str = "CLERK_SECRET_KEY";

/// A key in the form that Clerk hands out; wiped from memory when dropped.
#[derive(Clone, PartialEq)]
pub struct SecretKey(Zeroizing<String>);

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(***)")
    }
}

/// Why a key cannot be used.
#[derive(Clone, Debug, PartialEq)]
pub enum KeyFault {
    /// No source was given and `CLERK_SECRET_KEY` is not set.
    Missing,
    /// The environment variable is not set.
    NotSet,
    /// An upgrade of the running nginx has left this environment variable out.
    LeftOut(String),
    /// The file cannot be read, in the system's words.
    Unreadable(String),
    /// Empty, or just a new line.
    Empty,
    /// A key for browsers, `pk_…`.
    Publishable,
    /// A key with its middle hidden, as the Dashboard shows it.
    Hidden,
    /// Spaces, tabs or further lines.
    Blank,
    /// The path of a file.
    Path,
    /// The name of an environment variable.
    Name,
    /// `NAME=` before the key, as in a file of environment variables.
    Assignment,
    /// Any other character that no key contains.
    Character,
    /// The key itself where the name of its source is expected.
    NotAName,
    /// Quotes inside a word, which nginx keeps.
    Quoted,
    /// It does not begin as secret keys do.
    Form,
    /// A `$` before the key itself.
    Dollar,
    /// `$1`, which any regular expression replaces.
    Capture,
    /// `$CLERK_SECRET_KEY`, which the shell knows and nginx does not.
    ShellVariable,
}

impl KeyFault {
    /// Whether there is no text that could be a key.
    pub fn is_absence(&self) -> bool {
        matches!(self, Self::Missing | Self::NotSet | Self::LeftOut(_) | Self::Unreadable(_))
    }
}

impl fmt::Display for KeyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str(
                "it is not set in the environment of this command, set it or write \
                 \"secret_key=file:/etc/nginx/clerk_secret_key\"",
            ),
            Self::NotSet => f.write_str("it is not set in the environment of this command, set it"),
            Self::LeftOut(name) => write!(
                f,
                "an upgrade of the running nginx leaves it out, write \"env {};\" at the top of nginx.conf and \
                 reload before",
                shown(name)
            ),
            Self::Unreadable(why) => write!(f, "it cannot be read ({why})"),
            Self::Empty => f.write_str("it is empty, copy the key from the Clerk Dashboard"),
            Self::Publishable => f.write_str(
                "it is a publishable key (\"pk_\"), copy the secret key (\"sk_live_\") from the Clerk \
                 Dashboard",
            ),
            Self::Hidden => f.write_str(
                "it is hidden by asterisks, let the Clerk Dashboard reveal the key before you copy it",
            ),
            Self::Blank => f.write_str("it contains spaces or several lines, write the key alone"),
            Self::Path => f.write_str(
                "it looks like the path of a file, write \"file:PATH\" to read the key from it",
            ),
            Self::Name => f.write_str(
                "it looks like the name of an environment variable, write \"env:NAME\"",
            ),
            Self::Assignment => f.write_str("it has \"NAME=\" before the key, write the key alone"),
            Self::Quoted => f.write_str(
                "nginx takes quotes inside a word as part of the value, write them around the whole word or \
                 leave them out",
            ),
            Self::Character => {
                f.write_str(
                    "it contains a character other than letters, digits, \"_\" and \"-\", write the key alone",
                )
            }
            Self::NotAName => {
                f.write_str(
                "it is the key itself, put the key into a file of mode 600 and write \"file:PATH\"",
            )
            }
            Self::Dollar => f.write_str("it contains \"$\", which no key does, write the key alone"),
            Self::Capture => {
                f.write_str("\"$1\" changes with each regular expression, use a named capture")
            }
            Self::ShellVariable => write!(
                f,
                "nginx has no such variable, write \"env:{DEFAULT_VARIABLE}\""
            ),
            Self::Form => {
                f.write_str("it does not begin with \"sk_live_\", copy it from the Clerk Dashboard")
            }
        }
    }
}

impl SecretKey {
    /// Reads the content of a file or variable; one new line at the end is dropped.
    ///
    /// # Errors
    ///
    /// The first fault found; it never holds a part of the key.
    pub fn parse(bytes: &[u8]) -> Result<Self, KeyFault> {
        let line = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            return Err(KeyFault::Empty);
        }
        if bytes.split(|&b| b == b'\n').any(is_assignment) {
            return Err(KeyFault::Assignment);
        }
        if line.iter().any(u8::is_ascii_whitespace) {
            return Err(KeyFault::Blank);
        }
        if line.starts_with(b"pk_") {
            return Err(KeyFault::Publishable);
        }
        if line.contains(&b'*') || line.windows(3).any(|w| w == "•".as_bytes()) {
            return Err(KeyFault::Hidden);
        }
        if line.contains(&b'/') {
            return Err(KeyFault::Path);
        }
        let text = std::str::from_utf8(line).map_err(|_| KeyFault::Character)?;
        if !text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-') {
            return Err(KeyFault::Character);
        }
        // Keys of instances made before 2022 have no "sk_".
        let form = text.strip_prefix("sk_").unwrap_or(text);
        let form = form.strip_prefix("live_").or_else(|| form.strip_prefix("test_"));
        if form.is_none_or(str::is_empty) {
            return Err(KeyFault::Form);
        }
        Ok(Self(Zeroizing::new(text.to_owned())))
    }

    /// Whether the value of an expression is a key, without a new line.
    pub fn is_value(value: &str) -> bool {
        Self::parse(value.as_bytes()).is_ok_and(|key| key.expose() == value)
    }

    /// Whether it is the key of a development instance.
    pub fn is_of_development(&self) -> bool {
        self.0.starts_with("sk_test_") || self.0.starts_with("test_")
    }

    /// A placeholder where no key is needed.
    pub fn placeholder() -> Self {
        Self(Zeroizing::new("none".to_owned()))
    }

    /// The key; for the header alone.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// Whether the line has the form `NAME=…` of shell and `.env` files.
fn is_assignment(line: &[u8]) -> bool {
    let line = line.strip_prefix(b"export ").unwrap_or(line);
    let is_of_name = |b: &u8| b.is_ascii_alphanumeric() || *b == b'_';
    let name = line.split(|&b| b == b'=').next().filter(|name| name.len() < line.len());
    name.is_some_and(|name| !name.is_empty() && name.iter().all(is_of_name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn keys() {
        for bytes in ["sk_live_a-B_1", "sk_live_a-B_1\n", "sk_live_a-B_1\r\n"] {
            assert_eq!(SecretKey::parse(bytes.as_bytes()).unwrap().expose(), "sk_live_a-B_1");
        }
        for key in ["sk_test_x", "live_x", "test_x"] {
            assert_eq!(SecretKey::parse(key.as_bytes()).unwrap().expose(), key);
        }
        assert!(!format!("{:?}", SecretKey::parse(b"sk_live_abc").unwrap()).contains("abc"));
    }

    #[test]
    fn values_of_expressions_are_sent_as_they_are() {
        assert!(SecretKey::is_value("sk_live_a"));
        for value in ["sk_live_a\n", "sk_live_a\r\n", "sk_live_a\r", "sk_live_", ""] {
            assert!(!SecretKey::is_value(value), "{value:?}");
        }
    }

    #[test]
    fn faults() {
        for (bytes, fault) in [
            ("", KeyFault::Empty),
            ("\n", KeyFault::Empty),
            ("sk_live_a\n\n", KeyFault::Blank),
            (" sk_live_a", KeyFault::Blank),
            ("sk_live_a b", KeyFault::Blank),
            ("pk_live_YXBwLmRldiQ", KeyFault::Publishable),
            ("sk_live_***", KeyFault::Hidden),
            ("sk_live_••••", KeyFault::Hidden),
            ("CLERK_SECRET_KEY=sk_live_a", KeyFault::Assignment),
            ("A=b c\nexport CLERK_SECRET_KEY='sk_live_a'\n", KeyFault::Assignment),
            ("CLERK_SECRET_KEY=", KeyFault::Assignment),
            ("=sk_live_a", KeyFault::Character),
            ("/run/secrets/key", KeyFault::Path),
            ("conf/key\n", KeyFault::Path),
            ("$clerk_key", KeyFault::Character),
            ("sk_live_a\"b", KeyFault::Character),
            ("sk_live_ä", KeyFault::Character),
            ("sk_live_", KeyFault::Form),
            ("whatever", KeyFault::Form),
            ("env", KeyFault::Form),
        ] {
            assert_eq!(SecretKey::parse(bytes.as_bytes()), Err(fault), "{bytes:?}");
        }
        assert_eq!(SecretKey::parse(b"sk_live_\xff"), Err(KeyFault::Character));
    }

    proptest! {
        #[test]
        fn only_keys_get_through(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(key) = SecretKey::parse(&bytes) {
                let ok = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
                prop_assert!(key.expose().bytes().all(ok));
            }
        }
    }
}
