//! The connections that are kept ready for an upstream.

use crate::nginx::base::ffi::ngx_http_upstream_conf_t;
use crate::nginx::stock::level::Context;

/// The connections of one upstream that are kept ready.
#[derive(Clone, Copy)]
pub struct Wanted {
    /// How many connections a worker keeps.
    pub count: usize,
    /// A location that uses the upstream.
    pub context: Context,
    /// Its settings for upstreams; those of all such locations agree.
    pub conf: &'static ngx_http_upstream_conf_t,
    /// Whether TLS is spoken.
    pub tls: bool,
    /// Whether all of its locations can use such connections.
    pub possible: bool,
}

impl Wanted {
    /// Whether connections are kept at all.
    pub fn keeps_some(&self) -> bool {
        self.count > 0 && self.possible
    }
}
