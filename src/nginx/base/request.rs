//! nginx's structures of a request.

use crate::nginx::base::ffi::{
    ngx_connection_t, ngx_http_request_t, ngx_http_upstream_conf_t, ngx_http_upstream_state_t,
    ngx_http_upstream_t,
};

/// The client's connection.
pub fn client(r: &ngx_http_request_t) -> &ngx_connection_t {
    // SAFETY: a request has a connection, which lives as long as it.
    unsafe { &*r.connection }
}

/// The upstream of the request, once it has one.
pub fn upstream<'a>(r: &ngx_http_request_t) -> Option<&'a mut ngx_http_upstream_t> {
    // SAFETY: null or the request's, and as long alive as it; no caller keeps the reference over a call to nginx.
    unsafe { r.upstream.as_mut() }
}

/// The settings of the upstream.
pub fn settings<'a>(u: &ngx_http_upstream_t) -> &'a mut ngx_http_upstream_conf_t {
    // SAFETY: an upstream has settings, those of its location. They are as above.
    unsafe { &mut *u.conf }
}

/// The states of the servers that were tried.
pub fn states(r: &ngx_http_request_t) -> &[ngx_http_upstream_state_t] {
    // SAFETY: null or an array of these, which lives as long as the request.
    unsafe { r.upstream_states.as_ref().map_or(&[], |states| states.as_slice()) }
}
