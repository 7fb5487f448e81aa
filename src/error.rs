//! Every sentence that `nginx -t` can show for this module.
//!
//! Each names the directive, the offending value and what to write instead. nginx adds file and line. A
//! value passes through [`shown`] first, so that a key typed in the wrong place is not repeated.

use std::fmt;

use crate::http_url::UrlFault;
use crate::secret_key::KeyFault;
use crate::shown::shown;

/// A configuration mistake.
#[derive(Debug, PartialEq)]
pub enum Error {
    /// A word after the URL that is no parameter.
    UnknownParameter(String),
    /// A parameter written twice.
    DuplicateParameter(&'static str),
    /// The proxy URL cannot be used.
    ProxyUrl { value: String, fault: UrlFault },
    /// A directive that stands twice in one block.
    Duplicate(&'static str),
    /// An ORIGIN cannot be used: that of a directive, or of the parameter `upstream=`.
    Upstream { directive: Option<&'static str>, value: String, fault: UrlFault },
    /// The value of `keepalive=` is no number of connections.
    Keepalive(String),
    /// The value of `clerk_proxy_warm` is no number of connections.
    Warm(String),
    /// An expression that is not the address of a client.
    ClientIp(String),
    /// A `keepalive=` that counts for nothing, since the upstream is a block of the user's.
    KeepaliveOfBlock { name: String },
    /// Two lines whose connections differ use one block of the user's.
    DividedBlock { name: String, differs: String },
    /// A `proxy_pass` that verifies no certificate uses the block that `clerk_proxy` uses.
    UnverifiedBlock { name: String, location: String },
    /// The key cannot be used; the source says where it came from and is never the key.
    SecretKey { directive: &'static str, source: String, fault: KeyFault },
    /// The location can never hold a request below the proxy URL's path.
    Location { url: String, prefix: String, location: String, wide: bool },
    /// A proxy URL with the name of a server that has none.
    ServerName { url: String, name: String },
    /// The location is handled by another directive too.
    OtherHandler { location: String },
    /// A directive inside the location sends requests elsewhere with the settings of `clerk_proxy`.
    NestedProxyPass { location: String },
    /// A `proxy_set_header` for a name that belongs to Clerk's contract.
    OwnedHeader { name: String, instead: &'static str },
    /// A line beside `proxy_cache` that would have it keep what it must not, or mix it up.
    BesideCache { what: String },
    /// An inherited directive that no directive of the location can undo.
    Inherited { directive: &'static str },
    /// There is no bundle of trusted certificates on this system.
    NoCaBundle { host: String },
    /// nginx was built without a module that `clerk_proxy` configures.
    MissingModule(&'static str),
    /// The nginx at hand has other structures than the one that the module was built for.
    OtherNginx { built_for: &'static str, running: String, difference: String },
    /// The system gives no memory.
    NoMemory,
    /// A defect of this module.
    Internal(String),
}

impl fmt::Display for Error {
    #[allow(clippy::too_many_lines)] // a list
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownParameter(word) => write!(
                f,
                "invalid parameter \"{}\" in \"clerk_proxy\", expected \"secret_key=\", \
                 \"upstream=\" or \"keepalive=\"",
                shown(&parameter_name(word))
            ),
            Self::DuplicateParameter(name) => {
                write!(f, "duplicate parameter \"{name}\" in \"clerk_proxy\", write it once")
            }
            Self::ProxyUrl { value, fault } => write!(
                f,
                "invalid URL \"{}\" in \"clerk_proxy\": {fault}, write the proxy URL as in the Clerk \
                 Dashboard, such as \"https://app.dev/__clerk\"",
                shown(value)
            ),
            Self::Duplicate(directive) => write!(f, "\"{directive}\" directive is duplicate"),
            Self::Upstream { directive, value, fault } => {
                let value = shown(value);
                match directive {
                    None => write!(f, "invalid parameter \"upstream={value}\" in \"clerk_proxy\"")?,
                    Some(name) => write!(f, "invalid value \"{value}\" in \"{name}\"")?,
                }
                write!(
                    f,
                    ": {fault}, write an origin such as \"https://frontend-api.clerk.dev\""
                )
            }
            Self::ClientIp(value) => write!(
                f,
                "invalid value \"{}\" in \"clerk_proxy_client_ip\": it is not one variable, write one such as \
                 \"$http_cf_connecting_ip\"",
                shown(value)
            ),
            Self::Keepalive(value) => write!(
                f,
                "invalid parameter \"keepalive={}\" in \"clerk_proxy\", write the number of idle \
                 connections that a worker keeps, such as \"keepalive=64\"",
                shown(value)
            ),
            Self::Warm(value) => write!(
                f,
                "invalid value \"{}\" in \"clerk_proxy_warm\", write the number of connections that a worker \
                 keeps ready, such as \"1\", or \"0\" for none",
                shown(value)
            ),
            Self::KeepaliveOfBlock { name } => write!(
                f,
                "parameter \"keepalive=\" in \"clerk_proxy\" does not reach upstream \"{name}\", write \
                 \"keepalive\" in that block"
            ),
            Self::DividedBlock { name, differs } => write!(
                f,
                "\"{differs}\" of \"clerk_proxy\" is not that of an earlier location with upstream \
                 \"{name}\", whose connections nginx would reuse here, write it alike or an \"upstream\" block \
                 for each"
            ),
            Self::UnverifiedBlock { name, location } => write!(
                f,
                "\"proxy_pass\" in location \"{location}\" uses upstream \"{name}\" without \
                 \"proxy_ssl_verify on\", and \"clerk_proxy\" would send the secret key over its \
                 connections, write an \"upstream\" block for each"
            ),
            Self::SecretKey { directive, source, fault } => {
                let word = if fault.is_absence() { "no" } else { "invalid" };
                write!(f, "{word} {source} in \"{directive}\": {fault}")
            }
            Self::Location { url, prefix, location, wide } => {
                let prefix = shown(prefix);
                write!(f, "\"clerk_proxy {}\" does not fit location \"{location}\", ", shown(url))?;
                match wide {
                    true => write!(f, "requests outside \"{prefix}/\" would get 404 there")?,
                    false => write!(f, "no request below \"{prefix}/\" reaches it")?,
                }
                write!(f, ", use location \"{prefix}/\"")
            }
            Self::ServerName { url, name } => write!(
                f,
                "\"$server_name\" in URL \"{}\" of \"clerk_proxy\" is \"{}\" here, which is no host, write the \
                 host of the proxy URL",
                shown(url),
                shown(name)
            ),
            Self::OtherHandler { location } => write!(
                f,
                "\"clerk_proxy\" conflicts with another content handler in location \"{location}\", \
                 remove what else answers requests there, such as \"proxy_pass\" or \"empty_gif\""
            ),
            Self::NestedProxyPass { location } => write!(
                f,
                "\"proxy_pass\" inside location \"{location}\" would send the secret key of its \
                 \"clerk_proxy\" elsewhere, move it to a location beside that one"
            ),
            Self::OwnedHeader { name, instead } => write!(
                f,
                "\"proxy_set_header {name}\" conflicts with \"clerk_proxy\" in the same location, which \
                 sets this header, {instead}"
            ),
            Self::BesideCache { what } => write!(
                f,
                "\"{}\" conflicts with \"proxy_cache\" of \"clerk_proxy\", which keeps public scripts \
                 alone, by what the Frontend API says and by URI, remove one of the two",
                shown(what)
            ),
            Self::Inherited { directive } => write!(
                f,
                "\"{directive}\" of an outer block would change every request of \"clerk_proxy\", move it \
                 to the locations that need it"
            ),
            Self::NoCaBundle { host } => write!(
                f,
                "\"clerk_proxy\" found no CA certificates of the system to verify \"{host}\" with, install \
                 the package \"ca-certificates\" or set \"proxy_ssl_trusted_certificate\""
            ),
            Self::MissingModule(name) => {
                write!(f, "\"clerk_proxy\" needs {name}, which this nginx was built without")
            }
            Self::OtherNginx { built_for, running, difference } => write!(
                f,
                "\"ngx_http_clerk_proxy_module\" was built for {built_for}, and the structures of {running} differ \
                 ({difference}), build the module from the sources of {running} with its configure \
                 arguments, which \"nginx -V\" prints"
            ),
            Self::NoMemory => f.write_str("\"clerk_proxy\" ran out of memory"),
            Self::Internal(what) => {
                write!(f, "\"clerk_proxy\" failed: {what}, this is a defect of the module, report it")
            }
        }
    }
}

impl std::error::Error for Error {}

/// The part of a misspelt parameter that can be repeated: all up to `=`; what follows may be a key.
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
