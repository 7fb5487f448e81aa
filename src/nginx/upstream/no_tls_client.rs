//! Stands for `tls_client` in an nginx that was built without TLS.

use crate::nginx::base::connection::Connection;
use crate::nginx::base::ffi::{ngx_connection_t, ngx_http_upstream_conf_t};

/// A type without values.
#[derive(Clone, Copy)]
pub enum TlsClient {}

impl TlsClient {
    /// None.
    pub fn of_nginx() -> Option<Self> {
        None
    }

    /// Never called.
    pub fn begin(
        &self,
        _c: Connection,
        _conf: &ngx_http_upstream_conf_t,
        _handler: unsafe extern "C" fn(*mut ngx_connection_t),
    ) -> Result<bool, String> {
        match *self {}
    }

    /// Never called.
    pub fn check(&self, _c: Connection, _conf: &ngx_http_upstream_conf_t) -> Result<(), String> {
        match *self {}
    }
}

/// It never is.
pub fn is_spoken(_c: Connection) -> bool {
    false
}

/// There is no session.
pub fn resumed(_c: Connection) -> Option<bool> {
    None
}

/// Closes a connection to a server that nobody uses any more, which is done.
pub fn close(c: Connection) -> bool {
    c.finish();
    true
}
