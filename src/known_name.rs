//! What all workers know of a name, in memory that they share.

use std::array;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering::Relaxed};

/// The most addresses that are used of one name.
const MAX_ADDRESSES: usize = 16;

/// The state of a name. Times are those of a monotonic clock, in milliseconds.
#[derive(Default)]
pub struct KnownName {
    /// Counts the lists of addresses; 0 before there is any.
    generation: AtomicUsize,
    /// When the next lookup is due, and when the last began.
    due: AtomicUsize,
    last: AtomicUsize,
    /// The same in seconds of the calendar; 0 before there is any.
    last_day: AtomicUsize,
    /// Whether the last lookup failed.
    failing: AtomicBool,
    /// The list of addresses. Who reads or changes it holds a lock, so that nobody sees a part of one and a part of another.
    len: AtomicUsize,
    addresses: [Address; MAX_ADDRESSES],
}

/// An address: whether it has 128 bits, and the words of it.
#[derive(Default)]
struct Address(AtomicBool, [AtomicU32; 4]);

impl Address {
    fn get(&self) -> IpAddr {
        let words = array::from_fn(|i| self.1[i].load(Relaxed));
        if self.0.load(Relaxed) {
            let [a, b, c, d] = words.map(u128::from);
            Ipv6Addr::from((a << 96) | (b << 64) | (c << 32) | d).into()
        } else {
            Ipv4Addr::from(words[0]).into()
        }
    }

    fn set(&self, address: IpAddr) {
        let bytes = match address {
            IpAddr::V4(address) => u128::from(u32::from(address)) << 96,
            IpAddr::V6(address) => u128::from(address),
        };
        self.0.store(address.is_ipv6(), Relaxed);
        for (word, bytes) in self.1.iter().zip(bytes.to_be_bytes().chunks(4)) {
            let number = bytes.iter().fold(0, |number, &byte| (number << 8) | u32::from(byte));
            word.store(number, Relaxed);
        }
    }
}

impl KnownName {
    /// Whether there is no address.
    pub fn is_empty(&self) -> bool {
        self.generation() == 0
    }

    /// The number of the list of addresses.
    pub fn generation(&self) -> usize {
        self.generation.load(Relaxed)
    }

    /// When the last lookup began.
    pub fn last(&self) -> usize {
        self.last.load(Relaxed)
    }

    /// The same in seconds of the calendar, if there was any.
    pub fn last_day(&self) -> Option<usize> {
        Some(self.last_day.load(Relaxed)).filter(|&time| time > 0)
    }

    /// When the next lookup is due.
    pub fn due(&self) -> usize {
        self.due.load(Relaxed)
    }

    /// Sets when the next lookup is due.
    pub fn set_due(&self, time: usize) {
        self.due.store(time, Relaxed);
    }

    /// Claims the lookup that is due, so that no other worker does it. It is this time of the calendar.
    pub fn claim(&self, due: usize, now: usize, next: usize, today: usize) -> bool {
        let claimed = self.due.compare_exchange(due, next, Relaxed, Relaxed).is_ok();
        if claimed {
            self.last.store(now, Relaxed);
            self.last_day.store(today, Relaxed);
        }
        claimed
    }

    /// Whether the last lookup failed.
    pub fn is_failing(&self) -> bool {
        self.failing.load(Relaxed)
    }

    /// Notes whether a lookup failed; returns whether that changed.
    pub fn set_failing(&self, failing: bool) -> bool {
        self.failing.swap(failing, Relaxed) != failing
    }

    /// The addresses.
    pub fn addresses(&self) -> Vec<IpAddr> {
        self.addresses.iter().take(self.len.load(Relaxed)).map(Address::get).collect()
    }

    /// Replaces the addresses, unless they are the same or none; returns whether it did.
    pub fn set_addresses(&self, addresses: &[IpAddr]) -> bool {
        let addresses = &addresses[..addresses.len().min(MAX_ADDRESSES)];
        if addresses.is_empty() || self.addresses() == addresses {
            return false;
        }
        self.addresses.iter().zip(addresses).for_each(|(place, &address)| place.set(address));
        self.len.store(addresses.len(), Relaxed);
        self.generation.fetch_add(1, Relaxed);
        true
    }
}

