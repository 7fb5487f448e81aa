//! What stands beside a `proxy_cache` in a location with `clerk_proxy`.

use crate::conflict::Conflict;
use crate::nginx::base::ffi::{
    NGX_HTTP_UPSTREAM_IGN_CACHE_CONTROL, NGX_HTTP_UPSTREAM_IGN_EXPIRES,
    NGX_HTTP_UPSTREAM_IGN_SET_COOKIE, NGX_HTTP_UPSTREAM_IGN_VARY,
};
use crate::nginx::stock::directives::Stock;
use crate::nginx::stock::level::Level;
use crate::nginx::stock::settings::UserSettings;
use crate::public_script::is_personal;
use crate::recipe::CANNOT_BE_INHERITED;

/// The headers that tell nginx not to keep a reply, as `proxy_ignore_headers` names them.
const WARNINGS: &[(&str, u32)] = &[
    ("Cache-Control", NGX_HTTP_UPSTREAM_IGN_CACHE_CONTROL),
    ("Expires", NGX_HTTP_UPSTREAM_IGN_EXPIRES),
    ("Set-Cookie", NGX_HTTP_UPSTREAM_IGN_SET_COOKIE),
    ("Vary", NGX_HTTP_UPSTREAM_IGN_VARY),
];

/// Takes the user's `proxy_cache` out of this location.
#[cfg(nginx_http_cache)]
pub fn take(stock: &Stock, level: Level) -> Option<String> {
    let conf = stock.proxy.of(level);
    if !stock.has("proxy_cache") || conf.cache() != 1 {
        return None;
    }
    let text = match crate::nginx::base::links::configuration::cache(conf) {
        (None, Some(value)) => value.value,
        (Some(zone), _) if !zone.data.is_null() => zone.shm.name,
        // The zone does not exist; nginx reports that itself.
        _ => return None,
    };
    conf.set_cache(crate::nginx::base::ffi::NGX_CONF_UNSET);
    (conf.cache_zone, conf.cache_value) = (std::ptr::null_mut(), std::ptr::null_mut());
    Some(String::from_utf8_lossy(text.as_bytes()).into_owned())
}

/// Whether the user wrote `proxy_cache off` in this location.
#[cfg(nginx_http_cache)]
pub fn is_off(stock: &Stock, level: Level) -> bool {
    stock.proxy.of(level).cache() == 0
}

#[cfg(not(nginx_http_cache))]
pub fn is_off(_stock: &Stock, _level: Level) -> bool {
    false
}

/// Without a cache, nginx has no such directive.
#[cfg(not(nginx_http_cache))]
pub fn take(_stock: &Stock, _level: Level) -> Option<String> {
    None
}

/// Refuses what stands beside a cache and would make it keep private replies or confuse replies.
pub fn check(stock: &Stock, here: &UserSettings) -> Result<(), Conflict> {
    let refused = |what: String| Err(Conflict::BesideCache { what });
    for (name, bit) in WARNINGS {
        if stock.has_bits(here, "proxy_ignore_headers", *bit as usize) {
            return refused(format!("proxy_ignore_headers {name}"));
        }
    }
    if let Some(directive) = CANNOT_BE_INHERITED.iter().find(|name| stock.is_set(here, name)) {
        return refused((*directive).to_owned());
    }
    let mut names = stock.headers(here).into_iter().map(|(name, _)| name);
    match names.find(|name| is_personal(name.as_bytes())) {
        Some(name) => refused(format!("proxy_set_header {name}")),
        None => Ok(()),
    }
}
