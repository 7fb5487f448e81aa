//! Follows the addresses of names while nginx runs.
//!
//! The addresses of a name are in shared memory: one worker looks it up for all, and a change is logged once. A
//! configuration begins with the addresses of the one before. Lookups run in threads and a timer fetches their answers,
//! so that no request waits.

use std::cell::RefCell;
use std::net::IpAddr;
use std::ptr;
use std::rc::Rc;

use crate::known_name::{Known, KnownName, News};
use crate::monotonic::is_before;
use crate::nginx::base::clock::{now, today};
use crate::nginx::base::ffi::{ngx_conf_t, ngx_cycle_t, ngx_msec_t, NGX_LOG_INFO, NGX_LOG_WARN};
use crate::nginx::base::parser::{ConfExt, Place, Stop};
use crate::nginx::base::shared_memory::{Fill, Zone};
use crate::nginx::base::timer::Timer;
use crate::nginx::base::{log, process};
use crate::nginx::upstream::lookup::{self, Answer, Lookup};
use crate::warning::Warning;

/// From one lookup of a name to the next, in milliseconds, while there are requests or no address.
const INTERVAL: ngx_msec_t = 10_000;
/// The same after a failed connection.
const HURRIED: ngx_msec_t = 1_000;
/// How often the timer looks for answers: soon at first, since most come at once.
const POLL: [ngx_msec_t; 2] = [4, 256];
/// Lookups of one worker at the same time, for as many names.
const MAX_LOOKUPS: usize = 8;

/// A name, as this process sees it.
struct Host {
    name: String,
    /// What was known when the configuration was read.
    addresses: Vec<IpAddr>,
    failing: bool,
    /// Whether this worker wants a lookup, and the time of the last lookup then.
    wanted: Option<ngx_msec_t>,
    /// The warning, and its place, for a failed lookup when the configuration is read.
    warning: Warning,
    place: Place,
}

/// The names of one configuration.
pub struct Names {
    hosts: Vec<Host>,
    /// The configuration that they belong to.
    cycle: *const ngx_cycle_t,
    zone: Option<Zone<RefCell<Self>>>,
    /// Of the hosts, in the same order.
    entries: &'static [KnownName],
    lookups: Vec<(usize, Lookup)>,
    /// The host to begin with next time, so that all get their turn.
    first: usize,
    /// In a process that serves requests.
    timer: Option<Timer>,
    poll: ngx_msec_t,
}

impl Default for Names {
    fn default() -> Self {
        let (hosts, lookups, cycle) = (Vec::new(), Vec::new(), ptr::null());
        Self { hosts, cycle, zone: None, entries: &[], lookups, first: 0, timer: None, poll: 0 }
    }
}

impl Names {
    /// Follows a name and returns its number; `warning` is for the case that it cannot be resolved now.
    pub fn follow(&mut self, name: &str, warning: Warning, place: Place) -> usize {
        if let Some(number) = self.hosts.iter().position(|host| host.name == name) {
            return number;
        }
        let (name, addresses, failing, wanted) = (name.to_owned(), Vec::new(), true, None);
        self.hosts.push(Host { name, addresses, failing, wanted, warning, place });
        self.hosts.len() - 1
    }

    /// Finds the first addresses of all names, and asks nginx for the shared memory.
    ///
    /// What the running configuration knows of a name is enough to begin with; else it is looked up here and
    /// now, as nginx does for its own upstreams, but a failure is a warning: nginx must start, and serve
    /// everything else, while a name cannot be resolved.
    pub fn share(names: &Rc<RefCell<Self>>, cf: &mut ngx_conf_t) -> Result<(), Stop> {
        let mut this = names.borrow_mut();
        if this.hosts.is_empty() {
            return Ok(());
        }
        let mut unknown = Vec::new();
        for host in &mut this.hosts {
            match known_before_reload(cf, &host.name) {
                Some((addresses, failing)) => (host.addresses, host.failing) = (addresses, failing),
                // "nginx -s" must not wait for a name server.
                None if process::only_signals() => {}
                None => unknown.push(host),
            }
        }
        let texts: Vec<&str> = unknown.iter().map(|host| &*host.name).collect();
        let answers = lookup::all(&texts);
        for (host, answer) in unknown.into_iter().zip(answers) {
            host.failing = answer.is_err();
            host.addresses = answer.unwrap_or_default();
            if host.failing {
                cf.at(host.place, "", |cf| {
                    cf.warn(&host.warning);
                    Ok(())
                })?;
            }
        }
        this.zone = Some(Zone::ask::<KnownName>(cf, this.hosts.len(), Rc::as_ptr(names))?);
        this.cycle = cf.cycle;
        Ok(())
    }

    /// Begins in a worker: names are looked up at once, since their addresses may come from the configuration
    /// before, or be missing.
    pub fn start(names: &Rc<RefCell<Self>>) {
        let mut this = names.borrow_mut();
        let held = Rc::downgrade(names);
        this.timer = Some(Timer::new("timer", INTERVAL, move || {
            if let Some(names) = held.upgrade() {
                names.borrow_mut().on_timer();
            }
        }));
        for number in 0..this.hosts.len() {
            this.want(number);
        }
    }

    /// Whether the process serves this configuration. One without workers serves another after a reload, and
    /// nginx has taken the shared memory away from what is left of this one.
    fn is_served(&self) -> bool {
        process::serves(self.cycle)
    }

