//! Where requests, their connections and their upstreams lead.

use std::iter;

#[cfg(nginx_http_cache)]
use crate::nginx::base::ffi::ngx_http_cache_t;
#[cfg(nginx_http_v3)]
use crate::nginx::base::ffi::ngx_quic_stream_t;
#[cfg(nginx_http_ssl)]
use crate::nginx::base::ffi::ngx_ssl_connection_t;
use crate::nginx::base::ffi::{
    ngx_buf_t, ngx_chain_t, ngx_connection_t, ngx_event_t, ngx_http_core_main_conf_t,
    ngx_http_request_t, ngx_http_upstream_conf_t, ngx_http_upstream_rr_peer_t,
    ngx_http_upstream_rr_peers_t, ngx_http_upstream_state_t, ngx_http_upstream_t,
    ngx_http_variable_value_t,
};
use crate::nginx::base::links::{array_at, there, Link};

/// The client's connection.
pub fn client(r: &ngx_http_request_t) -> &ngx_connection_t {
    there(Link(r.connection).get())
}

/// The upstream of the request, once it has one.
pub fn upstream<'a>(r: &ngx_http_request_t) -> Option<&'a mut ngx_http_upstream_t> {
    Link(r.upstream).get_mut()
}

/// The settings of the upstream, which are those of the location.
pub fn settings<'a>(u: &ngx_http_upstream_t) -> &'a mut ngx_http_upstream_conf_t {
    there(Link(u.conf).get_mut())
}

/// The states of the servers that were tried.
pub fn states(r: &ngx_http_request_t) -> &[ngx_http_upstream_state_t] {
    array_at(r.upstream_states)
}

/// The values that a request has of the variables with an index.
pub fn values<'a>(
    r: &'a ngx_http_request_t,
    main: &ngx_http_core_main_conf_t,
) -> &'a [ngx_http_variable_value_t] {
    Link(r.variables).run(main.variables.nelts)
}

/// The request's entry of a cache, if it has one.
#[cfg(nginx_http_cache)]
pub fn entry<'a>(r: &ngx_http_request_t) -> Option<&'a mut ngx_http_cache_t> {
    Link(r.cache).get_mut()
}

/// The buffer of an entry, once it has one.
#[cfg(nginx_http_cache)]
pub fn entry_buffer(entry: &ngx_http_cache_t) -> Option<&ngx_buf_t> {
    Link(entry.buf).get()
}

/// The stream of a request over HTTP/3.
#[cfg(nginx_http_v3)]
pub fn stream<'a>(c: &ngx_connection_t) -> Option<&'a mut ngx_quic_stream_t> {
    Link(c.quic).get_mut()
}

/// The buffer of a link of a chain; each link has one.
pub fn buffer<'a>(link: &ngx_chain_t) -> &'a mut ngx_buf_t {
    there(Link(link.buf).get_mut())
}

/// The buffers of what an upstream is sent.
pub fn request_buffer<'a>(u: &ngx_http_upstream_t) -> Option<&'a mut ngx_buf_t> {
    Link(u.request_bufs).get().map(buffer)
}

/// What a buffer in memory holds that is not read or sent yet.
pub fn bytes<'a>(buffer: &ngx_buf_t) -> &'a [u8] {
    Link(buffer.pos).run(buffer.last.addr() - buffer.pos.addr())
}

/// The same, to be changed.
pub fn bytes_mut(buffer: &mut ngx_buf_t) -> &mut [u8] {
    Link(buffer.pos).run_mut(buffer.last.addr() - buffer.pos.addr())
}

/// The events of a connection: for reading and for writing.
pub fn events<'a>(c: &ngx_connection_t) -> [&'a mut ngx_event_t; 2] {
    [c.read, c.write].map(|event| there(Link(event).get_mut()))
}

/// What TLS knows of a connection, where it is spoken.
#[cfg(nginx_http_ssl)]
pub fn tls<'a>(c: &ngx_connection_t) -> Option<&'a mut ngx_ssl_connection_t> {
    Link(c.ssl).get_mut()
}

/// The list behind a list of round robin's, such as the one of backups.
pub fn list_behind<'a>(
    list: &ngx_http_upstream_rr_peers_t,
) -> Option<&'a ngx_http_upstream_rr_peers_t> {
    Link(list.next).get()
}

/// The servers of such a list.
pub fn peers(
    list: &ngx_http_upstream_rr_peers_t,
) -> impl Iterator<Item = &mut ngx_http_upstream_rr_peer_t> {
    let mut next = list.peer;
    iter::from_fn(move || {
        let peer = Link(next).get_mut()?;
        next = peer.next;
        Some(peer)
    })
}
