//! The cache of a location with `proxy_cache`: public scripts and nothing else go into it.
//!
//! nginx asks our variables which zone is meant and whether a reply must stay out of it. For any other
//! request there is no zone, so that it is handled as in a location without a cache.

use std::cell::Cell;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::mem::offset_of;
use std::ptr;

use ngx::ffi::{
    ngx_http_handler_pt, ngx_http_request_t, ngx_http_upstream_conf_t, ngx_int_t, ngx_msec_t,
    NGX_CONF_UNSET, NGX_HTTP_CACHE_MISS, NGX_HTTP_GET, NGX_HTTP_HEAD,
    NGX_HTTP_INTERNAL_SERVER_ERROR, NGX_HTTP_UPSTREAM_IGN_CACHE_CONTROL,
    NGX_HTTP_UPSTREAM_IGN_EXPIRES, NGX_HTTP_UPSTREAM_IGN_SET_COOKIE, NGX_HTTP_UPSTREAM_IGN_VARY,
};
use ngx::http::HttpModuleLocationConf;

use super::cf::OK;
use super::conf::Proxy;
use super::expression::Expression;
use super::resolver::{is_before, now};
use super::settings::UserSettings;
use super::stock::{Level, Stock};
use super::{filter, guard, headers, variables, Module};
use crate::error::Error;
use crate::public_script::{is_personal, is_public_script, may_be_kept};
use crate::recipe::CANNOT_BE_INHERITED;

const SERVER_ERROR: ngx_int_t = NGX_HTTP_INTERNAL_SERVER_ERROR as ngx_int_t;

/// What tells nginx which replies not to keep, in words of `proxy_ignore_headers`.
const WARNINGS: &[(&str, u32)] = &[
    ("Cache-Control", NGX_HTTP_UPSTREAM_IGN_CACHE_CONTROL),
    ("Expires", NGX_HTTP_UPSTREAM_IGN_EXPIRES),
    ("Set-Cookie", NGX_HTTP_UPSTREAM_IGN_SET_COOKIE),
    ("Vary", NGX_HTTP_UPSTREAM_IGN_VARY),
];

/// What requests of a location with a cache need.
pub struct Cache {
    /// What the user wrote behind `proxy_cache`.
    pub zone: Expression,
    /// What URLs of scripts begin with for browsers.
    pub scripts: Expression,
    /// The stock proxy module's handler.
    pub next: ngx_http_handler_pt,
    /// The scripts that do not let themselves be kept.
    pub passing: Passing,
}

/// The user's `proxy_cache` in this location, which is then as if it had none.
pub fn take(stock: &Stock, level: Level) -> Option<String> {
    let conf = stock.get("proxy_no_cache").filter(|_| is_known(stock))?;
    let conf = level.conf(conf.ctx_index).cast::<ngx_http_upstream_conf_t>();
    // SAFETY: that the proxy module's configuration begins with one of upstreams was just checked. A zone and
    // a text with variables live as long as the configuration.
    unsafe {
        if (*conf).cache() != 1 {
            return None;
        }
        let text = match ((*conf).cache_zone.as_ref(), (*conf).cache_value.as_ref()) {
            (None, Some(value)) => value.value,
            (Some(zone), _) if !zone.data.is_null() => zone.shm.name,
            // There is no such zone, as nginx will say itself.
            _ => return None,
        };
        (*conf).set_cache(NGX_CONF_UNSET);
        ((*conf).cache_zone, (*conf).cache_value) = (ptr::null_mut(), ptr::null_mut());
        Some(String::from_utf8_lossy(text.as_bytes()).into_owned())
    }
}

/// Whether nginx keeps the settings of caches where its headers say.
pub fn is_known(stock: &Stock) -> bool {
    stock.get("proxy_no_cache").is_some_and(|directive| {
        // That the settings of upstreams come first in the proxy module's is no promise of nginx.
        // SAFETY: the command's table entry lives as long as its module.
        let offset = unsafe { directive.command.as_ref() }.offset;
        offset == offset_of!(ngx_http_upstream_conf_t, no_cache)
    })
}

/// Finds what stands beside a cache and would let other replies into it, or mix them up.
pub fn check(stock: &Stock, here: &UserSettings, in_force: &UserSettings) -> Result<(), Error> {
    let refused = |what: String| Err(Error::BesideCache { what });
    for (name, bit) in WARNINGS {
        if stock.has_bits(here, "proxy_ignore_headers", *bit as usize) {
            return refused(format!("proxy_ignore_headers {name}"));
        }
    }
    if let Some(directive) = CANNOT_BE_INHERITED.iter().find(|name| stock.is_set(here, name)) {
        return refused((*directive).to_owned());
    }
    let mut names = stock.headers(in_force).into_iter().map(|(name, _)| name);
    match names.find(|name| is_personal(name.as_bytes())) {
        Some(name) => refused(format!("proxy_set_header {name}")),
        None => Ok(()),
    }
}

