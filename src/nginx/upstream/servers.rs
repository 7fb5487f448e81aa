//! The servers of an upstream: chooses the list of addresses for a request, or refuses the request.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use crate::metrics;
use crate::nginx::base::connection::Connection;
use crate::nginx::base::counted::Counted;
use crate::nginx::base::ffi::{
    ngx_http_request_t, ngx_http_upstream_init_peer_pt, ngx_http_upstream_srv_conf_t,
    ngx_http_upstream_state_t, ngx_int_t, ngx_msec_t, ngx_uint_t,
};
use crate::nginx::base::links::request;
use crate::nginx::base::module::{Conf, Module, Reach};
use crate::nginx::base::pool::Pool;
use crate::nginx::base::status::{ERROR, OK};
use crate::nginx::base::{guard, log};
use crate::nginx::request::{head, line, proxy};
use crate::nginx::stock::tls_context;
use crate::nginx::upstream::address_list::{List, RoundRobin};
use crate::nginx::upstream::liveness::{Suspects, Watcher};
use crate::nginx::upstream::names::Names;
use crate::nginx::upstream::wanted::Wanted;
use crate::traffic::{Busy, Traffic};

/// How nginx chooses a server for a request.
pub type InitPeer =
    unsafe extern "C" fn(*mut ngx_http_request_t, *mut ngx_http_upstream_srv_conf_t) -> ngx_int_t;

/// What is known per `server` and `upstream` block.
#[derive(Default)]
pub struct SrvConf {
    /// The servers of an implicit upstream, or of a user's block that `clerk_proxy` uses.
    pub peers: RefCell<Option<Peers>>,
    /// The connections that are kept ready.
    pub warm: Cell<Option<Wanted>>,
    /// The requests that use it.
    pub traffic: Traffic,
    /// What the status shows.
    pub counted: Rc<Counted>,
}

// SAFETY: `create_srv_conf` of `mod.rs` makes one.
unsafe impl Conf for SrvConf {
    type Of = Module;
    const REACH: Reach = Reach::Server;
}

/// The owner of the servers.
pub enum Owner {
    /// An implicit upstream: with a name that is followed, or with addresses that never change.
    Module(Option<Followed>),
    /// The user, in a block whose servers `clerk_proxy` verifies or not.
    User { verified: bool },
}

/// A name that is followed, with the port.
#[derive(Clone)]
pub struct Followed {
    /// The names of the configuration.
    pub names: Rc<RefCell<Names>>,
    /// The number of this name.
    pub host: usize,
    /// The port.
    pub port: u16,
}

/// The servers of one upstream.
pub struct Peers {
    owner: Owner,
    original: ngx_http_upstream_init_peer_pt,
    /// The list in use, unless it is the one that nginx made at the start.
    list: Option<Rc<List>>,
    /// Kept connections that must not be used.
    suspects: Suspects,
}

impl Peers {
    /// The servers that are known when the configuration is read.
    pub fn new(owner: Owner) -> Self {
        Self { owner, original: None, list: None, suspects: Suspects::default() }
    }

    /// Whether this request may use the upstream. Its connection goes back to the pool that `clerk_proxy` takes from,
    /// so another location must have verified the server. No setting tells where a `proxy_pass` with variables leads,
    /// nor what a client makes of them.
    fn admits(&self, r: &ngx_http_request_t) -> bool {
        let ours = proxy::of(r).is_some();
        let verifies = || {
            let mut upstream = request::upstream(r).into_iter();
            upstream.any(|u| u.ssl() == 1 && tls_context::verifies(request::settings(u)))
        };
        ours || matches!(self.owner, Owner::User { verified } if !verified || verifies())
    }

    /// Makes nginx call us first when a request needs a server.
    pub fn install(&mut self, upstream: &mut ngx_http_upstream_srv_conf_t) {
        self.original = upstream.peer.init.replace(init_peer);
    }

    /// The name, if one is followed.
    fn followed(&self) -> Option<&Followed> {
        match &self.owner {
            Owner::Module(followed) => followed.as_ref(),
            Owner::User { .. } => None,
        }
    }

    /// Has the name looked up again, if there is one.
    fn want(&self) {
        if let Some(Followed { names, host, .. }) = self.followed() {
            names.borrow_mut().want(*host);
        }
    }

    /// Begins to use a newer list of addresses; active requests keep theirs.
    fn take_over(&mut self, upstream: &mut ngx_http_upstream_srv_conf_t) {
        let Some(Followed { names, host, port }) = self.followed() else { return };
        let current = self.list.as_ref().map_or(0, |list| list.generation);
        let newer = names.borrow().other_than(current, *host);
        if let Some((generation, addresses)) = newer {
            // Without memory the old list stays in use.
            if let Some(list) = List::new(upstream, &addresses, *port, generation) {
                if let Some(old) = &self.list {
                    list.peers.carry_over(old.peers);
                }
                list.put_into(upstream);
                self.list = Some(Rc::new(list));
            }
        }
    }
}

/// The newest list of an implicit upstream, and how nginx itself chooses from it. `None` while there is no address.
pub fn list_of(
    upstream: &mut ngx_http_upstream_srv_conf_t,
) -> Option<(Option<Rc<List>>, InitPeer)> {
    let Some(peers) = &mut *SrvConf::of(upstream)?.peers.borrow_mut() else {
        // An address that never changes.
        return Some((None, upstream.peer.init?));
    };
    if peers.followed().is_some() {
        peers.take_over(upstream);
        peers.list.as_ref()?;
    }
    Some((peers.list.clone(), peers.original?))
}

