//! The module's variables: `$clerk_proxy_uri`, `$clerk_proxy_client_ip` and those that the cache asks.
//!
//! All are worked out whenever they are asked for, and nothing is kept: a request shares the place where
//! nginx keeps values with its subrequests, and the headers of one may be made after another was handled.

use crate::client_ip::{client_ip, Spelling};
use crate::nginx::base::ffi::{
    ngx_conf_t, ngx_http_add_variable, ngx_http_request_t, ngx_http_variable_value_t, ngx_int_t,
    ngx_pnalloc, NGX_HTTP_VAR_NOCACHEABLE,
};
use crate::nginx::base::parser::{ConfExt, Stop, NO_MEMORY};
use crate::nginx::base::status::{ERROR, OK};
use crate::nginx::base::{expression, guard};
use crate::nginx::request::proxy::{self, Proxy};
use crate::nginx::request::{cache, uri};
use crate::upstream_uri::UpstreamUri;

/// The URI in the `proxy_pass` of the recipe.
pub const URI: &str = "clerk_proxy_uri";

/// Data and length of a value.
type Value = (*const u8, usize);

/// Defines the variables.
pub fn add(cf: &mut ngx_conf_t) -> Result<(), Stop> {
    add_one(cf, URI, get_uri)?;
    add_one(cf, "clerk_proxy_client_ip", get_client_ip)?;
    add_one(cf, "clerk_proxy_cache", get_cache)?;
    add_one(cf, "clerk_proxy_no_cache", get_no_cache)?;
    add_one(cf, "clerk_proxy_empty", get_nothing)
}

type Getter = unsafe extern "C" fn(
    *mut ngx_http_request_t,
    *mut ngx_http_variable_value_t,
    usize,
) -> ngx_int_t;

fn add_one(cf: &mut ngx_conf_t, name: &str, getter: Getter) -> Result<(), Stop> {
    let mut name = cf.copy(name)?;
    // SAFETY: called from `preconfiguration`, after that of the core module; the name lives in the pool.
    unsafe {
        let flags = NGX_HTTP_VAR_NOCACHEABLE as usize;
        let variable = ngx_http_add_variable(cf, &raw mut name, flags);
        if variable.is_null() {
            return Err(NO_MEMORY);
        }
        (*variable).get_handler = Some(getter);
    }
    Ok(())
}

unsafe extern "C" fn get_uri(
    r: *mut ngx_http_request_t,
    value: *mut ngx_http_variable_value_t,
    _data: usize,
) -> ngx_int_t {
    guard::request(r, "variable", ERROR, |r| {
        // SAFETY: nginx hands a getter the value to fill.
        unsafe { fill(value, r, |r, proxy| bytes(r, &uri::of(r, proxy)?)) }
    })
}

unsafe extern "C" fn get_client_ip(
    r: *mut ngx_http_request_t,
    value: *mut ngx_http_variable_value_t,
    _data: usize,
) -> ngx_int_t {
    guard::request(r, "variable", ERROR, |r| {
        // SAFETY: nginx hands a getter the value to fill.
        unsafe { fill(value, r, address) }
    })
}

unsafe extern "C" fn get_cache(
    r: *mut ngx_http_request_t,
    value: *mut ngx_http_variable_value_t,
    _data: usize,
) -> ngx_int_t {
    guard::request(r, "variable", ERROR, |r| {
        // SAFETY: nginx hands a getter the value to fill.
        unsafe { fill(value, r, |r, proxy| cache::zone(r, proxy).map(text)) }
    })
}

unsafe extern "C" fn get_no_cache(
    r: *mut ngx_http_request_t,
    value: *mut ngx_http_variable_value_t,
    _data: usize,
) -> ngx_int_t {
    guard::request(r, "variable", ERROR, |r| {
        // SAFETY: nginx hands a getter the value to fill.
        unsafe { fill(value, r, |r, proxy| cache::must_not_keep(r, proxy).then(|| text(b"1"))) }
    })
}

