//! Makes one connection for nginx's keepalive, as the upstream module makes those of requests.

use std::ffi::c_void;
use std::io;
use std::ptr;
use std::rc::Rc;

use crate::nginx::base::clock::now;
use crate::nginx::base::connection::Connection;
use crate::nginx::base::ffi::{
    ngx_connection_t, ngx_event_connect_peer, ngx_event_t, ngx_http_upstream_srv_conf_t, ngx_int_t,
    ngx_log_t, ngx_msec_t, ngx_uint_t, NGX_AGAIN, NGX_DONE, NGX_PEER_FAILED, NGX_PEER_NEXT,
};
use crate::nginx::base::status::{ERROR, OK};
use crate::nginx::upstream::address_list::List;
use crate::nginx::upstream::stand_in::StandIn;
use crate::nginx::upstream::tls_client::{self, TlsClient};
use crate::nginx::upstream::wanted::Wanted;
use crate::nginx::upstream::{idle, liveness, servers};
use crate::pace::LATE;

/// How long the first word after a handshake is waited for, in milliseconds, at least and at most.
const SETTLE: [ngx_msec_t; 2] = [20, 1_000];

/// What nginx calls when something happens on the connection, whose data is the owner: an event, or the end of a TLS
/// handshake.
#[derive(Clone, Copy)]
pub struct Callbacks {
    /// For an event of the connection.
    pub on_event: unsafe extern "C" fn(*mut ngx_event_t),
    /// For the end of a TLS handshake.
    pub on_handshake: unsafe extern "C" fn(*mut ngx_connection_t),
}

/// The result of asking for a connection.
pub enum Begun {
    /// keepalive had one.
    Ready(Attempt),
    /// A connection is being made.
    UnderWay(Attempt),
    /// Keepalive had one that may be dead; it is closed.
    Suspect,
    /// There is nobody to connect to.
    NoAddress,
    /// The connection could not be begun.
    Failed(String),
}

#[derive(Clone, Copy, PartialEq)]
enum Stage {
    Connecting,
    Handshaking,
    Settling,
}

/// A connection without a request. Dropping it closes the connection unless keepalive has taken it.
pub struct Attempt {
    stand_in: StandIn,
    wanted: Wanted,
    callbacks: Callbacks,
    tls: Option<TlsClient>,
    stage: Stage,
    begun: ngx_msec_t,
    /// Whether it ends as one that failed.
    failed: bool,
    /// When it is given up, or has waited long enough.
    pub deadline: ngx_msec_t,
    /// The addresses that nginx chose from.
    _list: Option<Rc<List>>,
}

impl Attempt {
    /// Asks an upstream for a connection.
    pub fn begin(
        upstream: &mut ngx_http_upstream_srv_conf_t,
        wanted: &Wanted,
        log: *mut ngx_log_t,
        owner: *mut c_void,
        callbacks: Callbacks,
    ) -> Begun {
        let no_memory = || Begun::Failed("out of memory".to_owned());
        let Some((list, init)) = servers::list_of(upstream) else { return Begun::NoAddress };
        let Some(stand_in) = StandIn::new(wanted, log) else { return no_memory() };
        let begun = now();
        let deadline = begun.wrapping_add(wanted.conf.connect_timeout);
        let tls = if wanted.tls { TlsClient::of_nginx() } else { None };
        let (wanted, stage, failed) = (*wanted, Stage::Connecting, true);
        let mut attempt =
            Self { stand_in, wanted, callbacks, tls, stage, begun, failed, deadline, _list: list };
        let Some(status) = attempt.connect(upstream, init) else { return no_memory() };
        let error = io::Error::last_os_error();
        let Some(u) = attempt.stand_in.upstream() else { return no_memory() };
        if status == NGX_DONE as ngx_int_t || u.peer.cached() == 1 {
            // Keepalive has let go of the connection.
            let suspect = Connection::of(&u.peer).filter(|c| servers::distrusts(upstream, *c));
            if suspect.is_some_and(tls_client::close) {
                u.peer.connection = ptr::null_mut();
                attempt.failed = false;
                return Begun::Suspect;
            }
            attempt.failed = false;
            return Begun::Ready(attempt);
        }
        servers::want(upstream);
        if status == OK || status == NGX_AGAIN as ngx_int_t {
            let adopted = Connection::of(&u.peer).and_then(|c| {
                c.adopt(log, owner)?;
                c.listen(Some(callbacks.on_event));
                Some(())
            });
            return adopted.map_or_else(no_memory, |()| Begun::UnderWay(attempt));
        }
        // Without a server no address was chosen.
        if u.peer.sockaddr.is_null() {
            return Begun::NoAddress;
        }
        // No descriptor is left, for example: the address is not why.
        attempt.failed = status != ERROR;
        Begun::Failed(error.to_string())
    }

