//! The words of our directives, read into typed values.

use std::num::NonZeroU16;

use crate::client_ip::is_one_variable;
use crate::error::Error;
use crate::frontend_api::Origin;
use crate::key_source::{Key, Source};
use crate::proxy_url::ProxyUrl;

/// The parameters behind the URL.
const PARAMETERS: &[&str] = &["secret_key=", "upstream=", "keepalive="];

/// What one `clerk_proxy` line says.
#[derive(Clone, Debug, PartialEq)]
pub struct ClerkProxy {
    /// The public proxy URL.
    pub url: ProxyUrl,
    /// Where the key comes from, if the line says it.
    pub key: Option<Source>,
    /// Where the Frontend API is, if the line says it.
    pub origin: Option<Origin>,
    /// How many idle connections a worker keeps, if the line says it.
    pub keepalive: Option<NonZeroU16>,
}

/// What is effective in one location: its line, other directives and the defaults.
#[derive(Debug)]
pub struct Effective {
    /// The public proxy URL.
    pub url: ProxyUrl,
    /// The key.
    pub key: Key,
    /// Where the Frontend API is.
    pub origin: Origin,
    /// How many idle connections a worker keeps, if the line says it.
    pub keepalive: Option<NonZeroU16>,
    /// An expression for the client's address; without one it is the address of the connection.
    pub client_ip: Option<String>,
    /// How many unused connections a worker keeps ready.
    pub warm: u16,
}

impl ClerkProxy {
    /// Reads the words after the directive's name.
    ///
    /// # Errors
    ///
    /// The first mistake found, from left to right.
    pub fn parse(words: &[String]) -> Result<Self, Error> {
        let (typed, parameters) = words.split_first().map_or(("", words), |(w, p)| (w.as_str(), p));
        if let Some(&parameter) = PARAMETERS.iter().find(|name| typed.starts_with(**name)) {
            return Err(Error::NoUrl { parameter });
        }
        let url = ProxyUrl::parse(typed)
            .map_err(|fault| Error::ProxyUrl { value: typed.to_owned(), fault })?;
        let (mut key, mut origin, mut keepalive) = (None, None, None);
        for word in parameters {
            if let Some(name) = PARAMETERS.iter().find(|name| is_quoted(word, name)) {
                return Err(Error::Quoted(name));
            }
            if let Some(source) = word.strip_prefix("secret_key=") {
                set_once(&mut key, Source::parse(source), "secret_key=")?;
            } else if let Some(typed) = word.strip_prefix("upstream=") {
                set_once(&mut origin, parse_origin(typed, None)?, "upstream=")?;
            } else if let Some(typed) = word.strip_prefix("keepalive=") {
                let parsed = number(typed).and_then(NonZeroU16::new);
                let parsed = parsed.ok_or_else(|| Error::Keepalive(typed.to_owned()))?;
                set_once(&mut keepalive, parsed, "keepalive=")?;
            } else {
                return Err(Error::UnknownParameter(word.clone()));
            }
        }
        Ok(Self { url, key, origin, keepalive })
    }
}

/// Reads the ORIGIN of a directive of its own, or of the parameter of `clerk_proxy`.
///
/// # Errors
///
/// The fault of the ORIGIN.
pub fn parse_origin(typed: &str, directive: Option<&'static str>) -> Result<Origin, Error> {
    let error = |fault| Error::Upstream { directive, value: typed.to_owned(), fault };
    Origin::parse(typed).map_err(error)
}

/// Reads the number of `clerk_proxy_warm`.
///
/// # Errors
///
/// The value is not a number.
pub fn parse_warm(typed: &str) -> Result<u16, Error> {
    let instead = "write the number of connections that a worker keeps ready, such as \"1\", or \"0\" for none";
    let error = || Error::Value { directive: "clerk_proxy_warm", value: typed.to_owned(), instead };
    number(typed).ok_or_else(error)
}

/// Reads the variable of `clerk_proxy_client_ip`.
///
/// # Errors
///
/// The value is not a single variable.
pub fn parse_client_ip(typed: String) -> Result<String, Error> {
    if is_one_variable(&typed) {
        return Ok(typed);
    }
    let instead = "write a single variable, such as \"$http_cf_connecting_ip\"";
    Err(Error::Value { directive: "clerk_proxy_client_ip", value: typed, instead })
}

