//! nginx's monotonic clock.

use crate::nginx::base::ffi::{ngx_cached_time, ngx_current_msec, ngx_msec_t};

/// The time in milliseconds.
pub fn now() -> ngx_msec_t {
    // SAFETY: nginx writes its clock in this thread alone. All processes have the same one.
    unsafe { ngx_current_msec }
}

/// The seconds of the calendar.
pub fn today() -> i64 {
    // SAFETY: nginx has set its clock before it reads a configuration, and writes it in this thread alone.
    unsafe { (*ngx_cached_time).sec }
}

/// Compares times of the clock, which may wrap.
pub fn is_before(one: ngx_msec_t, other: ngx_msec_t) -> bool {
    (one.wrapping_sub(other) as isize) < 0
}
