//! What works and will hurt, as far as it can be seen once nginx has merged all settings.

use std::ffi::{c_void, CStr};
use std::ptr;

use ngx::ffi::{ngx_conf_t, ngx_http_complex_value_t, ngx_log_t, ngx_str_t};

use super::cf::ConfExt;
use super::stock::{self, Level};
use crate::warning::Warning;

/// Warns of settings in force in a location with `clerk_proxy`.
pub fn give(cf: &mut ngx_conf_t, level: Level) {
    if logs_requests(level.core().error_log) {
        cf.warn(&Warning::DebugLog);
    }
    let realm = first_field(cf, level, c"ngx_http_auth_basic_module", "auth_basic");
    // SAFETY: the realm, null or a complex value, is at the offset of its directive, which is 0.
    let realm = realm.and_then(|field| unsafe {
        field.cast::<*const ngx_http_complex_value_t>().read().as_ref()
    });
    if realm.is_some_and(|realm| realm.value.as_bytes() != b"off") {
        cf.warn(&Warning::Unauthorized { directive: "auth_basic" });
    }
    let uri = first_field(cf, level, c"ngx_http_auth_request_module", "auth_request");
    // SAFETY: the URI comes first in the module's settings, which are larger than it.
    if uri.is_some_and(|field| unsafe { field.cast::<ngx_str_t>().read() }.len > 0) {
        cf.warn(&Warning::Unauthorized { directive: "auth_request" });
    }
}

/// The settings of a module whose directive, where this nginx has it, sets their first field.
fn first_field(
    cf: &ngx_conf_t,
    level: Level,
    module: &CStr,
    directive: &str,
) -> Option<*const c_void> {
    stock::offset(cf, module, directive)
        .filter(|(_, offset)| *offset == 0)
        .map(|(ctx_index, _)| level.conf(ctx_index).cast_const())
        .filter(|conf| !conf.is_null())
}

/// Whether the headers of requests are logged, which only a build with debugging does.
fn logs_requests(mut log: *const ngx_log_t) -> bool {
    const DEBUG_HTTP: usize = ngx::ffi::NGX_LOG_DEBUG_HTTP as usize;
    while let Some(this) = ptr::NonNull::new(log.cast_mut()) {
        // SAFETY: a merged location has a list of logs that ends with null.
        let this = unsafe { this.as_ref() };
        if cfg!(nginx_debug) && this.log_level & DEBUG_HTTP != 0 {
            return true;
        }
        log = this.next;
    }
    false
}
