//! The `server` blocks of the configuration, as the user wrote them: asked and changed before nginx merges them.

use std::ffi::CStr;

use crate::nginx::base::ffi::{ngx_conf_t, ngx_http_core_main_conf_t, ngx_http_core_srv_conf_t};
use crate::nginx::base::links::configuration::{addresses, first_at, servers, servers_at};
use crate::nginx::base::module::{Conf, Confs, HasConfs, Reach, StockConf};
use crate::nginx::base::parser::Stop;
use crate::nginx::stock::directives;

/// What all modules keep of a `server` block, or of `http` for all of them.
#[derive(Clone, Copy, PartialEq)]
pub struct Server(Confs);

/// The size of headers that passes everywhere on the way to the Frontend API: Clerk's own proxies take 12 KB.
pub const HEADER_SIZE: usize = 16 * 1024;
/// As many as nginx has by default.
const HEADER_BUFFERS: isize = 4;

impl Server {
    /// That which is read or merged now, or that these settings are of.
    pub fn of(holder: &impl HasConfs) -> Option<Self> {
        holder.confs(Reach::Server).map(Self)
    }

    fn core(self) -> &'static mut ngx_http_core_srv_conf_t {
        let core = ngx_http_core_srv_conf_t::of_mut(&self);
        core.expect("every server has settings of the core module")
    }

    /// The size of large headers, if the user has set it here.
    fn header_size(self) -> Option<usize> {
        let buffers = self.core().large_client_header_buffers;
        (buffers.num > 0).then_some(buffers.size)
    }
}

impl HasConfs for Server {
    fn confs(&self, reach: Reach) -> Option<Confs> {
        matches!(reach, Reach::Server).then_some(self.0)
    }
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
    (directive, value): (&str, usize),
) -> Result<bool, Stop> {
    let Some(field) = directives::field(cf, module, directive) else { return Ok(false) };
    let main = ngx_http_core_main_conf_t::read(cf)?;
    let has = |server: Server| field.word(server.0).is_some_and(|word| word.get() == value);
    Ok(has(http) || servers(main).filter_map(Server::of).any(has))
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
    for address in addresses(main) {
        if servers_at(address).filter_map(Server::of).any(|other| other == server) {
            readers.extend(first_at(address).and_then(Server::of));
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
