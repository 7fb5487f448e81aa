//! The content handler: checks the request and lets the stock proxy module do the rest.

use crate::nginx::base::ffi::{
    ngx_http_request_t, ngx_int_t, NGX_HTTP_INTERNAL_SERVER_ERROR, NGX_HTTP_NOT_FOUND,
    NGX_HTTP_POST,
};
use crate::nginx::base::{expression, guard, headers, log, variables};
use crate::nginx::request::notes::{note, Note};
use crate::nginx::request::proxy::{self, Proxy};
use crate::nginx::request::{body, uri};
use crate::request_headers::{is_for_applications, is_of_site};
use crate::secret_key::SecretKey;

const NOT_FOUND: ngx_int_t = NGX_HTTP_NOT_FOUND as ngx_int_t;
const SERVER_ERROR: ngx_int_t = NGX_HTTP_INTERNAL_SERVER_ERROR as ngx_int_t;

/// Handles a request of a location with `clerk_proxy`.
pub unsafe extern "C" fn content_handler(r: *mut ngx_http_request_t) -> ngx_int_t {
    guard::handler(r, "content handler", Err(SERVER_ERROR), |r| {
        let proxy = proxy::of(r).ok_or(SERVER_ERROR)?;
        if uri::of(r, proxy).is_none() {
            log_mismatch(r, &proxy.prefix);
            note(r, Note::PathMismatch);
            return Err(NOT_FOUND);
        }
        // Every merge sets it. Checked again here so that a defect cannot send the key over an unverified connection.
        if proxy.context.is_some_and(|context| !context.is_used_for(r)) {
            log::error(
                r,
                "\"clerk_proxy\" would not verify the upstream, this is a defect of the module",
            );
            return Err(SERVER_ERROR);
        }
        if let Some(computed) = &proxy.computed {
            variables::separate(r, computed).ok_or(SERVER_ERROR)?;
        }
        // nginx keeps what is worked out here, before headers are dropped, for the request that it sends.
        if let Err(what) = check_values(r, proxy) {
            log::error(r, &format!("no valid {what} in \"clerk_proxy\" in {}", proxy.place));
            return Err(SERVER_ERROR);
        }
        drop_headers(r, proxy).ok_or(SERVER_ERROR)?;
        if r.err_status != 0 {
            note(r, Note::ByErrorPage);
        }
        if body::is_first(r, proxy) {
            return Err(body::read_first(r));
        }
        Ok(proxy.delegate)
    })
}

/// Drops what the client must not say. `None` without memory.
fn drop_headers(r: &mut ngx_http_request_t, proxy: &Proxy) -> Option<()> {
    // The recipe drops "Upgrade", and a location that sets it itself reads it later, as that of the client's address.
    headers::drop_named_in_request(r, |name| {
        let client_ip = proxy.client_ip.as_ref();
        name.eq_ignore_ascii_case(b"Upgrade") || client_ip.is_some_and(|said| said.is_in(name))
    })?;
    if let Some(is_twin) = proxy.is_twin {
        headers::drop_from_request(r, |name, _| is_twin(name))?;
    }
    drop_password(r, proxy)
}

/// Logs why a request cannot be passed on; the client gets the code alone.
fn log_mismatch(r: &ngx_http_request_t, prefix: &[u8]) {
    let (path, below) = (r.uri.as_bytes().escape_ascii(), prefix.escape_ascii());
    let changed = r.valid_unparsed_uri() == 0 && r.unparsed_uri.as_bytes().starts_with(prefix);
    let why = if changed { ", a \"rewrite\" has changed it" } else { "" };
    log::error(r, &format!("\"{path}\" is not below \"{below}/\" of \"clerk_proxy\"{why}"));
}

/// Drops the password of the site around, which the Frontend API would take for credentials of its own. Those of an
/// application pass, which asks for a token with them.
fn drop_password(r: &mut ngx_http_request_t, proxy: &Proxy) -> Option<()> {
    const NAME: &str = "Authorization";
    // Most requests have no `Authorization`.
    if r.headers_in.authorization.is_null() {
        return Some(());
    }
    let is_name = |name: &[u8]| name.eq_ignore_ascii_case(NAME.as_bytes());
    let is_meant = |name: &[u8], value: &[u8]| is_name(name) && is_of_site(value);
    let has = headers::pairs(&r.headers_in.headers).any(|(name, value)| is_meant(name, value));
    let uri = uri::of(r, proxy).and_then(|uri| uri.as_slice()).unwrap_or_default();
    let is_applications = r.method == NGX_HTTP_POST as usize
        && is_for_applications(uri)
        && !headers::is_in_request(r, "Origin");
    if !has || is_applications {
        return Some(());
    }
    headers::drop_from_request(r, is_meant)
}

/// Checks that the values of variables can be sent to Clerk. The error names what is wrong.
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
    if let Some(client_ip) = &proxy.client_ip {
        // Any value is good; without an address, that of the connection counts.
        client_ip.value(r);
    }
    Ok(())
}