/// Handles a request of a location with a cache, which our content handler has let pass.
pub unsafe extern "C" fn handler(r: *mut ngx_http_request_t) -> ngx_int_t {
    let mut next = None;
    let status = guard::request(r, "handler of the cache", SERVER_ERROR, |r| {
        let proxy = Module::location_conf(r).and_then(|conf| conf.proxy.as_deref());
        let Some((proxy, cache)) = proxy.and_then(|proxy| Some((proxy, proxy.cache.as_ref()?)))
        else {
            return SERVER_ERROR;
        };
        next = cache.next;
        if is_for_cache(r, proxy, cache) {
            if headers::drop_from_request(r, is_personal).is_none() {
                return SERVER_ERROR;
            }
            filter::note_public_script(r);
        }
        OK
    });
    match next {
        // SAFETY: it takes the request that this handler was given; see the content handler.
        Some(next) if status == OK => unsafe { next(r) },
        _ => status,
    }
}

/// Whether the request is one for a public script. Those of other origins are not, since an answer to one may
/// be meant for that origin alone; browsers send none with a script of the page's own origin.
fn is_for_cache(r: &mut ngx_http_request_t, proxy: &Proxy, cache: &Cache) -> bool {
    let asks = r.method == NGX_HTTP_GET as usize || r.method == NGX_HTTP_HEAD as usize;
    let has_body = r.headers_in.content_length_n > 0 || r.headers_in.chunked() == 1;
    if !asks || has_body || r.err_status != 0 {
        return false;
    }
    let tenant = hash(cache.scripts.value(r));
    let uri = variables::uri(r, proxy);
    let Some(uri) = uri.and_then(|uri| uri.as_slice()) else { return false };
    // An update in the background is for a script that was kept.
    is_public_script(uri)
        && !headers::is_in_request(r, "Origin")
        && !(ptr::eq(r, r.main) && cache.passing.has(hash((tenant, uri))))
}

/// The zone for a request, as `proxy_cache` asks for it.
pub fn zone<'a>(r: &'a mut ngx_http_request_t, proxy: &Proxy) -> Option<&'a [u8]> {
    let cache = proxy.cache.as_ref()?;
    filter::is_public_script(r).then(|| cache.zone.value(r))?
}

/// Whether the reply to a request, if there is a cache for it, must not be kept, as `proxy_no_cache` asks.
pub fn must_not_keep(r: &mut ngx_http_request_t, proxy: &Proxy) -> bool {
    // SAFETY: both are null or what nginx keeps of the request, as long as it.
    let (Some(kept), Some(upstream)) = (unsafe { (r.cache.as_ref(), r.upstream.as_ref()) }) else {
        return false;
    };
    let Some(cache) = &proxy.cache else { return true };
    // As it goes to the client.
    let location = headers::pairs(&r.headers_out.headers)
        .find(|(name, _)| name.eq_ignore_ascii_case(b"Location"))
        .map(|(_, value)| value.to_vec());
    let scripts = cache.scripts.value(r);
    let stays =
        location.zip(scripts).is_some_and(|(location, scripts)| location.starts_with(scripts));
    let tenant = hash(scripts);
    let headers = headers::pairs(&upstream.headers_in.headers);
    let may = may_be_kept(upstream.headers_in.status_n, stays, headers);
    if !may || kept.valid_sec == 0 {
        // Not where an older reply is kept, which may serve longer.
        let uri =
            variables::uri(r, proxy).filter(|_| upstream.cache_status() == NGX_HTTP_CACHE_MISS);
        if let Some(uri) = uri.and_then(|uri| uri.as_slice()) {
            cache.passing.add(hash((tenant, uri)));
        }
    }
    !may
}

/// Scripts whose replies could not be kept a short while ago, by hash. Requests for them do without the
/// cache, since nginx has them wait for each other, in vain, as long as it is asked to keep the replies.
pub struct Passing([Cell<(u64, ngx_msec_t)>; 64]);

impl Default for Passing {
    fn default() -> Self {
        Self([const { Cell::new((0, 0)) }; 64])
    }
}

impl Passing {
    /// How long one stays, in milliseconds of a clock that nobody sets.
    const TIME: ngx_msec_t = 60_000;

    fn place(&self, script: u64) -> &Cell<(u64, ngx_msec_t)> {
        &self.0[(script % 64) as usize]
    }

    fn add(&self, script: u64) {
        self.place(script).set((script, now().wrapping_add(Self::TIME)));
    }

    fn has(&self, script: u64) -> bool {
        let (other, until) = self.place(script).get();
        other == script && is_before(now(), until)
    }
}

fn hash(value: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}
