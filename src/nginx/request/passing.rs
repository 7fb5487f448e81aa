//! Scripts that a cache could not keep.

use std::cell::Cell;
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::nginx::base::clock::{is_before, now};
use crate::nginx::base::ffi::ngx_msec_t;

/// Scripts whose replies could not be kept recently, by hash. Requests for them do not use the cache: nginx would have
/// them wait for each other in vain.
pub struct Passing([Cell<(u64, ngx_msec_t)>; 64]);

impl Default for Passing {
    fn default() -> Self {
        Self([const { Cell::new((0, 0)) }; 64])
    }
}

impl Passing {
    /// How long one stays, in milliseconds of the monotonic clock.
    const TIME: ngx_msec_t = 60_000;

    fn place(&self, script: u64) -> &Cell<(u64, ngx_msec_t)> {
        &self.0[(script % 64) as usize]
    }

    /// Notes that a reply could not be kept.
    pub fn add(&self, script: u64) {
        self.place(script).set((script, now().wrapping_add(Self::TIME)));
    }

    /// Whether that was noted.
    pub fn has(&self, script: u64) -> bool {
        let (other, until) = self.place(script).get();
        other == script && is_before(now(), until)
    }
}

/// A number that stands for a value.
pub fn hash(value: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}
