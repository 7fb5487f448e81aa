//! Lists of addresses as nginx's own round robin makes them, each in its own pool.

use std::iter;
#[cfg(nginx_http_ssl)]
use std::mem;
use std::net::{IpAddr, SocketAddr};

use crate::nginx::base::address::in_pool;
use crate::nginx::base::ffi::{
    ngx_addr_t, ngx_conf_t, ngx_http_upstream_init_round_robin,
    ngx_http_upstream_rr_peer_t as Peer, ngx_http_upstream_rr_peers_t,
    ngx_http_upstream_srv_conf_t,
};
use crate::nginx::base::links::configuration::servers_of;
use crate::nginx::base::links::request::{list_behind, peers};
use crate::nginx::base::plain::Plain;
use crate::nginx::base::pool::{OwnedPool, Pool};
use crate::nginx::base::process;
use crate::nginx::base::status::OK;
#[cfg(nginx_http_ssl)]
use crate::nginx::base::symbols::find;

/// Servers as nginx's round robin has them: a list of them, and one of the backups behind it.
#[derive(Clone, Copy)]
pub struct RoundRobin(*mut ngx_http_upstream_rr_peers_t);

impl RoundRobin {
    /// That of an implicit upstream, which has no other balancer.
    pub fn of(upstream: &ngx_http_upstream_srv_conf_t) -> Self {
        Self(upstream.peer.data.cast())
    }

    fn lists(self) -> impl Iterator<Item = &'static ngx_http_upstream_rr_peers_t> {
        // SAFETY: null or what nginx's round robin has made, which lives as long as it is in use.
        let first: Option<&'static ngx_http_upstream_rr_peers_t> = unsafe { self.0.as_ref() };
        iter::successors(first, |list| list_behind(list))
    }

    /// Moves TLS sessions and failures of addresses here from a list with the same addresses. Requests that still use that
    /// do without sessions.
    pub fn carry_over(self, old: Self) {
        for (list, old) in self.lists().zip(old.lists()) {
            for peer in peers(list) {
                let name = peer.name;
                let same = peers(old).filter(|known| known.name.as_bytes() == name.as_bytes());
                same.for_each(|known| carry_over(peer, known));
            }
        }
    }

    /// Makes the next connections begin with a full handshake.
    pub fn forget_sessions(self) {
        self.lists().flat_map(peers).for_each(forget_session);
    }
}

fn carry_over(peer: &mut Peer, known: &mut Peer) {
    #[cfg(nginx_http_ssl)]
    mem::swap(&mut peer.ssl_session, &mut known.ssl_session);
    (peer.fails, peer.checked) = (known.fails, known.checked);
    #[cfg(not(nginx_recover_at))]
    {
        peer.accessed = known.accessed;
    }
    #[cfg(nginx_recover_at)]
    {
        peer.recover_at = known.recover_at;
    }
    peer.effective_weight = peer.effective_weight.min(known.effective_weight);
}

/// Releases the server's own reference to its TLS session; connections have theirs.
#[cfg(nginx_http_ssl)]
fn forget_session(peer: &mut Peer) {
    type Free = unsafe extern "C" fn(*mut std::ffi::c_void);
    let session = mem::replace(&mut peer.ssl_session, std::ptr::null_mut());
    if session.is_null() {
        return;
    }
    // SAFETY: where there is a session, the function of this type has made it. An nginx that does not export the one
    // that frees it keeps the session.
    unsafe {
        if let Some(free) = find::<Free>(c"SSL_SESSION_free") {
            free(session);
        }
    }
}

/// Without TLS there are no sessions.
#[cfg(not(nginx_http_ssl))]
fn forget_session(_peer: &mut Peer) {}

/// One list of addresses, in its own pool.
pub struct List {
    _pool: OwnedPool,
    /// The list of nginx's round robin.
    pub peers: RoundRobin,
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

    /// Has nginx choose from it for the next requests to the upstream.
    pub fn put_into(&self, upstream: &mut ngx_http_upstream_srv_conf_t) {
        upstream.peer.data = self.peers.0.cast();
    }
}

/// The last request that used the list is over, and nginx's next ones use another.
impl Drop for List {
    fn drop(&mut self) {
        self.peers.forget_sessions();
    }
}

/// Has nginx make the list as it does at the start.
fn round_robin(
    pool: Pool<'static>,
    upstream: &ngx_http_upstream_srv_conf_t,
    addresses: &[IpAddr],
    port: u16,
) -> Option<RoundRobin> {
    let parsed = addresses.iter().map(|&ip| address(pool, SocketAddr::new(ip, port)));
    let addrs = pool.fill(addresses.len(), parsed.collect::<Option<Vec<_>>>()?)?.as_mut_ptr();
    // A single address has no backup.
    let alone = addresses.len() == 1;
    let servers = servers_of(upstream).iter().skip(usize::from(alone)).map(|template| {
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
    made.then(|| RoundRobin::of(block))
}

fn address(pool: Pool, address: SocketAddr) -> Option<ngx_addr_t> {
    let (sockaddr, socklen) = in_pool(pool, address)?;
    Some(ngx_addr_t { sockaddr, socklen, name: pool.text(address.to_string())? })
}
