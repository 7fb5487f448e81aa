//! Lists of addresses as nginx's own round robin makes them, each in memory of its own.

use std::mem;
use std::net::{IpAddr, SocketAddr};
use std::ptr;

use crate::nginx::base::ffi::{
    ngx_addr_t, ngx_array_create, ngx_array_push, ngx_conf_t, ngx_create_pool, ngx_cycle,
    ngx_destroy_pool, ngx_http_upstream_init_round_robin, ngx_http_upstream_rr_peers_t,
    ngx_http_upstream_server_t, ngx_http_upstream_srv_conf_t, ngx_parse_addr_port, ngx_pcalloc,
    ngx_pool_t, ngx_str_t,
};
use crate::nginx::base::status::OK;

/// One list of addresses, in memory of its own.
pub struct List {
    pool: *mut ngx_pool_t,
    /// What nginx's round robin works with.
    pub peers: *mut ngx_http_upstream_rr_peers_t,
    /// How many addresses there are.
    pub len: usize,
    /// The number that the resolver gave the list.
    pub generation: usize,
}

impl List {
    /// Makes the list for an upstream with the servers of the recipe; `None` without memory.
    pub fn new(
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
pub unsafe fn inherit(
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
                        #[cfg(nginx_http_ssl)]
                        mem::swap(&mut this.ssl_session, &mut known.ssl_session);
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
#[cfg(nginx_http_ssl)]
pub unsafe fn forget_sessions(mut peers: *mut ngx_http_upstream_rr_peers_t) {
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

/// Without TLS there are no sessions.
#[cfg(not(nginx_http_ssl))]
pub unsafe fn forget_sessions(_peers: *mut ngx_http_upstream_rr_peers_t) {}

/// Frees a TLS session, which OpenSSL counts references of.
///
/// # Safety
///
/// It is null or a session that the caller owns.
#[cfg(nginx_http_ssl)]
unsafe fn free_session(session: *mut std::ffi::c_void) {
    if session.is_null() {
        return;
    }
    // By name, since an nginx without TLS, which never has a session, has no such function.
    // SAFETY: where there is a session, the function of this type has made it.
    unsafe {
        let free = libc::dlsym(libc::RTLD_DEFAULT, c"SSL_SESSION_free".as_ptr());
        if !free.is_null() {
            mem::transmute::<*mut std::ffi::c_void, unsafe extern "C" fn(*mut std::ffi::c_void)>(
                free,
            )(session);
        }
    }
}
