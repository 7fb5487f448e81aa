//! C structs that are read from memory as it is.

use std::mem;

#[cfg(nginx_pcre)]
use crate::nginx::base::ffi::ngx_http_script_regex_code_t;
use libc::{sockaddr_in, sockaddr_in6};

use crate::nginx::base::ffi::{
    ngx_addr_t, ngx_buf_t, ngx_conf_file_t, ngx_conf_t, ngx_connection_t, ngx_event_t,
    ngx_hash_key_t, ngx_http_compile_complex_value_t, ngx_http_complex_value_t,
    ngx_http_conf_addr_t, ngx_http_conf_port_t, ngx_http_connection_t, ngx_http_handler_pt,
    ngx_http_request_t, ngx_http_script_if_code_t, ngx_http_upstream_server_t,
    ngx_http_upstream_state_t, ngx_http_upstream_t, ngx_http_variable_t, ngx_http_variable_value_t,
    ngx_keyval_t, ngx_log_t, ngx_shm_zone_t, ngx_str_t, ngx_table_elt_t,
};

/// A plain C struct.
///
/// # Safety
///
/// Any bytes are a valid value.
pub unsafe trait Plain: Copy + 'static {
    /// The struct with nothing in it.
    fn zeroed() -> Self {
        // SAFETY: promised by the trait.
        unsafe { mem::zeroed() }
    }

    /// The struct that begins at the front of these bytes, if there are enough.
    fn read(bytes: &[u8]) -> Option<Self> {
        // SAFETY: promised by the trait; so many bytes are there.
        let read = || unsafe { bytes.as_ptr().cast::<Self>().read_unaligned() };
        (bytes.len() >= size_of::<Self>()).then(read)
    }
}

macro_rules! plain {
    ($($name:ident)*) => {
        // SAFETY: their fields are numbers, pointers, functions that may be null, and structs of these.
        $(unsafe impl Plain for $name {})*
    };
}

plain! {
    ngx_addr_t ngx_buf_t ngx_conf_file_t ngx_conf_t ngx_connection_t ngx_event_t ngx_hash_key_t
    ngx_http_compile_complex_value_t ngx_http_complex_value_t ngx_http_conf_addr_t ngx_http_conf_port_t
    ngx_http_connection_t ngx_http_handler_pt ngx_http_request_t ngx_http_script_if_code_t ngx_http_upstream_server_t
    ngx_http_upstream_state_t ngx_http_upstream_t
    ngx_http_variable_t ngx_http_variable_value_t ngx_keyval_t ngx_log_t ngx_shm_zone_t ngx_str_t ngx_table_elt_t
    sockaddr_in sockaddr_in6 u8 usize
}

#[cfg(nginx_pcre)]
plain! { ngx_http_script_regex_code_t }

// SAFETY: a pointer is one.
unsafe impl<T: 'static> Plain for *mut T {}

// SAFETY: promised for each.
unsafe impl<T: Plain, const N: usize> Plain for [T; N] {}
