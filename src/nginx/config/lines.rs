//! The directives as they are read, each where it stands.

use std::rc::Rc;

use crate::conflict::Conflict;
use crate::directive::{parse_client_ip, parse_origin, parse_warm, ClerkProxy};
use crate::error::Error;
use crate::key_source::Source;
use crate::location;
use crate::nginx::base::ffi::{ngx_conf_t, ngx_http_core_loc_conf_t};
use crate::nginx::base::module::{HttpModuleLocationConf, HttpModuleMainConf, Module};
use crate::nginx::base::parser::{ConfExt, Stop, NO_MEMORY};
use crate::nginx::config::state::{Defaults, Written};
use crate::nginx::config::{citation, key, named};
use crate::nginx::request::handler;
use crate::nginx::stock::level::{has_expression, location_name, Level};
use crate::warning::Warning;

/// Notes the `http` block, which no later callback can tell from a server's.
pub fn preconfiguration(cf: &mut ngx_conf_t) -> Result<(), Stop> {
    let http = Level::current(cf);
    Module::main_conf_mut(cf).ok_or(NO_MEMORY)?.http = http;
    Ok(())
}

/// The directives' names.
pub const CLERK_PROXY: &str = "clerk_proxy";
/// As above.
pub const SECRET_KEY: &str = "clerk_proxy_secret_key";
/// As above.
pub const UPSTREAM: &str = "clerk_proxy_upstream";
/// As above.
pub const CLIENT_IP: &str = "clerk_proxy_client_ip";
/// As above.
pub const WARM: &str = "clerk_proxy_warm";

/// `clerk_proxy URL [secret_key=SOURCE] [upstream=ORIGIN] [keepalive=NUMBER];`
pub fn clerk_proxy(cf: &mut ngx_conf_t) -> Result<(), Stop> {
    let own = Module::location_conf_mut(cf).ok_or(NO_MEMORY)?;
    if own.written.is_some() {
        return Err(Error::Duplicate(CLERK_PROXY).into());
    }
    let line = ClerkProxy::parse(&cf.words()[1..])?;
    let core = Level::current(cf).ok_or(NO_MEMORY)?.core();
    let fit = check_location(core, &line)?;
    if core.handler.is_some() {
        let conflict = Conflict::OtherHandler { location: location_name(core) };
        return citation::cite(cf, cf.place(), Err(conflict.into()));
    }
    core.handler = Some(handler::content_handler);
    if line.url.has_variables() {
        named::check(cf, CLERK_PROXY, line.url.as_str())?;
    }
    let read = |source| key::read(cf, CLERK_PROXY, source);
    let key = line.key.as_ref().map(read).transpose()?;
    if line.url.scheme() == "http" {
        cf.warn(&Warning::PlainUrl { url: line.url.as_str().to_owned() });
    }
    if line.url.has_variable("http_host") {
        cf.warn(&Warning::HttpHost { url: line.url.as_str().to_owned() });
    }
    if let Some(warning) = fit {
        cf.warn(&warning);
    }
    own.written = Some(Written { line, key, place: cf.place() });
    let main = Module::main_conf_mut(cf).ok_or(NO_MEMORY)?;
    main.used = true;
    main.first.get_or_insert(cf.place());
    Ok(())
}

/// `clerk_proxy_secret_key SOURCE;`
pub fn clerk_proxy_secret_key(cf: &mut ngx_conf_t) -> Result<(), Stop> {
    let source = Source::parse(&value(cf));
    let read = |cf: &mut ngx_conf_t| key::read(cf, SECRET_KEY, &source);
    set_default(cf, SECRET_KEY, |defaults| &mut defaults.key, |cf| read(cf).map(Rc::new))
}

/// `clerk_proxy_upstream ORIGIN;`
pub fn clerk_proxy_upstream(cf: &mut ngx_conf_t) -> Result<(), Stop> {
    let read = |cf: &mut ngx_conf_t| Ok(parse_origin(&value(cf), Some(UPSTREAM))?);
    set_default(cf, UPSTREAM, |defaults| &mut defaults.origin, |cf| read(cf).map(Rc::new))
}

/// `clerk_proxy_client_ip VALUE;`
pub fn clerk_proxy_client_ip(cf: &mut ngx_conf_t) -> Result<(), Stop> {
    let read = |cf: &mut ngx_conf_t| {
        let text = parse_client_ip(value(cf))?;
        named::check(cf, CLIENT_IP, &text)?;
        Ok(text.into())
    };
    set_default(cf, CLIENT_IP, |defaults| &mut defaults.client_ip, read)
}

/// `clerk_proxy_warm NUMBER;`
pub fn clerk_proxy_warm(cf: &mut ngx_conf_t) -> Result<(), Stop> {
    let read = |cf: &mut ngx_conf_t| Ok(parse_warm(&value(cf))?);
    set_default(cf, WARM, |defaults| &mut defaults.warm, read)
}

/// The word behind a directive's name.
fn value(cf: &ngx_conf_t) -> String {
    cf.words().swap_remove(1)
}

fn set_default<T>(
    cf: &mut ngx_conf_t,
    directive: &'static str,
    slot: impl FnOnce(&mut Defaults) -> &mut Option<T>,
    read: impl FnOnce(&mut ngx_conf_t) -> Result<T, Stop>,
) -> Result<(), Stop> {
    let slot = slot(&mut Module::location_conf_mut(cf).ok_or(NO_MEMORY)?.defaults);
    if slot.is_some() {
        return Err(Error::Duplicate(directive).into());
    }
    *slot = Some(read(cf)?);
    Ok(())
}

/// Whether the location is that of the proxy URL, and what there is to say if it is in part. Locations by regular
/// expression or by name may be anything.
fn check_location(
    core: &ngx_http_core_loc_conf_t,
    line: &ClerkProxy,
) -> Result<Option<Warning>, Conflict> {
    if core.named() == 1 || core.noname() == 1 || has_expression(core) {
        return Ok(None);
    }
    let (location, url) = (location_name(core), line.url.as_str().to_owned());
    if let Err(mismatch) = location::check(&line.url, &location, core.exact_match() == 1) {
        let prefix = line.url.prefix().to_owned();
        return Err(Conflict::Location { url, prefix, location, mismatch });
    }
    let better = location::better_url(&line.url, &location);
    Ok(better.map(|better| Warning::Nowhere { url, location, better }))
}
