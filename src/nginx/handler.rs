//! The content handler: finds the URI for the Frontend API and lets the stock proxy module do the rest.

use ngx::ffi::{
    ngx_conf_t, ngx_http_add_variable, ngx_http_get_variable_index, ngx_http_request_t,
    ngx_http_variable_value_t, ngx_int_t, ngx_pnalloc, NGX_HTTP_INTERNAL_SERVER_ERROR,
    NGX_HTTP_NOT_FOUND,
};
use ngx::http::{HttpModuleLocationConf, HttpModuleMainConf};

use super::cf::{ConfExt, Stop, ERROR, NO_MEMORY, OK};
use super::{filter, guard, headers, Module};
use crate::upstream_uri::{RequestUri, UpstreamUri};

/// The variable in the `proxy_pass` of the recipe.
pub const URI_VARIABLE: &str = "clerk_proxy_uri";

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
        if set_variable(r, &uri).is_none() || headers::drop_named_in_request(r).is_none() {
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

/// Gives the variable its value for the `proxy_pass` that the delegate evaluates next, at the place where
/// nginx itself keeps values: no context, no getter, and nearly never an allocation.
fn set_variable(r: &ngx_http_request_t, uri: &UpstreamUri) -> Option<()> {
    let index = Module::main_conf(r)?.uri_index?;
    // The request's own buffers, or a static slash; nginx only reads values of variables.
    let (data, len) = match uri.as_slice() {
        Some(slice) => (slice.as_ptr().cast_mut(), slice.len()),
        None => written_to_pool(r, uri)?,
    };
    let bits = ngx_http_variable_value_t::new_bitfield_1(u32::try_from(len).ok()?, 1, 0, 0, 0);
    // SAFETY: `variables` has an element for every index that was handed out at configuration time.
    unsafe {
        let value = r.variables.add(index);
        (*value)._bitfield_1 = bits;
        (*value).data = data;
    }
    Some(())
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

/// Defines `$clerk_proxy_uri`.
pub fn add_variable(cf: &mut ngx_conf_t) -> Result<(), Stop> {
    let mut name = cf.copy(URI_VARIABLE)?;
    // SAFETY: called from `preconfiguration`, after that of the core module; the name lives in the pool.
    let index = unsafe {
        let variable = ngx_http_add_variable(cf, &raw mut name, 0);
        if variable.is_null() {
            return Err(NO_MEMORY);
        }
        (*variable).get_handler = Some(unset_variable);
        ngx_http_get_variable_index(cf, &raw mut name)
    };
    let index = usize::try_from(index).map_err(|_| NO_MEMORY)?;
    Module::main_conf_mut(cf).ok_or(NO_MEMORY)?.uri_index = Some(index);
    Ok(())
}

/// The value in requests that no `clerk_proxy` has handled.
unsafe extern "C" fn unset_variable(
    r: *mut ngx_http_request_t,
    value: *mut ngx_http_variable_value_t,
    _data: usize,
) -> ngx_int_t {
    guard::request(r, "variable", ERROR, |_| {
        // SAFETY: nginx hands a getter the value to fill.
        unsafe { (*value).set_not_found(1) };
        OK
    })
}