/// What is looked for in place of what an outer `sub_filter` names.
unsafe extern "C" fn get_nothing(
    r: *mut ngx_http_request_t,
    value: *mut ngx_http_variable_value_t,
    _data: usize,
) -> ngx_int_t {
    guard::request(r, "variable", ERROR, |r| {
        // SAFETY: nginx hands a getter the value to fill.
        unsafe { fill(value, r, |_, _| None) }
    })
}

/// A text that lives as long as the request.
fn text(text: &[u8]) -> Value {
    (text.as_ptr(), text.len())
}

/// The flags beside the length of a value, in one word: bindgen writes each of its bits by itself, which costs
/// more than all else here.
const VALID: u32 = 1 << 28;
const NO_CACHEABLE: u32 = 1 << 29;
const NOT_FOUND: u32 = 1 << 30;

/// Fills a value in a location with `clerk_proxy`; elsewhere there is none.
///
/// # Safety
///
/// `value` is valid.
unsafe fn fill(
    value: *mut ngx_http_variable_value_t,
    r: &mut ngx_http_request_t,
    find: impl FnOnce(&mut ngx_http_request_t, &Proxy) -> Option<Value>,
) -> ngx_int_t {
    let found = proxy::of(r).and_then(|proxy| find(r, proxy));
    let (data, len, missing) = match found {
        Some((data, len)) => (data, len, 0),
        None => (std::ptr::null(), 0, 1),
    };
    let Some(len) = u32::try_from(len).ok().filter(|&len| len < VALID) else { return ERROR };
    let word = if missing == 0 { len | VALID | NO_CACHEABLE } else { NOT_FOUND | NO_CACHEABLE };
    // SAFETY: promised by the caller. The length and the flags are the first word (ngx_variable_value_t); nginx only
    // reads what `data` points to.
    unsafe {
        value.cast::<u32>().write(word);
        (*value).data = data.cast_mut();
        debug_assert_eq!(((*value).len(), (*value).not_found()), (len, missing));
        debug_assert_eq!(((*value).valid(), (*value).no_cacheable()), (1 - missing, 1));
    }
    OK
}

/// A URI as bytes: a part of the request, a static slash or, rarely, memory of its own.
fn bytes(r: &ngx_http_request_t, uri: &UpstreamUri) -> Option<Value> {
    if let Some(slice) = uri.as_slice() {
        return Some((slice.as_ptr(), slice.len()));
    }
    let len = uri.len();
    // SAFETY: `pool` is the request's; the result is null or has room for `len` bytes.
    let data = unsafe { ngx_pnalloc(r.pool, len) }.cast::<u8>();
    if data.is_null() {
        return None;
    }
    // SAFETY: as above.
    unsafe { uri::write(uri, data) };
    Some((data, len))
}

/// The client's address: what the user's expression says, if that is an address, else that of the connection, as
/// `realip` left it. A socket's peer has none: the header is left out then.
fn address(r: &mut ngx_http_request_t, proxy: &Proxy) -> Option<Value> {
    let said = proxy.client_ip.as_ref().and_then(|(form, expression)| {
        let ip = client_ip(expression::as_text(expression.value(r)), *form)?;
        Some((ip.as_ptr(), ip.len()))
    });
    let (data, len) = said.unwrap_or_else(|| {
        // SAFETY: a request has a connection, whose text of the peer's address lives as long as it.
        let text = unsafe { (*r.connection).addr_text };
        (text.data.cast_const(), if text.as_bytes().starts_with(b"unix:") { 0 } else { text.len })
    });
    // SAFETY: nginx's text, or a part of a value of the request, which live as long as it.
    let ip = unsafe { std::slice::from_raw_parts(data, len) };
    match std::str::from_utf8(ip).ok().and_then(Spelling::unlike) {
        Some(other) => copy(r, other.as_bytes()),
        None => Some((data, len)),
    }
}

/// A copy of a text that lives as long as the request.
fn copy(r: &ngx_http_request_t, text: &[u8]) -> Option<Value> {
    // SAFETY: `pool` is the request's; the result is null or has room for the text.
    unsafe {
        let data = ngx_pnalloc(r.pool, text.len()).cast::<u8>();
        if data.is_null() {
            return None;
        }
        data.copy_from_nonoverlapping(text.as_ptr(), text.len());
        Some((data.cast_const(), text.len()))
    }
}
