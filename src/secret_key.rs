//! Clerk's secret key: where it comes from, the form it must have, and that nobody sees it.

use std::fmt;

use zeroize::Zeroizing;

use crate::error::shown;

/// The environment variable that is asked when no source is given.
pub const DEFAULT_VARIABLE: &str = "CLERK_SECRET_KEY";

/// Where a key comes from, as written after `secret_key=`.
#[derive(Clone, PartialEq)]
pub enum Source {
    /// `file:PATH`
    File(String),
    /// `env:NAME`
    Env(String),
    /// An expression with variables of nginx, whose value is the key.
    Expression(String),
    /// The key itself.
    Literal(Zeroizing<String>),
    /// Nothing was written: the environment variable `CLERK_SECRET_KEY`.
    Default,
}

impl Source {
    /// Reads the text after `secret_key=` or `clerk_proxy_secret_key`.
    pub fn parse(typed: &str) -> Self {
        if let Some(path) = typed.strip_prefix("file:") {
            Self::File(path.to_owned())
        } else if let Some(name) = typed.strip_prefix("env:") {
            Self::Env(name.to_owned())
        } else if typed.contains('$') {
            Self::Expression(typed.to_owned())
        } else {
            Self::Literal(Zeroizing::new(typed.to_owned()))
        }
    }
}

/// Names the source in messages, without the key.
impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "key in file \"{}\"", shown(path)),
            Self::Env(name) => write!(f, "key in environment variable \"{}\"", shown(name)),
            Self::Expression(text) => write!(f, "key \"{}\"", shown(text)),
            Self::Literal(_) => f.write_str("literal key"),
            Self::Default => write!(f, "key in environment variable \"{DEFAULT_VARIABLE}\""),
        }
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A key in the form that Clerk hands out; wiped from memory when dropped.
#[derive(Clone, PartialEq)]
pub struct SecretKey(Zeroizing<String>);

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(***)")
    }
}

/// The key of a location.
#[derive(Clone, Debug, PartialEq)]
pub enum Key {
    /// The same for all requests.
    Known(SecretKey),
    /// An expression of nginx, whose value is the key of a request.
    Expression(String),
}

impl Key {
    /// What the header's value is, in nginx's terms; for the header alone.
    pub fn expose(&self) -> &str {
        match self {
            Self::Known(key) => key.expose(),
            Self::Expression(text) => text,
        }
    }
}

/// Why a key cannot be used.
#[derive(Clone, Debug, PartialEq)]
pub enum KeyFault {
    /// No source was given and `CLERK_SECRET_KEY` is not set.
    Missing,
    /// The environment variable is not set.
    NotSet,
    /// The file cannot be read, in the system's words.
    Unreadable(String),
    /// Nothing, or nothing but a new line.
    Empty,
    /// A key for browsers, `pk_…`.
    Publishable,
    /// A key with its middle hidden, as the Dashboard shows it.
    Hidden,
    /// Spaces, tabs or further lines.
    Blank,
    /// Any other character that keys never have.
    Character,
    /// The key itself where the name of its source is expected.
    NotAName,
    /// Something that does not begin as secret keys do.
    Form,
    /// A `$` in front of the key itself.
    Dollar,
    /// `$1`, which any regular expression replaces.
    Capture,
    /// `$CLERK_SECRET_KEY`, which the shell knows and nginx does not.
    ShellVariable,
}

impl KeyFault {
    /// What is wrong with an expression that can be no variable of nginx.
    pub fn of_expression(text: &str) -> Option<Self> {
        if text.contains("sk_live_") || text.contains("sk_test_") {
            return Some(Self::Dollar);
        }
        let captures = text.split('$').skip(1).map(|part| part.trim_start_matches('{'));
        if captures.into_iter().any(|name| name.starts_with(|c: char| c.is_ascii_digit())) {
            return Some(Self::Capture);
        }
        let name = text.trim_start_matches(['$', '{']).trim_end_matches('}');
        (name == DEFAULT_VARIABLE).then_some(Self::ShellVariable)
    }

