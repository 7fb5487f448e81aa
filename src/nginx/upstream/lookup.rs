//! Looks a name up as the system does, by nsswitch.conf: hosts file, DNS, search domains.

use std::ffi::c_void;
use std::io;
use std::mem;
use std::net::IpAddr;
use std::ptr;
use std::sync::{Arc, Mutex};

use dns_lookup::{getaddrinfo, AddrInfoHints};

use crate::nginx::base::guard;

/// The addresses, in order and each once, or why there are none.
pub type Answer = Result<Vec<IpAddr>, String>;

/// A lookup in its own thread, which uses nothing of nginx: it may outlast the worker's configuration and ends with the
/// worker.
pub struct Lookup {
    place: Place,
    thread: libc::pthread_t,
    /// Whether somebody waits for its end.
    is_awaited: bool,
}

/// Where the thread leaves its answer.
type Place = Arc<Mutex<Option<Answer>>>;

/// What the thread gets.
struct Task {
    name: String,
    place: Place,
}

impl Lookup {
    /// Starts a lookup.
    pub fn start(name: String) -> Result<Self, String> {
        let place = Place::default();
        let task = Task { name, place: Arc::clone(&place) };
        let thread = start_thread(Box::new(task)).map_err(|error| error.to_string())?;
        Ok(Self { place, thread, is_awaited: false })
    }

    /// The answer, once it is there.
    pub fn poll(&self) -> Option<Answer> {
        self.place.lock().ok()?.take()
    }

    /// Waits for the answer and the end of the thread: nginx may fork after this.
    fn wait(mut self) -> Option<Answer> {
        self.is_awaited = true;
        let place = Arc::clone(&self.place);
        drop(self);
        let mut answer = place.lock().ok()?;
        answer.take()
    }
}

impl Drop for Lookup {
    fn drop(&mut self) {
        // SAFETY: the thread was started as one to be joined; it is joined or let go of here alone.
        unsafe {
            if self.is_awaited {
                libc::pthread_join(self.thread, ptr::null_mut());
            } else {
                libc::pthread_detach(self.thread);
            }
        }
    }
}

/// Looks names up at the same time and waits for all answers.
pub fn all(names: &[&str]) -> Vec<Answer> {
    let mut answers = Vec::new();
    for some in names.chunks(64) {
        let lookups: Vec<_> = some.iter().map(|name| Lookup::start((*name).to_owned())).collect();
        for (lookup, name) in lookups.into_iter().zip(some) {
            // Where this system has no thread left, without one.
            let answer = lookup.ok().and_then(Lookup::wait);
            answers.push(answer.unwrap_or_else(|| look_up_blocking(name)));
        }
    }
    answers
}

/// Starts a thread for the task. Where there is no memory for one of std, std ends the process.
fn start_thread(task: Box<Task>) -> io::Result<libc::pthread_t> {
    // Signals must reach nginx's thread: its handlers interrupt the wait for events, or for this one.
    let _blocked = BlockedSignals::new();
    let task = Box::into_raw(task);
    // SAFETY: the first call makes the attributes, the last one is the end of them. A thread that starts has the task
    // for itself; without one it is still ours.
    unsafe {
        let (mut attributes, mut thread) = (mem::zeroed(), mem::zeroed());
        libc::pthread_attr_init(&raw mut attributes);
        // The libraries that nsswitch.conf names may need it. Unused pages take no memory.
        libc::pthread_attr_setstacksize(&raw mut attributes, 1024 * 1024);
        let status = libc::pthread_create(&raw mut thread, &raw const attributes, run, task.cast());
        libc::pthread_attr_destroy(&raw mut attributes);
        if status == 0 {
            return Ok(thread);
        }
        drop(Box::from_raw(task));
        Err(io::Error::from_raw_os_error(status))
    }
}

extern "C" fn run(task: *mut c_void) -> *mut c_void {
    // SAFETY: `start_thread` has made the task, and this thread has it for itself.
    let Task { name, place } = *unsafe { Box::from_raw(task.cast::<Task>()) };
    let answer = guard::catch("lookup", || look_up_blocking(&name)).unwrap_or_else(Err);
    if let Ok(mut empty) = place.lock() {
        *empty = Some(answer);
    }
    ptr::null_mut()
}

/// Looks a name up and waits for the answer.
fn look_up_blocking(name: &str) -> Answer {
    // As in nginx: no family of which this machine has no address.
    let (flags, socktype) = (libc::AI_ADDRCONFIG, libc::SOCK_STREAM);
    let hints = AddrInfoHints { flags, socktype, ..AddrInfoHints::default() };
    let found = getaddrinfo(Some(name), None, Some(hints)).map_err(|error| {
        let text = error.to_string();
        // The system's own words.
        text.rsplit_once("lookup address information: ").map_or(&*text, |(_, why)| why).to_owned()
    })?;
    let found = found.filter_map(Result::ok);
    let mut addresses: Vec<IpAddr> = found.map(|address| address.sockaddr.ip()).collect();
    // Name servers rotate their answers.
    addresses.sort_unstable();
    addresses.dedup();
    if addresses.is_empty() {
        return Err("no addresses".to_owned());
    }
    Ok(addresses)
}

/// Blocks all signals in this thread, and those that it starts, until it is dropped.
struct BlockedSignals(libc::sigset_t);

impl BlockedSignals {
    fn new() -> Self {
        Self(set_mask(None))
    }
}

impl Drop for BlockedSignals {
    fn drop(&mut self) {
        set_mask(Some(&self.0));
    }
}

/// Blocks these signals in this thread, or all, and returns those that were blocked before.
fn set_mask(mask: Option<&libc::sigset_t>) -> libc::sigset_t {
    // SAFETY: sets are plain memory that the calls fill; the mask is this thread's own.
    unsafe {
        let (mut all, mut before) = (mem::zeroed(), mem::zeroed());
        libc::sigfillset(&raw mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, mask.unwrap_or(&all), &raw mut before);
        before
    }
}
