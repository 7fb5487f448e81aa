//! The body of an upload over HTTP/2 or HTTP/3.
//!
//! While nginx passes a body on unbuffered, a client of HTTP/2 may send one buffer for each round trip: 10 MB over
//! 100 ms take 8 s. A body that is read to its end first arrives as fast as the client can send it.

use std::ptr;

use crate::nginx::base::ffi::{
    ngx_http_finalize_request, ngx_http_read_client_request_body, ngx_http_request_t, ngx_int_t,
    NGX_DONE, NGX_HTTP_INTERNAL_SERVER_ERROR, NGX_HTTP_SPECIAL_RESPONSE, NGX_HTTP_VERSION_20,
};
use crate::nginx::base::guard;
#[cfg(nginx_http_v3)]
use crate::nginx::base::links::request;
use crate::nginx::request::proxy::{self, Proxy};
use crate::nginx::stock::level::Level;

/// The window of an upload over HTTP/3, unless the user's `http3_stream_buffer_size` is larger.
#[cfg(nginx_http_v3)]
const WINDOW: u64 = 1024 * 1024;

const SERVER_ERROR: ngx_int_t = NGX_HTTP_INTERNAL_SERVER_ERROR as ngx_int_t;

/// Whether the body is read first: it is longer than the buffer, and the client's protocol has a window for each
/// request.
pub fn is_first(r: &ngx_http_request_t, proxy: &Proxy) -> bool {
    let len = r.headers_in.content_length_n;
    proxy.streams
        && r.http_version >= NGX_HTTP_VERSION_20 as usize
        && (len > 0 || r.headers_in.chunked() == 1)
        && ptr::eq(r, r.main)
        && r.request_body.is_null()
        && Level::of(r).is_some_and(|level| {
            let window = i64::try_from(level.core().client_body_buffer_size).unwrap_or(i64::MAX);
            len < 0 || len > window
        })
}

/// Reads the body of a request that our content handler has checked, and then lets the stock proxy module do the rest.
pub fn read_first(r: &mut ngx_http_request_t) -> ngx_int_t {
    #[cfg(nginx_http_v3)]
    widen(r);
    // SAFETY: nginx calls what is given once it has the body, which may be at once.
    let status = unsafe { ngx_http_read_client_request_body(r, Some(pass_on)) };
    if status >= NGX_HTTP_SPECIAL_RESPONSE as ngx_int_t {
        status
    } else {
        NGX_DONE as ngx_int_t
    }
}

/// Lets a client of HTTP/3 send more of this body before it has heard again. What it may send on all of the connection's
/// streams together, 8 MB, and therefore the memory that it can take, stays as it is.
#[cfg(nginx_http_v3)]
fn widen(r: &ngx_http_request_t) {
    // nginx reads the window's size each time that it opens it.
    if let Some(stream) = request::stream(request::client(r)) {
        stream.recv_window = stream.recv_window.max(WINDOW);
    }
}

unsafe extern "C" fn pass_on(r: *mut ngx_http_request_t) {
    let status = guard::handler(r, "body of an upload", Err(SERVER_ERROR), |r| {
        Ok(proxy::of(r).ok_or(SERVER_ERROR)?.delegate)
    });
    // SAFETY: nginx counts a reader of the body as one that the request waits for.
    unsafe { ngx_http_finalize_request(r, status) };
}
