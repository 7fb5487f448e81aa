//! Counters in memory that processes share, found by the names of what they count.
//!
//! The memory is a list of records: a number that stands for the name, how many words follow, and these. Zero ends the
//! list. One process adds records while it reads a configuration, and removes none: other processes count in them.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// The memory, which lives as long as somebody counts in it.
pub type Words = &'static [AtomicUsize];

/// The words of a record before its counters.
const HEAD: usize = 2;
/// The fewest words of memory, 16 KB, so that a few more locations find room.
const LEAST: usize = 2048;

/// A record that is wanted: the number of its name, and its length.
pub type Wanted = (usize, usize);

/// The number that stands for a name.
pub fn number(name: impl Hash) -> usize {
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    // Zero is the end.
    usize::try_from(hasher.finish() % usize::MAX as u64).map_or(1, |hash| hash + 1)
}

/// The counters of one name. Behind them are the shares that workers have of a number: pairs of the owner and its share.
#[derive(Clone, Copy)]
pub struct Counters(Words);

impl Counters {
    /// Adds to a counter.
    pub fn add(self, counter: usize, more: usize) {
        if let Some(counter) = self.0.get(counter) {
            counter.fetch_add(more, Relaxed);
        }
    }

    /// The value of a counter.
    pub fn get(self, counter: usize) -> usize {
        self.0.get(counter).map_or(0, |counter| counter.load(Relaxed))
    }

    /// The pairs from this word on.
    fn pairs(self, first: usize) -> impl Iterator<Item = &'static [AtomicUsize]> {
        self.0.get(first..).unwrap_or_default().chunks_exact(2)
    }

    fn pair(self, first: usize, worker: usize) -> Option<&'static [AtomicUsize]> {
        let pairs = self.pairs(first).count().max(1);
        self.pairs(first).nth(worker % pairs)
    }

    /// Makes a process the owner of the share of the worker with this number. A process that was it before changes the
    /// share no more, although it may still run.
    pub fn own_share(self, first: usize, worker: usize, owner: usize) {
        if let Some([own, share]) = self.pair(first, worker) {
            own.store(owner, Relaxed);
            share.store(0, Relaxed);
        }
    }

    /// Changes a worker's share, if this process is the owner.
    pub fn set_share(self, first: usize, worker: usize, owner: usize, value: usize) {
        let pair = self.pair(first, worker).filter(|pair| pair[0].load(Relaxed) == owner);
        if let Some(pair) = pair {
            pair[1].store(value, Relaxed);
        }
    }

    /// The sum of all shares.
    pub fn shares(self, first: usize) -> usize {
        self.pairs(first).map(|pair| pair[1].load(Relaxed)).sum()
    }
}

/// The records in a piece of memory.
pub struct Records {
    words: Words,
    known: HashMap<Wanted, Counters>,
    end: usize,
}

impl Records {
    /// Those that the memory has.
    pub fn of(words: Words) -> Self {
        let (mut known, mut end) = (HashMap::new(), 0);
        while let Some([name, len]) = words.get(end..end + HEAD) {
            let wanted = (name.load(Relaxed), len.load(Relaxed));
            let Some(counters) = words.get(end + HEAD..end + HEAD + wanted.1) else { break };
            if wanted.0 == 0 {
                break;
            }
            known.insert(wanted, Counters(counters));
            end += HEAD + wanted.1;
        }
        Self { words, known, end }
    }

    /// The record of a name.
    pub fn find(&self, wanted: Wanted) -> Option<Counters> {
        self.known.get(&wanted).copied()
    }

    /// The same, which is added if there is none; `None` if there is no room.
    pub fn find_or_add(&mut self, wanted: Wanted) -> Option<Counters> {
        if let Some(known) = self.find(wanted) {
            return Some(known);
        }
        let end = self.end + HEAD + wanted.1;
        let [name, len, counters @ ..] = self.words.get(self.end..end)? else { return None };
        len.store(wanted.1, Relaxed);
        name.store(wanted.0, Relaxed);
        self.known.insert(wanted, Counters(counters));
        self.end = end;
        Some(Counters(counters))
    }

