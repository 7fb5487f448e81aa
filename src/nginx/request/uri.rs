//! The URI that the Frontend API is to get for a request.

use crate::nginx::base::ffi::ngx_http_request_t;
use crate::nginx::request::proxy::Proxy;
use crate::upstream_uri::{RequestUri, UpstreamUri};

/// The URI for the Frontend API; nothing if the request does not lie below the proxy URL.
pub fn of<'a>(r: &'a ngx_http_request_t, proxy: &Proxy) -> Option<UpstreamUri<'a>> {
    let uri = RequestUri {
        raw: (r.valid_unparsed_uri() == 1).then(|| r.unparsed_uri.as_bytes()),
        path: r.uri.as_bytes(),
        args: r.args.as_bytes(),
    };
    UpstreamUri::cut(uri, &proxy.prefix)
}

/// Writes a URI.
///
/// # Safety
///
/// There is room for as many bytes as the URI is long, in memory that is no part of the request's.
pub unsafe fn write(uri: &UpstreamUri, to: *mut u8) {
    let mut end = to;
    // SAFETY: promised by the caller; `bytes` hands out as many as the URI is long.
    unsafe {
        match uri.as_slice() {
            Some(slice) => to.copy_from_nonoverlapping(slice.as_ptr(), slice.len()),
            None => uri.bytes(|b| {
                end.write(b);
                end = end.add(1);
            }),
        }
    }
}
