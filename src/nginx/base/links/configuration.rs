//! Where configurations lead.

use std::cell::Cell;
use std::ffi::CStr;
use std::iter;
#[cfg(nginx_pcre)]
use std::ptr;

#[cfg(nginx_http_cache)]
use crate::nginx::base::ffi::ngx_shm_zone_t;
use crate::nginx::base::ffi::{
    ngx_addr_t, ngx_command_t, ngx_conf_file_t, ngx_conf_t, ngx_cycle_t, ngx_hash_key_t,
    ngx_http_complex_value_t, ngx_http_conf_addr_t, ngx_http_conf_ctx_t, ngx_http_conf_port_t,
    ngx_http_core_loc_conf_t, ngx_http_core_main_conf_t, ngx_http_core_srv_conf_t,
    ngx_http_location_tree_node_t as Node, ngx_http_upstream_conf_t, ngx_http_upstream_local_t,
    ngx_http_upstream_main_conf_t, ngx_http_upstream_server_t, ngx_http_upstream_srv_conf_t,
    ngx_http_variable_t, ngx_module_t, ngx_str_t,
};
#[cfg(nginx_pcre)]
use crate::nginx::base::ffi::{ngx_http_regex_t, ngx_http_script_regex_code_t};
use crate::nginx::base::links::{array, array_at, there, Link};

/// The words of the directive that is read.
pub fn words(cf: &ngx_conf_t) -> &[ngx_str_t] {
    array_at(cf.args)
}

/// The file that is read; none where the configuration comes from the command line.
pub fn file(cf: &ngx_conf_t) -> Option<&ngx_conf_file_t> {
    Link(cf.conf_file).get()
}

/// The configuration that is read.
pub fn cycle(cf: &ngx_conf_t) -> &ngx_cycle_t {
    there(Link(cf.cycle).get())
}

/// The configuration before this one, which at the start is an empty one.
pub fn old_cycle(cycle: &ngx_cycle_t) -> Option<&'static ngx_cycle_t> {
    Link(cycle.old_cycle).get()
}

/// The keys of the variables that are defined, while the configuration is read.
pub fn variable_keys(main: &ngx_http_core_main_conf_t) -> &[ngx_hash_key_t] {
    Link(main.variables_keys).get().map_or(&[], |keys| array(&keys.keys))
}

/// The variable of one of these keys.
pub fn variable(key: &ngx_hash_key_t) -> Option<&ngx_http_variable_t> {
    Link(key.value.cast()).get()
}

/// What nginx finds in a block by a path: the settings of a location, or in Angie a place that leads to them, as other
/// places may.
#[cfg(not(nginx_angie))]
pub use crate::nginx::base::ffi::ngx_http_core_loc_conf_t as Found;
#[cfg(nginx_angie)]
pub use crate::nginx::base::ffi::ngx_http_core_loc_t as Found;

fn location(found: *mut Found) -> Option<&'static ngx_http_core_loc_conf_t> {
    #[cfg(nginx_angie)]
    let found = Link(found).get()?.conf;
    Link(found).get()
}

/// The root of the tree of the prefix locations in a block, once nginx has made it.
pub fn root(core: &ngx_http_core_loc_conf_t) -> Option<&'static Cell<Node>> {
    Link(core.static_locations.cast()).get()
}

/// The nodes below a node.
pub fn below(node: &Cell<Node>) -> impl Iterator<Item = &'static Cell<Node>> {
    let Node { left, right, tree, .. } = node.get();
    [left, right, tree].into_iter().filter_map(|node| Link(node.cast()).get())
}

/// The locations of a node: for its name alone, and for all that begins with it.
pub fn locations_of(node: &Cell<Node>) -> [Option<&'static ngx_http_core_loc_conf_t>; 2] {
    [node.get().exact, node.get().inclusive].map(location)
}

/// The expression of a location.
#[cfg(nginx_pcre)]
pub fn regex(core: &ngx_http_core_loc_conf_t) -> Option<&'static ngx_http_regex_t> {
    Link(core.regex).get()
}

/// The expression of a `rewrite` or an `if`.
#[cfg(nginx_pcre)]
pub fn regex_of(code: &ngx_http_script_regex_code_t) -> Option<&'static ngx_http_regex_t> {
    Link(code.regex).get()
}

