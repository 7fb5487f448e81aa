//! Conflicts of a `clerk_proxy` line with what stands around it, as `nginx -t` shows them.

use std::fmt;

use crate::location::Mismatch;
use crate::shown::shown;

/// What stands around a `clerk_proxy` line and must be changed.
#[derive(Debug, PartialEq)]
pub enum Conflict {
    /// The location is not that of the proxy URL.
    Location { url: String, prefix: String, location: String, mismatch: Mismatch },
    /// A proxy URL with `$server_name` in a server without a name.
    ServerName { url: String, name: String },
    /// Another directive handles requests of the location, too.
    OtherHandler { location: String },
    /// A `clerk_proxy_status` in a location that another directive handles.
    StatusBeside { location: String },
    /// A directive inside the location sends requests elsewhere with the settings of `clerk_proxy`.
    NestedProxyPass { location: String },
    /// A directive for a whole block inside a location whose line says the same by a parameter.
    Idle { directive: &'static str, parameter: &'static str },
    /// A `proxy_set_header` for a header of Clerk's contract.
    OwnedHeader { name: String, instead: &'static str },
    /// A line beside `proxy_cache` that would make the cache keep private replies or confuse replies.
    BesideCache { what: String },
    /// An inherited directive that no directive of the location can undo.
    Inherited { directive: &'static str },
    /// A `keepalive=` without effect, since the upstream is a block of the user's.
    KeepaliveOfBlock { name: String },
    /// Two lines whose connections differ use one block of the user's.
    DividedBlock { name: String, differs: String },
    /// A setting of connections with a value of its own for each request.
    Varying { directive: &'static str },
    /// A `proxy_pass` without verification uses the block that `clerk_proxy` uses.
    UnverifiedBlock { name: String, location: String },
}

/// Stock directives and those of well-known modules that handle the requests of a location.
const HANDLERS: [&str; 19] = [
    "clerk_proxy_status",
    "proxy_pass",
    "fastcgi_pass",
    "grpc_pass",
    "memcached_pass",
    "scgi_pass",
    "uwsgi_pass",
    "empty_gif",
    "stub_status",
    "flv",
    "mp4",
    "perl",
    "js_content",
    "content_by_lua_block",
    "track_uploads",
    "nchan_publisher",
    "nchan_subscriber",
    "nchan_pubsub",
    "proxy_cache_purge",
];

impl Conflict {
    /// The directives one of which causes the conflict, and whether it may stand in an outer block.
    pub fn culprits(&self) -> (Vec<String>, bool) {
        match self {
            Self::OtherHandler { .. } => (HANDLERS.map(str::to_owned).to_vec(), false),
            Self::NestedProxyPass { .. } | Self::UnverifiedBlock { .. } => {
                (vec!["proxy_pass".to_owned()], false)
            }
            Self::Idle { directive, .. } => (vec![(*directive).to_owned()], false),
            Self::OwnedHeader { name, .. } => (vec![format!("proxy_set_header {name}")], false),
            Self::BesideCache { what } => (vec![what.clone()], true),
            Self::Inherited { directive } | Self::Varying { directive } => {
                (vec![(*directive).to_owned()], true)
            }
            _ => (Vec::new(), false),
        }
    }
}

impl Conflict {
    /// The text of a conflict about connections.
    fn of_connections(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KeepaliveOfBlock { name } => write!(
                f,
                "parameter \"keepalive=\" in \"clerk_proxy\" has no effect on upstream \"{name}\", write \
                 \"keepalive\" in that block"
            ),
            Self::DividedBlock { name, differs } => write!(
                f,
                "\"{differs}\" of \"clerk_proxy\" differs from that of an earlier location with upstream \
                 \"{name}\", and nginx would reuse its connections here, write the same value or an \
                 \"upstream\" block for each"
            ),
            Self::Varying { directive } => write!(
                f,
                "\"{directive}\" with variables beside \"clerk_proxy\" would send requests over connections \
                 that were made with other values, write a value without variables"
            ),
            Self::UnverifiedBlock { name, location } => write!(
                f,
                "\"proxy_pass\" in location \"{location}\" uses upstream \"{name}\" without \
                 \"proxy_ssl_verify on\", and \"clerk_proxy\" would send the secret key over its \
                 connections, write an \"upstream\" block for each"
            ),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Location { url, prefix, location, mismatch } => write!(
                f,
                "\"clerk_proxy {}\" does not fit location \"{location}\", {}, use location \"{prefix}/\"",
                shown(url),
                effect(*mismatch, prefix),
                prefix = shown(prefix)
            ),
            Self::ServerName { url, name } => write!(
                f,
                "\"$server_name\" in URL \"{}\" of \"clerk_proxy\" is \"{}\" here, which is not a host, write the \
                 host of the proxy URL",
                shown(url),
                shown(name)
            ),
            Self::OtherHandler { location } => write!(
                f,
                "\"clerk_proxy\" conflicts with another content handler in location \"{location}\", remove \
                 the other one, such as \"proxy_pass\", \"empty_gif\" or \"track_uploads\""
            ),
            Self::StatusBeside { location } => write!(
                f,
                "\"clerk_proxy_status\" conflicts with another content handler in location \"{location}\", move \
                 it to a location of its own"
            ),
            Self::NestedProxyPass { location } => write!(
                f,
                "\"proxy_pass\" inside location \"{location}\" would send the secret key of its \
                 \"clerk_proxy\" elsewhere, move it to a location of its own"
            ),
            Self::Idle { directive, parameter } => write!(
                f,
                "\"{directive}\" has no effect inside the location of a \"clerk_proxy\" with \"{parameter}=\", \
                 write \"{directive}\" there in place of the parameter"
            ),
            Self::OwnedHeader { name, instead } => write!(
                f,
                "\"proxy_set_header {name}\" conflicts with \"clerk_proxy\" in the same location, which \
                 sets this header, {instead}"
            ),
            Self::BesideCache { what } => write!(
                f,
                "\"{0}\" beside \"proxy_cache\" conflicts with \"clerk_proxy\", which decides what is cached \
                 and under which key, remove \"{0}\"",
                shown(what)
            ),
            Self::Inherited { directive } => write!(
                f,
                "\"{directive}\" of an outer block would change every request of \"clerk_proxy\", move it \
                 to the locations that need it"
            ),
            _ => self.of_connections(f),
        }
    }
}

/// What would happen to requests.
fn effect(mismatch: Mismatch, prefix: &str) -> String {
    let prefix = shown(prefix);
    match mismatch {
        Mismatch::Beside => format!("no request below \"{prefix}/\" reaches it"),
        Mismatch::Wider => format!("requests outside \"{prefix}/\" would get 404 there"),
    }
}

impl std::error::Error for Conflict {}
