//! What callbacks return to nginx.

use crate::nginx::base::ffi::ngx_int_t;

/// `NGX_OK`.
pub const OK: ngx_int_t = crate::nginx::base::ffi::NGX_OK as ngx_int_t;
/// `NGX_ERROR`.
pub const ERROR: ngx_int_t = crate::nginx::base::ffi::NGX_ERROR as ngx_int_t;
