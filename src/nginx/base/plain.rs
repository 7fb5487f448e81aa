//! C structs that may be zeroed.

use std::mem;

use libc::{addrinfo, sockaddr_in};

use crate::nginx::base::ffi::{
    ngx_addr_t, ngx_buf_t, ngx_conf_file_t, ngx_conf_t, ngx_connection_t, ngx_event_t,
    ngx_http_compile_complex_value_t, ngx_http_complex_value_t, ngx_http_connection_t,
    ngx_http_request_t, ngx_http_upstream_t, ngx_http_variable_value_t, ngx_log_t, ngx_table_elt_t,
};

/// A plain C struct.
///
/// # Safety
///
/// Zero is a valid value for each of its fields.
pub unsafe trait Plain: Sized {
    /// The struct with nothing in it.
    fn zeroed() -> Self {
        // SAFETY: promised by the trait.
        unsafe { mem::zeroed() }
    }
}

macro_rules! plain {
    ($($name:ident)*) => {
        // SAFETY: their fields are numbers, pointers, functions that may be null, and structs of these.
        $(unsafe impl Plain for $name {})*
    };
}

plain! {
    ngx_addr_t ngx_buf_t ngx_conf_file_t ngx_conf_t ngx_connection_t ngx_event_t ngx_http_compile_complex_value_t
    ngx_http_complex_value_t ngx_http_connection_t ngx_http_request_t ngx_http_upstream_t ngx_http_variable_value_t
    ngx_log_t ngx_table_elt_t addrinfo sockaddr_in
}
