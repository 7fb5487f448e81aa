//! Warnings about settings that are known once nginx has merged all.

use std::ffi::c_void;
use std::iter;

use crate::nginx::base::ffi::{
    ngx_array_t, ngx_conf_t, ngx_cycle_t, ngx_event_conf_t, NGX_LOG_WARN,
};
use crate::nginx::base::links::HasLog;
use crate::nginx::base::module::{of_core, EventCore, Events, NginxModule};
use crate::nginx::base::{log, program};
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
    let Some(place) = main.first.get().filter(|_| program::writes_debug_logs()) else { return };
    if main.logs_requests.get() || logs_requests(cycle) || has_debug_connections(cycle) {
        log::log(NGX_LOG_WARN, &format!("{} in {place}", Warning::DebugLog));
    }
}

/// Whether `debug_connection` logs requests, whatever the level. nginx was built with debugging.
fn has_debug_connections(cycle: &ngx_cycle_t) -> bool {
    // The list comes last, and is not in headers without debugging.
    #[cfg(nginx_debug)]
    const LIST: usize = std::mem::offset_of!(ngx_event_conf_t, debug_connection);
    #[cfg(not(nginx_debug))]
    const LIST: usize = size_of::<ngx_event_conf_t>();
    let Some(events) = of_core(cycle).map(|confs| confs.at(Events::indices().0)) else {
        return false;
    };
    // SAFETY: what the events module keeps, where it is not null, leads to the settings of all of its modules, its core's
    // among them.
    unsafe {
        let Some(confs) = events.cast::<*mut *mut c_void>().as_ref() else { return false };
        let conf = (*confs.add(EventCore::index())).cast::<ngx_event_conf_t>();
        !conf.is_null() && (*conf.byte_add(LIST).cast::<ngx_array_t>()).nelts > 0
    }
}

/// Whether the headers of requests are logged, if nginx was built with debugging.
pub fn logs_requests(holder: &impl HasLog) -> bool {
    let mut logs = iter::successors(holder.logs_to(), |log| log.logs_to());
    logs.any(|log| log::is_debugged(Some(log)))
}
