//! A timer of a process that serves requests.

use std::ptr::NonNull;

use crate::nginx::base::clock::{is_before, now};
use crate::nginx::base::ffi::{ngx_add_timer, ngx_del_timer, ngx_event_t, ngx_msec_t};
use crate::nginx::base::plain::Plain;
use crate::nginx::base::{guard, process};

/// A timer that does not delay the shutdown of a worker. It has its own allocation, since nginx changes it also when
/// other timers are set.
pub struct Timer(NonNull<Alarm>);

struct Alarm {
    event: ngx_event_t,
    body: Box<dyn FnMut()>,
    name: &'static str,
    /// The delay after a panic, in milliseconds.
    again: ngx_msec_t,
}

impl Timer {
    /// A timer that is not set yet. `body`, whose name is for messages, must not drop it. Where that panics, the timer
    /// goes off again after so many milliseconds.
    pub fn new(name: &'static str, again: ngx_msec_t, body: impl FnMut() + 'static) -> Self {
        let (event, body) = (ngx_event_t::zeroed(), Box::new(body));
        let alarm = Box::leak(Box::new(Alarm { event, body, name, again }));
        alarm.event.handler = Some(on_time);
        alarm.event.log = process::cycle().log;
        alarm.event.set_cancelable(1);
        let mut timer = Self(NonNull::from(alarm));
        timer.event().data = timer.0.as_ptr().cast();
        timer
    }

    fn event(&mut self) -> &mut ngx_event_t {
        // SAFETY: it stays where it is until the timer is dropped, and nginx changes it in this thread.
        unsafe { &mut (*self.0.as_ptr()).event }
    }

    /// Sets it to this time; if that has passed, it goes off at once.
    pub fn set(&mut self, time: ngx_msec_t) {
        let now = now();
        let wait = if is_before(now, time) { time.wrapping_sub(now) } else { 1 };
        set(self.event(), wait);
    }

    /// Sets it to this time unless it is set to an earlier one.
    pub fn set_by(&mut self, time: ngx_msec_t) {
        let event = self.event();
        if event.timer_set() == 0 || is_before(time, event.timer.key) {
            self.set(time);
        }
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        let is_set = self.event().timer_set() == 1;
        // SAFETY: `new` has made it; a timer that is set is in nginx's tree.
        unsafe {
            if is_set {
                ngx_del_timer(self.event());
            }
            drop(Box::from_raw(self.0.as_ptr()));
        }
    }
}

fn set(event: *mut ngx_event_t, wait: ngx_msec_t) {
    // SAFETY: the event is that of a timer.
    unsafe { ngx_add_timer(event, wait) };
}

unsafe extern "C" fn on_time(event: *mut ngx_event_t) {
    // SAFETY: `new` has set the data, which is gone with the timer. Where the body sets the timer, that is another field.
    let (name, again, body) = unsafe {
        let alarm = (*event).data.cast::<Alarm>();
        ((*alarm).name, (*alarm).again, &mut (*alarm).body)
    };
    let done = guard::process(name, false, || {
        body();
        true
    });
    if !done {
        set(event, again);
    }
}
