//! A timer of a process that serves requests.

use std::ffi::c_void;
use std::mem;
use std::ptr::NonNull;

use crate::nginx::base::clock::{is_before, now};
use crate::nginx::base::ffi::{ngx_add_timer, ngx_cycle_t, ngx_del_timer, ngx_event_t, ngx_msec_t};

/// What nginx calls when the time has come; the event's data is what `new` was given.
pub type Handler = unsafe extern "C" fn(*mut ngx_event_t);

/// A timer that a worker which shuts down does not wait for. It is in memory of its own, since nginx changes it also
/// when others are set.
pub struct Timer(NonNull<ngx_event_t>);

impl Timer {
    /// A timer that is not set yet.
    pub fn new(cycle: &ngx_cycle_t, handler: Handler, data: *mut c_void) -> Self {
        // SAFETY: zero is a valid value for every field of this plain C struct.
        let mut event: Box<ngx_event_t> = Box::new(unsafe { mem::zeroed() });
        event.data = data;
        event.handler = Some(handler);
        event.log = cycle.log;
        event.set_cancelable(1);
        Self(NonNull::from(Box::leak(event)))
    }

    /// Has it go off at this time, or right away where that is over.
    pub fn set(&mut self, time: ngx_msec_t) {
        let now = now();
        let wait = if is_before(now, time) { time.wrapping_sub(now) } else { 1 };
        // SAFETY: the event stays where it is until it is dropped.
        unsafe { ngx_add_timer(self.0.as_ptr(), wait) };
    }

    /// Has it go off at this time at the latest.
    pub fn set_by(&mut self, time: ngx_msec_t) {
        // SAFETY: as above; nginx changes it in this thread.
        let due = unsafe { self.0.as_ref() };
        if due.timer_set() == 0 || is_before(time, due.timer.key) {
            self.set(time);
        }
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        // SAFETY: `new` has made it; a timer that is set is in nginx's tree.
        unsafe {
            if self.0.as_ref().timer_set() == 1 {
                ngx_del_timer(self.0.as_ptr());
            }
            drop(Box::from_raw(self.0.as_ptr()));
        }
    }
}
