//! The URI that the Frontend API gets for a request.

use crate::nginx::base::ffi::ngx_http_request_t;
use crate::nginx::request::proxy::Proxy;
use crate::upstream_uri::{RequestUri, UpstreamUri};

/// The URI for the Frontend API; `None` if the request is not below the proxy URL.
pub fn of<'a>(r: &'a ngx_http_request_t, proxy: &Proxy) -> Option<UpstreamUri<'a>> {
    let uri = RequestUri {
        raw: (r.valid_unparsed_uri() == 1).then(|| r.unparsed_uri.as_bytes()),
        path: r.uri.as_bytes(),
        args: r.args.as_bytes(),
    };
    UpstreamUri::cut(uri, &proxy.prefix)
}
