//! Connections that are ready before the first request: connected, with TLS spoken and verified, and unused.
//!
//! A timer of the worker asks each implicit upstream for a connection as a request does, by nginx's own chain of
//! keepalive and round robin. A connection of keepalive is returned at once, which restarts its idle time. If keepalive
//! has none, one is made and given to it. Nothing is sent except the handshake.
//!
//! A page asks for a script, and then for two or three things at once. Therefore the timer also fires as soon as more
//! requests than before are in progress. What they took is made again, up to twice the number that is kept ready.

use std::cell::RefCell;
use std::mem;
use std::ptr;
use std::rc::{Rc, Weak};

use crate::metrics::UPSTREAM_LEN;
use crate::monotonic::is_before;
use crate::nginx::base::clock::now;
use crate::nginx::base::counted::Counted;
use crate::nginx::base::ffi::{
    ngx_connection_t, ngx_cycle_t, ngx_event_t, ngx_log_t, ngx_random, NGX_LOG_INFO,
    NGX_LOG_NOTICE, NGX_LOG_WARN,
};
use crate::nginx::base::plain::Plain;
use crate::nginx::base::timer::Timer;
use crate::nginx::base::{guard, log, process};
use crate::nginx::upstream::attempt::{Attempt, Begun, Callbacks};
use crate::nginx::upstream::blocks::{self, Block};
use crate::nginx::upstream::liveness;
use crate::nginx::upstream::servers::{self, SrvConf};
use crate::nginx::upstream::tls_client::TlsClient;
use crate::nginx::upstream::wanted::Wanted;
use crate::pace::{Pace, INTERVAL};
use crate::traffic::Traffic;

/// The warm connections of one upstream in one worker.
pub struct Warm {
    upstream: Block,
    wanted: Wanted,
    traffic: Traffic,
    counted: Rc<Counted>,
    /// How many were ready at the last check, and since.
    ready: usize,
    cycle: *const ngx_cycle_t,
    timer: Timer,
    /// Where nginx has its address, in events.
    place: Weak<RefCell<Self>>,
    /// A log that prints nothing: a failure is logged once, in a line of ours.
    quiet: ngx_log_t,
    under_way: Vec<Attempt>,
    pace: Pace,
}

