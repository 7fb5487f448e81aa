//! Puts the URI for the Frontend API into the request line that the stock proxy module has written.
//!
//! nginx itself can replace the client's URI, by a `proxy_pass` with a variable. It then makes and parses a URL for
//! each request and looks up the upstream by its name, which costs more than all that this module does. A request to
//! an HTTP/2 server has no request line and is handled so.

use std::ptr;
use std::slice;

use crate::nginx::base::ffi::{ngx_http_request_t, ngx_http_upstream_t, ngx_str_t};
use crate::nginx::base::pool::Pool;
use crate::nginx::request::proxy::Proxy;
use crate::nginx::request::uri;

/// Puts the URI into the request that is about to be sent. `None` without a URI or memory.
pub fn put_uri(r: &mut ngx_http_request_t, proxy: &Proxy) -> Option<()> {
    let Some(base) = &proxy.base else { return Some(()) };
    let uri = uri::of(r, proxy)?;
    let len = base.len() + uri.len();
    // SAFETY: nginx chooses a server for a request with an upstream, right after `ngx_http_proxy_create_request` has
    // made the first buffer of the request, with method, blank and `u->uri` at its front.
    unsafe {
        let u: *mut ngx_http_upstream_t = r.upstream;
        let head = (*(*u).request_bufs).buf;
        let (method, old) = ((*head).pos, (*u).uri);
        let method_len = old.data.addr().wrapping_sub(method.addr());
        // Another module may have written another request there; that is none to put anything into.
        let room = (*head).last.addr().wrapping_sub(method.addr());
        let known = (1..=room).contains(&method_len)
            && old.len <= room - method_len
            && *old.data.sub(1) == b' ';
        if !known {
            return None;
        }
        let start = if let Some(shorter) = old.len.checked_sub(len) {
            // In place; the end stays where it is.
            let start = method.add(shorter);
            ptr::copy(method, start, method_len);
            // If the request is sent again, it begins at `start`.
            ((*head).pos, (*head).start) = (start, start);
            start
        } else {
            // The whole head stays in one buffer: nginx puts what follows the first one into chunks where it streams a
            // body of unknown length.
            let behind = old.data.add(old.len);
            let rest = slice::from_raw_parts(behind, room - method_len - old.len);
            let method = slice::from_raw_parts(method, method_len);
            let bytes =
                method.iter().copied().chain((0..len).map(|_| 0)).chain(rest.iter().copied());
            let longer = Pool::from(&*r).fill(method_len + len + rest.len(), bytes)?;
            let longer = longer.as_mut_ptr_range();
            ((*head).start, (*head).pos) = (longer.start, longer.start);
            ((*head).last, (*head).end) = (longer.end, longer.end);
            longer.start
        };
        let data = start.add(method_len);
        data.copy_from_nonoverlapping(base.as_ptr(), base.len());
        uri::write(&uri, slice::from_raw_parts_mut(data.add(base.len()), uri.len()));
        // The error log prints it as the upstream's.
        (*u).uri = ngx_str_t { len, data };
    }
    Some(())
}
