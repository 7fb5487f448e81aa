//! The structures that stand in for a request when a connection is made without one.

use std::iter;
use std::mem;
use std::net::Ipv4Addr;
use std::ptr;

use crate::nginx::base::address::in_pool;
use crate::nginx::base::ffi::{
    ngx_connection_log_error_e_NGX_ERROR_ERR, ngx_connection_t, ngx_event_t, ngx_http_connection_t,
    ngx_http_core_main_conf_t, ngx_http_request_t, ngx_http_update_location_config,
    ngx_http_upstream_t, ngx_http_variable_value_t, ngx_list_t, ngx_log_t, ngx_str_t,
    ngx_table_elt_t, NGX_HTTP_GET,
};
use crate::nginx::base::links::request;
use crate::nginx::base::module::Conf;
use crate::nginx::base::plain::Plain;
use crate::nginx::base::pool::{OwnedPool, Pool};
use crate::nginx::base::process::globals;
use crate::nginx::upstream::wanted::Wanted;

/// A request, its upstream and its client, as far as balancers read them, including those of other modules.
pub struct StandIn {
    request: &'static mut ngx_http_request_t,
    _pool: OwnedPool,
}

impl StandIn {
    /// Makes one in its own pool; `None` without memory. The log outlives it.
    pub fn new(wanted: &Wanted, log: *mut ngx_log_t) -> Option<Self> {
        let pool = OwnedPool::new(4096)?;
        let request = request_in(pool.pool(), wanted, log)?;
        Some(Self { request, _pool: pool })
    }

    /// The request.
    pub fn request(&mut self) -> &mut ngx_http_request_t {
        self.request
    }

    /// Its upstream.
    pub fn upstream<'a>(&self) -> Option<&'a mut ngx_http_upstream_t> {
        request::upstream(self.request)
    }

    /// Makes nginx mark the connection as one without sendfile, as it does after its own handshakes. The mark is a bit
    /// whose place differs between versions, see `bit_fields.rs`.
    pub fn note_sendfile(&mut self) {
        let Some(u) = self.upstream() else { return };
        let r = self.request();
        let client = mem::replace(&mut r.connection, u.peer.connection);
        let main = mem::replace(&mut r.main, ptr::null_mut());
        // SAFETY: nginx notes what the request's location says of it in the request's connection; that to the server
        // takes the client's place meanwhile. Of a subrequest it leaves the connection's log as it is.
        unsafe { ngx_http_update_location_config(r) };
        (r.connection, r.main) = (client, main);
    }
}

fn request_in(
    pool: Pool<'static>,
    wanted: &Wanted,
    log: *mut ngx_log_t,
) -> Option<&'static mut ngx_http_request_t> {
    let r = pool.place(ngx_http_request_t::zeroed())?;
    (r.pool, r.main) = (pool.as_ptr(), &raw mut *r);
    wanted.context.enter(r);
    r.connection = client(pool, r, log)?;
    let connection = pool.place(ngx_http_connection_t::zeroed())?;
    connection.conf_ctx = pool.place(wanted.context)?.as_ptr();
    r.http_connection = connection;
    let modules = globals().modules;
    r.ctx = pool.fill(modules, iter::repeat_n(ptr::null_mut(), modules))?.as_mut_ptr();
    let variables = ngx_http_core_main_conf_t::of(r)?.variables.nelts;
    let unset = (0..variables).map(|_| ngx_http_variable_value_t::zeroed());
    r.variables = pool.fill(variables, unset)?.as_mut_ptr();
    init(&mut r.headers_in.headers, pool)?;
    init(&mut r.headers_out.headers, pool)?;
    (r.headers_in.content_length_n, r.headers_out.content_length_n) = (-1, -1);
    (r.method, r.http_version) = (NGX_HTTP_GET as usize, 1001);
    (r.method_name, r.http_protocol) = (text("GET"), text("HTTP/1.1"));
    (r.uri, r.unparsed_uri) = (text("/"), text("/"));

    let u = pool.place(ngx_http_upstream_t::zeroed())?;
    u.conf = ptr::from_ref(wanted.conf).cast_mut();
    // keepalive takes a connection only with these values.
    u.set_keepalive(1);
    u.set_request_body_sent(1);
    u.peer.log = log;
    u.peer.set_log_error(ngx_connection_log_error_e_NGX_ERROR_ERR);
    u.peer.set_so_keepalive(u32::from(wanted.conf.socket_keepalive == 1));
    r.upstream = u;
    Some(r)
}

/// A client on this machine, without a socket.
fn client(
    pool: Pool<'static>,
    r: *mut ngx_http_request_t,
    log: *mut ngx_log_t,
) -> Option<&'static mut ngx_connection_t> {
    let c = pool.place(ngx_connection_t::zeroed())?;
    let mut event = ngx_event_t::zeroed();
    (event.data, event.log) = ((&raw mut *c).cast(), log);
    (c.read, c.write) = (pool.place(event)?, pool.place(event)?);
    (c.data, c.fd, c.log, c.pool) = (r.cast(), -1, log, pool.as_ptr());
    (c.sockaddr, c.socklen) = in_pool(pool, (Ipv4Addr::LOCALHOST, 0).into())?;
    c.addr_text = text("127.0.0.1");
    Some(c)
}

/// An empty list of headers, which must not move.
fn init(list: &mut ngx_list_t, pool: Pool) -> Option<()> {
    const LEN: usize = 4;
    list.part.elts = pool.fill(LEN, iter::empty::<ngx_table_elt_t>())?.as_mut_ptr().cast();
    (list.size, list.nalloc, list.pool) = (size_of::<ngx_table_elt_t>(), LEN, pool.as_ptr());
    list.last = &raw mut list.part;
    Some(())
}

/// Text that nginx only reads.
fn text(text: &'static str) -> ngx_str_t {
    ngx_str_t { len: text.len(), data: text.as_ptr().cast_mut() }
}