/// What keeps them; dropping it ends them.
pub struct Running(#[allow(dead_code)] Rc<RefCell<Warm>>);

impl Drop for Warm {
    fn drop(&mut self) {
        self.traffic.on_more(None);
        self.set_ready(0);
    }
}

impl Warm {
    fn start(cycle: &ngx_cycle_t, upstream: Block, wanted: Wanted, conf: &SrvConf) -> Running {
        let cycle = ptr::from_ref(cycle);
        let warm = Rc::new_cyclic(|place: &Weak<RefCell<Self>>| {
            let call = |what: fn(&mut Self)| {
                let place = place.clone();
                move || place.upgrade().iter().for_each(|warm| what(&mut warm.borrow_mut()))
            };
            let timer = Timer::new("warm connections", INTERVAL, call(Self::on_timer));
            conf.traffic.on_more(Some(Box::new(call(Self::hurry))));
            RefCell::new(Self {
                upstream,
                wanted,
                traffic: conf.traffic.clone(),
                counted: Rc::clone(&conf.counted),
                ready: 0,
                cycle,
                timer,
                place: place.clone(),
                quiet: ngx_log_t::zeroed(),
                under_way: Vec::new(),
                pace: Pace::new(now()),
            })
        });
        conf.counted.own_share(UPSTREAM_LEN);
        warm.borrow_mut().arm();
        Running(warm)
    }

    /// Sets the timer to the earliest time.
    fn arm(&mut self) {
        let deadlines = self.under_way.iter().map(|attempt| attempt.deadline);
        let earlier = |one, other| if is_before(other, one) { other } else { one };
        self.timer.set(deadlines.fold(self.pace.next, earlier));
    }

    /// Looks once the request that has just begun has its connection, unless the server is left alone.
    fn hurry(&mut self) {
        if self.pace.hurry(now()) {
            self.arm();
        }
    }

    fn on_timer(&mut self) {
        if process::is_exiting() || !process::serves(self.cycle) {
            return self.under_way.clear();
        }
        let now = now();
        let (over, under_way): (Vec<_>, Vec<_>) = mem::take(&mut self.under_way)
            .into_iter()
            .partition(|attempt| !is_before(now, attempt.deadline));
        self.under_way = under_way;
        for mut attempt in over {
            match attempt.expire() {
                Ok(()) => self.keep(attempt),
                Err(why) => self.failed(&why),
            }
        }
        if !is_before(now, self.pace.next) {
            self.look();
        }
        self.arm();
    }

    /// Gives a new connection to keepalive.
    fn keep(&mut self, attempt: Attempt) {
        if let Some(c) = attempt.keep() {
            liveness::count(c, &self.counted);
            self.set_ready(self.ready + 1);
            self.pace.succeeded();
            // This address was tried in place of others, which count as failed: requests try them last.
            self.under_way.retain(|attempt| !attempt.is_late());
            log::log(NGX_LOG_INFO, &format!("a connection to {} is ready", self.name()));
        }
    }

    /// Checks what keepalive has, and makes what is missing. It tries other addresses in place of late ones.
    fn look(&mut self) {
        self.pace.look(now());
        let in_use = self.traffic.look();
        let count = Pace::count(self.wanted.count, in_use);
        let mut ready = Vec::new();
        let late = self.under_way.len().min(self.addresses() as usize - 1);
        let mut missing = false;
        while ready.len() + self.under_way.len() < count + late {
            let owner = self.place.as_ptr().cast_mut().cast();
            let upstream = self.upstream.get();
            match Attempt::begin(upstream, &self.wanted, &raw mut self.quiet, owner, CALLBACKS) {
                Begun::Ready(attempt) => ready.push(attempt),
                Begun::Suspect => {}
                // The previous connection has failed, was closed, or is in use.
                Begun::UnderWay(attempt) => {
                    if in_use > 0 {
                        self.pace.look_for_slow(now());
                    } else if !mem::replace(&mut missing, true) {
                        self.later();
                    }
                    self.under_way.push(attempt);
                }
                Begun::NoAddress => {
                    self.pace.look_for_address(now());
                    break;
                }
                Begun::Failed(why) => {
                    if !mem::replace(&mut missing, true) {
                        self.later();
                    }
                    self.failed(&why);
                    break;
                }
            }
        }
        if ready.len() >= count && count > 0 && self.pace.all_ready() {
            let text = format!("connections to {} are kept ready again", self.name());
            log::log(NGX_LOG_NOTICE, &text);
        }
        self.set_ready(ready.len());
        for attempt in ready {
            attempt.keep();
        }
    }

    /// Notes how many are ready.
    fn set_ready(&mut self, ready: usize) {
        self.ready = ready;
        self.counted.set_share(UPSTREAM_LEN, ready);
    }

    /// Counts a check that missed connections.
    fn later(&mut self) {
        // nginx seeds it in each worker.
        let random = usize::try_from(ngx_random()).unwrap_or_default();
        self.pace.missed(now(), self.addresses(), random);
    }

    /// Counts a connection that failed.
    fn failed(&mut self, why: &str) {
        if self.pace.failed(now(), self.addresses()) {
            let text = format!("no connection to {} can be kept ready: {why}", self.name());
            log::log(NGX_LOG_WARN, &text);
        }
    }

    fn addresses(&self) -> u32 {
        servers::addresses(self.upstream.get()).max(1)
    }

    /// The upstream's name in messages.
    fn name(&self) -> String {
        format!("upstream \"{}\"", self.upstream.name())
    }

    /// Continues a connection after an event.
    pub fn on_event(&mut self, connection: *mut ngx_connection_t) {
        let found = self.under_way.iter().position(|attempt| attempt.is_of(connection));
        let Some(i) = found else { return };
        match self.under_way[i].advance() {
            Ok(false) => {}
            Ok(true) => {
                let attempt = self.under_way.swap_remove(i);
                self.keep(attempt);
            }
            Err(why) => {
                drop(self.under_way.swap_remove(i));
                self.failed(&why);
            }
        }
        self.arm();
    }
}

const CALLBACKS: Callbacks = Callbacks { on_event, on_handshake };

unsafe extern "C" fn on_event(event: *mut ngx_event_t) {
    // SAFETY: the data of a connection's event is the connection, which nginx calls this for.
    unsafe { on_handshake((*event).data.cast::<ngx_connection_t>()) };
}

unsafe extern "C" fn on_handshake(c: *mut ngx_connection_t) {
    // SAFETY: `Attempt` has set the data to the owner, which closes the connection before it ends.
    let warm = unsafe { &*(*c).data.cast::<RefCell<Warm>>() };
    guard::process("warm connection", (), || warm.borrow_mut().on_event(c));
}

/// Begins in a process that serves requests; it must keep the result until it ends.
pub fn start(cycle: &ngx_cycle_t) -> Vec<Running> {
    let mut running = Vec::new();
    for block in blocks::all(cycle) {
        let Some(conf) = block.conf() else { continue };
        let Some(wanted) = conf.warm.get().filter(Wanted::keeps_some) else { continue };
        if wanted.tls && TlsClient::of_nginx().is_none() {
            let text = "can be kept ready: nginx does not export its TLS functions";
            let name = block.name();
            log::log(NGX_LOG_WARN, &format!("no connection to upstream \"{name}\" {text}"));
            continue;
        }
        running.push(Warm::start(cycle, block, wanted, conf));
    }
    running
}
