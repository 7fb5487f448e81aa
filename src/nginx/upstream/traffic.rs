//! How many requests use an upstream at the same time.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// The requests of one upstream in one worker.
#[derive(Clone, Default)]
pub struct Traffic(Rc<Counts>);

#[derive(Default)]
struct Counts {
    now: Cell<usize>,
    /// The most since somebody looked.
    most: Cell<usize>,
    on_more: RefCell<Option<Box<dyn Fn()>>>,
}

/// One of the requests; it is over when this is dropped.
pub struct Busy(Traffic);

impl Traffic {
    /// Counts a request that begins.
    pub fn begin(&self) -> Busy {
        let now = self.0.now.get() + 1;
        self.0.now.set(now);
        if now > self.0.most.get() {
            self.0.most.set(now);
            self.0.on_more.borrow().iter().for_each(|on_more| on_more());
        }
        Busy(self.clone())
    }

    /// How many requests there are.
    pub fn look(&self) -> usize {
        self.0.most.set(self.0.now.get());
        self.0.now.get()
    }

    /// Has this called as soon as there are more requests than at the last look, and ever since.
    pub fn on_more(&self, call: Option<Box<dyn Fn()>>) {
        *self.0.on_more.borrow_mut() = call;
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let now = &self.0 .0.now;
        now.set(now.get() - 1);
    }
}
