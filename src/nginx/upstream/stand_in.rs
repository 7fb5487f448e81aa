//! What stands in for a request where a connection is made that no request has asked for.

use std::mem;
use std::ptr;

use crate::nginx::base::ffi::{
    ngx_connection_log_error_e_NGX_ERROR_ERR, ngx_connection_t, ngx_create_pool, ngx_destroy_pool,
    ngx_event_t, ngx_http_connection_t, ngx_http_core_main_conf_t, ngx_http_core_module,
    ngx_http_max_module, ngx_http_request_t, ngx_http_update_location_config, ngx_http_upstream_t,
    ngx_http_variable_value_t, ngx_list_t, ngx_log_t, ngx_pcalloc, ngx_pool_t, ngx_str_t,
    ngx_table_elt_t, NGX_HTTP_GET,
};
use crate::nginx::stock::level::Context;
use crate::nginx::upstream::wanted::Wanted;

/// A request, its upstream and its client, as far as balancers look at them: those of other modules, too, which are
/// asked for a server as for any request.
pub struct StandIn {
    pool: *mut ngx_pool_t,
    request: *mut ngx_http_request_t,
}

impl StandIn {
    /// Makes one that lives in a pool of its own; `None` without memory.
    ///
    /// # Safety
    ///
    /// The log outlives it.
    pub unsafe fn new(wanted: &Wanted, log: *mut ngx_log_t) -> Option<Self> {
        // SAFETY: promised by the caller.
        let pool = unsafe { ngx_create_pool(4096, log) };
        if pool.is_null() {
            return None;
        }
        let mut stand_in = Self { pool, request: ptr::null_mut() };
        // SAFETY: the pool is new. From here on dropping the value frees it.
        stand_in.request = unsafe { request(pool, wanted, log) }?;
        Some(stand_in)
    }

    /// The request.
    pub fn request(&self) -> *mut ngx_http_request_t {
        self.request
    }

    /// Its upstream.
    pub fn upstream(&self) -> *mut ngx_http_upstream_t {
        // SAFETY: the request lives as long as this value.
        unsafe { (*self.request).upstream }
    }

    /// Has nginx note in the connection to the server that files are not sent past TLS. It does the same after a
    /// handshake of its own, by a bit that has not the same place everywhere, see `bit_fields.rs`.
    pub fn note_sendfile(&self) {
        // SAFETY: nginx notes what the request's location says of it in the request's connection; that to the server
        // takes the client's place meanwhile. Of a subrequest it leaves the connection's log as it is.
        unsafe {
            let r = &mut *self.request;
            let server = (*r.upstream).peer.connection;
            let client = mem::replace(&mut r.connection, server);
            let main = mem::replace(&mut r.main, ptr::null_mut());
            ngx_http_update_location_config(r);
            (r.connection, r.main) = (client, main);
        }
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        // SAFETY: `new` has made the pool, and nobody uses what lies in it any more.
        unsafe { ngx_destroy_pool(self.pool) };
    }
}

/// Zeroed memory of a pool for so many values.
///
/// # Safety
///
/// The pool is alive, and zero a valid value of the type.
unsafe fn zeroed<T>(pool: *mut ngx_pool_t, count: usize) -> Option<*mut T> {
    // SAFETY: promised by the caller.
    let memory = unsafe { ngx_pcalloc(pool, count * size_of::<T>()) };
    (!memory.is_null()).then_some(memory.cast())
}

