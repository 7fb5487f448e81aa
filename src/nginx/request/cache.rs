//! The cache of a location with `proxy_cache`, which keeps public scripts alone.
//!
//! nginx asks our variables for the zone and whether a reply must not be kept. For other requests the zone is empty,
//! and nginx handles them as in a location without a cache.

use std::ptr;

use crate::nginx::base::ffi::{
    ngx_http_request_t, ngx_http_upstream_t, ngx_int_t, NGX_HTTP_GET, NGX_HTTP_HEAD,
    NGX_HTTP_INTERNAL_SERVER_ERROR,
};
use crate::nginx::base::links::request;
use crate::nginx::base::pool::Pool;
use crate::nginx::base::{cached, clock, guard, headers};
use crate::nginx::request::notes::{note, noted, Note};
use crate::nginx::request::proxy::{self, Cache, Proxy};
use crate::nginx::request::uri;
use crate::passing::hash;
use crate::public_script::{age_of, is_lasting, is_public_script, may_be_kept, past};
use crate::script_request::{said_for_script, Encodings, Said};
use crate::upstream_uri::UpstreamUri;

const SERVER_ERROR: ngx_int_t = NGX_HTTP_INTERNAL_SERVER_ERROR as ngx_int_t;

/// Handles a request of a location with a cache, after our content handler.
pub unsafe extern "C" fn handler(r: *mut ngx_http_request_t) -> ngx_int_t {
    guard::handler(r, "handler of the cache", Err(SERVER_ERROR), |r| {
        let proxy = proxy::of(r).ok_or(SERVER_ERROR)?;
        let cache = proxy.cache.as_ref().ok_or(SERVER_ERROR)?;
        if is_for_cache(r, proxy, cache) {
            reduce(r, proxy).ok_or(SERVER_ERROR)?;
            note(r, Note::PublicScript);
        }
        Ok(cache.next)
    })
}

/// Leaves of a request what the next client's would say as well. `None` without memory.
fn reduce(r: &mut ngx_http_request_t, proxy: &Proxy) -> Option<()> {
    let mut encodings = Some(Encodings::of(headers::pairs(&r.headers_in.headers)));
    headers::keep_in_request(r, |one| match said_for_script(one.key.as_bytes(), &mut encodings) {
        Said::Unchanged => true,
        Said::Instead(value) => {
            one.value = headers::fixed(value);
            true
        }
        // The client's address is read from it when the request is made.
        Said::Nothing => {
            proxy.client_ip.as_ref().is_some_and(|said| said.is_in(one.key.as_bytes()))
        }
    })
}

/// Whether the request is for a public script. A request with an `Origin` is not, since its reply may be for that
/// origin alone. Browsers send no `Origin` with requests for scripts of the same origin.
fn is_for_cache(r: &mut ngx_http_request_t, proxy: &Proxy, cache: &Cache) -> bool {
    let asks = r.method == NGX_HTTP_GET as usize || r.method == NGX_HTTP_HEAD as usize;
    let has_body = r.headers_in.content_length_n > 0 || r.headers_in.chunked() == 1;
    if !asks || has_body || r.err_status != 0 {
        return false;
    }
    let tenant = hash(cache.scripts.value(r));
    let uri = uri::of(r, proxy);
    let Some(uri) = uri.and_then(|uri| uri.as_slice()) else { return false };
    // A background update is for a script that is in the cache.
    is_public_script(uri)
        && !headers::is_in_request(r, "Origin")
        && !(ptr::eq(r, r.main) && cache.passing.has(hash((tenant, uri)), clock::now()))
}

/// The zone for a request, as `proxy_cache` asks for it.
pub fn zone<'a>(r: &'a mut ngx_http_request_t, proxy: &Proxy) -> Option<&'a [u8]> {
    let cache = proxy.cache.as_ref()?;
    (noted(r) == Note::PublicScript).then(|| cache.zone.value(r))?
}

/// Whether the reply to a request, if there is a cache for it, must not be kept, as `proxy_no_cache` asks.
pub fn must_not_keep(r: &mut ngx_http_request_t, proxy: &Proxy) -> bool {
    let (Some(until), Some(upstream)) = (cached::until(r), request::upstream(r)) else {
        return false;
    };
    let Some(cache) = &proxy.cache else { return true };
    // The redirect as the client gets it.
    let location = headers::pairs(&r.headers_out.headers)
        .find(|(name, _)| name.eq_ignore_ascii_case(b"Location"))
        .map(|(_, value)| value.to_vec());
    let scripts = cache.scripts.value(r);
    let stays =
        location.zip(scripts).is_some_and(|(location, scripts)| location.starts_with(scripts));
    let headers = headers::pairs(&upstream.headers_in.headers);
    let may = may_be_kept(upstream.headers_in.status_n, stays, headers);
    !may || (until != 0 && until <= clock::today())
}

/// Notes a reply that the cache will not keep, before the next request for it waits for that. Where the reply says so
/// itself, Angie and freenginx do not ask for `proxy_no_cache`.
pub fn note_reply(r: &mut ngx_http_request_t, proxy: &Proxy) {
    let Some(cache) = &proxy.cache else { return };
    let unwanted = must_not_keep(r, proxy) || cached::until(r) == Some(0);
    // Not if the cache has an older reply, which may still be used, and not because one request failed.
    let says_so = |upstream: &mut ngx_http_upstream_t| {
        cached::is_miss(upstream) && is_lasting(upstream.headers_in.status_n)
    };
    if !unwanted || !request::upstream(r).is_some_and(says_so) {
        return;
    }
    let tenant = hash(cache.scripts.value(r));
    if let Some(uri) = uri::of(r, proxy).as_ref().and_then(UpstreamUri::as_slice) {
        cache.passing.add(hash((tenant, uri)), clock::now());
    }
}

/// Has a reply that was in caches before count that time here as well, and one of the cache say how old it is.
pub fn count_age(r: &mut ngx_http_request_t, upstream: &ngx_http_upstream_t) -> Option<()> {
    if cached::is_hit(upstream) {
        let here = clock::today() - cached::since(r)?;
        let is_age = |name: &[u8]| name.eq_ignore_ascii_case(b"Age");
        let said = headers::pairs(&r.headers_out.headers).find(|(name, _)| is_age(name));
        let before = said.map_or(0, |(_, value)| age_of(value));
        let age = Pool::from(&*r).text(before.saturating_add(here.max(0)).to_string())?;
        headers::remove_from_reply(r, is_age);
        headers::add_to_reply(r, "Age", age)
    } else {
        let past = past(headers::pairs(&upstream.headers_in.headers));
        let made = past.date.and_then(clock::parse).filter(|_| !past.has_max_age);
        if let Some(until) = cached::until(r).filter(|&until| until > 0) {
            // The time of day in `Expires` is that of the server, whose clock may be another. It has passed since then.
            let by_date = |made| until.min(clock::today() + until - made - past.age);
            let until = made.map_or(until - past.age, by_date);
            // Not 0, which means that nothing was said.
            cached::keep_until(r, until.max(1));
        }
        Some(())
    }
}
