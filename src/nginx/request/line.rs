//! Puts the URI for the Frontend API into the request line that the stock proxy module has written.
//!
//! nginx itself can replace the client's URI, by a `proxy_pass` with a variable. It then makes and parses a URL for
//! each request and looks up the upstream by its name, which costs more than all that this module does. A request to
//! an HTTP/2 server has no request line and is handled so.

use crate::nginx::base::ffi::{ngx_http_request_t, ngx_str_t};
use crate::nginx::base::links::request::{self, bytes_mut};
use crate::nginx::base::pool::Pool;
use crate::nginx::request::proxy::Proxy;
use crate::nginx::request::uri;

/// Puts the URI into the request that is about to be sent. `None` without a URI or memory.
pub fn put_uri(r: &mut ngx_http_request_t, proxy: &Proxy) -> Option<()> {
    let Some(base) = &proxy.base else { return Some(()) };
    let uri = uri::of(r, proxy)?;
    let len = base.len() + uri.len();
    // nginx chooses a server right after `ngx_http_proxy_create_request` has made the first buffer of the request, with
    // method, blank and `u->uri` at its front.
    let u = request::upstream(r)?;
    let buffer = request::request_buffer(u)?;
    let (start, old) = (buffer.pos, u.uri);
    let method_len = old.data.addr().wrapping_sub(start.addr());
    let head = bytes_mut(buffer);
    // Another module may have written another request there; that is none to put anything into.
    let known = (1..=head.len()).contains(&method_len)
        && old.len <= head.len() - method_len
        && head[method_len - 1] == b' ';
    if !known {
        return None;
    }
    let place = if let Some(shorter) = old.len.checked_sub(len) {
        // In place; the end stays where it is.
        head.copy_within(..method_len, shorter);
        // If the request is sent again, it begins there.
        buffer.pos = start.wrapping_add(shorter);
        buffer.start = buffer.pos;
        &mut bytes_mut(buffer)[method_len..][..len]
    } else {
        // The whole head stays in one buffer: nginx puts what follows the first one into chunks where it streams a
        // body of unknown length.
        let (method, rest) = (&head[..method_len], &head[method_len + old.len..]);
        let bytes = method.iter().copied().chain((0..len).map(|_| 0)).chain(rest.iter().copied());
        let longer = Pool::from(&*r).fill(method_len + len + rest.len(), bytes)?;
        let range = longer.as_mut_ptr_range();
        (buffer.start, buffer.pos) = (range.start, range.start);
        (buffer.last, buffer.end) = (range.end, range.end);
        &mut longer[method_len..][..len]
    };
    let (front, end) = place.split_at_mut(base.len());
    front.copy_from_slice(base);
    uri.write(end);
    // The error log prints it as the upstream's.
    u.uri = ngx_str_t { len, data: place.as_mut_ptr() };
    Some(())
}