/// What the status shows of a name.
pub struct Known<'a> {
    /// The name.
    pub name: &'a str,
    /// How many addresses it has.
    pub addresses: usize,
    /// Whether the last lookup found any.
    pub found: bool,
    /// When it began, in seconds of the calendar, if this configuration has looked the name up.
    pub looked_up: Option<usize>,
}

/// What is logged of a name.
pub enum News<'a> {
    /// A lookup has succeeded after one that failed.
    Resolved,
    /// There are other addresses.
    Addresses(&'a [IpAddr]),
    /// A lookup has failed after one that succeeded.
    Failed {
        /// Why.
        why: &'a str,
        /// Whether there are addresses from before.
        is_known: bool,
    },
}

impl News<'_> {
    /// The message.
    pub fn of(&self, name: &str) -> String {
        match self {
            Self::Resolved => format!("\"{name}\" of \"clerk_proxy\" is resolved again"),
            Self::Addresses(list) => {
                let list: Vec<_> = list.iter().map(ToString::to_string).collect();
                format!("addresses of \"{name}\" of \"clerk_proxy\": {}", list.join(", "))
            }
            Self::Failed { why, is_known } => {
                let state = if *is_known {
                    "its last addresses stay in use"
                } else {
                    "it has no address yet"
                };
                format!("\"{name}\" of \"clerk_proxy\" could not be resolved ({why}), {state}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().expect(text)).collect()
    }

    #[test]
    fn addresses_come_back_as_they_are() {
        let name = KnownName::default();
        assert!(name.is_empty() && name.addresses().is_empty());
        let lists: [&[&str]; 3] =
            [&["192.0.2.1"], &["::ffff:192.0.2.1", "2001:db8::1:2"], &["0.0.0.0", "::", "::1"]];
        for (number, list) in (1..).zip(lists.map(addresses)) {
            assert!(name.set_addresses(&list));
            assert_eq!((name.addresses(), name.generation()), (list.clone(), number));
            assert!(!name.set_addresses(&list) && !name.set_addresses(&[]));
            assert_eq!((name.addresses(), name.generation()), (list, number));
        }
    }

    #[test]
    fn more_addresses_than_there_is_room_for_are_left_out() {
        let name = KnownName::default();
        let many: Vec<_> = (1..=20).map(|i| IpAddr::from([192, 0, 2, i])).collect();
        assert!(name.set_addresses(&many));
        assert_eq!(name.addresses(), many[..MAX_ADDRESSES]);
        assert!(!name.set_addresses(&many));
    }

    #[test]
    fn one_worker_gets_a_lookup() {
        let name = KnownName::default();
        assert_eq!(name.last_day(), None);
        name.set_due(5);
        assert!(name.claim(5, 7, 17, 9) && !name.claim(5, 7, 17, 10));
        assert_eq!((name.last(), name.last_day(), name.due()), (7, Some(9), 17));
    }

    #[test]
    fn a_change_of_failing_is_seen_once() {
        let name = KnownName::default();
        assert!(name.set_failing(true) && !name.set_failing(true) && name.is_failing());
        assert!(name.set_failing(false) && !name.is_failing());
    }

    #[test]
    fn news_name_the_name() {
        let [one, two] = [[192, 0, 2, 1], [192, 0, 2, 2]].map(IpAddr::from);
        let failed = |is_known| News::Failed { why: "no such name", is_known };
        for (news, text) in [
            (News::Resolved, "\"x.example\" of \"clerk_proxy\" is resolved again"),
            (
                News::Addresses(&[one, two]),
                "addresses of \"x.example\" of \"clerk_proxy\": 192.0.2.1, 192.0.2.2",
            ),
            (
                failed(true),
                "\"x.example\" of \"clerk_proxy\" could not be resolved (no such name), its last addresses stay in use",
            ),
            (
                failed(false),
                "\"x.example\" of \"clerk_proxy\" could not be resolved (no such name), it has no address yet",
            ),
        ] {
            assert_eq!(news.of("x.example"), text);
        }
    }
}
