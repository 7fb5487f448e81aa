//! Looks a name up as the system does, by nsswitch.conf: hosts file, DNS, search domains.

use std::ffi::{c_void, CStr, CString};
use std::mem;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ptr;
use std::sync::mpsc::{self, Receiver, TryRecvError};
use std::thread;

use crate::nginx::base::plain::Plain;

/// The addresses, in order and each once, or why there are none.
pub type Answer = Result<Vec<IpAddr>, String>;

/// A lookup in its own thread, which uses nothing of nginx: it may outlast the worker's configuration and ends with the
/// worker.
pub struct Lookup(Receiver<Answer>);

impl Lookup {
    /// Starts a lookup.
    pub fn start(name: String) -> Result<Self, String> {
        let (sender, receiver) = mpsc::channel();
        // Signals must reach nginx's thread: its handlers interrupt the wait for events, or for this one.
        let _blocked = BlockedSignals::new();
        // The libraries that nsswitch.conf names may need it. Unused pages take no memory.
        let thread = thread::Builder::new().stack_size(1024 * 1024);
        // The receiver is gone if the configuration is.
        let body = move || drop(sender.send(look_up_blocking(&name)));
        thread.spawn(body).map_err(|error| error.to_string())?;
        Ok(Self(receiver))
    }

    /// The answer, once it is there.
    pub fn poll(&self) -> Option<Answer> {
        match self.0.try_recv() {
            Ok(answer) => Some(answer),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => Some(Err("the lookup failed".to_owned())),
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
            let answer = lookup.ok().and_then(|lookup| lookup.0.recv().ok());
            answers.push(answer.unwrap_or_else(|| look_up_blocking(name)));
        }
    }
    answers
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