    /// Whether there is nothing that could be a key.
    pub fn is_absence(&self) -> bool {
        matches!(self, Self::Missing | Self::NotSet | Self::Unreadable(_))
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
            Self::Unreadable(why) => write!(f, "it cannot be read ({why})"),
            Self::Empty => f.write_str("it is empty, copy the key from the Clerk Dashboard"),
            Self::Publishable => f.write_str(
                "it is a publishable key (\"pk_\"), copy the secret key (\"sk_live_\") from the Clerk \
                 Dashboard",
            ),
            Self::Hidden => f.write_str(
                "it is hidden by asterisks, let the Clerk Dashboard reveal the key before you copy it",
            ),
            Self::Blank => f.write_str("it has blanks or several lines, write the key alone"),
            Self::Character => {
                f.write_str(
                    "it has a character other than letters, digits, \"_\" and \"-\", write the key alone",
                )
            }
            Self::NotAName => {
                f.write_str("this is the key itself, write it without \"file:\" or \"env:\"")
            }
            Self::Dollar => f.write_str("it has a \"$\", which keys have not, write the key alone"),
            Self::Capture => {
                f.write_str("\"$1\" changes with each regular expression, name the capture")
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
    /// Takes a key as a file or variable holds it; one new line at the end is dropped.
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
        if line.iter().any(u8::is_ascii_whitespace) {
            return Err(KeyFault::Blank);
        }
        if line.starts_with(b"pk_") {
            return Err(KeyFault::Publishable);
        }
        if line.contains(&b'*') || line.windows(3).any(|w| w == "•".as_bytes()) {
            return Err(KeyFault::Hidden);
        }
        let text = std::str::from_utf8(line).map_err(|_| KeyFault::Character)?;
        if !text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-') {
            return Err(KeyFault::Character);
        }
        // Instances of before 2022 have keys without "sk_".
        let form = text.strip_prefix("sk_").unwrap_or(text);
        let form = form.strip_prefix("live_").or_else(|| form.strip_prefix("test_"));
        if form.is_none_or(str::is_empty) {
            return Err(KeyFault::Form);
        }
        Ok(Self(Zeroizing::new(text.to_owned())))
    }

    /// Whether the value of an expression is a key: just that, without a new line.
    pub fn is_value(value: &str) -> bool {
        Self::parse(value.as_bytes()).is_ok_and(|key| key.expose() == value)
    }

    /// Whether it is the key of a development instance.
    pub fn is_of_development(&self) -> bool {
        self.0.starts_with("sk_test_") || self.0.starts_with("test_")
    }

    /// Stands for a key that is not needed.
    pub fn placeholder() -> Self {
        Self(Zeroizing::new("none".to_owned()))
    }

    /// The key; for the header alone.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sources() {
        assert_eq!(Source::parse("file:/k"), Source::File("/k".into()));
        assert_eq!(Source::parse("env:K"), Source::Env("K".into()));
        assert_eq!(Source::parse("$key"), Source::Expression("$key".into()));
        assert_eq!(Source::parse("sk_live_Secret$x").to_string(), "key \"sk_live_***$x\"");
        let literal = Source::parse("sk_live_Secret");
        assert!(matches!(literal, Source::Literal(_)));
        assert!(!format!("{literal:?} {literal}").contains("Secret"));
    }

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

    #[test]
    fn expressions() {
        assert_eq!(KeyFault::of_expression("$clerk_key"), None);
        assert_eq!(KeyFault::of_expression("$sk_live_Two"), Some(KeyFault::Dollar));
        assert_eq!(KeyFault::of_expression("x${1}"), Some(KeyFault::Capture));
        for text in ["$CLERK_SECRET_KEY", "${CLERK_SECRET_KEY}"] {
            assert_eq!(KeyFault::of_expression(text), Some(KeyFault::ShellVariable));
        }
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
