//! The addresses of an implicit upstream: lists made by nginx's own round robin, exchanged while nginx runs.

use std::ffi::c_void;
use std::mem;
use std::net::{IpAddr, SocketAddr};
use std::ptr;
use std::rc::Rc;

use ngx::ffi::{
    ngx_addr_t, ngx_array_create, ngx_array_push, ngx_conf_t, ngx_create_pool, ngx_cycle,
    ngx_destroy_pool, ngx_http_request_t, ngx_http_upstream_init_peer_pt,
    ngx_http_upstream_init_round_robin, ngx_http_upstream_rr_peers_t, ngx_http_upstream_server_t,
    ngx_http_upstream_srv_conf_t, ngx_http_upstream_state_t, ngx_int_t, ngx_msec_t,
    ngx_parse_addr_port, ngx_pcalloc, ngx_pool_t, ngx_str_t, ngx_uint_t,
};
use ngx::http::{HttpModuleLocationConf, HttpModuleMainConf, HttpModuleServerConf};

use super::cf::{self, ERROR, OK};
use super::{guard, Module};

/// What is known per `server` and `upstream` block.
#[derive(Default)]
pub struct SrvConf {
    /// Those of an implicit upstream, or of a block of the user's that `clerk_proxy` uses.
    pub peers: Option<Peers>,
}

/// Whose servers they are.
#[derive(Clone, Copy)]
pub enum Owner {
    /// An implicit upstream: the addresses of a name that the resolver follows, with the port, or those that
    /// nginx knows for good.
    Module(Option<(usize, u16)>),
    /// The user, in a block whose servers `clerk_proxy` verifies.
    User,
}

/// The servers of one upstream.
pub struct Peers {
    owner: Owner,
    original: ngx_http_upstream_init_peer_pt,
    /// The list in use, where it is not the one that nginx made at the start.
    list: Option<Rc<List>>,
}

impl Peers {
    /// The servers that are known when the configuration is read.
    pub fn new(owner: Owner) -> Self {
        Self { owner, original: None, list: None }
    }

    /// Whether the request may have a connection, which `clerk_proxy` may use after it. No setting tells where a
    /// `proxy_pass` with variables leads, nor what a client makes of them.
    fn admits(&self, r: &ngx_http_request_t) -> bool {
        let ours = Module::location_conf(r).is_some_and(|conf| conf.proxy.is_some());
        // SAFETY: nginx chooses a server for a request with an upstream and its settings.
        let verified =
            || unsafe { (*r.upstream).ssl() == 1 && (*(*r.upstream).conf).ssl_verify == 1 };
        ours || (matches!(self.owner, Owner::User) && verified())
    }

    /// Has nginx ask us first when a request needs a server.
    pub fn install(&mut self, upstream: &mut ngx_http_upstream_srv_conf_t) {
        self.original = upstream.peer.init.replace(init_peer);
    }

    /// Takes over a newer list of addresses; requests under way keep theirs.
    fn refresh(
        &mut self,
        r: &ngx_http_request_t,
        upstream: &mut ngx_http_upstream_srv_conf_t,
    ) -> Option<()> {
        let Owner::Module(Some((host, port))) = self.owner else { return Some(()) };
        let resolver = &mut Module::main_conf_mut(r)?.resolver;
        resolver.want(host);
        let current = self.list.as_ref().map_or(0, |list| list.generation);
        if let Some((generation, addresses)) = resolver.other_than(current, host) {
            // Without memory the old list stays.
            if let Some(list) = List::new(upstream, &addresses, port, generation) {
                if let Some(old) = &self.list {
                    // SAFETY: both are lists of nginx's round robin, and this is the only thread.
                    unsafe { inherit(list.peers, old.peers) };
                }
                upstream.peer.data = list.peers.cast();
                self.list = Some(Rc::new(list));
            }
        }
        Some(())
    }
}

/// One list of addresses, in memory of its own.
struct List {
    pool: *mut ngx_pool_t,
    peers: *mut ngx_http_upstream_rr_peers_t,
    len: usize,
    generation: usize,
}

impl List {
    fn new(
        upstream: &ngx_http_upstream_srv_conf_t,
        addresses: &[IpAddr],
        port: u16,
        generation: usize,
    ) -> Option<Self> {
        // SAFETY: `ngx_cycle` has a log as long as the process runs.
        let pool = unsafe { ngx_create_pool(1024, (*ngx_cycle).log) };
        if pool.is_null() {
            return None;
        }
        let (peers, len) = (ptr::null_mut(), addresses.len());
        // From here on dropping it frees the pool.
        let mut list = Self { pool, peers, len, generation };
        // SAFETY: the pool is alive.
        list.peers = unsafe { round_robin(pool, upstream, addresses, port) }?;
        Some(list)
    }
}

