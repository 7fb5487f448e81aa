//! Lists of addresses as nginx's own round robin makes them, each in its own pool.

#[cfg(nginx_http_ssl)]
use std::mem;
use std::net::{IpAddr, SocketAddr};
#[cfg(nginx_http_ssl)]
use std::ptr;

use crate::nginx::base::ffi::{
    ngx_addr_t, ngx_conf_t, ngx_http_upstream_init_round_robin, ngx_http_upstream_rr_peers_t,
    ngx_http_upstream_server_t, ngx_http_upstream_srv_conf_t, ngx_parse_addr_port,
};
use crate::nginx::base::plain::Plain;
use crate::nginx::base::pool::{OwnedPool, Pool};
use crate::nginx::base::process;
use crate::nginx::base::status::OK;
#[cfg(nginx_http_ssl)]
use crate::nginx::base::symbols::find;

/// One list of addresses, in its own pool.
pub struct List {
    _pool: OwnedPool,
    /// The list of nginx's round robin.
    pub peers: *mut ngx_http_upstream_rr_peers_t,
    /// How many addresses there are.
    pub len: usize,
    /// The number that the names gave the list.
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
        let (pool, len) = (OwnedPool::new(1024)?, addresses.len());
        let peers = round_robin(pool.pool(), upstream, addresses, port)?;
        Some(Self { _pool: pool, peers, len, generation })
    }
}

/// Has nginx make the list as it does at the start.
fn round_robin(
    pool: Pool<'static>,
    upstream: &ngx_http_upstream_srv_conf_t,
    addresses: &[IpAddr],
    port: u16,
) -> Option<*mut ngx_http_upstream_rr_peers_t> {
    let parsed = addresses.iter().map(|&ip| address(pool, SocketAddr::new(ip, port)));
    let addrs = pool.fill(addresses.len(), parsed.collect::<Option<Vec<_>>>()?)?.as_mut_ptr();
    // SAFETY: `upstream.servers` has the two servers that the recipe says.
    let templates = unsafe { (*upstream.servers).as_slice::<ngx_http_upstream_server_t>() };
    // A single address has no backup.
    let alone = addresses.len() == 1;
    let servers = templates.iter().skip(usize::from(alone)).map(|template| {
        let mut server = *template;
        (server.addrs, server.naddrs, server.down) = (addrs, addresses.len(), 0);
        if alone {
            server.set_backup(0);
        }
        server
    });
    let servers = pool.array(&servers.collect::<Vec<_>>())?;
    let block = pool.place(ngx_http_upstream_srv_conf_t { servers, ..*upstream })?;
    let mut cf = ngx_conf_t::zeroed();
    (cf.pool, cf.log) = (pool.as_ptr(), process::cycle().log);
    // SAFETY: all that nginx looks at is in the pool, as it would be in that of a configuration.
    let made = unsafe { ngx_http_upstream_init_round_robin(&raw mut cf, block) } == OK;
    made.then(|| block.peer.data.cast())
}

fn address(pool: Pool, address: SocketAddr) -> Option<ngx_addr_t> {
    let mut addr = ngx_addr_t::zeroed();
    addr.name = pool.text(address.to_string())?;
    let name = addr.name;
    // SAFETY: the pool is alive; nginx parses the text and keeps nothing of it.
    let status = unsafe { ngx_parse_addr_port(pool.as_ptr(), &raw mut addr, name.data, name.len) };
    (status == OK).then_some(addr)
}

impl Drop for List {
    fn drop(&mut self) {
        // SAFETY: the last request that used the list is over, and nginx's next ones use another.
        unsafe { forget_sessions(self.peers) };
    }
}

/// Moves TLS sessions and failures of addresses to a list with the same addresses.
///
/// # Safety
///
/// Both are lists of nginx's round robin.
pub unsafe fn carry_over(
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
                        this.fails = known.fails;
                        #[cfg(not(nginx_recover_at))]
                        {
                            this.accessed = known.accessed;
                        }
                        #[cfg(nginx_recover_at)]
                        {
                            this.recover_at = known.recover_at;
                        }
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

/// Makes the next connections begin with a full handshake.
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

/// Releases a reference to a TLS session.
///
/// # Safety
///
/// It is null or a session that the caller owns.
#[cfg(nginx_http_ssl)]
unsafe fn free_session(session: *mut std::ffi::c_void) {
    if session.is_null() {
        return;
    }
    // SAFETY: where there is a session, the function of this type has made it. An nginx that does not export the one
    // that frees it keeps the session.
    unsafe {
        if let Some(free) = find::<unsafe extern "C" fn(*mut std::ffi::c_void)>(c"SSL_SESSION_free")
        {
            free(session);
        }
    }
}
