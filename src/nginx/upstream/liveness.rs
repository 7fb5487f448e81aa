//! Detects dead connections. A NAT, a firewall or a load balancer forgets connections silently: what is sent then
//! gets no answer, not even a reset.
//!
//! The kernel detects this, by options that each new connection gets before its first request. If a kept connection was
//! dead, nginx's second try gets a new one, and connections that were kept as long are not used again.

use std::cell::Cell;
use std::ffi::c_void;
use std::mem::{self, offset_of};
use std::ptr;
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use socket2::TcpKeepalive;

use crate::metrics;
use crate::nginx::base::clock::now;
use crate::nginx::base::connection::Connection;
use crate::nginx::base::counted::Counted;
use crate::nginx::base::ffi::{
    ngx_atomic_uint_t, ngx_chain_t, ngx_event_free_peer_pt, ngx_event_get_peer_pt,
    ngx_http_request_t, ngx_http_upstream_t, ngx_int_t, ngx_msec_t, ngx_output_chain_filter_pt,
    ngx_peer_connection_t, ngx_uint_t, NGX_DONE, NGX_PEER_FAILED,
};
use crate::nginx::base::guard;
use crate::nginx::base::links::request::{self, buffer, bytes_mut};
use crate::nginx::base::process::globals;
use crate::nginx::base::status::{ERROR, OK};
use crate::nginx::upstream::tls_client;
use crate::stream_number::restart;

/// The silence before the kernel sends a keepalive probe, which also refreshes the connection in a NAT.
const IDLE: Duration = Duration::from_secs(10);
/// The time between probes; with `UNACKNOWLEDGED` the kernel ends the connection instead of probing again.
const INTERVAL: Duration = Duration::from_secs(2);
/// The number of probes if the kernel lacks that option.
const PROBES: u32 = 3;
/// The time-out for acknowledgement of a request that was sent. A slow, but live server acknowledges at
/// once.
const UNACKNOWLEDGED: Duration = Duration::from_millis(1_500);
/// The time-out for a body longer than `WINDOW`, since the kernel also counts the time in which the server's window is
/// full.
const UNACKNOWLEDGED_UPLOAD: Duration = Duration::from_secs(20);
/// The bytes that servers accept before anybody reads them.
const WINDOW: i64 = 65_536;
/// A connection that ends this many milliseconds after a request was written to it was dead. One that the server closes
/// ends at once.
const SILENCE: ngx_msec_t = 1_000;

/// Makes the kernel watch an open connection.
pub fn watch(c: Connection) {
    // nginx itself has set SO_KEEPALIVE, by "proxy_socket_keepalive".
    let how = TcpKeepalive::new().with_time(IDLE).with_interval(INTERVAL).with_retries(PROBES);
    c.probe(&how);
    c.set_unacknowledged(UNACKNOWLEDGED);
}

/// Counts a new connection.
pub fn count(c: Connection, counted: &Counted) {
    if let Some(counters) = counted.counters() {
        counters.add(metrics::MADE, 1);
        if let Some(resumed) = tls_client::resumed(c) {
            counters.add(metrics::HANDSHAKE + usize::from(resumed), 1);
        }
    }
}

/// The kept connections of an upstream that may be dead, too: those with a lower number than this.
#[derive(Clone, Default)]
pub struct Suspects(Rc<Cell<ngx_atomic_uint_t>>);

impl Suspects {
    /// Whether the connection is one of them.
    pub fn contain(&self, c: Connection) -> bool {
        c.get().number < self.0.get()
    }

    /// Suspects all kept connections.
    fn take_all(&self) {
        self.0.set(globals().connections.load(Relaxed) as ngx_atomic_uint_t);
    }
}

/// What nginx would call without this module.
#[derive(Default)]
struct Originals {
    get: ngx_event_get_peer_pt,
    #[cfg(nginx_peer_close)]
    connect: crate::nginx::base::ffi::ngx_event_connect_peer_pt,
    free: ngx_event_free_peer_pt,
    write: Option<(ngx_output_chain_filter_pt, *mut c_void)>,
}

/// Stands between a request and nginx's choice of connections.
pub struct Watcher {
    request: *mut ngx_http_request_t,
    suspects: Suspects,
    /// What the upstream counts.
    pub counted: &'static Counted,
    originals: Originals,
    /// Whether a kept connection has failed this request.
    failed: bool,
    /// The connection that was written to last, and when.
    written: (ngx_atomic_uint_t, ngx_msec_t),
    /// Whether its time-out is the longer one.
    has_time: bool,
}

impl Watcher {
    /// For a request whose upstream may have kept connections.
    pub fn new(
        request: *mut ngx_http_request_t,
        suspects: Suspects,
        counted: &'static Counted,
    ) -> Self {
        let (originals, failed, written, has_time) = (Originals::default(), false, (0, 0), false);
        Self { request, suspects, counted, originals, failed, written, has_time }
    }

    /// The request.
    pub fn request<'a>(&self) -> &'a ngx_http_request_t {
        // SAFETY: it lives as long as its watcher, which nginx drops with the request's pool, before any memory of that.
        unsafe { &*self.request }
    }

    /// Installs itself between the request's upstream and nginx's choice of connections.
    pub fn install(&mut self, u: &mut ngx_http_upstream_t) {
        self.originals.get = u.peer.get.replace(get);
        #[cfg(nginx_peer_close)]
        if u.peer.connect.is_some() {
            self.originals.connect = u.peer.connect.replace(connect);
        }
        self.originals.free = u.peer.free.replace(free);
        let filter = u.output.output_filter.replace(write);
        let ctx = mem::replace(&mut u.output.filter_ctx, ptr::from_mut(self).cast());
        self.originals.write = Some((filter, ctx));
    }