/// Has the upstream's name looked up again, if it has one.
pub fn want(upstream: &ngx_http_upstream_srv_conf_t) {
    if let Some(conf) = SrvConf::of(upstream) {
        conf.peers.borrow().iter().for_each(Peers::want);
    }
}

/// Whether a kept connection to the upstream may be dead.
pub fn distrusts(upstream: &ngx_http_upstream_srv_conf_t, connection: Connection) -> bool {
    let peers = SrvConf::of(upstream).map(|conf| conf.peers.borrow());
    let peers = peers.as_ref().and_then(|peers| peers.as_ref());
    peers.is_some_and(|peers| peers.suspects.contain(connection))
}

/// How many addresses an upstream has.
pub fn addresses(upstream: &ngx_http_upstream_srv_conf_t) -> u32 {
    let peers = SrvConf::of(upstream).map(|conf| conf.peers.borrow());
    let list = peers.as_ref().and_then(|peers| peers.as_ref()?.list.as_ref());
    list.map_or(1, |list| u32::try_from(list.len).unwrap_or(u32::MAX))
}

/// What a request uses until it ends.
struct Use {
    /// How many servers an earlier upstream of the request has tried, before an `error_page` led here.
    first: usize,
    followed: Option<Followed>,
    /// Those of an implicit upstream.
    peers: Option<RoundRobin>,
    watcher: Watcher,
    _list: Option<Rc<List>>,
    _busy: Busy,
}

impl Drop for Use {
    fn drop(&mut self) {
        let r = self.watcher.request();
        // Most requests try one.
        if request::states(r).len() > self.first + 1 {
            let again = tried(r, self.first).count().saturating_sub(1);
            self.watcher.counted.add(metrics::RETRIED, again);
        }
        if !connection_failed(r, self.first) {
            return;
        }
        // A session may be why: nginx keeps that of a TLS 1.2 handshake before it verifies the certificate,
        // and one that is resumed is as bad as its certificate was, however good the server's next one is.
        self.peers.into_iter().for_each(RoundRobin::forget_sessions);
        if let Some(Followed { names, host, .. }) = &self.followed {
            names.borrow_mut().hurry(*host);
        }
    }
}

/// The servers that a request has tried from this one on.
fn tried(r: &ngx_http_request_t, first: usize) -> impl Iterator<Item = &ngx_http_upstream_state_t> {
    request::states(r).iter().skip(first).filter(|state| !state.peer.is_null())
}

/// Whether a server of the request could not be reached, of those that were tried from this one on.
fn connection_failed(r: &ngx_http_request_t, first: usize) -> bool {
    // nginx sets the time once the connection is there, with TLS if there is any, and the status if there is none. Both
    // are missing if the client leaves meanwhile. Angie sets the time without TLS also where there is no connection; no
    // byte was sent then.
    tried(r, first).any(|state| {
        let unsent = state.header_time == ngx_msec_t::MAX && state.bytes_sent == 0;
        let unconnected = state.connect_time == ngx_msec_t::MAX || unsent;
        unconnected && state.status != 0
    })
}

/// How nginx chooses a server for a request, how many servers there are to try, and what the request uses.
type Prepared = (ngx_http_upstream_init_peer_pt, Option<usize>, Option<*mut Use>);

/// Prepares a request for the choice of a server. `None` where it fails.
fn prepare(
    r: &mut ngx_http_request_t,
    upstream: &mut ngx_http_upstream_srv_conf_t,
) -> Option<Prepared> {
    let conf = SrvConf::of(upstream)?;
    let mut peers = conf.peers.borrow_mut();
    let peers = peers.as_mut()?;
    if !peers.admits(r) {
        let name = String::from_utf8_lossy(upstream.host.as_bytes()).into_owned();
        log::error(r, &format!("upstream \"{name}\" of \"clerk_proxy\" is not for this location"));
        return None;
    }
    let Some(proxy) = proxy::of(r) else {
        // A request of another location runs as without this module.
        return Some((peers.original, None, None));
    };
    line::put_uri(r, proxy)?;
    head::install(r, proxy);
    peers.want();
    peers.take_over(upstream);
    let list = peers.list.clone();
    let tries = list.as_ref().map(|list| list.len);
    let is_implicit = matches!(peers.owner, Owner::Module(_));
    let held = Use {
        first: request::states(r).len(),
        followed: peers.followed().cloned(),
        peers: is_implicit.then(|| RoundRobin::of(upstream)),
        watcher: Watcher::new(r, peers.suspects.clone(), &conf.counted),
        _list: list,
        _busy: conf.traffic.begin(),
    };
    let held = Pool::from(&*r).keep(held)?;
    Some((peers.original, tries, Some(held)))
}

unsafe extern "C" fn init_peer(
    r: *mut ngx_http_request_t,
    upstream: *mut ngx_http_upstream_srv_conf_t,
) -> ngx_int_t {
    let mut prepared = None;
    guard::request(r, "choice of a server", ERROR, |r| {
        // SAFETY: nginx hands out an upstream of its configuration; its requests use it one at a time.
        prepared = prepare(r, unsafe { &mut *upstream });
        OK
    });
    let Some((Some(original), tries, held)) = prepared else { return ERROR };
    // SAFETY: what nginx would have called without us, with the same arguments. Then the request's upstream has its peer
    // set up, and lives as long as what the request holds on to.
    unsafe {
        let status = original(r, upstream);
        let Some(u) = request::upstream(&*r).filter(|_| status == OK) else { return status };
        if let Some(tries) = tries {
            // No address is tried twice: the backups have the same addresses.
            u.peer.tries = tries as ngx_uint_t;
        }
        if let Some(held) = held {
            (*held).watcher.install(u);
        }
        OK
    }
}
