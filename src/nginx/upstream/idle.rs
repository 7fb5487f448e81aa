//! A connection that waits in nginx's keepalive for its first request.
//!
//! Keepalive takes whatever arrives meanwhile for the end of the connection. After a handshake of TLS 1.3 these are
//! session tickets, which may come as late as they like; here they are read.

use std::sync::OnceLock;

use crate::nginx::base::connection::Connection;
use crate::nginx::base::ffi::ngx_event_t;
use crate::nginx::base::guard;
use crate::nginx::upstream::tls_client;

type Handler = unsafe extern "C" fn(*mut ngx_event_t);

/// Keepalive's own function, which has no name outside of its module.
static CLOSE: OnceLock<Handler> = OnceLock::new();

/// Reads session tickets before keepalive, which has just taken the connection, sees them; until a request gets it.
pub fn keep_open(c: Connection) {
    let [ngx_event_t { handler, .. }, _] = c.both_events();
    let Some(found) = *handler else { return };
    // Without TLS nothing comes before the first request.
    if tls_client::is_spoken(c) && *CLOSE.get_or_init(|| found) as usize == found as usize {
        *handler = Some(on_event);
    }
}

unsafe extern "C" fn on_event(event: *mut ngx_event_t) {
    let Some(close) = CLOSE.get() else { return };
    // SAFETY: nginx calls this for an event of an open connection, and would have called the other function without us.
    // That looks at the socket for itself, unless the connection's time is over.
    unsafe {
        if guard::process("idle connection", true, || ends(&*event)) {
            (*event).set_timedout(1);
        }
        close(event);
    }
}

/// Whether anything came but what TLS keeps for itself.
fn ends(event: &ngx_event_t) -> bool {
    event.timedout() == 1 || !Connection::of_event(event).is_some_and(Connection::has_nothing)
}
