//! The module's variables: `$clerk_proxy_uri`, `$clerk_proxy_client_ip` and those that the cache asks.
//!
//! All are evaluated each time and never cached: a request shares its cached values with its subrequests, and the
//! headers of one may be written after another was handled.

use crate::client_ip::{client_ip, Spelling};
use crate::nginx::base::ffi::{
    __BindgenBitfieldUnit, ngx_conf_t, ngx_http_add_variable, ngx_http_request_t,
    ngx_http_variable_value_t, ngx_int_t, ngx_str_t, NGX_HTTP_VAR_NOCACHEABLE,
};
use crate::nginx::base::links::request;
use crate::nginx::base::parser::{ConfExt, Stop, NO_MEMORY};
use crate::nginx::base::pool::Pool;
use crate::nginx::base::status::{ERROR, OK};
use crate::nginx::base::{expression, guard, headers};
use crate::nginx::request::proxy::{self, Proxy};
use crate::nginx::request::{cache, uri};
use crate::upstream_uri::UpstreamUri;

/// The URI in the `proxy_pass` of the recipe.
pub const URI: &str = "clerk_proxy_uri";

/// Data and length of a value.
type Value = (*const u8, usize);

/// Finds the value of a variable for a request of a location with `clerk_proxy`.
type Find = fn(&mut ngx_http_request_t, &Proxy) -> Option<Value>;

/// The variables and their values.
const VARIABLES: [(&str, Find); 6] = [
    (URI, |r, proxy| bytes(r, &uri::of(r, proxy)?)),
    ("clerk_proxy_client_ip", address),
    ("clerk_proxy_cache", |r, proxy| cache::zone(r, proxy).map(text)),
    ("clerk_proxy_no_cache", |r, proxy| cache::must_not_keep(r, proxy).then(|| text(b"1"))),
    // What is looked for in place of what an outer `sub_filter` names.
    ("clerk_proxy_empty", |_, _| None),
    ("clerk_proxy_early_data", |r, proxy| is_early(r, proxy).then(|| text(b"1"))),
];

/// Defines the variables.
pub fn add(cf: &mut ngx_conf_t) -> Result<(), Stop> {
    for (number, (name, _)) in VARIABLES.iter().enumerate() {
        let mut name = cf.copy(name)?;
        let flags = NGX_HTTP_VAR_NOCACHEABLE as usize;
        // SAFETY: called from `preconfiguration`, after that of the core module; the name lives in the pool. The result
        // is null or lives there, too.
        let variable = unsafe { ngx_http_add_variable(cf, &raw mut name, flags).as_mut() };
        let variable = variable.ok_or(NO_MEMORY)?;
        variable.get_handler = Some(get);
        variable.data = number;
    }
    Ok(())
}

unsafe extern "C" fn get(
    r: *mut ngx_http_request_t,
    value: *mut ngx_http_variable_value_t,
    number: usize,
) -> ngx_int_t {
    guard::request(r, "variable", ERROR, |r| {
        let found = proxy::of(r).and_then(|proxy| VARIABLES[number].1(r, proxy));
        let Some((data, len)) = found else { return fill(value, std::ptr::null(), NOT_FOUND) };
        match u32::try_from(len).ok().filter(|&len| len < VALID) {
            Some(len) => fill(value, data, len | VALID),
            None => ERROR,
        }
    })
}

/// Whether a request may be one that somebody sends again: to this nginx, or, as an edge says, to that.
fn is_early(r: &mut ngx_http_request_t, proxy: &Proxy) -> bool {
    let here = proxy.early_data.as_ref().and_then(|early| early.value(r));
    here == Some(b"1") || headers::is_in_request(r, "Early-Data")
}

/// A text that lives as long as the request.
fn text(text: &[u8]) -> Value {
    (text.as_ptr(), text.len())
}

/// The flags beside the length of a value, in one word. bindgen writes each bit by itself, which costs more than
/// everything else here.
const VALID: u32 = 1 << 28;
const NO_CACHEABLE: u32 = 1 << 29;
const NOT_FOUND: u32 = 1 << 30;

/// Fills the value that nginx hands a getter, with these flags and this length; nginx only reads what it points to.
fn fill(value: *mut ngx_http_variable_value_t, data: *const u8, word: u32) -> ngx_int_t {
    // SAFETY: the value is nginx's, which calls a getter to have it filled.
    let value = unsafe { &mut *value };
    let (len, is_valid) = (word & (VALID - 1), u32::from(word & VALID != 0));
    if cfg!(target_endian = "little") {
        // ngx_variable_value_t
        value._bitfield_1 = __BindgenBitfieldUnit::new((word | NO_CACHEABLE).to_ne_bytes());
    } else {
        value.set_len(len);
        value.set_escape(0);
        value.set_no_cacheable(1);
        value.set_valid(is_valid);
        value.set_not_found(1 - is_valid);
    }
    value.data = data.cast_mut();
    debug_assert_eq!((value.len(), value.not_found()), (len, 1 - is_valid));
    debug_assert_eq!((value.valid(), value.no_cacheable()), (is_valid, 1));
    OK
}

/// A URI as bytes: a part of the request, a static slash or, rarely, memory of its own.
fn bytes(r: &ngx_http_request_t, uri: &UpstreamUri) -> Option<Value> {
    if let Some(slice) = uri.as_slice() {
        return Some((slice.as_ptr(), slice.len()));
    }
    let bytes = Pool::from(r).fill(uri.len(), (0..uri.len()).map(|_| 0))?;
    uri.write(bytes);
    Some(text(bytes))
}

/// The client's address: the value of the user's expression, if that is an address, else the address of the
/// connection as set by `realip`. The peer of a Unix socket has none, and the header is left out.
fn address(r: &mut ngx_http_request_t, proxy: &Proxy) -> Option<Value> {
    let said = proxy.client_ip.as_ref().and_then(|said| {
        let ip = client_ip(expression::as_text(said.value(r)), said.form)?;
        Some((ip.as_ptr(), ip.len()))
    });
    let (data, len) = said.unwrap_or_else(|| {
        let text = request::client(r).addr_text;
        (text.data.cast_const(), if text.as_bytes().starts_with(b"unix:") { 0 } else { text.len })
    });
    let ip = ngx_str_t { len, data: data.cast_mut() };
    match ip.to_str().ok().and_then(Spelling::unlike) {
        Some(other) => Some(text(Pool::from(&*r).concat([other.as_bytes()])?)),
        None => Some((data, len)),
    }
}
