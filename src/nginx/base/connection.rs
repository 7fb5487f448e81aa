//! A connection to a server.

use std::ffi::c_void;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};

use crate::nginx::base::ffi::{
    ngx_close_connection, ngx_connection_t, ngx_destroy_pool, ngx_event_handler_pt, ngx_event_t,
    ngx_handle_read_event, ngx_log_t, ngx_peer_connection_t, NGX_AGAIN,
};
use crate::nginx::base::links::request::events;
use crate::nginx::base::pool::OwnedPool;
use crate::nginx::base::status::OK;

/// An open connection.
#[derive(Clone, Copy, PartialEq)]
pub struct Connection(NonNull<ngx_connection_t>);

impl Connection {
    /// The connection of a peer; `None` before nginx has connected and after it has closed the connection.
    pub fn of(peer: &ngx_peer_connection_t) -> Option<Self> {
        NonNull::new(peer.connection).map(Self)
    }

    /// That of an event, which nginx calls a handler for.
    pub fn of_event(event: &ngx_event_t) -> Option<Self> {
        NonNull::new(event.data.cast()).map(Self)
    }

    /// nginx's own structure.
    pub fn get<'a>(self) -> &'a mut ngx_connection_t {
        // SAFETY: it is open, and so in nginx's table of connections; no caller keeps the reference over a call to
        // nginx.
        unsafe { &mut *self.0.as_ptr() }
    }

    /// The pointer for nginx's functions.
    pub fn as_ptr(self) -> *mut ngx_connection_t {
        self.0.as_ptr()
    }

    /// The events of reading and of writing.
    pub fn both_events<'a>(self) -> [&'a mut ngx_event_t; 2] {
        events(self.get())
    }

    /// Asks its socket.
    fn socket<T>(self, ask: impl FnOnce(SockRef) -> T) -> T {
        // SAFETY: the descriptor of an open connection is open, and nobody closes it meanwhile.
        let descriptor = unsafe { BorrowedFd::borrow_raw(self.get().fd) };
        ask(SockRef::from(&descriptor))
    }

    /// Takes it over from nginx, which has begun it: events lead to the owner. `None` without memory. The log is alive as
    /// long as the connection is the owner's.
    pub fn adopt(self, log: *mut ngx_log_t, owner: *mut c_void) -> Option<()> {
        let c = self.get();
        (c.pool, c.data, c.log) = (OwnedPool::new(128)?.into_raw(), owner, log);
        self.both_events().into_iter().for_each(|event| event.log = log);
        Some(())
    }

    /// Has nginx call this for its events.
    pub fn listen(self, handler: ngx_event_handler_pt) {
        self.both_events().into_iter().for_each(|event| event.handler = handler);
    }

    /// Whether there may be something to read.
    pub fn is_ready(self) -> bool {
        let [read, _] = self.both_events();
        read.ready() == 1
    }

    /// Has nginx call the handler once there is something to read.
    pub fn expect_more(self) -> Result<(), String> {
        // SAFETY: the event is that of the open connection.
        match unsafe { ngx_handle_read_event(self.get().read, 0) } {
            OK => Ok(()),
            _ => Err("no event".to_owned()),
        }
    }

    /// Whether there is nothing to read, by the connection's own function, which takes in what TLS alone is told.
    pub fn has_nothing(self) -> bool {
        let mut byte = 0u8;
        // SAFETY: the connection is open, and there is room for one byte.
        let received = self.get().recv.map(|recv| unsafe { recv(self.as_ptr(), &raw mut byte, 1) });
        received == Some(NGX_AGAIN as isize)
    }

    /// What connecting has failed with, if it has.
    pub fn check_connected(self) -> io::Result<()> {
        self.socket(|socket| socket.take_error())?.map_or(Ok(()), Err)
    }

    /// Whether bytes have arrived, which stay there.
    pub fn has_bytes(self) -> bool {
        self.socket(|socket| socket.peek(&mut [MaybeUninit::uninit()]).is_ok_and(|len| len == 1))
    }

    /// Has the kernel probe a silent connection; without effect on one that is not TCP.
    pub fn probe(self, how: &TcpKeepalive) {
        let _ = self.socket(|socket| socket.set_tcp_keepalive(how));
    }

    /// Sets how long the kernel waits for acknowledgement, where it can and this is TCP.
    pub fn set_unacknowledged(self, time: Duration) {
        #[cfg(target_os = "linux")]
        let _ = self.socket(|socket| socket.set_tcp_user_timeout(Some(time)));
        #[cfg(not(target_os = "linux"))]
        let _ = time;
    }

    /// Closes the connection, once TLS has been shut down.
    pub fn finish(self) {
        let pool = self.get().pool;
        // SAFETY: nobody uses the connection any more; its pool is null or its own.
        unsafe {
            if !pool.is_null() {
                ngx_destroy_pool(pool);
            }
            ngx_close_connection(self.as_ptr());
        }
    }
}
