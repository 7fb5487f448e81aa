//! What is counted for `clerk_proxy_status`, and the memory of that.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::HashSet;
use std::fmt::{self, Write};
use std::ptr;
use std::rc::Rc;
use std::sync::atomic::AtomicUsize;

use crate::counters::{number, words_for, Records, Wanted, Words};
use crate::metrics::{CACHE, LOCATION, LOCATION_LEN, READY, UPSTREAM, UPSTREAM_LEN};
use crate::nginx::base::counted::Counted;
use crate::nginx::base::ffi::{ngx_conf_t, ngx_cycle_t};
use crate::nginx::base::parser::Stop;
use crate::nginx::base::process::globals;
use crate::nginx::base::shared_memory::{Fill, Zone};
use crate::nginx::request::count;
use crate::nginx::request::proxy::Proxy;
use crate::nginx::stock::level::server_name;
use crate::nginx::upstream::blocks;
use crate::status_text::{self, Page};

/// The fewest workers that have a share of their own of the connections that are ready.
const WORKERS: usize = 64;

/// What is counted in a configuration, if a location shows it.
#[derive(Default)]
pub struct Status {
    /// Whether a location does.
    pub is_shown: Cell<bool>,
    upstreams: RefCell<Vec<Subject>>,
    locations: RefCell<Vec<Subject>>,
    /// The records of all of them.
    wanted: RefCell<HashSet<Wanted>>,
    asked: OnceCell<Asked>,
    words: OnceCell<Words>,
}

/// The names of labels with their values.
type Labels = Vec<(&'static str, String)>;

/// An upstream or a location.
struct Subject {
    labels: Labels,
    wanted: Wanted,
    /// How many of its counters are shown.
    shown: usize,
    /// Whether connections are kept ready for it.
    is_warm: bool,
    /// Whether no location before has the same labels. All of them count together.
    is_first: bool,
    counted: Rc<Counted>,
}

/// The memory that was asked for.
struct Asked {
    len: usize,
    cycle: *const ngx_cycle_t,
    /// That of the configuration before.
    before: Option<Words>,
}

impl Status {
    /// Counts the requests of a location.
    pub fn add_location(&self, cf: &ngx_conf_t, proxy: &Proxy) -> Result<(), Stop> {
        if self.is_shown.get() {
            let server = server_name(cf)?;
            let labels = vec![("server", server), ("location", proxy.location.clone())];
            let shown = if proxy.cache.is_some() { LOCATION_LEN } else { CACHE };
            let one = self.subject(labels, LOCATION_LEN, shown, &proxy.counted);
            self.locations.borrow_mut().push(one);
        }
        Ok(())
    }

    /// What counts with these labels in a record of this length.
    fn subject(&self, labels: Labels, len: usize, shown: usize, counted: &Rc<Counted>) -> Subject {
        let wanted = (number(&labels), len);
        let is_first = self.wanted.borrow_mut().insert(wanted);
        Subject { labels, wanted, shown, is_warm: false, is_first, counted: Rc::clone(counted) }
    }

    /// Asks for the memory, once all is read.
    pub fn finish(&'static self, cf: &mut ngx_conf_t) -> Result<(), Stop> {
        if !self.is_shown.get() {
            return Ok(());
        }
        count::install(cf)?;
        let workers = globals().processors.max(WORKERS);
        for block in blocks::all(cf) {
            let Some(conf) = block.conf().filter(|conf| conf.peers.borrow().is_some()) else {
                continue;
            };
            let labels = vec![("upstream", block.name())];
            let len = UPSTREAM_LEN + 2 * workers;
            let mut one = self.subject(labels, len, UPSTREAM_LEN, &conf.counted);
            one.is_warm = conf.warm.get().is_some_and(|wanted| wanted.keeps_some());
            self.upstreams.borrow_mut().push(one);
        }
        let before = Zone::<Self>::running(cf).and_then(|zone| zone.data()?.words.get().copied());
        let len = words_for(&self.wanted.borrow(), before.map(Records::of).as_ref());
        let _ = self.asked.set(Asked { len, cycle: cf.cycle, before });
        Zone::ask::<AtomicUsize>(cf, len, self)?;
        Ok(())
    }

    /// Writes all that is counted.
    pub fn write<W: Write>(&self, page: &mut Page<W>) -> fmt::Result {
        let (upstreams, locations) = (self.upstreams.borrow(), self.locations.borrow());
        page.add(&READY, &upstreams.iter().filter(|one| one.is_warm).map(Ready))?;
        page.add(&UPSTREAM, &upstreams.iter())?;
        page.add(&LOCATION, &locations.iter().filter(|one| one.is_first))
    }
}

impl status_text::Subject for &Subject {
    fn label(&self, number: usize) -> Option<(&'static str, &str)> {
        self.labels.get(number).map(|(name, value)| (*name, value.as_str()))
    }

    fn value(&self, place: usize) -> Option<usize> {
        let counters = self.counted.counters().filter(|_| place < self.shown)?;
        Some(counters.get(place))
    }
}

/// The connections of an upstream that are ready.
#[derive(Clone)]
struct Ready<'a>(&'a Subject);

impl status_text::Subject for Ready<'_> {
    fn label(&self, number: usize) -> Option<(&'static str, &str)> {
        status_text::Subject::label(&self.0, number)
    }

    fn value(&self, _place: usize) -> Option<usize> {
        Some(self.0.counted.counters()?.shares(UPSTREAM_LEN))
    }
}

impl Fill for Status {
    const NAME: &'static str = "clerk_proxy status";
    const STAYS: bool = true;

    fn fill(&self, zone: Zone<Self>) -> Option<()> {
        let asked = self.asked.get()?;
        let words = *self.words.get_or_init(|| zone.values(asked.len).unwrap_or_default());
        let mut records = Records::of(words);
        let before = asked.before.filter(|before| !ptr::eq(*before, words)).map(Records::of);
        for one in self.upstreams.borrow().iter().chain(&*self.locations.borrow()) {
            if let Some(before) = before.as_ref().filter(|_| records.find(one.wanted).is_none()) {
                records.carry_over(one.wanted, before);
            }
            one.counted.begin(records.find_or_add(one.wanted)?, asked.cycle);
        }
        Some(())
    }
}
