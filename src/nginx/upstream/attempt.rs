//! Makes one connection for nginx's keepalive, as the upstream module makes those of requests.

use std::ffi::{c_int, c_void};
use std::io;
use std::mem;
use std::ptr;
use std::rc::Rc;

use crate::nginx::base::clock::now;
use crate::nginx::base::connection::Connection;
use crate::nginx::base::ffi::{
    ngx_connection_log_error_e_NGX_ERROR_ERR, ngx_connection_t, ngx_create_pool, ngx_destroy_pool,
    ngx_event_connect_peer, ngx_event_t, ngx_handle_read_event, ngx_http_request_t,
    ngx_http_update_location_config, ngx_http_upstream_srv_conf_t, ngx_http_upstream_t, ngx_int_t,
    ngx_log_t, ngx_msec_t, ngx_pcalloc, ngx_pool_t, ngx_uint_t, NGX_AGAIN, NGX_DONE,
    NGX_PEER_FAILED, NGX_PEER_NEXT,
};
use crate::nginx::base::status::OK;
use crate::nginx::upstream::address_list::List;
use crate::nginx::upstream::servers;
use crate::nginx::upstream::tls_client::{self, TlsClient};
use crate::nginx::upstream::wanted::Wanted;

/// How long to wait for the session tickets of TLS 1.3, which come after the handshake. keepalive would mistake them
/// for the end of the connection.
const SETTLE: ngx_msec_t = 1_000;
/// How long to wait for the next ticket, after one has come.
const SETTLE_MORE: ngx_msec_t = 20;

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
    /// There is no address.
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
    /// The pool of the structures that nginx's functions expect of a request.
    pool: *mut ngx_pool_t,
    request: *mut ngx_http_request_t,
    upstream: *mut ngx_http_upstream_t,
    wanted: Wanted,
    callbacks: Callbacks,
    tls: Option<TlsClient>,
    stage: Stage,
    /// Whether it counts as failed.
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
        let Some((list, init)) = servers::list_of(upstream) else { return Begun::NoAddress };
        let tls = if wanted.tls { TlsClient::of_nginx() } else { None };
        if wanted.tls && tls.is_none() {
            return Begun::Failed("nginx does not export its TLS functions".to_owned());
        }
        // SAFETY: the caller's log outlives the attempt.
        let Some((pool, request)) = (unsafe { stand_in(wanted, log) }) else {
            return Begun::Failed("out of memory".to_owned());
        };
        // SAFETY: the request and its upstream live as long as the pool, the settings as the configuration.
        let (own, deadline) =
            unsafe { ((*request).upstream, now().wrapping_add((*wanted.conf).connect_timeout)) };
        let (stage, wanted) = (Stage::Connecting, *wanted);
        let mut attempt = Self {
            pool,
            request,
            upstream: own,
            wanted,
            callbacks,
            tls,
            stage,
            failed: true,
            deadline,
            _list: list,
        };
        // SAFETY: what nginx calls for a request, with all of one that a balancer of nginx's own looks at.
        let prepared = unsafe {
            (*own).upstream = upstream;
            init(request, upstream)
        };
        if prepared != OK {
            return Begun::Failed("out of memory".to_owned());
        }
        // SAFETY: the balancer has set the peer up.
        let status = unsafe { ngx_event_connect_peer(&raw mut (*own).peer) };
        // SAFETY: the peer is the attempt's own.
        if status == NGX_DONE as ngx_int_t || unsafe { (*own).peer.cached() } == 1 {
            attempt.keep_later();
            return Begun::Ready(attempt);
        }
        let error = io::Error::last_os_error();
        servers::want(upstream);
        if status == OK || status == NGX_AGAIN as ngx_int_t {
            return match attempt.adopt(log, owner) {
                Some(()) => Begun::UnderWay(attempt),
                None => Begun::Failed("out of memory".to_owned()),
            };
        }
        // SAFETY: as above. Without a server no address was chosen.
        if unsafe { (*own).peer.sockaddr.is_null() } {
            return Begun::NoAddress;
        }
        Begun::Failed(error.to_string())
    }

    fn connection(&self) -> *mut ngx_connection_t {
        // SAFETY: the upstream lives as long as the attempt's pool.
        unsafe { (*self.upstream).peer.connection }
    }

    /// Whether this attempt owns the connection.
    pub fn is_of(&self, connection: *mut ngx_connection_t) -> bool {
        ptr::eq(self.connection(), connection)
    }

    /// Handles the events of a connection that nginx has begun.
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

    /// Proceeds as far as possible without waiting.
    pub fn advance(&mut self) -> Result<(), String> {
        match self.stage {
            Stage::Connecting => self.connected(),
            Stage::Handshaking => self.handshaked(),
            Stage::Settling => self.read(),
        }
    }

    fn connected(&mut self) -> Result<(), String> {
        let c = self.connection();
        // SAFETY: the connection is open.
        let error = socket_error(unsafe { (*c).fd });
        if error != 0 {
            return Err(io::Error::from_raw_os_error(error).to_string());
        }
        let Some(tls) = &self.tls else {
            self.settle(0);
            return Ok(());
        };
        self.stage = Stage::Handshaking;
        // SAFETY: the connection is open and has a pool; the settings are those of the upstream.
        if unsafe { tls.begin(c, self.wanted.conf, self.callbacks.on_handshake) }? {
            self.handshaked()?;
        }
        Ok(())
    }

    /// Verifies the server, as nginx does.
    fn handshaked(&mut self) -> Result<(), String> {
        let c = self.connection();
        if let Some(tls) = &self.tls {
            // SAFETY: the handshake was begun with these settings.
            unsafe { tls.check(c, self.wanted.conf) }?;
            self.note_sendfile();
        }
        self.listen();
        self.settle(SETTLE);
        // SAFETY: the connection is open.
        if unsafe { (*(*c).read).ready() } == 1 {
            return self.read();
        }
        // SAFETY: as above.
        match unsafe { ngx_handle_read_event((*c).read, 0) } {
            OK => Ok(()),
            _ => Err("no event".to_owned()),
        }
    }

    /// Has nginx mark the connection as one without sendfile, as it does after its own handshakes. The mark is a bit
    /// whose place differs between versions, see `bit_fields.rs`.
    fn note_sendfile(&self) {
        // SAFETY: nginx notes what the request's location says of it in the request's connection; this one takes the
        // client's place meanwhile.
        unsafe {
            let client = mem::replace(&mut (*self.request).connection, self.connection());
            ngx_http_update_location_config(self.request);
            (*self.request).connection = client;
        }
    }

    fn settle(&mut self, wait: ngx_msec_t) {
        (self.stage, self.deadline) = (Stage::Settling, now().wrapping_add(wait));
    }

    /// Reads what TLS sends after the handshake. The connection is not kept if the server sends more or closes it.
    fn read(&mut self) -> Result<(), String> {
        if self.tls.is_none() {
            // keepalive checks this itself.
            return Ok(());
        }
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
        if !nothing {
            return Err("the server does not keep it open".to_owned());
        }
        // An event without data, such as one for writing, says nothing about tickets.
        if came {
            self.settle(SETTLE_MORE);
        }
        Ok(())
    }

    /// Ends when its time is over.
    pub fn expire(mut self) -> Result<(), String> {
        if self.stage != Stage::Settling {
            return Err("timed out".to_owned());
        }
        // SAFETY: the connection is open.
        if unsafe { (*(*self.connection()).read).ready() } == 1 {
            self.read()?;
        }
        self.keep();
        Ok(())
    }

    /// Leaves the connection to keepalive.
    pub fn keep(mut self) {
        self.keep_later();
    }

    fn keep_later(&mut self) {
        self.failed = false;
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        // SAFETY: what nginx calls when a request is done with its server. Keepalive takes the connection, or
        // leaves it here to be closed.
        unsafe {
            let peer = &raw mut (*self.upstream).peer;
            if let Some(free) = (*peer).free.filter(|_| !(*peer).sockaddr.is_null()) {
                // A connection that has served no request says nothing of the server's speed.
                let state = if self.failed { NGX_PEER_FAILED } else { NGX_PEER_NEXT };
                free(peer, (*peer).data, state as ngx_uint_t);
                #[cfg(nginx_peer_close)]
                if let Some(close) = (*peer).close {
                    close(peer, (*peer).data, state as ngx_uint_t);
                }
            }
            if let Some(c) = Connection::of(&*peer) {
                tls_client::close(c);
            }
            ngx_destroy_pool(self.pool);
        }
    }
}