/// # Safety
///
/// The pool is alive, and the log outlives it.
unsafe fn request(
    pool: *mut ngx_pool_t,
    wanted: &Wanted,
    log: *mut ngx_log_t,
) -> Option<*mut ngx_http_request_t> {
    // SAFETY: promised by the caller. The memory is zeroed, which is a valid value for every field; the configuration
    // lives longer than the worker's connections.
    unsafe {
        let r = zeroed::<ngx_http_request_t>(pool, 1)?;
        let u = zeroed::<ngx_http_upstream_t>(pool, 1)?;
        let request = &mut *r;
        (request.pool, request.upstream, request.main) = (pool, u, r);
        wanted.context.enter(request);
        request.connection = client(pool, r, log)?;
        let connection = zeroed::<ngx_http_connection_t>(pool, 1)?;
        let context = zeroed::<Context>(pool, 1)?;
        context.write(wanted.context);
        (*connection).conf_ctx = (*context).as_ptr();
        request.http_connection = connection;
        request.ctx = zeroed(pool, ngx_http_max_module)?;
        let core = (*request.main_conf.add(ngx_http_core_module.ctx_index))
            .cast::<ngx_http_core_main_conf_t>();
        request.variables =
            zeroed::<ngx_http_variable_value_t>(pool, (*core).variables.nelts.max(1))?;
        init(&mut request.headers_in.headers, pool)?;
        init(&mut request.headers_out.headers, pool)?;
        (request.headers_in.content_length_n, request.headers_out.content_length_n) = (-1, -1);
        request.method = NGX_HTTP_GET as usize;
        request.http_version = 1001;
        (request.method_name, request.http_protocol) = (text("GET"), text("HTTP/1.1"));
        (request.uri, request.unparsed_uri) = (text("/"), text("/"));

        (*u).conf = wanted.conf;
        // What keepalive wants to be true of a connection that it takes.
        (*u).set_keepalive(1);
        (*u).set_request_body_sent(1);
        (*u).peer.log = log;
        (*u).peer.set_log_error(ngx_connection_log_error_e_NGX_ERROR_ERR);
        (*u).peer.set_so_keepalive(u32::from((*wanted.conf).socket_keepalive == 1));
        Some(r)
    }
}

/// A client on this machine, without a socket.
///
/// # Safety
///
/// The pool is alive, and the log outlives it.
unsafe fn client(
    pool: *mut ngx_pool_t,
    r: *mut ngx_http_request_t,
    log: *mut ngx_log_t,
) -> Option<*mut ngx_connection_t> {
    // SAFETY: promised by the caller; zero is a valid value for every field.
    unsafe {
        let c = zeroed::<ngx_connection_t>(pool, 1)?;
        let address = zeroed::<libc::sockaddr_in>(pool, 1)?;
        (*address).sin_family = libc::sa_family_t::try_from(libc::AF_INET).ok()?;
        (*address).sin_addr.s_addr = u32::from_ne_bytes([127, 0, 0, 1]);
        let client = &mut *c;
        (client.read, client.write) = (zeroed(pool, 1)?, zeroed(pool, 1)?);
        for event in [client.read, client.write] {
            let event: &mut ngx_event_t = &mut *event;
            (event.data, event.log) = (c.cast(), log);
        }
        (client.data, client.fd, client.log, client.pool) = (r.cast(), -1, log, pool);
        client.sockaddr = address.cast();
        client.socklen = libc::socklen_t::try_from(size_of::<libc::sockaddr_in>()).ok()?;
        client.addr_text = text("127.0.0.1");
        Some(c)
    }
}

/// An empty list of headers.
///
/// # Safety
///
/// The pool is alive, and the list has its place for good.
unsafe fn init(list: &mut ngx_list_t, pool: *mut ngx_pool_t) -> Option<()> {
    const LEN: usize = 4;
    // SAFETY: promised by the caller.
    list.part.elts = unsafe { zeroed::<ngx_table_elt_t>(pool, LEN) }?.cast();
    (list.size, list.nalloc, list.pool) = (size_of::<ngx_table_elt_t>(), LEN, pool);
    list.last = &raw mut list.part;
    Some(())
}

/// Text that nginx only reads.
fn text(text: &'static str) -> ngx_str_t {
    ngx_str_t { len: text.len(), data: text.as_ptr().cast_mut() }
}