    /// The value that was installed for a peer's request, and the peer.
    ///
    /// # Safety
    ///
    /// `pc` is that of an upstream, which one was installed in.
    unsafe fn of<'a>(
        pc: *mut ngx_peer_connection_t,
    ) -> Option<(&'a mut Self, &'a mut ngx_peer_connection_t)> {
        // SAFETY: promised by the caller. An upstream in which one was installed has it for the context of its filter.
        unsafe {
            let u =
                pc.byte_sub(offset_of!(ngx_http_upstream_t, peer)).cast::<ngx_http_upstream_t>();
            let output = &(*u).output;
            let filter = output.output_filter.map(|filter| filter as usize);
            let is_ours = filter == Some(write as *const () as usize);
            is_ours.then(|| (&mut *output.filter_ctx.cast::<Self>(), &mut *pc))
        }
    }

    /// Checks the connection to which a part of the request, the chain, is about to be written.
    fn before_write(&mut self, chain: Option<&ngx_chain_t>) {
        let r = self.request();
        let Some(u) = request::upstream(r) else { return };
        let Some(c) = Connection::of(&u.peer) else { return };
        let number = c.get().number;
        let is_first = self.written.0 != number;
        self.written = (number, now());
        if !is_first {
            return;
        }
        let is_new = u.peer.cached() == 0;
        if is_new {
            count(c, self.counted);
        } else {
            self.counted.add(metrics::REUSED, 1);
        }
        if let Some(part) = chain.filter(|_| is_new && self.failed) {
            // The first link has the request that the proxy module has made.
            restart(bytes_mut(buffer(part)));
        }
        if request::settings(u).socket_keepalive != 1 {
            return;
        }
        if is_new {
            watch(c);
        }
        let body = &r.headers_in;
        self.has_time = body.content_length_n > WINDOW || body.chunked() == 1;
        if self.has_time {
            c.set_unacknowledged(UNACKNOWLEDGED_UPLOAD);
        }
    }

    /// Whether the connection, which keepalive has handed out, must not be used. The peer is then as if keepalive had
    /// none.
    fn refuses(&self, peer: &mut ngx_peer_connection_t) -> bool {
        let suspect = Connection::of(peer).filter(|c| self.failed || self.suspects.contain(*c));
        let closed = suspect.is_some_and(tls_client::close);
        if closed {
            peer.connection = ptr::null_mut();
            peer.set_cached(0);
        }
        closed
    }

    /// Checks a connection that the request has finished with, before keepalive may take it.
    fn before_free(&mut self, peer: &ngx_peer_connection_t, state: ngx_uint_t) {
        let has_failed = state & NGX_PEER_FAILED as ngx_uint_t != 0;
        let had_time = mem::take(&mut self.has_time);
        let Some(c) = Connection::of(peer) else { return };
        if has_failed && peer.cached() == 1 {
            self.failed = true;
            let is_same = c.get().number == self.written.0;
            if is_same && now().wrapping_sub(self.written.1) >= SILENCE {
                self.suspects.take_all();
                self.counted.add(metrics::DEAD, 1);
            }
        } else if !has_failed && had_time {
            c.set_unacknowledged(UNACKNOWLEDGED);
        }
    }
}

unsafe extern "C" fn get(pc: *mut ngx_peer_connection_t, data: *mut c_void) -> ngx_int_t {
    // SAFETY: nginx calls this where it was installed, and would have called the other one without us.
    let (watcher, peer, status) = unsafe {
        let Some((watcher, peer)) = Watcher::of(pc) else { return ERROR };
        let Some(original) = watcher.originals.get else { return ERROR };
        let status = original(peer, data);
        (watcher, peer, status)
    };
    let kept = status == NGX_DONE as ngx_int_t;
    guard::process("choice of a connection", status, || {
        if kept && watcher.refuses(peer) {
            OK
        } else {
            status
        }
    })
}

/// Angie's keepalive looks for a connection when one is made.
#[cfg(nginx_peer_close)]
unsafe extern "C" fn connect(pc: *mut ngx_peer_connection_t, data: *mut c_void) -> ngx_int_t {
    // SAFETY: as in `get`.
    unsafe {
        let Some((watcher, peer)) = Watcher::of(pc) else { return ERROR };
        let Some(original) = watcher.originals.connect else { return ERROR };
        let status = original(peer, data);
        let kept = status == OK && peer.cached() == 1;
        if guard::process("choice of a connection", false, || kept && watcher.refuses(peer)) {
            return crate::nginx::base::ffi::ngx_event_connect(peer, data);
        }
        status
    }
}

unsafe extern "C" fn free(pc: *mut ngx_peer_connection_t, data: *mut c_void, state: ngx_uint_t) {
    // SAFETY: as in `get`.
    unsafe {
        let Some((watcher, peer)) = Watcher::of(pc) else { return };
        guard::process("end of a connection's use", (), || watcher.before_free(peer, state));
        if let Some(original) = watcher.originals.free {
            original(peer, data, state);
        }
    }
}

unsafe extern "C" fn write(ctx: *mut c_void, chain: *mut ngx_chain_t) -> ngx_int_t {
    // SAFETY: `install` has set the context, and the request lives as long as its watcher. As above.
    unsafe {
        let watcher = &mut *ctx.cast::<Watcher>();
        guard::process("request to the server", (), || watcher.before_write(chain.as_ref()));
        let Some((Some(original), ctx)) = watcher.originals.write else { return ERROR };
        original(ctx, chain)
    }
}
