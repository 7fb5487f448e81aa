//! nginx's monotonic clock.

use crate::nginx::base::ffi::{ngx_current_msec, ngx_msec_t};

/// The time in milliseconds.
pub fn now() -> ngx_msec_t {
    // SAFETY: nginx writes its clock in this thread alone. All processes have the same one.
    unsafe { ngx_current_msec }
}

/// Compares times of the clock, which may wrap.
pub fn is_before(one: ngx_msec_t, other: ngx_msec_t) -> bool {
    (one.wrapping_sub(other) as isize) < 0
}