    /// Adds the record of a name, with the values that it has in other memory.
    pub fn carry_over(&mut self, wanted: Wanted, old: &Self) {
        if let Some((new, old)) = self.find_or_add(wanted).zip(old.find(wanted)) {
            (0..wanted.1).for_each(|counter| new.add(counter, old.get(counter)));
        }
    }
}

/// How many words hold what is wanted: as many as there are now, if these have room, and another number otherwise.
pub fn words_for(wanted: &HashSet<Wanted>, now: Option<&Records>) -> usize {
    let sum = |some: &mut dyn Iterator<Item = &Wanted>| some.map(|one| HEAD + one.1).sum::<usize>();
    let more = |now: &&Records| {
        let mut missing = wanted.iter().filter(|one| now.find(**one).is_none());
        now.end + sum(&mut missing) <= now.words.len()
    };
    let least = sum(&mut wanted.iter()).max(LEAST).next_power_of_two();
    match now {
        Some(now) if more(&now) => now.words.len(),
        Some(now) if now.words.len() == least => 2 * least,
        _ => least,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory(len: usize) -> Words {
        Vec::leak((0..len).map(|_| AtomicUsize::new(0)).collect())
    }

    #[test]
    fn names_find_their_counters() {
        let words = memory(20);
        let (one, other) = ((number("one"), 3), (number("other"), 5));
        let mut records = Records::of(words);
        records.find_or_add(one).unwrap().add(2, 7);
        records.find_or_add(other).unwrap().add(0, 1);
        records.find_or_add(one).unwrap().add(2, 1);
        // Another process, or the next configuration, reads the same memory.
        let mut again = Records::of(words);
        assert_eq!(again.find(one).unwrap().get(2), 8);
        assert_eq!(again.find_or_add(other).unwrap().get(0), 1);
        assert!(again.find((one.0, 4)).is_none(), "another length is another record");
        assert!(again.find_or_add((number("too long"), 7)).is_none());
        assert!(again.find_or_add((number("last"), 6)).is_some());
        assert_eq!(Records::of(words).end, 20);
    }

    #[test]
    fn what_is_not_there_counts_nothing() {
        let counters = Records::of(memory(5)).find_or_add((1, 3)).unwrap();
        counters.add(3, 1);
        assert_eq!(counters.get(3), 0);
        counters.own_share(3, 0, 1);
        assert_eq!(counters.shares(3), 0);
    }

    #[test]
    fn memory_is_used_again_while_there_is_room() {
        let all: Vec<Wanted> = (1..=100).map(|name| (name, 30)).collect();
        let words_for = |wanted: &[Wanted], now: Option<&Records>| {
            words_for(&wanted.iter().copied().collect(), now)
        };
        assert_eq!(words_for(&all[..10], None), 2048);
        assert_eq!(words_for(&all, None), 4096);
        let mut records = Records::of(memory(2048));
        for wanted in &all[..60] {
            records.find_or_add(*wanted).unwrap().add(1, wanted.0);
        }
        assert_eq!(words_for(&all[..64], Some(&records)), 2048);
        assert_eq!(words_for(&all[..5], Some(&records)), 2048);
        assert_eq!(words_for(&all[..65], Some(&records)), 4096);
        // Those that nobody wants any more take the room; other memory is one of another size.
        assert_eq!(words_for(&all[60..80], Some(&records)), 4096);
        let mut new = Records::of(memory(4096));
        for wanted in &all[50..] {
            new.carry_over(*wanted, &records);
        }
        assert_eq!(new.find(all[59]).unwrap().get(1), 60);
        assert!(new.find(all[49]).is_none());
        assert_eq!(new.find(all[60]).unwrap().get(1), 0);
    }

    #[test]
    fn shares_are_their_owners() {
        let counters = Records::of(memory(100)).find_or_add((1, 8)).unwrap();
        counters.add(1, 9);
        for (worker, owner) in [(0, 10), (1, 11)] {
            counters.own_share(2, worker, owner);
            counters.set_share(2, worker, owner, 2);
        }
        assert_eq!(counters.shares(2), 4);
        // A worker takes the place of another, which still runs.
        counters.own_share(2, 1, 12);
        counters.set_share(2, 1, 11, 5);
        assert_eq!(counters.shares(2), 2);
        counters.set_share(2, 1, 12, 3);
        assert_eq!((counters.shares(2), counters.get(1)), (5, 9));
    }
}
