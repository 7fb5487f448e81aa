//! The content handler: checks what the request brings and lets the stock proxy module do the rest.

use crate::nginx::base::ffi::{
    ngx_http_request_t, ngx_int_t, NGX_HTTP_INTERNAL_SERVER_ERROR, NGX_HTTP_NOT_FOUND,
};
use crate::nginx::base::status::OK;
use crate::nginx::base::{expression, guard, headers, log};
use crate::nginx::request::proxy::{self, Proxy};
use crate::nginx::request::{notes, uri};
use crate::secret_key::SecretKey;

const NOT_FOUND: ngx_int_t = NGX_HTTP_NOT_FOUND as ngx_int_t;
const SERVER_ERROR: ngx_int_t = NGX_HTTP_INTERNAL_SERVER_ERROR as ngx_int_t;

/// Handles a request of a location with `clerk_proxy`.
pub unsafe extern "C" fn content_handler(r: *mut ngx_http_request_t) -> ngx_int_t {
    let mut delegate = None;
    let status = guard::request(r, "content handler", SERVER_ERROR, |r| {
        let Some(proxy) = proxy::of(r) else { return SERVER_ERROR };
        if uri::of(r, proxy).is_none() {
            let (path, prefix) = (r.uri.as_bytes(), &*proxy.prefix);
            let (path, prefix) = (path.escape_ascii(), prefix.escape_ascii());
            log::error(r, &format!("\"{path}\" is not below \"{prefix}/\" of \"clerk_proxy\""));
            notes::note_path_mismatch(r);
            return NOT_FOUND;
        }
        // Set on all ways through nginx's merge; the key goes out on an unverified connection on none.
        if proxy.context.is_some_and(|context| !context.is_in_force(r)) {
            log::error(
                r,
                "\"clerk_proxy\" would not verify the upstream, this is a defect of the module",
            );
            return SERVER_ERROR;
        }
        if headers::drop_named_in_request(r).is_none() {
            return SERVER_ERROR;
        }
        if let Err(what) = check_values(r, proxy) {
            log::error(r, &format!("no valid {what} in \"clerk_proxy\" in {}", proxy.place));
            return SERVER_ERROR;
        }
        if r.err_status != 0 {
            notes::note_error_page(r);
        }
        delegate = proxy.delegate;
        OK
    });
    match delegate {
        // SAFETY: a content handler takes the request; it is the one that the proxy module would have
        // installed itself in this location, whose configuration it made. No reference to the request is
        // held here, which the proxy module changes and hands to our filters.
        Some(delegate) if status == OK => unsafe { delegate(r) },
        _ => status,
    }
}

/// Sees to it that what variables stand for can be sent to Clerk; where it cannot, returns what is wrong.
fn check_values(r: &mut ngx_http_request_t, proxy: &Proxy) -> Result<(), String> {
    if let Some((url, expression)) = &proxy.url {
        if !url.is_met_by(expression::as_text(expression.value(r))) {
            return Err(format!("host in URL \"{}\"", expression.shown()));
        }
    }
    if let Some(expression) = &proxy.key {
        if !SecretKey::is_value(expression::as_text(expression.value(r))) {
            return Err(format!("key \"{}\"", expression.shown()));
        }
    }
    Ok(())
}
