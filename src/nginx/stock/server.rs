//! The `server` blocks of the configuration, as the user wrote them: asked and changed before nginx merges them.

use std::ffi::{c_void, CStr};
use std::ptr::NonNull;

use crate::nginx::base::ffi::{
    ngx_array_t, ngx_conf_t, ngx_flag_t, ngx_http_conf_addr_t, ngx_http_conf_port_t,
    ngx_http_core_main_conf_t, ngx_http_core_srv_conf_t,
};
use crate::nginx::base::module::{at, Conf, Core, HasConfs, HttpModule, Reach};
use crate::nginx::base::parser::Stop;
use crate::nginx::stock::directives;

/// What all modules keep of a `server` block, or of `http` for all of them.
#[derive(Clone, Copy, PartialEq)]
pub struct Server(NonNull<*mut c_void>);

/// The size of headers that passes everywhere on the way to the Frontend API: Clerk's own proxies take 12 KB.
pub const HEADER_SIZE: usize = 16 * 1024;
/// As many as nginx has by default.
const HEADER_BUFFERS: isize = 4;

impl Server {
    /// That which is read or merged now.
    pub fn of(cf: &ngx_conf_t) -> Option<Self> {
        NonNull::new(cf.confs(Reach::Server)).map(Self)
    }

    /// That of nginx's own settings of it.
    fn of_core(core: *mut ngx_http_core_srv_conf_t) -> Option<Self> {
        // SAFETY: null, or settings of a server, which lead to those of all modules for it.
        unsafe { NonNull::new((*core.as_ref()?.ctx).srv_conf).map(Self) }
    }

    fn core(self) -> &'static mut ngx_http_core_srv_conf_t {
        // SAFETY: each server has settings of the core module, which live as long as the configuration. nginx configures
        // in one thread, and no caller keeps the reference.
        unsafe { &mut *self.conf(Core::index()).cast() }
    }

    fn conf(self, ctx_index: usize) -> *mut c_void {
        at(self.0, ctx_index)
    }

    /// The size of large headers, if the user has set it here.
    fn header_size(self) -> Option<usize> {
        let buffers = self.core().large_client_header_buffers;
        (buffers.num > 0).then_some(buffers.size)
    }
}

/// All of an array of pointers to servers' settings.
fn servers(list: &ngx_array_t) -> impl Iterator<Item = Server> + '_ {
    // SAFETY: the lists of servers in the core module's settings have such elements.
    let all = unsafe { list.as_slice::<*mut ngx_http_core_srv_conf_t>() };
    all.iter().filter_map(|&core| Server::of_core(core))
}

/// Whether any server takes requests that another may have sent again: the one that a request is for is not the one that
/// speaks TLS, where both have one address.
pub fn takes_early_data(cf: &ngx_conf_t, http: Server) -> Result<bool, Stop> {
    any_has(cf, http, c"ngx_http_ssl_module", ("ssl_early_data", 1))
}

/// Whether any server takes headers with other characters in their names than letters, digits and hyphens: the one that
/// reads them is not the one that the request is for.
pub fn takes_odd_names(cf: &ngx_conf_t, http: Server) -> Result<bool, Stop> {
    let core = c"ngx_http_core_module";
    Ok(any_has(cf, http, core, ("underscores_in_headers", 1))?
        || any_has(cf, http, core, ("ignore_invalid_headers", 0))?)
}

/// Whether any server, or `http` for all, sets a flag so.
fn any_has(
    cf: &ngx_conf_t,
    http: Server,
    module: &CStr,
    (directive, value): (&str, ngx_flag_t),
) -> Result<bool, Stop> {
    let place = directives::offset(cf, module, directive);
    let Some((ctx_index, offset)) = place else { return Ok(false) };
    let main = ngx_http_core_main_conf_t::read(cf)?;
    let has = |server: Server| {
        // SAFETY: the field of a flag is at the offset that its directive names.
        unsafe { server.conf(ctx_index).byte_add(offset).cast::<ngx_flag_t>().read() == value }
    };
    Ok(has(http) || servers(&main.servers).any(has))
}

/// Lets a server take large headers where the user sets no size, and so does each that reads them for it, because it is
/// the first at its address. Returns a size of the user's that is less, once for a server.
pub fn make_room(
    cf: &ngx_conf_t,
    http: Server,
    told: &mut Vec<Server>,
) -> Result<Option<usize>, Stop> {
    let Some(server) = Server::of(cf).filter(|server| told.last() != Some(server)) else {
        return Ok(None);
    };
    told.push(server);
    let main = ngx_http_core_main_conf_t::read(cf)?;
    let mut readers = vec![server];
    // SAFETY: null or a list of ports, each with a list of addresses.
    unsafe {
        let ports = main.ports.as_ref().map_or(&[][..], |ports| ports.as_slice());
        let addresses = ports.iter().flat_map(|port: &ngx_http_conf_port_t| port.addrs.as_slice());
        for address in addresses {
            let address: &ngx_http_conf_addr_t = address;
            if servers(&address.servers).any(|other| other == server) {
                readers.extend(Server::of_core(address.default_server));
            }
        }
    }
    let mut least = None;
    for reader in readers {
        match reader.header_size().or(http.header_size()) {
            Some(size) if size < HEADER_SIZE => least = Some(least.unwrap_or(size).min(size)),
            Some(_) => {}
            None => {
                let buffers = &mut reader.core().large_client_header_buffers;
                (buffers.num, buffers.size) = (HEADER_BUFFERS, HEADER_SIZE);
            }
        }
    }
    Ok(least)
}
