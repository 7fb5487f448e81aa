//! A connection to a server.

use std::ffi::c_int;
use std::ptr::NonNull;

use crate::nginx::base::ffi::{
    ngx_close_connection, ngx_connection_t, ngx_destroy_pool, ngx_peer_connection_t,
};

/// An open connection.
#[derive(Clone, Copy, PartialEq)]
pub struct Connection(NonNull<ngx_connection_t>);

impl Connection {
    /// That of a peer; `None` before nginx has connected, and after it has closed the connection.
    pub fn of(peer: &ngx_peer_connection_t) -> Option<Self> {
        NonNull::new(peer.connection).map(Self)
    }

    /// nginx's own structure.
    pub fn get<'a>(self) -> &'a mut ngx_connection_t {
        // SAFETY: it is open, and so in nginx's table of connections; no caller keeps the reference over a call to nginx.
        unsafe { &mut *self.0.as_ptr() }
    }

    /// What nginx's functions want.
    pub fn as_ptr(self) -> *mut ngx_connection_t {
        self.0.as_ptr()
    }

    /// Sets an option of TCP. A socket that is none of TCP's, or a kernel without the option, does without.
    pub fn set_option(self, option: c_int, value: c_int) {
        let len = libc::socklen_t::try_from(size_of::<c_int>()).unwrap_or_default();
        let (fd, value) = (self.get().fd, &raw const value);
        // SAFETY: the value is a number of this length.
        unsafe { libc::setsockopt(fd, libc::IPPROTO_TCP, option, value.cast(), len) };
    }

    /// Closes it, once TLS has been ended.
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
