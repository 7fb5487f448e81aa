//! When connections that are kept ready are looked at, made and told of.

/// The interval of checks in milliseconds, if all is well.
pub const INTERVAL: usize = 5_000;
/// The interval while no address is known.
const NO_ADDRESS: usize = 500;
/// The delay after a connection failed or was closed early, while there are untried addresses.
const OTHER_ADDRESS: usize = 10;
/// What servers need at most that others are not tried in place of.
pub const LATE: usize = 150;
/// The delay after a connection that is still on its way, while there are untried addresses.
const SLOW: usize = LATE + LATE / 3;
/// The first delay after all addresses were tried; it doubles each time.
const SHORTEST: usize = 1_000;
/// The longest delay.
const LONGEST: usize = 300_000;

/// The state of the connections of one upstream in one worker.
pub struct Pace {
    /// When to look next.
    pub next: usize,
    /// How many checks in a row missed connections, which had failed or were closed early.
    missing: u32,
    /// How many connections in a row failed.
    failures: u32,
    told: bool,
}

impl Pace {
    /// Looks at once.
    pub fn new(now: usize) -> Self {
        Self { next: now, missing: 0, failures: 0, told: false }
    }

    /// How many connections there are to be while requests use so many.
    pub fn count(kept: usize, in_use: usize) -> usize {
        kept.min((2 * kept).saturating_sub(in_use))
    }

    /// Has it look now, unless the server is left alone; returns whether it will.
    pub fn hurry(&mut self, now: usize) -> bool {
        if self.missing == 0 {
            self.next = now;
        }
        self.missing == 0
    }

    /// Looks; what is found can have it look earlier than usual.
    pub fn look(&mut self, now: usize) {
        self.next = now.wrapping_add(INTERVAL);
    }

    /// Looks soon for connections that requests have taken and that are on their way.
    pub fn look_for_slow(&mut self, now: usize) {
        self.next = now.wrapping_add(SLOW);
    }

    /// Looks soon for an address.
    pub fn look_for_address(&mut self, now: usize) {
        self.next = now.wrapping_add(NO_ADDRESS);
    }

    /// Counts a check that missed connections, and sets the next one; the delay grows with the count. The random number is
    /// so that workers and machines that lost their connections together do not reconnect together.
    pub fn missed(&mut self, now: usize, addresses: u32, random: usize) {
        self.missing = self.missing.saturating_add(1);
        let wait = match self.missing.checked_sub(addresses) {
            None => SLOW,
            Some(more) => (SHORTEST << more.min(9)).min(LONGEST),
        };
        self.next = now.wrapping_add(wait - wait / 4 + random % (wait / 2 + 1));
    }

    /// Counts a connection that failed; returns whether that is to be told, once.
    pub fn failed(&mut self, now: usize, addresses: u32) -> bool {
        self.failures = self.failures.saturating_add(1);
        if self.missing < addresses {
            self.next = now.wrapping_add(OTHER_ADDRESS);
        }
        self.failures >= addresses && !std::mem::replace(&mut self.told, true)
    }

    /// A connection is ready.
    pub fn succeeded(&mut self) {
        self.failures = 0;
    }

    /// All are ready; returns whether that is to be told, after it was told that none can be.
    pub fn all_ready(&mut self) -> bool {
        (self.missing, self.failures) = (0, 0);
        std::mem::take(&mut self.told)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delay_grows_once_all_addresses_were_tried() {
        let mut pace = Pace::new(0);
        let mut delays = Vec::new();
        for _ in 0..14 {
            pace.missed(0, 2, 0);
            delays.push(pace.next * 4 / 3);
        }
        assert_eq!(delays[..4], [200, 1_000, 2_000, 4_000]);
        assert_eq!(delays[9..12], [256_000, 300_000, 300_000]);
        for random in 0..2_000 {
            let mut pace = Pace::new(0);
            pace.missed(0, 1, random);
            assert!((750..=1_250).contains(&pace.next), "{random}: {}", pace.next);
        }
    }

    #[test]
    fn a_failure_is_told_once_and_its_end_as_well() {
        let mut pace = Pace::new(0);
        assert!(!pace.failed(0, 2) && pace.failed(0, 2) && !pace.failed(0, 2));
        assert_eq!(pace.next, OTHER_ADDRESS);
        pace.succeeded();
        assert!(pace.all_ready() && !pace.all_ready());
        assert!(!pace.failed(0, 2) && pace.failed(0, 2));
    }

    #[test]
    fn a_server_that_is_left_alone_is_not_hurried_to() {
        let mut pace = Pace::new(0);
        pace.look(0);
        assert!(pace.hurry(7));
        assert_eq!(pace.next, 7);
        pace.missed(0, 1, 0);
        assert!(!pace.hurry(7));
        assert_eq!(pace.next, 750);
    }

    #[test]
    fn requests_leave_up_to_twice_the_number() {
        let counts: Vec<_> = (0..6).map(|in_use| Pace::count(2, in_use)).collect();
        assert_eq!(counts, [2, 2, 2, 1, 0, 0]);
        assert_eq!(Pace::count(0, 1), 0);
    }
}
