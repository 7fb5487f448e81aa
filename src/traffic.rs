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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_call_comes_as_soon_as_there_are_more_than_at_the_last_look() {
        let (traffic, calls) = (Traffic::default(), Rc::new(Cell::new(0)));
        let counted = Rc::clone(&calls);
        traffic.on_more(Some(Box::new(move || counted.set(counted.get() + 1))));
        let first = traffic.begin();
        let second = traffic.begin();
        assert_eq!((traffic.look(), calls.get()), (2, 2));
        drop(first);
        let third = traffic.begin();
        assert_eq!((traffic.look(), calls.get()), (2, 2), "no more than before");
        drop((second, third));
        assert_eq!(traffic.look(), 0);
        let _fourth = traffic.begin();
        assert_eq!(calls.get(), 3);
        traffic.on_more(None);
        let _fifth = traffic.begin();
        assert_eq!((traffic.look(), calls.get()), (2, 3));
    }
}
