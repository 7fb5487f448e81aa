//! The counters of a location or an upstream, which have memory only if the configuration shows them.

use std::cell::OnceCell;

use crate::counters::Counters;
use crate::nginx::base::ffi::ngx_cycle_t;
use crate::nginx::base::process::{self, globals};

/// What is counted; nothing until it begins.
#[derive(Default)]
pub struct Counted(OnceCell<(Counters, *const ngx_cycle_t)>);

impl Counted {
    /// Begins to count for a configuration.
    pub fn begin(&self, counters: Counters, cycle: *const ngx_cycle_t) {
        // A location is in one configuration, which gets its memory once.
        let _ = self.0.set((counters, cycle));
    }

    /// The counters. What is left of a configuration has none in a process without workers: nginx has taken the memory
    /// away.
    pub fn counters(&self) -> Option<Counters> {
        let (counters, cycle) = self.0.get()?;
        process::serves(*cycle).then_some(*counters)
    }

    /// Makes this worker the owner of its share of a number, behind so many counters.
    pub fn own_share(&self, first: usize) {
        if let Some(counters) = self.counters() {
            let (worker, owner) = this_worker();
            counters.own_share(first, worker, owner);
        }
    }

    /// Changes this worker's share.
    pub fn set_share(&self, first: usize, value: usize) {
        if let Some(counters) = self.counters() {
            let (worker, owner) = this_worker();
            counters.set_share(first, worker, owner, value);
        }
    }

    /// Adds to a counter.
    pub fn add(&self, counter: usize, more: usize) {
        if let Some(counters) = self.counters() {
            counters.add(counter, more);
        }
    }
}

/// The number and the process of this worker.
fn this_worker() -> (usize, usize) {
    (globals().worker, std::process::id() as usize)
}