/// The structures that nginx's functions expect of a request, its upstream and its client, in their own pool.
///
/// # Safety
///
/// The log outlives the pool.
unsafe fn stand_in(
    wanted: &Wanted,
    log: *mut ngx_log_t,
) -> Option<(*mut ngx_pool_t, *mut ngx_http_request_t)> {
    // SAFETY: promised by the caller. The memory is zeroed, which is a valid value for every field.
    unsafe {
        let pool = ngx_create_pool(4096, log);
        if pool.is_null() {
            return None;
        }
        let r = ngx_pcalloc(pool, size_of::<ngx_http_request_t>()).cast::<ngx_http_request_t>();
        let u = ngx_pcalloc(pool, size_of::<ngx_http_upstream_t>()).cast::<ngx_http_upstream_t>();
        let client = ngx_pcalloc(pool, size_of::<ngx_connection_t>()).cast::<ngx_connection_t>();
        if r.is_null() || u.is_null() || client.is_null() {
            ngx_destroy_pool(pool);
            return None;
        }
        (*client).log = log;
        ((*r).pool, (*r).connection, (*r).upstream) = (pool, client, u);
        wanted.level.enter(&mut *r);
        (*u).conf = wanted.conf;
        // keepalive takes a connection only with these values.
        (*u).set_keepalive(1);
        (*u).set_request_body_sent(1);
        (*u).peer.log = log;
        (*u).peer.set_log_error(ngx_connection_log_error_e_NGX_ERROR_ERR);
        (*u).peer.set_so_keepalive(u32::from((*wanted.conf).socket_keepalive == 1));
        Some((pool, r))
    }
}

/// Whether data has arrived; it is not read.
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
