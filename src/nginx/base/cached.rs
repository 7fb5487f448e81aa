//! What nginx's cache says of a request, where nginx has one.

#[cfg(nginx_http_cache)]
use crate::nginx::base::clock::seconds;
use crate::nginx::base::ffi::{ngx_http_request_t, ngx_http_upstream_t};
#[cfg(nginx_http_cache)]
use crate::nginx::base::links::request::{entry, entry_buffer};

/// Until when the reply may be kept, in seconds of the calendar, or 0, where the request has an entry of a cache.
#[cfg(nginx_http_cache)]
pub fn until(r: &ngx_http_request_t) -> Option<i64> {
    entry(r).map(|entry| seconds(entry.valid_sec))
}

/// Whether the head of the reply is in the buffer of a cache.
#[cfg(nginx_http_cache)]
pub fn has_head(r: &ngx_http_request_t, u: &ngx_http_upstream_t) -> bool {
    let buffer = entry(r).and_then(|entry| entry_buffer(entry));
    buffer.is_some_and(|buffer| std::ptr::eq(buffer.start, u.buffer.start))
}

/// Lets a reply that may be kept be so until another time.
#[cfg(nginx_http_cache)]
pub fn keep_until(r: &mut ngx_http_request_t, time: i64) {
    fn put<T: Copy + TryFrom<i64>>(place: &mut T, time: i64) {
        // An earlier time than nginx's own fits as that does.
        *place = time.try_into().unwrap_or(*place);
    }
    if let Some(entry) = entry(r) {
        put(&mut entry.valid_sec, time);
    }
}

/// When the reply was put into the cache, in seconds of the calendar.
#[cfg(nginx_http_cache)]
pub fn since(r: &ngx_http_request_t) -> Option<i64> {
    entry(r).map(|entry| seconds(entry.date))
}

/// What the cache had, as nginx numbers it; 0 if it was not asked.
#[cfg(nginx_http_cache)]
pub fn state(upstream: &ngx_http_upstream_t) -> usize {
    upstream.cache_status() as usize
}

/// Whether the cache had no reply.
#[cfg(nginx_http_cache)]
pub fn is_miss(upstream: &ngx_http_upstream_t) -> bool {
    upstream.cache_status() == crate::nginx::base::ffi::NGX_HTTP_CACHE_MISS
}

/// Whether the reply is one that the cache had.
#[cfg(nginx_http_cache)]
pub fn is_hit(upstream: &ngx_http_upstream_t) -> bool {
    upstream.cache_status() >= crate::nginx::base::ffi::NGX_HTTP_CACHE_STALE
}

#[cfg(not(nginx_http_cache))]
pub fn until(_r: &ngx_http_request_t) -> Option<i64> {
    None
}

#[cfg(not(nginx_http_cache))]
pub fn has_head(_r: &ngx_http_request_t, _u: &ngx_http_upstream_t) -> bool {
    false
}

#[cfg(not(nginx_http_cache))]
pub fn keep_until(_r: &mut ngx_http_request_t, _time: i64) {}

#[cfg(not(nginx_http_cache))]
pub fn since(_r: &ngx_http_request_t) -> Option<i64> {
    None
}

#[cfg(not(nginx_http_cache))]
pub fn state(_upstream: &ngx_http_upstream_t) -> usize {
    0
}

#[cfg(not(nginx_http_cache))]
pub fn is_miss(_upstream: &ngx_http_upstream_t) -> bool {
    false
}

#[cfg(not(nginx_http_cache))]
pub fn is_hit(_upstream: &ngx_http_upstream_t) -> bool {
    false
}
