//! A timer of a process that serves requests.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use crate::monotonic::is_before;
use crate::nginx::base::clock::now;
use crate::nginx::base::ffi::{ngx_add_timer, ngx_del_timer, ngx_event_t, ngx_msec_t};
use crate::nginx::base::plain::Plain;
use crate::nginx::base::{guard, process};

/// A timer that does not delay the shutdown of a worker. It has its own allocation, since nginx changes it also when
/// other timers are set.
pub struct Timer(Rc<Alarm>);

struct Alarm {
    event: Cell<ngx_event_t>,
    body: RefCell<Box<dyn FnMut()>>,
    name: &'static str,
    /// The delay after a panic, in milliseconds.
    again: ngx_msec_t,
}

impl Timer {
    /// A timer that is not set yet; `name` is for messages. Where `body` panics, the timer goes off again after so many
    /// milliseconds.
    pub fn new(name: &'static str, again: ngx_msec_t, body: impl FnMut() + 'static) -> Self {
        let mut event = ngx_event_t::zeroed();
        event.handler = Some(on_time);
        event.log = process::cycle().log;
        event.set_cancelable(1);
        let body: Box<dyn FnMut()> = Box::new(body);
        let alarm = Rc::new(Alarm { event: event.into(), body: body.into(), name, again });
        event.data = Rc::as_ptr(&alarm).cast_mut().cast();
        alarm.event.set(event);
        Self(alarm)
    }

    /// Sets it to this time; if that has passed, it goes off at once.
    pub fn set(&mut self, time: ngx_msec_t) {
        let now = now();
        self.0.wait(Some(if is_before(now, time) { time.wrapping_sub(now) } else { 1 }));
    }

    /// Sets it to this time unless it is set to an earlier one.
    pub fn set_by(&mut self, time: ngx_msec_t) {
        let event = self.0.event.get();
        if event.timer_set() == 0 || is_before(time, event.timer.key) {
            self.set(time);
        }
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.0.wait(None);
    }
}

impl Alarm {
    /// Has nginx wait so long, or no longer.
    fn wait(&self, time: Option<ngx_msec_t>) {
        let event = self.event.as_ptr();
        let is_set = self.event.get().timer_set() == 1;
        // SAFETY: the event stays where it is, and is valid, until it is out of nginx's tree of timers: a timer takes it
        // out before it leaves the event. nginx changes it in this thread, and nobody has a reference into the cell.
        unsafe {
            match time {
                Some(time) => ngx_add_timer(event, time),
                None if is_set => ngx_del_timer(event),
                None => {}
            }
        }
    }
}

unsafe extern "C" fn on_time(event: *mut ngx_event_t) {
    // SAFETY: nginx calls this for an event in its tree, whose data `new` has set; a timer that is dropped meanwhile leaves
    // this one more owner.
    let alarm = unsafe {
        let alarm = (*event).data.cast::<Alarm>().cast_const();
        Rc::increment_strong_count(alarm);
        Rc::from_raw(alarm)
    };
    let done = guard::process(alarm.name, false, || {
        (alarm.body.borrow_mut())();
        true
    });
    if !done && Rc::strong_count(&alarm) > 1 {
        alarm.wait(Some(alarm.again));
    }
}