/// Has nginx make the list that it would have made of these addresses at the start.
///
/// # Safety
///
/// `pool` is alive.
unsafe fn round_robin(
    pool: *mut ngx_pool_t,
    upstream: &ngx_http_upstream_srv_conf_t,
    addresses: &[IpAddr],
    port: u16,
) -> Option<*mut ngx_http_upstream_rr_peers_t> {
    // SAFETY: all memory is from the pool and zeroed, which is a valid value for every field of these structs;
    // `upstream.servers` has the two servers that the recipe says.
    unsafe {
        let block = zeroed::<ngx_http_upstream_srv_conf_t>(pool, 1)?;
        let addrs = zeroed::<ngx_addr_t>(pool, addresses.len())?;
        for (i, &ip) in addresses.iter().enumerate() {
            addrs.add(i).write(address(pool, SocketAddr::new(ip, port))?);
        }
        let servers = ngx_array_create(pool, 2, size_of::<ngx_http_upstream_server_t>());
        if servers.is_null() {
            return None;
        }
        let own = (*upstream.servers).as_slice::<ngx_http_upstream_server_t>();
        // The only address there is needs no other to stand in for it.
        let skip = usize::from(addresses.len() == 1);
        for template in own.iter().skip(skip) {
            let server = ngx_array_push(servers).cast::<ngx_http_upstream_server_t>();
            if server.is_null() {
                return None;
            }
            server.write(*template);
            ((*server).addrs, (*server).naddrs) = (addrs, addresses.len());
            (*server).down = 0;
            if skip == 1 {
                (*server).set_backup(0);
            }
        }
        block.write(*upstream);
        (*block).servers = servers;
        let mut cf: ngx_conf_t = mem::zeroed();
        (cf.pool, cf.log) = (pool, (*ngx_cycle).log);
        let made = ngx_http_upstream_init_round_robin(&raw mut cf, block) == OK;
        made.then(|| (*block).peer.data.cast())
    }
}

/// # Safety
///
/// `pool` is alive, and zero a valid value of the type.
unsafe fn zeroed<T>(pool: *mut ngx_pool_t, count: usize) -> Option<*mut T> {
    // SAFETY: promised by the caller.
    let memory = unsafe { ngx_pcalloc(pool, count * size_of::<T>()) };
    (!memory.is_null()).then_some(memory.cast())
}

/// # Safety
///
/// `pool` is alive.
unsafe fn address(pool: *mut ngx_pool_t, address: SocketAddr) -> Option<ngx_addr_t> {
    let text = address.to_string();
    // SAFETY: promised by the caller; the copy has room for the text, which nginx parses and keeps as the name.
    unsafe {
        let data = zeroed::<u8>(pool, text.len())?;
        data.copy_from_nonoverlapping(text.as_ptr(), text.len());
        let mut addr: ngx_addr_t = mem::zeroed();
        addr.name = ngx_str_t { len: text.len(), data };
        let parsed = ngx_parse_addr_port(pool, &raw mut addr, data, text.len()) == OK;
        parsed.then_some(addr)
    }
}

impl Drop for List {
    fn drop(&mut self) {
        // SAFETY: the last request that used the list is over, and nginx's next ones use another.
        unsafe {
            forget_sessions(self.peers);
            ngx_destroy_pool(self.pool);
        }
    }
}

/// Moves what is known of addresses to a list that has them too: TLS sessions and failures.
///
/// # Safety
///
/// Both are lists of nginx's round robin.
unsafe fn inherit(
    mut peers: *mut ngx_http_upstream_rr_peers_t,
    mut old: *mut ngx_http_upstream_rr_peers_t,
) {
    // SAFETY: promised by the caller. Lists of peers, and of their backups, end with null; a name is text.
    // Requests that still use the old list do without sessions.
    unsafe {
        while let (Some(list), Some(old_list)) = (peers.as_ref(), old.as_ref()) {
            let mut peer = list.peer;
            while let Some(this) = peer.as_mut() {
                let mut other = old_list.peer;
                while let Some(known) = other.as_mut() {
                    if known.name.as_bytes() == this.name.as_bytes() {
                        this.ssl_session = mem::replace(&mut known.ssl_session, ptr::null_mut());
                        (this.fails, this.accessed) = (known.fails, known.accessed);
                        (this.checked, this.effective_weight) =
                            (known.checked, this.effective_weight.min(known.effective_weight));
                    }
                    other = known.next;
                }
                peer = this.next;
            }
            (peers, old) = (list.next, old_list.next);
        }
    }
}

