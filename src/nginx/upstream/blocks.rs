//! The `upstream {}` blocks of a configuration, the user's and the implicit ones.

use crate::frontend_api::Origin;
use crate::nginx::base::ffi::{
    ngx_conf_t, ngx_http_upstream_main_conf_t, ngx_http_upstream_srv_conf_t,
    NGX_HTTP_UPSTREAM_CREATE,
};
use crate::nginx::base::links::configuration::{addresses_of, servers_of, upstreams};
use crate::nginx::base::module::{Conf, HasConfs};
use crate::nginx::upstream::servers::{Owner, Peers, SrvConf};
use crate::nginx::upstream::wanted::Wanted;

/// One block.
#[derive(Clone, Copy)]
pub struct Block(*mut ngx_http_upstream_srv_conf_t);

impl Block {
    /// nginx's structure.
    pub fn get(self) -> &'static mut ngx_http_upstream_srv_conf_t {
        // SAFETY: `all` makes no others than upstreams of a configuration, which live as long as it. nginx works with
        // them in this thread, and no caller keeps the reference over a call to nginx.
        unsafe { &mut *self.0 }
    }

    /// Its name.
    pub fn name(self) -> String {
        String::from_utf8_lossy(self.get().host.as_bytes()).into_owned()
    }

    /// The module's data of it.
    pub fn conf(self) -> Option<&'static SrvConf> {
        SrvConf::of(self.get())
    }

    /// nginx ignores the case of upstreams' names.
    fn is_named(self, name: &str) -> bool {
        self.get().host.as_bytes().eq_ignore_ascii_case(name.as_bytes())
    }
}

/// The blocks of a configuration.
pub fn all(holder: &impl HasConfs) -> impl DoubleEndedIterator<Item = Block> {
    let main = ngx_http_upstream_main_conf_t::of(holder).into_iter();
    main.flat_map(upstreams).map(|upstream| Block(upstream))
}

/// Whether ORIGIN is the name of an `upstream {}` block of the user.
pub fn is_block(cf: &ngx_conf_t, origin: &Origin) -> bool {
    let Some(name) = origin.block_name() else { return false };
    all(cf).any(|block| {
        block.get().flags & NGX_HTTP_UPSTREAM_CREATE as usize != 0 && block.is_named(name)
    })
}

/// The addresses of a user's block, as texts.
pub fn servers(cf: &ngx_conf_t, name: &str) -> Vec<String> {
    let named = all(cf).filter(|block| block.is_named(name));
    let servers = named.flat_map(|block| servers_of(block.get()));
    let texts = servers.flat_map(addresses_of).map(|address| address.name);
    texts.map(|name| String::from_utf8_lossy(name.as_bytes()).into_owned()).collect()
}

/// Notes how many connections a location wants to be kept ready. The largest number of all locations of the upstream
/// counts, and none if one of them cannot use such connections.
pub fn keep_warm(cf: &ngx_conf_t, name: &str, wanted: Wanted, possible: bool) {
    let Some(conf) = all(cf).find(|block| block.is_named(name)).and_then(Block::conf) else {
        return;
    };
    let mut known = conf.warm.get().unwrap_or(wanted);
    known.count = known.count.max(wanted.count);
    known.possible &= possible;
    conf.warm.set(Some(known));
}

/// Makes the user's block one for verified requests alone, if `verified`.
pub fn guard_user_block(cf: &ngx_conf_t, name: &str, verified: bool) {
    for conf in all(cf).filter(|block| block.is_named(name)).filter_map(Block::conf) {
        conf.peers.borrow_mut().get_or_insert_with(|| Peers::new(Owner::User { verified }));
    }
}
