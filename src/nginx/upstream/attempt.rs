//! Makes one connection for nginx's keepalive, as the upstream module makes those of requests.

use std::ffi::{c_int, c_void};
use std::io;
use std::ptr;
use std::rc::Rc;

use crate::nginx::base::clock::now;
use crate::nginx::base::connection::Connection;
use crate::nginx::base::ffi::{
    ngx_connection_t, ngx_create_pool, ngx_event_connect_peer, ngx_event_t, ngx_handle_read_event,
    ngx_http_upstream_srv_conf_t, ngx_int_t, ngx_log_t, ngx_msec_t, ngx_uint_t, NGX_AGAIN,
    NGX_DONE, NGX_PEER_FAILED, NGX_PEER_NEXT,
};
use crate::nginx::base::status::{ERROR, OK};
use crate::nginx::upstream::address_list::List;
use crate::nginx::upstream::stand_in::StandIn;
use crate::nginx::upstream::tls_client::{self, TlsClient};
use crate::nginx::upstream::wanted::Wanted;
use crate::nginx::upstream::{idle, liveness, servers};

/// How long the first word after a handshake is waited for, in milliseconds, at least and at most.
const SETTLE: [ngx_msec_t; 2] = [20, 1_000];

/// What servers need at most that others are not tried in place of, in milliseconds.
pub const LATE: ngx_msec_t = 150;

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
        // SAFETY: the caller's log outlives the attempt.
        let Some(stand_in) = (unsafe { StandIn::new(wanted, log) }) else { return no_memory() };
        let (request, own) = (stand_in.request(), stand_in.upstream());
        let begun = now();
        // SAFETY: the settings live as long as the configuration.
        let deadline = begun.wrapping_add(unsafe { (*wanted.conf).connect_timeout });
        let tls = if wanted.tls { TlsClient::of_nginx() } else { None };
        let (wanted, stage, failed) = (*wanted, Stage::Connecting, true);
        let mut attempt =
            Self { stand_in, wanted, callbacks, tls, stage, begun, failed, deadline, _list: list };
        // SAFETY: what nginx calls for a request, with all of one that a balancer looks at.
        let prepared = unsafe {
            (*own).upstream = upstream;
            init(request, upstream)
        };
        if prepared != OK {
            return no_memory();
        }
        // SAFETY: the balancer has set the peer up.
        let peer = unsafe { &mut (*own).peer };
        // SAFETY: as above.
        let status = unsafe { ngx_event_connect_peer(peer) };
        if status == NGX_DONE as ngx_int_t || peer.cached() == 1 {
            attempt.failed = false;
            // Keepalive has let go of the connection.
            let suspect = Connection::of(peer).filter(|c| servers::distrusts(upstream, *c));
            if suspect.is_some_and(tls_client::close) {
                peer.connection = ptr::null_mut();
                return Begun::Suspect;
            }
            return Begun::Ready(attempt);
        }
        let error = io::Error::last_os_error();
        servers::want(upstream);
        if status == OK || status == NGX_AGAIN as ngx_int_t {
            return match attempt.adopt(log, owner) {
                Some(()) => Begun::UnderWay(attempt),
                None => no_memory(),
            };
        }
        // Without a server no address was chosen.
        if peer.sockaddr.is_null() {
            return Begun::NoAddress;
        }
        // No descriptor is left, for example: the address is not why.
        attempt.failed = status != ERROR;
        Begun::Failed(error.to_string())
    }

    /// The connection, where there is one.
    fn server(&self) -> Option<Connection> {
        // SAFETY: the upstream lives as long as its stand-in.
        Connection::of(unsafe { &(*self.stand_in.upstream()).peer })
    }

    fn connection(&self) -> *mut ngx_connection_t {
        self.server().map_or(ptr::null_mut(), Connection::as_ptr)
    }

    /// Whether this attempt owns the connection.
    pub fn is_of(&self, connection: *mut ngx_connection_t) -> bool {
        ptr::eq(self.connection(), connection)
    }

    /// Whether the server takes longer than others.
    pub fn is_late(&self) -> bool {
        self.stage != Stage::Settling && now().wrapping_sub(self.begun) >= LATE
    }

    /// Takes the events of a connection that nginx has begun.
    fn adopt(&mut self, log: *mut ngx_log_t, owner: *mut c_void) -> Option<()> {
        let c = self.connection();
        // SAFETY: the connection is new and open, and nobody else's.
        unsafe {
            (*c).pool = ngx_create_pool(128, log);
            if (*c).pool.is_null() {
                return None;
            }
            (*c).data = owner;
            ((*c).log, (*(*c).read).log, (*(*c).write).log) = (log, log, log);
        }
        self.listen();
        Some(())
    }

    fn listen(&self) {
        let c = self.connection();
        // SAFETY: the connection is open.
        unsafe {
            (*(*c).read).handler = Some(self.callbacks.on_event);
            (*(*c).write).handler = Some(self.callbacks.on_event);
        }
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
        let c = self.connection();
        // SAFETY: the connection is open.
        let error = socket_error(unsafe { (*c).fd });
        if error != 0 {
            return Err(io::Error::from_raw_os_error(error).to_string());
        }
        // SAFETY: the settings live as long as the configuration.
        if unsafe { (*self.wanted.conf).socket_keepalive } == 1 {
            self.server().into_iter().for_each(liveness::watch);
        }
        let Some(tls) = &self.tls else { return Ok(true) };
        self.stage = Stage::Handshaking;
        // SAFETY: the connection is open and has a pool; the settings are those of the upstream.
        if unsafe { tls.begin(c, self.wanted.conf, self.callbacks.on_handshake) }? {
            return self.handshaked();
        }
        Ok(false)
    }

    /// Checks whom it is connected to, as nginx does.
    fn handshaked(&mut self) -> Result<bool, String> {
        let c = self.connection();
        if let Some(tls) = &self.tls {
            // SAFETY: the handshake was begun with these settings.
            unsafe { tls.check(c, self.wanted.conf) }?;
            self.stand_in.note_sendfile();
        }
        self.listen();
        // A server that wants no such connection says so now. Its word, or its first session ticket, comes in the time
        // of one round trip, and what was until now took two.
        let wait = now().wrapping_sub(self.begun).clamp(SETTLE[0], SETTLE[1]);
        (self.stage, self.deadline) = (Stage::Settling, now().wrapping_add(wait));
        // SAFETY: the connection is open.
        if unsafe { (*(*c).read).ready() } == 1 {
            return self.read();
        }
        // SAFETY: as above.
        match unsafe { ngx_handle_read_event((*c).read, 0) } {
            OK => Ok(false),
            _ => Err("no event".to_owned()),
        }
    }

    /// Takes what TLS sends after the handshake. A server that sends more, or ends, is none to keep.
    fn read(&mut self) -> Result<bool, String> {
        let c = self.connection();
        // SAFETY: the connection is open.
        let came = has_bytes(unsafe { (*c).fd });
        let mut byte = 0u8;
        // SAFETY: the connection is open, and there is room for one byte.
        let nothing = unsafe {
            let receive = (*c).recv.ok_or("no connection")?;
            receive(c, &raw mut byte, 1) == NGX_AGAIN as isize
                && ngx_handle_read_event((*c).read, 0) == OK
        };
        // An event that brings nothing, such as room to write, says nothing.
        if nothing {
            Ok(came)
        } else {
            Err("the server does not keep it open".to_owned())
        }
    }

    /// What becomes of it when its time is over: whether it can be left to keepalive.
    pub fn expire(&mut self) -> Result<(), String> {
        if self.stage != Stage::Settling {
            return Err("timed out".to_owned());
        }
        // SAFETY: the connection is open.
        if unsafe { (*(*self.connection()).read).ready() } == 1 {
            self.read()?;
        }
        Ok(())
    }

    /// Leaves the connection to keepalive, and tells whether that takes it.
    pub fn keep(mut self) -> bool {
        self.failed = false;
        let Some(c) = self.server() else { return false };
        self.give_back();
        // nginx's memory for a connection stays when it is closed.
        let kept = self.server().is_none() && c.get().fd != -1;
        if kept {
            idle::keep_open(c);
        }
        kept
    }

    /// Ends the use of the server, as nginx does for a request. Keepalive takes the connection, or leaves it here.
    fn give_back(&mut self) {
        // SAFETY: the peer lives as long as its stand-in.
        unsafe {
            let peer = &raw mut (*self.stand_in.upstream()).peer;
            if let Some(free) = (*peer).free.filter(|_| !(*peer).sockaddr.is_null()) {
                // A connection that has served no request says nothing of the server's speed.
                let state = if self.failed { NGX_PEER_FAILED } else { NGX_PEER_NEXT };
                free(peer, (*peer).data, state as ngx_uint_t);
                #[cfg(nginx_peer_close)]
                if let Some(close) = (*peer).close {
                    close(peer, (*peer).data, state as ngx_uint_t);
                }
            }
            (*peer).sockaddr = ptr::null_mut();
        }
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        self.give_back();
        if let Some(c) = self.server() {
            tls_client::close(c);
        }
    }
}

/// Whether something has arrived, which stays there.
fn has_bytes(fd: c_int) -> bool {
    let mut byte = 0u8;
    // SAFETY: there is room for one byte; nginx's sockets do not block.
    unsafe { libc::recv(fd, (&raw mut byte).cast(), 1, libc::MSG_PEEK) == 1 }
}

/// The error of connecting, or 0.
fn socket_error(fd: c_int) -> c_int {
    let mut error: c_int = 0;
    let mut len = libc::socklen_t::try_from(size_of::<c_int>()).unwrap_or_default();
    // SAFETY: the option is a number of this size.
    let status = unsafe {
        let value = (&raw mut error).cast();
        libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_ERROR, value, &raw mut len)
    };
    if status == -1 {
        return io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO);
    }
    error
}