    /// Notes that a request uses the name.
    pub fn want(&mut self, number: usize) {
        if self.is_served() && self.hosts[number].wanted.is_none() {
            let entry = &self.entries[number];
            self.hosts[number].wanted = Some(entry.last());
            self.wake_at(entry.due());
        }
    }

    /// Notes that a connection failed: the address may have moved.
    pub fn hurry(&mut self, number: usize) {
        if !self.is_served() {
            return;
        }
        let entry = &self.entries[number];
        let soon = entry.last().wrapping_add(HURRIED);
        if is_before(soon, entry.due()) {
            entry.set_due(soon);
            self.want(number);
            self.wake_at(soon);
        }
    }

    /// The addresses, and the number of this list of them, if there is another one than `generation`.
    pub fn other_than(&self, generation: usize, number: usize) -> Option<(usize, Vec<IpAddr>)> {
        let entry = self.entries.get(number).filter(|_| self.is_served())?;
        if entry.generation() == generation {
            return None;
        }
        Some(self.zone?.locked(|| (entry.generation(), entry.addresses())))
    }

    /// What is known of each name.
    pub fn known(&self) -> impl Iterator<Item = Known<'_>> + Clone {
        let served = self.hosts.iter().zip(self.entries).enumerate().filter(|_| self.is_served());
        served.map(|(number, (host, entry))| {
            let addresses = self.other_than(0, number).map_or(0, |(_, list)| list.len());
            let (found, looked_up) = (!entry.is_failing(), entry.last_day());
            Known { name: &host.name, addresses, found, looked_up }
        })
    }

    fn wake_at(&mut self, time: ngx_msec_t) {
        if let Some(timer) = &mut self.timer {
            timer.set_by(time);
        }
    }

    fn on_timer(&mut self) {
        if !self.is_served() {
            return self.lookups.clear();
        }
        let mut answers = Vec::new();
        self.lookups.retain(|(number, lookup)| {
            let answer = lookup.poll();
            let under_way = answer.is_none();
            answers.extend(answer.map(|answer| (*number, answer)));
            under_way
        });
        for (number, answer) in answers {
            self.publish(number, answer);
        }
        if process::is_exiting() {
            return;
        }
        let (first, len) = (self.first, self.hosts.len());
        for number in (first..len).chain(0..first) {
            self.look_up(number);
        }
        if self.lookups.is_empty() {
            self.poll = 0;
        } else {
            self.poll = (self.poll * 2).clamp(POLL[0], POLL[1]);
            self.wake_at(now().wrapping_add(self.poll));
        }
    }

    /// Starts a lookup of the name if one is wanted and due.
    fn look_up(&mut self, number: usize) {
        let under_way = self.lookups.iter().any(|(other, _)| *other == number);
        if under_way || self.lookups.len() >= MAX_LOOKUPS {
            return;
        }
        let (host, entry) = (&mut self.hosts[number], &self.entries[number]);
        // If there was a lookup since then, a worker has done what was wanted.
        host.wanted = host.wanted.filter(|&last| last == entry.last());
        if host.wanted.is_none() && !entry.is_empty() {
            return;
        }
        let (now, due) = (now(), entry.due());
        let (next, today) = (now.wrapping_add(INTERVAL), today().try_into().unwrap_or_default());
        if is_before(now, due) {
            self.wake_at(due);
        } else if entry.claim(due, now, next, today) {
            host.wanted = None;
            match Lookup::start(host.name.clone()) {
                Ok(lookup) => {
                    self.lookups.push((number, lookup));
                    self.first = (number + 1) % self.hosts.len();
                }
                Err(why) => self.publish(number, Err(why)),
            }
        }
        if entry.is_empty() {
            self.wake_at(next);
        }
    }

    /// Publishes the result of a lookup to all workers; a change is logged.
    fn publish(&self, number: usize, answer: Answer) {
        let (name, entry) = (&self.hosts[number].name, &self.entries[number]);
        let tell = |level, news: News| log::log(level, &news.of(name));
        let changed = entry.set_failing(answer.is_err());
        match answer {
            Ok(addresses) => {
                if changed {
                    tell(NGX_LOG_WARN, News::Resolved);
                }
                let Some(zone) = self.zone else { return };
                if zone.locked(|| entry.set_addresses(&addresses)) {
                    tell(NGX_LOG_INFO, News::Addresses(&addresses));
                }
            }
            Err(why) if changed => {
                tell(NGX_LOG_WARN, News::Failed { why: &why, is_known: !entry.is_empty() });
            }
            Err(_) => {}
        }
    }
}

/// The addresses of a name in the running configuration.
fn known_before_reload(cf: &ngx_conf_t, name: &str) -> Option<(Vec<IpAddr>, bool)> {
    let old = Zone::<RefCell<Names>>::running(cf)?.data()?.borrow();
    let number = old.hosts.iter().position(|host| host.name == name)?;
    // Its workers keep looking up a name without addresses, so there is nothing to wait for.
    let addresses = old.other_than(0, number).map(|(_, addresses)| addresses);
    Some((addresses.unwrap_or_default(), old.entries[number].is_failing()))
}

impl Fill for RefCell<Names> {
    const NAME: &'static str = "clerk_proxy addresses";
    fn fill(&self, zone: Zone<Self>) -> Option<()> {
        let names = &mut *self.borrow_mut();
        names.entries = zone.values(names.hosts.len())?;
        for (host, entry) in names.hosts.iter().zip(names.entries) {
            zone.locked(|| entry.set_addresses(&host.addresses));
            entry.set_failing(host.failing);
            entry.set_due(now());
        }
        Some(())
    }
}
