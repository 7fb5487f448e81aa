//! What `nginx -t` fails for, and the mistakes in the words of this module's directives.
//!
//! As with conflicts, failures and warnings, each sentence names the directive, the offending value and what to write
//! instead; nginx adds file and line. A value passes through [`shown`] first.

use std::fmt;

use crate::conflict::Conflict;
use crate::failure::Failure;
use crate::http_url::UrlFault;
use crate::secret_key::KeyFault;
use crate::shown::shown;

/// Why a configuration is refused: a mistake in the words of a directive, or another reason.
#[derive(Debug, PartialEq)]
pub enum Error {
    /// A parameter stands where the proxy URL is expected.
    NoUrl { parameter: &'static str },
    /// A word after the URL that is not a parameter.
    UnknownParameter(String),
    /// A parameter written twice.
    DuplicateParameter(&'static str),
    /// A parameter with quotes around its value, which nginx keeps.
    Quoted(&'static str),
    /// A directive that stands twice in one block.
    Duplicate(&'static str),
    /// The proxy URL cannot be used.
    ProxyUrl { value: String, fault: UrlFault },
    /// An ORIGIN cannot be used: that of a directive, or of the parameter `upstream=`.
    Upstream { directive: Option<&'static str>, value: String, fault: UrlFault },
    /// The value of `keepalive=` is not a number of connections.
    Keepalive(String),
    /// The value of another directive, and what to write instead.
    Value { directive: &'static str, value: String, instead: &'static str },
    /// A variable that nothing defines.
    UnknownVariable { directive: &'static str, name: String },
    /// The key cannot be used. The source names where it comes from and never is the key.
    SecretKey { directive: &'static str, source: String, fault: KeyFault },
    /// What stands around a `clerk_proxy` line.
    Conflict(Conflict),
    /// What this system or this nginx lacks.
    Failure(Failure),
}

impl From<Conflict> for Error {
    fn from(conflict: Conflict) -> Self {
        Self::Conflict(conflict)
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoUrl { parameter } => write!(
                f,
                "\"clerk_proxy\" begins with parameter \"{parameter}\", write the proxy URL before it, such \
                 as \"https://app.example/__clerk\""
            ),
            Self::UnknownParameter(word) => write!(
                f,
                "invalid parameter \"{}\" in \"clerk_proxy\", expected \"secret_key=\", \"upstream=\" or \
                 \"keepalive=\"",
                shown(&parameter_name(word))
            ),
            Self::DuplicateParameter(name) => {
                write!(f, "duplicate parameter \"{name}\" in \"clerk_proxy\", write it once")
            }
            Self::Quoted(name) => write!(
                f,
                "invalid parameter \"{name}\" in \"clerk_proxy\": nginx takes quotes inside a word as part of \
                 the value, write them around the whole parameter or leave them out"
            ),
            Self::Duplicate(directive) => write!(f, "\"{directive}\" directive is duplicate"),
            Self::ProxyUrl { value, fault } => write!(
                f,
                "invalid URL \"{}\" in \"clerk_proxy\": {fault}, write the proxy URL as in the Clerk \
                 Dashboard, such as \"https://app.example/__clerk\"",
                shown(value)
            ),
            Self::Upstream { directive, value, fault } => write!(
                f,
                "invalid {}: {fault}, write an origin such as \"https://frontend-api.clerk.dev\"",
                origin(*directive, &shown(value))
            ),
            Self::Keepalive(value) => write!(
                f,
                "invalid parameter \"keepalive={}\" in \"clerk_proxy\", write the number of idle connections \
                 that a worker keeps, such as \"keepalive=64\"",
                shown(value)
            ),
            Self::Value { directive, value, instead } => {
                write!(f, "invalid value \"{}\" in \"{directive}\", {instead}", shown(value))
            }
            Self::UnknownVariable { directive, name } => write!(
                f,
                "unknown \"{}\" variable in \"{directive}\", correct its name or define it, as by \"map\"",
                shown(name)
            ),
            Self::SecretKey { directive, source, fault } => {
                let word = if fault.is_absence() { "no" } else { "invalid" };
                write!(f, "{word} {source} in \"{directive}\": {fault}")
            }
            Self::Conflict(conflict) => conflict.fmt(f),
            Self::Failure(failure) => failure.fmt(f),
        }
    }
}

impl std::error::Error for Error {}

/// Names an ORIGIN and where it stands.
fn origin(directive: Option<&str>, value: &str) -> String {
    match directive {
        None => format!("parameter \"upstream={value}\" in \"clerk_proxy\""),
        Some(name) => format!("value \"{value}\" in \"{name}\""),
    }
}

/// The part of a misspelt parameter that may be printed: all up to `=`, since a key may follow.
fn parameter_name(word: &str) -> String {
    match word.split_once('=') {
        Some((name, _)) => format!("{name}="),
        None => word.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_a_misspelt_parameter_is_not_shown() {
        assert_eq!(
            Error::UnknownParameter("secretkey=abc".into()).to_string(),
            "invalid parameter \"secretkey=\" in \"clerk_proxy\", expected \"secret_key=\", \
             \"upstream=\" or \"keepalive=\""
        );
    }
}
