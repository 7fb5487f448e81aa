//! A connection that waits in nginx's keepalive for its first request.
//!
//! Keepalive takes whatever arrives meanwhile for the end of the connection. After a handshake of TLS 1.3 these are
//! session tickets, which may come as late as they like; here they are read.

use std::sync::OnceLock;

use crate::nginx::base::connection::Connection;
use crate::nginx::base::ffi::{ngx_connection_t, ngx_event_handler_pt, ngx_event_t, NGX_AGAIN};
use crate::nginx::base::guard;
use crate::nginx::upstream::tls_client;

type Handler = unsafe extern "C" fn(*mut ngx_event_t);

/// Keepalive's own function, which has no name outside of its module.
static CLOSE: OnceLock<Handler> = OnceLock::new();

/// Reads session tickets before keepalive, which has just taken the connection, sees them; until a request gets it.
pub fn keep_open(c: Connection) {
    // SAFETY: an open connection has its events.
    let handler: &mut ngx_event_handler_pt = unsafe { &mut (*c.get().read).handler };
    let Some(found) = *handler else { return };
    // Without TLS nothing comes before the first request.
    if tls_client::is_spoken(c) && *CLOSE.get_or_init(|| found) as usize == found as usize {
        *handler = Some(on_event);
    }
}

unsafe extern "C" fn on_event(event: *mut ngx_event_t) {
    let Some(close) = CLOSE.get() else { return };
    // SAFETY: the data of a connection's event is the connection, which nginx calls this for.
    let ends = guard::process("idle connection", true, || unsafe { ends(event) });
    // SAFETY: what nginx would have called without us. It looks at the socket for itself, unless the connection's time
    // is over.
    unsafe {
        if ends {
            (*event).set_timedout(1);
        }
        close(event);
    }
}

/// Whether anything came but what TLS keeps for itself.
///
/// # Safety
///
/// The event is that of an open connection.
unsafe fn ends(event: *mut ngx_event_t) -> bool {
    let mut byte = 0u8;
    // SAFETY: promised by the caller, and there is room for one byte.
    unsafe {
        let c = (*event).data.cast::<ngx_connection_t>();
        (*event).timedout() == 1
            || (*c).recv.is_none_or(|receive| receive(c, &raw mut byte, 1) != NGX_AGAIN as isize)
    }
}
