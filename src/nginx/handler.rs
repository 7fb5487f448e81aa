//! The content handler: finds the URI for the Frontend API and lets the stock proxy module do the rest.

use ngx::ffi::{
    ngx_http_request_t, ngx_int_t, ngx_pnalloc, NGX_HTTP_INTERNAL_SERVER_ERROR, NGX_HTTP_NOT_FOUND,
};
use ngx::http::{HttpModuleLocationConf, HttpModuleMainConf};

use super::cf::OK;
use super::conf::Proxy;
use super::{expression, filter, guard, headers, variables, Module};
use crate::client_ip::client_ip;
use crate::secret_key::SecretKey;
use crate::upstream_uri::{RequestUri, UpstreamUri};

const NOT_FOUND: ngx_int_t = NGX_HTTP_NOT_FOUND as ngx_int_t;
const SERVER_ERROR: ngx_int_t = NGX_HTTP_INTERNAL_SERVER_ERROR as ngx_int_t;

/// Handles a request of a location with `clerk_proxy`.
pub unsafe extern "C" fn content_handler(r: *mut ngx_http_request_t) -> ngx_int_t {
    let mut delegate = None;
    let status = guard::request(r, "content handler", SERVER_ERROR, |r| {
        let Some(proxy) = Module::location_conf(r).and_then(|conf| conf.proxy.as_deref()) else {
            return SERVER_ERROR;
        };
        let Some(uri) = UpstreamUri::cut(request_uri(r), &proxy.prefix) else {
            let (path, prefix) = (r.uri.as_bytes(), &*proxy.prefix);
            let (path, prefix) = (path.escape_ascii(), prefix.escape_ascii());
            guard::error(r, &format!("\"{path}\" is not below \"{prefix}/\" of \"clerk_proxy\""));
            filter::note_path_mismatch(r);
            return NOT_FOUND;
        };
        // Set on all ways through nginx's merge; the key goes out on an unverified connection on none.
        if proxy.context.is_some_and(|context| !context.is_in_force(r)) {
            guard::error(
                r,
                "\"clerk_proxy\" would not verify the upstream, this is a defect of the module",
            );
            return SERVER_ERROR;
        }
        let Some(indexes) = Module::main_conf(r).and_then(|main| main.variables) else {
            return SERVER_ERROR;
        };
        let done = set_uri(r, indexes.uri, &uri)
            .and_then(|()| set_client_ip(r, indexes.client_ip, proxy))
            .and_then(|()| headers::drop_named_in_request(r));
        if done.is_none() {
            return SERVER_ERROR;
        }
        if let Err(what) = check_values(r, proxy) {
            guard::error(r, &format!("no valid {what} in \"clerk_proxy\" in {}", proxy.place));
            return SERVER_ERROR;
        }
        if r.err_status != 0 {
            filter::note_error_page(r);
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

fn request_uri(r: &ngx_http_request_t) -> RequestUri<'_> {
    RequestUri {
        raw: (r.valid_unparsed_uri() == 1).then(|| r.unparsed_uri.as_bytes()),
        path: r.uri.as_bytes(),
        args: r.args.as_bytes(),
    }
}

/// Gives `$clerk_proxy_uri` its value for the `proxy_pass` that the delegate evaluates next.
fn set_uri(r: &ngx_http_request_t, index: usize, uri: &UpstreamUri) -> Option<()> {
    // The request's own buffers, or a static slash.
    let (data, len) = match uri.as_slice() {
        Some(slice) => (slice.as_ptr().cast_mut(), slice.len()),
        None => written_to_pool(r, uri)?,
    };
    variables::set(r, index, data, len)
}

/// Gives `$clerk_proxy_client_ip` its value: what the user's expression says, if that is an address, else the
/// address of the connection, as `realip` left it. A socket's peer has none: the header is left out then.
fn set_client_ip(r: &mut ngx_http_request_t, index: usize, proxy: &Proxy) -> Option<()> {
    let value = proxy.client_ip.as_ref().and_then(|(form, expression)| {
        let ip = client_ip(expression::as_text(expression.value(r)), *form)?;
        Some((ip.as_ptr(), ip.len()))
    });
    let (data, len) = value.unwrap_or_else(|| {
        // SAFETY: a request has a connection, whose text of the peer's address lives as long as it.
        let text = unsafe { (*r.connection).addr_text };
        (text.data.cast_const(), if text.as_bytes().starts_with(b"unix:") { 0 } else { text.len })
    });
    variables::set(r, index, data, len)
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

/// The URI in memory of its own, where it is no slice of the request.
fn written_to_pool(r: &ngx_http_request_t, uri: &UpstreamUri) -> Option<(*mut u8, usize)> {
    let len = uri.len();
    // SAFETY: `pool` is the request's; the result is null or has room for `len` bytes.
    let data = unsafe { ngx_pnalloc(r.pool, len) }.cast::<u8>();
    if data.is_null() {
        return None;
    }
    let mut end = data;
    uri.bytes(|b| {
        // SAFETY: `bytes` hands out exactly `len` bytes.
        unsafe {
            *end = b;
            end = end.add(1);
        }
    });
    Some((data, len))
}
