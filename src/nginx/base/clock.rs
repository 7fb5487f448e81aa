//! nginx's clocks.

use crate::nginx::base::ffi::{ngx_msec_t, ngx_parse_http_time};
use crate::nginx::base::process::globals;

/// The time in milliseconds, which is the same in all processes.
pub fn now() -> ngx_msec_t {
    globals().milliseconds
}

/// The seconds of the calendar.
pub fn today() -> i64 {
    seconds(globals().seconds)
}

/// Seconds as nginx keeps them, in 32 bits where the system does.
pub fn seconds(time: impl Into<i64>) -> i64 {
    time.into()
}

/// The seconds of the calendar that a time in a header means.
pub fn parse(text: &[u8]) -> Option<i64> {
    // SAFETY: nginx reads a text of this length.
    let time = seconds(unsafe { ngx_parse_http_time(text.as_ptr().cast_mut(), text.len()) });
    (time >= 0).then_some(time)
}
