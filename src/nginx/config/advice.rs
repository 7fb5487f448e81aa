//! Warnings about settings that are known once nginx has merged all.

#[cfg(nginx_debug)]
use std::ffi::c_void;
use std::ptr;

use crate::nginx::base::ffi::{
    ngx_conf_t, ngx_cycle_t, ngx_log_t, NGX_LOG_DEBUG_HTTP, NGX_LOG_WARN,
};
use crate::nginx::base::log;
use crate::nginx::config::state::MainConf;
use crate::nginx::stock::first_field::{AuthRequest, FirstField, Realm};
use crate::nginx::stock::level::Level;
use crate::warning::Warning;

/// The effective directives of a location that answer 401.
pub fn unauthorized(cf: &ngx_conf_t, level: Level) -> Vec<&'static str> {
    let mut found = Vec::new();
    let realm = Realm::of(cf, level).and_then(|realm| realm.0);
    if realm.is_some_and(|realm| realm.value.as_bytes() != b"off") {
        found.push("auth_basic");
    }
    if AuthRequest::of(cf, level).is_some_and(|uri| !uri.0.is_empty()) {
        found.push("auth_request");
    }
    found
}

/// Warns of a log with the headers of requests. This waits until the whole configuration is read, since `error_log` may
/// come last. A log anywhere counts, since a subrequest writes to the log of its main request's location.
pub fn warn_of_debug_logs(cycle: &ngx_cycle_t, main: &MainConf) {
    let everywhere =
        main.logs_requests.get() || logs_requests(cycle.log) || has_debug_connections(cycle);
    if let Some(place) = main.first.get().filter(|_| everywhere) {
        log::log(NGX_LOG_WARN, &format!("{} in {place}", Warning::DebugLog));
    }
}

/// Whether `debug_connection` logs requests, whatever the level.
#[cfg(nginx_debug)]
fn has_debug_connections(cycle: &ngx_cycle_t) -> bool {
    // SAFETY: each core module has its place in `conf_ctx`; that of the events module, where it is not null, has
    // the settings of all of its modules, of which the first is its core.
    unsafe {
        let events = *cycle.conf_ctx.add(crate::nginx::base::ffi::ngx_events_module.index);
        let Some(confs) = events.cast::<*mut *mut c_void>().as_ref() else { return false };
        let conf = (*confs.add(crate::nginx::base::ffi::ngx_event_core_module.ctx_index))
            .cast::<crate::nginx::base::ffi::ngx_event_conf_t>();
        conf.as_ref().is_some_and(|conf| conf.debug_connection.nelts > 0)
    }
}

/// nginx refuses the directive in a build without debugging.
#[cfg(not(nginx_debug))]
fn has_debug_connections(_cycle: &ngx_cycle_t) -> bool {
    false
}

/// Whether the headers of requests are logged, which only a build with debugging does.
pub fn logs_requests(mut log: *const ngx_log_t) -> bool {
    const DEBUG_HTTP: usize = NGX_LOG_DEBUG_HTTP as usize;
    while let Some(this) = ptr::NonNull::new(log.cast_mut()) {
        // SAFETY: logs are a list that ends with null.
        let this = unsafe { this.as_ref() };
        if cfg!(nginx_debug) && this.log_level & DEBUG_HTTP != 0 {
            return true;
        }
        log = this.next;
    }
    false
}