    /// Has nginx connect to a server of its choice. `None` where it cannot choose.
    fn connect(
        &mut self,
        upstream: *mut ngx_http_upstream_srv_conf_t,
        init: servers::InitPeer,
    ) -> Option<ngx_int_t> {
        let u = self.stand_in.upstream()?;
        let r = self.stand_in.request();
        u.upstream = upstream;
        // SAFETY: what nginx calls for a request, with all of one that a balancer looks at, which sets the peer up.
        unsafe { (init(r, upstream) == OK).then(|| ngx_event_connect_peer(&raw mut u.peer)) }
    }

    /// The connection, if there is one.
    fn connection(&self) -> Option<Connection> {
        Connection::of(&self.stand_in.upstream()?.peer)
    }

    /// The same where there must be one.
    fn server(&self) -> Result<Connection, String> {
        self.connection().ok_or_else(|| "no connection".to_owned())
    }

    /// Whether this attempt owns the connection.
    pub fn is_of(&self, connection: *mut ngx_connection_t) -> bool {
        self.connection().is_some_and(|c| ptr::eq(c.as_ptr(), connection))
    }

    /// Whether the server takes longer than others.
    pub fn is_late(&self) -> bool {
        self.stage != Stage::Settling && now().wrapping_sub(self.begun) >= LATE
    }

    /// Goes on, as far as it goes without waiting, and tells whether the connection can be left to keepalive.
    pub fn advance(&mut self) -> Result<bool, String> {
        match self.stage {
            Stage::Connecting => self.connected(),
            Stage::Handshaking => self.handshaked(),
            Stage::Settling => self.read(),
        }
    }

    fn connected(&mut self) -> Result<bool, String> {
        let c = self.server()?;
        c.check_connected().map_err(|error| error.to_string())?;
        if self.wanted.conf.socket_keepalive == 1 {
            liveness::watch(c);
        }
        let Some(tls) = &self.tls else { return Ok(true) };
        self.stage = Stage::Handshaking;
        if tls.begin(c, self.wanted.conf, self.callbacks.on_handshake)? {
            return self.handshaked();
        }
        Ok(false)
    }

    /// Checks whom it is connected to, as nginx does.
    fn handshaked(&mut self) -> Result<bool, String> {
        let c = self.server()?;
        if let Some(tls) = &self.tls {
            tls.check(c, self.wanted.conf)?;
            self.stand_in.note_sendfile();
        }
        c.listen(Some(self.callbacks.on_event));
        // A server that wants no such connection says so now. Its word, or its first session ticket, comes in the time
        // of one round trip, and what was until now took two.
        let wait = now().wrapping_sub(self.begun).clamp(SETTLE[0], SETTLE[1]);
        (self.stage, self.deadline) = (Stage::Settling, now().wrapping_add(wait));
        if c.is_ready() {
            return self.read();
        }
        c.expect_more().map(|()| false)
    }

    /// Takes what TLS sends after the handshake. A server that sends more, or ends, is none to keep.
    fn read(&mut self) -> Result<bool, String> {
        let c = self.server()?;
        let came = c.has_bytes();
        if !c.has_nothing() || c.expect_more().is_err() {
            return Err("the server does not keep it open".to_owned());
        }
        // An event that brings nothing, such as room to write, says nothing.
        Ok(came)
    }

    /// What becomes of it when its time is over: whether it can be left to keepalive.
    pub fn expire(&mut self) -> Result<(), String> {
        if self.stage != Stage::Settling {
            return Err("timed out".to_owned());
        }
        if self.server()?.is_ready() {
            self.read()?;
        }
        Ok(())
    }

    /// Leaves the connection to keepalive. Returns it if that takes it.
    pub fn keep(mut self) -> Option<Connection> {
        self.failed = false;
        let c = self.connection()?;
        self.give_back();
        // nginx's memory for a connection stays when it is closed.
        let kept = self.connection().is_none() && c.get().fd != -1;
        if kept {
            idle::keep_open(c);
        }
        kept.then_some(c)
    }

    /// Ends the use of the server, as nginx does for a request. Keepalive takes the connection, or leaves it here.
    fn give_back(&mut self) {
        let Some(u) = self.stand_in.upstream() else { return };
        // A connection that has served no request says nothing of the server's speed.
        let state = if self.failed { NGX_PEER_FAILED } else { NGX_PEER_NEXT } as ngx_uint_t;
        let (peer, data) = (&raw mut u.peer, u.peer.data);
        if !u.peer.sockaddr.is_null() {
            // SAFETY: the balancer has set these functions, for this peer.
            unsafe {
                (*peer).free.into_iter().for_each(|free| free(peer, data, state));
                #[cfg(nginx_peer_close)]
                (*peer).close.into_iter().for_each(|close| close(peer, data, state));
            }
        }
        u.peer.sockaddr = ptr::null_mut();
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        self.give_back();
        if let Some(c) = self.connection() {
            tls_client::close(c);
        }
    }
}
