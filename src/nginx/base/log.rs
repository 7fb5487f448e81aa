//! Messages in nginx's error log.

use std::ffi::c_char;

use crate::nginx::base::ffi::{
    ngx_http_request_t, ngx_log_error_core, ngx_log_t, ngx_uint_t, NGX_LOG_DEBUG_HTTP, NGX_LOG_ERR,
};
use crate::nginx::base::{process, request};

/// Logs what is wrong with a request.
pub fn error(r: &ngx_http_request_t, text: &str) {
    of_request(r, NGX_LOG_ERR, text);
}

/// Logs what concerns a request.
pub fn of_request(r: &ngx_http_request_t, level: u32, text: &str) {
    write(request::client(r).log, level, text);
}

/// Whether the log of a request gets what is logged for debugging of http.
pub fn is_debugged(r: &ngx_http_request_t) -> bool {
    // SAFETY: a connection has a log.
    unsafe { (*request::client(r).log).log_level & NGX_LOG_DEBUG_HTTP as usize != 0 }
}

/// Logs what concerns no request.
pub fn log(level: u32, text: &str) {
    write(process::cycle().log, level, text);
}

/// What the log calls the source of a message.
#[cfg(nginx_log_names_source)]
const SOURCE: &std::ffi::CStr = c"ngx_http_clerk_proxy_module";

fn write(log: *mut ngx_log_t, level: u32, text: &str) {
    let level = level as ngx_uint_t;
    // SAFETY: `log` is that of a connection or a cycle; "%*s" takes a size_t and a pointer to that many bytes
    // (ngx_vslprintf).
    unsafe {
        if (*log).log_level >= level {
            let (len, data) = (text.len(), text.as_ptr().cast::<c_char>());
            #[cfg(not(nginx_log_names_source))]
            ngx_log_error_core(level, log, 0, c"%*s".as_ptr(), len, data);
            #[cfg(nginx_log_names_source)]
            ngx_log_error_core(level, log, SOURCE.as_ptr(), 0, c"%*s".as_ptr(), len, data);
        }
    }
}
