//! The `upstream {}` blocks of a configuration, the user's and the implicit ones.

use crate::frontend_api::Origin;
use crate::nginx::base::ffi::{
    ngx_conf_t, ngx_cycle_t, ngx_http_upstream_srv_conf_t, NGX_HTTP_UPSTREAM_CREATE,
};
use crate::nginx::base::module::{
    HttpModuleMainConf, HttpModuleServerConf, Module, NgxHttpUpstreamModule,
};
use crate::nginx::upstream::servers::{Owner, Peers};
use crate::nginx::upstream::wanted::Wanted;

/// Whether ORIGIN is the name of an `upstream {}` block of the user.
pub fn is_block(cf: &ngx_conf_t, origin: &Origin) -> bool {
    let Some(name) = origin.block_name() else { return false };
    all(cf).iter().any(|&block| {
        // SAFETY: the list holds the upstreams of this configuration, which live as long as it.
        let block = unsafe { &*block };
        block.flags & NGX_HTTP_UPSTREAM_CREATE as usize != 0
            && block.host.as_bytes().eq_ignore_ascii_case(name.as_bytes())
    })
}

/// The upstreams of the configuration that is read.
pub fn all(cf: &ngx_conf_t) -> &[*mut ngx_http_upstream_srv_conf_t] {
    NgxHttpUpstreamModule::main_conf(cf).map_or(&[], |main| {
        // SAFETY: `upstreams` is an array of pointers (ngx_http_upstream_create_main_conf).
        unsafe { main.upstreams.as_slice() }
    })
}

/// The upstreams of the configuration that a process serves.
pub fn of_cycle(cycle: &ngx_cycle_t) -> &[*mut ngx_http_upstream_srv_conf_t] {
    NgxHttpUpstreamModule::main_conf(cycle).map_or(&[], |main| {
        // SAFETY: as in `all`.
        unsafe { main.upstreams.as_slice() }
    })
}

/// Notes what a location that uses an implicit upstream wants to be kept ready of it: the most that any of them
/// wants, and nothing where one of them cannot do with it.
pub fn keep_warm(cf: &ngx_conf_t, name: &str, wanted: Wanted, possible: bool) {
    let block = all(cf).iter().find(|&&block| {
        // SAFETY: as in `is_block`.
        unsafe { (*block).host.as_bytes() == name.as_bytes() }
    });
    // SAFETY: as in `is_block`.
    let conf = block.and_then(|&block| Module::server_conf_mut(unsafe { &*block }));
    let Some(conf) = conf else { return };
    let known = conf.warm.get_or_insert(wanted);
    known.count = known.count.max(wanted.count);
    known.possible &= possible;
}

/// From now on only verified requests may use this block of the user's, where `verified`.
pub fn guard_user_block(cf: &ngx_conf_t, name: &str, verified: bool) {
    for &block in all(cf) {
        // SAFETY: as in `is_block`.
        let block = unsafe { &*block };
        if block.host.as_bytes().eq_ignore_ascii_case(name.as_bytes()) {
            if let Some(conf) = Module::server_conf_mut(block) {
                conf.peers.get_or_insert_with(|| Peers::new(Owner::User { verified }));
            }
        }
    }
}
