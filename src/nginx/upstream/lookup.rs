//! Looks a name up as the system does, by nsswitch.conf: hosts file, DNS, search domains.

use std::ffi::{c_void, CStr, CString};
use std::io;
use std::mem;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ptr;
use std::sync::{Arc, Mutex};

use crate::nginx::base::guard;
use crate::nginx::base::plain::Plain;

/// The addresses, in order and each once, or why there are none.
pub type Answer = Result<Vec<IpAddr>, String>;

/// A lookup in its own thread, which uses nothing of nginx: it may outlast the worker's configuration and ends with the
/// worker.
pub struct Lookup {
    place: Place,
    /// Until somebody has waited for its end.
    thread: Option<libc::pthread_t>,
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
        Ok(Self { place, thread: Some(thread) })
    }

    /// The answer, once it is there.
    pub fn poll(&self) -> Option<Answer> {
        self.place.lock().ok()?.take()
    }

    /// Waits for the answer and the end of the thread: nginx may fork after this.
    fn wait(mut self) -> Option<Answer> {
        if let Some(thread) = self.thread.take() {
            // SAFETY: the thread was started as one to be joined, which is done here alone.
            unsafe { libc::pthread_join(thread, ptr::null_mut()) };
        }
        self.poll()
    }
}

impl Drop for Lookup {
    fn drop(&mut self) {
        if let Some(thread) = self.thread {
            // SAFETY: as above; nobody waits for this one.
            unsafe { libc::pthread_detach(thread) };
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
    let name = CString::new(name).map_err(|error| error.to_string())?;
    let mut hints = libc::addrinfo::zeroed();
    hints.ai_socktype = libc::SOCK_STREAM;
    // As in nginx: no family of which this machine has no address.
    hints.ai_flags = libc::AI_ADDRCONFIG;
    let mut list = ptr::null_mut();
    // SAFETY: the name ends with a zero byte; `list` is written on success alone.
    let status =
        unsafe { libc::getaddrinfo(name.as_ptr(), ptr::null(), &raw const hints, &raw mut list) };
    if status != 0 {
        // SAFETY: the text is static, or of this thread until its next call.
        let text = unsafe { CStr::from_ptr(libc::gai_strerror(status)) };
        return Err(text.to_string_lossy().into_owned());
    }
    let mut addresses = addresses(list);
    // Name servers rotate their answers.
    addresses.sort_unstable();
    addresses.dedup();
    if addresses.is_empty() {
        return Err("no addresses".to_owned());
    }
    Ok(addresses)
}

/// The addresses that nginx can connect to, of a list that getaddrinfo has made and that is freed.
fn addresses(list: *mut libc::addrinfo) -> Vec<IpAddr> {
    let mut found = Vec::new();
    let mut next = list;
    // SAFETY: such a list ends with null, and each address is of the type that its family says, in network order. Nothing
    // of the list is kept.
    unsafe {
        while let Some(entry) = next.as_ref() {
            let address = entry.ai_addr.cast::<c_void>();
            match entry.ai_family {
                libc::AF_INET => {
                    let bytes = (*address.cast::<libc::sockaddr_in>()).sin_addr.s_addr;
                    found.push(Ipv4Addr::from(bytes.to_ne_bytes()).into());
                }
                libc::AF_INET6 => {
                    let bytes = (*address.cast::<libc::sockaddr_in6>()).sin6_addr.s6_addr;
                    found.push(Ipv6Addr::from(bytes).into());
                }
                _ => {}
            }
            next = entry.ai_next;
        }
        libc::freeaddrinfo(list);
    }
    found
}

/// Blocks all signals in this thread, and those that it starts, until it is dropped.
struct BlockedSignals(libc::sigset_t);

impl BlockedSignals {
    fn new() -> Self {
        // SAFETY: both sets are plain memory that the calls fill; the mask is this thread's own.
        unsafe {
            let (mut all, mut before) = (mem::zeroed(), mem::zeroed());
            libc::sigfillset(&raw mut all);
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut before);
            Self(before)
        }
    }
}

impl Drop for BlockedSignals {
    fn drop(&mut self) {
        // SAFETY: the mask is the one that `new` found.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.0, ptr::null_mut()) };
    }
}
