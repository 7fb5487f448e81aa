//! Where the secret key of a location comes from, as a user writes it.

use std::fmt;

use zeroize::Zeroizing;

use crate::secret_key::{KeyFault, SecretKey, DEFAULT_VARIABLE};
use crate::shown::shown;

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

    /// The fault of the text itself; nothing is read for this.
    pub fn fault(&self) -> Option<KeyFault> {
        match self {
            Self::File(name) | Self::Env(name) if name.starts_with(['"', '\'']) => {
                Some(KeyFault::Quoted)
            }
            Self::File(name) | Self::Env(name) => {
                SecretKey::parse(name.as_bytes()).is_ok().then_some(KeyFault::NotAName)
            }
            Self::Expression(text) => expression_fault(text),
            Self::Literal(text) => is_name_of_variable(text).then_some(KeyFault::Name),
            Self::Default => None,
        }
    }
}

/// Whether the text looks like the name of an environment variable and not like a key.
fn is_name_of_variable(text: &str) -> bool {
    text.contains('_')
        && text.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
}

/// The fault of an expression that cannot be a variable of nginx.
fn expression_fault(text: &str) -> Option<KeyFault> {
    if text.contains("sk_live_") || text.contains("sk_test_") {
        return Some(KeyFault::Dollar);
    }
    let captures = text.split('$').skip(1).map(|part| part.trim_start_matches('{'));
    if captures.into_iter().any(|name| name.starts_with(|c: char| c.is_ascii_digit())) {
        return Some(KeyFault::Capture);
    }
    let name = text.trim_start_matches(['$', '{']).trim_end_matches('}');
    (name == DEFAULT_VARIABLE).then_some(KeyFault::ShellVariable)
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

/// The key of a location.
#[derive(Clone, Debug, PartialEq)]
pub enum Key {
    /// The same for all requests.
    Known(SecretKey),
    /// An expression of nginx, whose value is the key of a request.
    Expression(String),
}

impl Key {
    /// The header's value as nginx takes it, for the header alone.
    pub fn expose(&self) -> &str {
        match self {
            Self::Known(key) => key.expose(),
            Self::Expression(text) => text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn faults() {
        let fault = |typed| Source::parse(typed).fault();
        for typed in ["$clerk_key", "file:/k", "env:K", "sk_live_a", "SK", ""] {
            assert_eq!(fault(typed), None, "{typed}");
        }
        for typed in ["file:sk_live_Two", "env:sk_live_Two"] {
            assert_eq!(fault(typed), Some(KeyFault::NotAName));
        }
        for typed in ["file:\"/k\"", "env:'K'"] {
            assert_eq!(fault(typed), Some(KeyFault::Quoted));
        }
        assert_eq!(fault("CLERK_SECRET_KEY"), Some(KeyFault::Name));
        assert_eq!(fault("$sk_live_Two"), Some(KeyFault::Dollar));
        assert_eq!(fault("x${1}"), Some(KeyFault::Capture));
        for text in ["$CLERK_SECRET_KEY", "${CLERK_SECRET_KEY}"] {
            assert_eq!(fault(text), Some(KeyFault::ShellVariable));
        }
    }
}
