//! Every warning that `nginx -t` can show for this module: what works and will cause trouble.
//!
//! As with errors, nginx adds file and line, and a value passes through [`shown`] first.

use std::fmt;

use crate::answerer::Answerer;
use crate::key_risk::KeyRisk;
use crate::shown::shown;

/// Something that works and should be changed.
#[derive(Debug, PartialEq)]
pub enum Warning {
    /// A key that others can read, or that Clerk does not accept.
    Key { directive: &'static str, source: String, risk: KeyRisk },
    /// A proxy URL without TLS.
    PlainUrl { url: String },
    /// A proxy URL whose host the client chooses.
    HttpHost { url: String },
    /// A location whose requests go to paths that the Frontend API does not have.
    Nowhere { url: String, location: String, better: String },
    /// The server is not verified.
    Unverified,
    /// Connections without TLS to where others can read or answer.
    PlainUpstream { server: String, answerer: Answerer },
    /// Request headers are logged.
    DebugLog,
    /// nginx was built without the module that keeps connections.
    NoKeepalive,
    /// The environment names a proxy, which nginx does not connect through.
    IgnoredProxy { server: String, variable: &'static str },
    /// A name that cannot be resolved now.
    HostNotFound { server: String, block: Option<String> },
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key { directive, source, risk } => {
                write!(f, "{source} in \"{directive}\" {risk}")
            }
            Self::PlainUrl { url } => write!(
                f,
                "URL \"{}\" in \"clerk_proxy\" does not use TLS, which browsers and Clerk expect, write \
                 \"https://\"",
                shown(url)
            ),
            Self::HttpHost { url } => write!(
                f,
                "\"$http_host\" in URL \"{}\" of \"clerk_proxy\" is any host that a client says, write \"$host\", \
                 which \"server_name\" guards",
                shown(url)
            ),
            Self::Nowhere { url, location, better } => write!(
                f,
                "\"clerk_proxy {}\" passes requests of location \"{location}\" to a path that the Frontend API does \
                 not have, write \"clerk_proxy {}\"",
                shown(url),
                shown(better)
            ),
            Self::Unverified => f.write_str(
                "\"proxy_ssl_verify off\" beside \"clerk_proxy\" sends the secret key to whoever answers, \
                 write \"proxy_ssl_trusted_certificate\" with the CA of that server",
            ),
            Self::PlainUpstream { server, answerer } => write!(
                f,
                "upstream \"http://{}\" of \"clerk_proxy\" gets the secret key without TLS, {}",
                shown(server),
                answerer.advice()
            ),
            Self::DebugLog => f.write_str(
                "\"error_log\" at level \"debug\" shows the secret key of \"clerk_proxy\" in this nginx, \
                 which is built with debugging, write \"info\"",
            ),
            Self::NoKeepalive => f.write_str(
                "each request of \"clerk_proxy\" makes a connection of its own, since this nginx was built \
                 without ngx_http_upstream_keepalive_module, build it with that",
            ),
            Self::IgnoredProxy { server, variable } => write!(
                f,
                "\"clerk_proxy\" connects to \"{}\" itself and not through the proxy of environment variable \
                 \"{variable}\", write \"upstream=\" with a tunnel through it, or name the host in \"no_proxy\"",
                shown(server)
            ),
            Self::HostNotFound { server, block } => write!(
                f,
                "host not found in upstream \"{}\" of \"clerk_proxy\", {}requests get 502 until the name can \
                 be resolved",
                shown(server),
                block.as_ref().map(|name| no_block(name)).unwrap_or_default()
            ),
        }
    }
}

/// The other thing that the name of an upstream may mean.
fn no_block(name: &str) -> String {
    format!("and there is no \"upstream {}\" block, ", shown(name))
}