/// Whether the value of this parameter begins with a quote.
fn is_quoted(word: &str, name: &str) -> bool {
    word.strip_prefix(name).is_some_and(|value| value.starts_with(['"', '\'']))
}

/// Reads a number as nginx does: without a sign.
fn number(typed: &str) -> Option<u16> {
    typed.parse().ok().filter(|_| !typed.starts_with('+'))
}

fn set_once<T>(slot: &mut Option<T>, value: T, name: &'static str) -> Result<(), Error> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(Error::DuplicateParameter(name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http_url::UrlFault;
    use proptest::prelude::*;

    fn parse(line: &str) -> Result<ClerkProxy, Error> {
        ClerkProxy::parse(&line.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn all_parameters_in_any_order() {
        let one = "https://app.dev/x secret_key=env:K upstream=http://127.0.0.1:1 keepalive=8";
        let two = "https://app.dev/x keepalive=8 upstream=http://127.0.0.1:1 secret_key=env:K";
        let (one, two) = (parse(one).unwrap(), parse(two).unwrap());
        assert_eq!(one, two);
        assert_eq!(one.key, Some(Source::Env("K".into())));
        assert_eq!(one.origin, Origin::parse("http://127.0.0.1:1").ok());
        assert_eq!(one.keepalive, NonZeroU16::new(8));
    }

    #[test]
    fn defaults() {
        let line = parse("https://app.dev/x").unwrap();
        assert_eq!((line.key, line.origin, line.keepalive), (None, None, None));
    }

    #[test]
    fn mistakes() {
        assert_eq!(
            parse("https://app.dev/x upstream=x"),
            Err(Error::Upstream { directive: None, value: "x".into(), fault: UrlFault::NoScheme })
        );
        assert_eq!(
            parse("https://app.dev/x secret_key=a secret_key=b"),
            Err(Error::DuplicateParameter("secret_key="))
        );
        assert_eq!(
            parse("https://app.dev/x upstream=http://a upstream=http://b"),
            Err(Error::DuplicateParameter("upstream="))
        );
        for parameter in PARAMETERS {
            for quote in ['"', '\''] {
                let line = format!("https://app.dev/x {parameter}{quote}y{quote}");
                assert_eq!(parse(&line), Err(Error::Quoted(parameter)));
            }
            let line = format!("{parameter}x https://app.dev/x");
            assert_eq!(parse(&line), Err(Error::NoUrl { parameter }));
        }
        for number in ["", "0", "-1", "+1", "65536", "8k"] {
            let line = format!("https://app.dev/x keepalive={number}");
            assert_eq!(parse(&line), Err(Error::Keepalive(number.into())));
        }
        assert_eq!(parse("https://app.dev/x y"), Err(Error::UnknownParameter("y".into())));
        assert!(matches!(parse("sk_live_x"), Err(Error::ProxyUrl { .. })));
        assert!(matches!(ClerkProxy::parse(&[]), Err(Error::ProxyUrl { .. })));
    }

    #[test]
    fn numbers_of_warm_connections() {
        assert_eq!(parse_warm("0"), Ok(0));
        assert_eq!(parse_warm("65535"), Ok(65535));
        for number in ["", "-1", "+1", "65536", "1k", "on"] {
            assert!(matches!(parse_warm(number), Err(Error::Value { .. })), "{number}");
        }
    }

    /// Where a key can slip in.
    const FRONTS: &str = "(|https://|https://app\\.dev/|https://app\\.dev//|https://user:|file:|env:|\
                          secret_key=|secret_key=file:|secretkey=|upstream=|upstream=http://unix:/x:)";

    proptest! {
        #[test]
        fn never_panics_and_never_tells_a_key(words in proptest::collection::vec("\\PC*", 0..5),
                                             key in "(sk_live_|live_|)[a-z]{8}[0-9][A-Z][a-zA-Z0-9]{10}", at in 0..5usize,
                                             front in FRONTS, behind in "(/x|://x|\\?y| |)") {
            let mut words = words;
            let hidden = key.trim_start_matches("sk_").trim_start_matches("live_");
            let word = format!("{front}{key}{behind}");
            words.insert(at.min(words.len()), word.clone());
            if let Err(error) = ClerkProxy::parse(&words) {
                prop_assert!(!error.to_string().contains(hidden), "{}", error);
            }
            let source = Source::parse(&word);
            let told = format!("{source} {source:?}");
            prop_assert!(!told.contains(hidden), "{}", told);
        }
    }
}
