//! Scripts that a cache could not keep.

use std::cell::Cell;
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::monotonic::is_before;

/// Scripts whose replies could not be kept recently, by hash. Requests for them do not use the cache: nginx would have
/// them wait for each other in vain.
pub struct Passing([Cell<(u64, usize)>; 64]);

impl Default for Passing {
    fn default() -> Self {
        Self([const { Cell::new((0, 0)) }; 64])
    }
}

impl Passing {
    /// How long one stays, in milliseconds.
    const TIME: usize = 60_000;

    fn place(&self, script: u64) -> &Cell<(u64, usize)> {
        &self.0[(script % 64) as usize]
    }

    /// Notes that a reply could not be kept.
    pub fn add(&self, script: u64, now: usize) {
        self.place(script).set((script, now.wrapping_add(Self::TIME)));
    }

    /// Whether that was noted.
    pub fn has(&self, script: u64, now: usize) -> bool {
        let (other, until) = self.place(script).get();
        other == script && is_before(now, until)
    }
}

/// A number that stands for a value.
pub fn hash(value: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_noted_for_a_minute() {
        let passing = Passing::default();
        assert!(!passing.has(7, 0));
        passing.add(7, usize::MAX);
        assert!(passing.has(7, 59_998) && !passing.has(7, 59_999));
        assert!(!passing.has(71, 0), "another in the same place");
        passing.add(71, 0);
        assert!(passing.has(71, 0) && !passing.has(7, 0));
    }

    #[test]
    fn values_have_numbers_of_their_own() {
        assert_eq!(hash("a"), hash("a"));
        assert_ne!(hash((1_u64, "a")), hash((2_u64, "a")));
    }
}