/// Has the next connections begin with a whole handshake.
///
/// # Safety
///
/// `peers` is null or a list of nginx's round robin.
unsafe fn forget_sessions(mut peers: *mut ngx_http_upstream_rr_peers_t) {
    // SAFETY: promised by the caller. Lists of peers, and of their backups, end with null. The reference to a
    // session is the peer's own; connections have theirs.
    unsafe {
        while let Some(list) = peers.as_ref() {
            let mut peer = list.peer;
            while let Some(this) = peer.as_mut() {
                free_session(mem::replace(&mut this.ssl_session, ptr::null_mut()));
                peer = this.next;
            }
            peers = list.next;
        }
    }
}

/// Frees a TLS session, which OpenSSL counts references of.
///
/// # Safety
///
/// It is null or a session that the caller owns.
unsafe fn free_session(session: *mut c_void) {
    if session.is_null() {
        return;
    }
    // By name, since an nginx without TLS, which never has a session, has no such function.
    // SAFETY: where there is a session, the function of this type has made it.
    unsafe {
        let free = libc::dlsym(libc::RTLD_DEFAULT, c"SSL_SESSION_free".as_ptr());
        if !free.is_null() {
            mem::transmute::<*mut c_void, unsafe extern "C" fn(*mut c_void)>(free)(session);
        }
    }
}

/// What a request holds on to until it ends.
struct Use {
    request: *mut ngx_http_request_t,
    host: Option<usize>,
    peers: *mut ngx_http_upstream_rr_peers_t,
    _list: Option<Rc<List>>,
}

impl Drop for Use {
    fn drop(&mut self) {
        // SAFETY: nginx drops it with the request's pool, before it frees any memory of that.
        let r = unsafe { &*self.request };
        if !connection_failed(r) {
            return;
        }
        // A session may be why: nginx keeps that of a TLS 1.2 handshake before it verifies the certificate,
        // and one that is resumed is as bad as its certificate was, however good the server's next one is.
        // SAFETY: an implicit upstream has nginx's round robin; the list lives as long as the request.
        unsafe { forget_sessions(self.peers) };
        if let (Some(host), Some(main)) = (self.host, Module::main_conf_mut(r)) {
            main.resolver.hurry(host);
        }
    }
}

/// Whether a server of the request could not be reached.
fn connection_failed(r: &ngx_http_request_t) -> bool {
    // SAFETY: null or an array of states, one for each server that was tried.
    let states = unsafe { r.upstream_states.as_ref() };
    let states = states.map_or(&[][..], |states| {
        // SAFETY: as above.
        unsafe { states.as_slice::<ngx_http_upstream_state_t>() }
    });
    // nginx sets the time once the connection is there, with TLS if there is any.
    states.iter().any(|state| !state.peer.is_null() && state.connect_time == ngx_msec_t::MAX)
}

unsafe extern "C" fn init_peer(
    r: *mut ngx_http_request_t,
    upstream: *mut ngx_http_upstream_srv_conf_t,
) -> ngx_int_t {
    let mut prepared = None;
    let status = guard::request(r, "choice of a server", ERROR, |r| {
        // SAFETY: nginx hands out an upstream of its configuration; its requests use it one at a time.
        let upstream = unsafe { &mut *upstream };
        let Some(peers) = Module::server_conf_mut(upstream).and_then(|conf| conf.peers.as_mut())
        else {
            return ERROR;
        };
        if !peers.admits(r) {
            let name = String::from_utf8_lossy(upstream.host.as_bytes()).into_owned();
            guard::error(
                r,
                &format!("upstream \"{name}\" of \"clerk_proxy\" is not for this location"),
            );
            return ERROR;
        }
        let Owner::Module(followed) = peers.owner else {
            prepared = Some((peers.original, None));
            return OK;
        };
        let list = match peers.refresh(r, upstream) {
            Some(()) => peers.list.clone(),
            None => return ERROR,
        };
        let tries = list.as_ref().map(|list| list.len);
        let host = followed.map(|(host, _)| host);
        let held = Use { request: r, host, peers: upstream.peer.data.cast(), _list: list };
        // SAFETY: the pool is the request's.
        if unsafe { cf::keep(r.pool, held) }.is_none() {
            return ERROR;
        }
        prepared = Some((peers.original, tries));
        OK
    });
    let Some((Some(original), tries)) = prepared.filter(|_| status == OK) else { return ERROR };
    // SAFETY: what nginx would have called without us, with the same arguments.
    let status = unsafe { original(r, upstream) };
    if let (OK, Some(tries)) = (status, tries) {
        // No address twice: the backups are the same ones.
        // SAFETY: the request has an upstream, whose peer was just set up.
        unsafe { (*(*r).upstream).peer.tries = tries as ngx_uint_t };
    }
    status
}
