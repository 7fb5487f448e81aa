//! Messages in nginx's error log.

use std::ffi::c_char;
use std::ptr;

use crate::nginx::base::ffi::{
    ngx_http_request_t, ngx_log_error_core, ngx_log_t, ngx_uint_t, NGX_LOG_DEBUG_HTTP, NGX_LOG_ERR,
};
use crate::nginx::base::links::request::client;
use crate::nginx::base::links::HasLog;
use crate::nginx::base::process;

/// Logs what is wrong with a request.
pub fn error(r: &ngx_http_request_t, text: &str) {
    of_request(r, NGX_LOG_ERR, text);
}

/// Logs what concerns a request.
pub fn of_request(r: &ngx_http_request_t, level: u32, text: &str) {
    write(client(r).logs_to(), level, text);
}

/// Logs what concerns no request.
pub fn log(level: u32, text: &str) {
    write(process::cycle().logs_to(), level, text);
}

/// Whether the log gets what is logged for debugging of http.
pub fn is_debugged(log: Option<&ngx_log_t>) -> bool {
    log.is_some_and(|log| log.log_level & NGX_LOG_DEBUG_HTTP as usize != 0)
}

/// What the log calls the source of a message.
#[cfg(nginx_log_names_source)]
const SOURCE: &std::ffi::CStr = c"ngx_http_clerk_proxy_module";

fn write(log: Option<&ngx_log_t>, level: u32, text: &str) {
    let level = level as ngx_uint_t;
    let Some(log) = log.filter(|log| log.log_level >= level) else { return };
    let log = ptr::from_ref(log).cast_mut();
    let (len, data) = (text.len(), text.as_ptr().cast::<c_char>());
    // SAFETY: nginx takes its own log; "%*s" takes a size_t and a pointer to that many bytes (ngx_vslprintf).
    unsafe {
        #[cfg(not(nginx_log_names_source))]
        ngx_log_error_core(level, log, 0, c"%*s".as_ptr(), len, data);
        #[cfg(nginx_log_names_source)]
        ngx_log_error_core(level, log, SOURCE.as_ptr(), 0, c"%*s".as_ptr(), len, data);
    }
}
