//! What the module remembers of a request: in its context's place stands one of these numbers, which are no
//! addresses, or the address of the body that is to be sent.

use std::ptr;

use crate::nginx::base::ffi::{ngx_chain_t, ngx_http_request_t};
use crate::nginx::base::module::{HttpModule, Module};

/// The path lies beside the proxy URL's.
pub const PATH_MISMATCH: usize = 1;
/// The request comes by the `error_page` of another location.
pub const BY_ERROR_PAGE: usize = 2;
/// The request is one for a public script.
pub const PUBLIC_SCRIPT: usize = 3;
/// The body that replaces nginx's is sent.
pub const BODY_SENT: usize = 4;

/// Notes that the request's path lies beside the proxy URL's, for the error that follows.
pub fn note_path_mismatch(r: &mut ngx_http_request_t) {
    set_context(r, ptr::without_provenance_mut(PATH_MISMATCH));
}

/// Notes that the request comes by the `error_page` of another location, with a status that the reply will get.
pub fn note_error_page(r: &mut ngx_http_request_t) {
    set_context(r, ptr::without_provenance_mut(BY_ERROR_PAGE));
}

/// Notes that the request is one for a public script, which has lost what is personal in it.
pub fn note_public_script(r: &mut ngx_http_request_t) {
    set_context(r, ptr::without_provenance_mut(PUBLIC_SCRIPT));
}

/// Whether that was noted, and no reply has come yet.
pub fn is_public_script(r: &ngx_http_request_t) -> bool {
    context(r).addr() == PUBLIC_SCRIPT
}

/// What is noted of the request, see above.
pub fn context(r: &ngx_http_request_t) -> *mut ngx_chain_t {
    // SAFETY: `ctx` has an element for every http module.
    unsafe { *r.ctx.add(Module::module().ctx_index) }.cast()
}

/// Notes it instead of what was noted.
pub fn set_context(r: &mut ngx_http_request_t, context: *mut ngx_chain_t) {
    // SAFETY: as above.
    unsafe { *r.ctx.add(Module::module().ctx_index) = context.cast() };
}