/// The locations with expressions in a block, in order, once nginx has sorted them.
#[cfg(nginx_pcre)]
pub fn regex_locations(
    core: &ngx_http_core_loc_conf_t,
) -> impl Iterator<Item = &'static ngx_http_core_loc_conf_t> {
    let found = Link(core.regex_locations).until_null();
    found.filter_map(|found| location(ptr::from_ref(found).cast_mut()))
}

/// The servers of a configuration.
pub fn servers(
    main: &ngx_http_core_main_conf_t,
) -> impl Iterator<Item = &ngx_http_core_srv_conf_t> {
    array(&main.servers).iter().filter_map(|&server| Link(server).get())
}

/// The addresses that servers listen at, for each port.
pub fn addresses(main: &ngx_http_core_main_conf_t) -> impl Iterator<Item = &ngx_http_conf_addr_t> {
    array_at(main.ports).iter().flat_map(|port: &ngx_http_conf_port_t| array(&port.addrs))
}

/// The servers at an address.
pub fn servers_at(
    address: &ngx_http_conf_addr_t,
) -> impl Iterator<Item = &ngx_http_core_srv_conf_t> {
    array(&address.servers).iter().filter_map(|&server| Link(server).get())
}

/// The first of them, which reads headers for all.
pub fn first_at(address: &ngx_http_conf_addr_t) -> Option<&ngx_http_core_srv_conf_t> {
    Link(address.default_server).get()
}

/// What all modules keep of a server, of locations in it, and of `http`.
pub fn context(core: &ngx_http_core_srv_conf_t) -> Option<&ngx_http_conf_ctx_t> {
    Link(core.ctx).get()
}

/// The `upstream` blocks of a configuration, the implicit ones as well.
pub fn upstreams(
    main: &ngx_http_upstream_main_conf_t,
) -> impl DoubleEndedIterator<Item = &'static mut ngx_http_upstream_srv_conf_t> + '_ {
    array(&main.upstreams).iter().filter_map(|&upstream| Link(upstream).get_mut())
}

/// The servers of a block, as its lines say.
pub fn servers_of(upstream: &ngx_http_upstream_srv_conf_t) -> &[ngx_http_upstream_server_t] {
    array_at(upstream.servers)
}

/// The addresses of such a server.
pub fn addresses_of(server: &ngx_http_upstream_server_t) -> &[ngx_addr_t] {
    Link(server.addrs).run(server.naddrs)
}

/// The upstream that a location passes requests to.
pub fn upstream_of(
    conf: &ngx_http_upstream_conf_t,
) -> Option<&'static ngx_http_upstream_srv_conf_t> {
    Link(conf.upstream).get()
}

/// The argument of `proxy_ssl_name`.
#[cfg(nginx_http_ssl)]
pub fn ssl_name(conf: &ngx_http_upstream_conf_t) -> Option<&ngx_http_complex_value_t> {
    Link(conf.ssl_name).get()
}

/// The argument of `proxy_cache`: a zone, or a text with variables.
#[cfg(nginx_http_cache)]
pub fn cache(
    conf: &ngx_http_upstream_conf_t,
) -> (Option<&ngx_shm_zone_t>, Option<&ngx_http_complex_value_t>) {
    (Link(conf.cache_zone).get(), Link(conf.cache_value).get())
}

/// What `proxy_bind` names: an address or a text with variables.
pub fn bound_to(
    local: &ngx_http_upstream_local_t,
) -> (Option<&ngx_addr_t>, Option<&ngx_http_complex_value_t>) {
    (Link(local.addr).get(), Link(local.value).get())
}

/// The modules of a configuration.
pub fn modules(cycle: &ngx_cycle_t) -> impl Iterator<Item = &'static ngx_module_t> {
    Link(cycle.modules).until_null()
}

/// The name of a module, once a configuration has it.
pub fn name_of(module: &ngx_module_t) -> Option<&CStr> {
    // SAFETY: it ends with a zero byte.
    Link(module.name).get().map(|name| unsafe { CStr::from_ptr(name) })
}

/// The directives of a module.
pub fn commands(module: &ngx_module_t) -> impl Iterator<Item = &'static ngx_command_t> {
    let mut next = module.commands;
    iter::from_fn(move || {
        let command = Link(next).get().filter(|command| command.name.len > 0)?;
        next = next.wrapping_add(1);
        Some(command)
    })
}
