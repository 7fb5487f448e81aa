//! The process that runs this code, as nginx sees it.

use std::ptr;
use std::sync::atomic::AtomicUsize;

use crate::nginx::base::ffi::{
    ngx_cached_time, ngx_connection_counter, ngx_current_msec, ngx_cycle, ngx_cycle_t, ngx_exiting,
    ngx_http_max_module, ngx_inherited, ngx_msec_t, ngx_ncpu, ngx_pagesize, ngx_process,
    ngx_worker, time_t, NGX_PROCESS_SIGNALLER, NGX_PROCESS_SINGLE, NGX_PROCESS_WORKER,
};

/// What nginx tells everybody.
pub struct Globals {
    cycle: &'static ngx_cycle_t,
    process: usize,
    exiting: usize,
    inherited: usize,
    /// The monotonic time, which is the same in all processes.
    pub milliseconds: ngx_msec_t,
    /// The time of the calendar.
    pub seconds: time_t,
    /// How many connections there were in all workers.
    pub connections: &'static AtomicUsize,
    /// The size of the system's pages of memory.
    pub page_size: usize,
    /// How many http modules there are.
    pub modules: usize,
    /// The number of the worker.
    pub worker: usize,
    /// How many processors there are.
    pub processors: usize,
}

/// What nginx tells everybody, at this moment.
#[inline]
pub fn globals() -> Globals {
    // SAFETY: nginx sets all of these before it calls a module, and writes them in the thread that does, but for the
    // number of connections, which all workers count. A cycle lives as long as it stands there, the rest as long as the
    // process.
    unsafe {
        Globals {
            cycle: &*ngx_cycle,
            process: ngx_process,
            exiting: ngx_exiting,
            inherited: ngx_inherited,
            milliseconds: ngx_current_msec,
            seconds: (*ngx_cached_time).sec,
            connections: AtomicUsize::from_ptr(ngx_connection_counter.cast()),
            page_size: ngx_pagesize,
            modules: ngx_http_max_module,
            worker: ngx_worker,
            processors: ngx_ncpu.unsigned_abs(),
        }
    }
}

/// The configuration that the process works with or began with.
pub fn cycle() -> &'static ngx_cycle_t {
    globals().cycle
}

/// Whether the process serves this configuration. A process without workers serves another after a reload.
pub fn serves(other: *const ngx_cycle_t) -> bool {
    ptr::eq(cycle(), other)
}

/// Whether the process is shutting down.
pub fn is_exiting() -> bool {
    globals().exiting != 0
}

/// Whether the process serves requests.
pub fn is_worker() -> bool {
    is([NGX_PROCESS_SINGLE, NGX_PROCESS_WORKER])
}

/// Whether the process is "nginx -s", which needs only the master's pid of a configuration.
pub fn only_signals() -> bool {
    is([NGX_PROCESS_SIGNALLER])
}

/// Whether another nginx has started this one in its place.
pub fn is_upgrade() -> bool {
    globals().inherited != 0
}

fn is<const N: usize>(kinds: [u32; N]) -> bool {
    kinds.map(|kind| kind as usize).contains(&globals().process)
}
