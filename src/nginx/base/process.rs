//! The process that runs this code, as nginx sees it.

use std::ptr;

use crate::nginx::base::ffi::{
    ngx_cycle, ngx_cycle_t, NGX_PROCESS_SIGNALLER, NGX_PROCESS_SINGLE, NGX_PROCESS_WORKER,
};

/// Reads one of nginx's global numbers.
macro_rules! number {
    ($name:ident) => {
        // SAFETY: nginx sets it before code of a module runs, and changes it in this thread alone.
        unsafe { $crate::nginx::base::ffi::$name }
    };
}

pub(crate) use number;

/// The configuration that the process works with or began with.
pub fn cycle() -> &'static ngx_cycle_t {
    // SAFETY: `ngx_cycle` is set before any module code runs, and the cycle lives as long as it stands there.
    unsafe { &*ngx_cycle }
}

/// Whether the process serves this configuration. A process without workers serves another after a reload.
pub fn serves(other: *const ngx_cycle_t) -> bool {
    ptr::eq(cycle(), other)
}

/// Whether the process is shutting down.
pub fn is_exiting() -> bool {
    number!(ngx_exiting) != 0
}

/// Whether the process serves requests.
pub fn is_worker() -> bool {
    is([NGX_PROCESS_SINGLE, NGX_PROCESS_WORKER])
}

/// Whether the process is "nginx -s", which needs only the master's pid of a configuration.
pub fn only_signals() -> bool {
    is([NGX_PROCESS_SIGNALLER])
}

fn is<const N: usize>(kinds: [u32; N]) -> bool {
    kinds.map(|kind| kind as usize).contains(&number!(ngx_process))
}

/// The size of the system's pages of memory.
pub fn page_size() -> usize {
    number!(ngx_pagesize)
}
