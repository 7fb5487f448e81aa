//! Reads the directives.

use crate::configuration_text::Near;
use crate::conflict::Conflict;
use crate::defaults::{SECRET_KEY, UPSTREAM};
use crate::directive::{parse_client_ip, parse_origin, parse_warm, ClerkProxy};
use crate::error::Error;
use crate::failure::Failure;
use crate::key_source::Source;
use crate::location;
use crate::nginx::base::ffi::{ngx_conf_t, ngx_http_core_loc_conf_t};
use crate::nginx::base::heap;
use crate::nginx::base::module::Conf;
use crate::nginx::base::parser::{ConfExt, Stop};
use crate::nginx::config::state::{Location, MainConf, Written};
use crate::nginx::config::{citation, key, named, status};
use crate::nginx::request::handler;
use crate::nginx::stock::level::{has_expression, location_name, Level};
use crate::nginx::stock::server::Server;
use crate::warning::Warning;

/// Remembers the `http` block: later callbacks cannot distinguish it from a server.
pub fn preconfiguration(cf: &mut ngx_conf_t) -> Result<(), Stop> {
    let main = MainConf::read(cf)?;
    main.http.set(Level::of(cf));
    main.servers.set(Server::of(cf));
    Ok(())
}

/// The name of the directive that makes a location a proxy.
pub const CLERK_PROXY: &str = "clerk_proxy";
const CLIENT_IP: &str = "clerk_proxy_client_ip";
const WARM: &str = "clerk_proxy_warm";

/// Reads the directive whose words `cf` has.
pub fn set(cf: &mut ngx_conf_t) -> Result<(), Stop> {
    let words = cf.words();
    let [directive, value] = match words.as_slice() {
        [name, ..] if name == CLERK_PROXY => return clerk_proxy(cf),
        [name] if name == status::STATUS => return status::set(cf),
        [name, value, ..] => [name, value],
        _ => return Err(Failure::Internal("no argument".to_owned()).into()),
    };
    let own = &mut Location::read(cf)?.borrow_mut().defaults;
    match directive.as_str() {
        SECRET_KEY => {
            check_is_first(SECRET_KEY, own.key.as_ref())?;
            own.key = Some(key::read(cf, SECRET_KEY, &Source::parse(value))?.into());
        }
        UPSTREAM => {
            check_is_first(UPSTREAM, own.origin.as_ref())?;
            own.origin = Some(parse_origin(value, Some(UPSTREAM))?.into());
        }
        CLIENT_IP => {
            check_is_first(CLIENT_IP, own.client_ip.as_ref())?;
            let text = parse_client_ip(value.clone())?;
            named::check(cf, CLIENT_IP, &text)?;
            own.client_ip = Some(text.into());
        }
        WARM => {
            check_is_first(WARM, own.warm.as_ref())?;
            own.warm = Some(parse_warm(value)?);
        }
        other => return Err(Failure::Internal(format!("no directive \"{other}\"")).into()),
    }
    Ok(())
}

fn check_is_first<T>(directive: &'static str, before: Option<&T>) -> Result<(), Error> {
    before.map_or(Ok(()), |_| Err(Error::Duplicate(directive)))
}

/// `clerk_proxy URL [secret_key=SOURCE] [upstream=ORIGIN] [keepalive=NUMBER];`
fn clerk_proxy(cf: &mut ngx_conf_t) -> Result<(), Stop> {
    let mut own = Location::read(cf)?.borrow_mut();
    if own.written.is_some() {
        return Err(Error::Duplicate(CLERK_PROXY).into());
    }
    let line = ClerkProxy::parse(&cf.words()[1..])?;
    heap::expect_large_blocks();
    let core = Level::read(cf)?.core();
    let fit = check_location(core, &line)?;
    if core.handler.is_some() {
        let conflict = Conflict::OtherHandler { location: location_name(core) };
        return citation::cite(cf, cf.place(), Near::Line, Err(conflict.into()));
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
    let first = &MainConf::read(cf)?.first;
    first.set(first.get().or(Some(cf.place())));
    Ok(())
}

/// Checks the location against the proxy URL; returns a warning about a location that is of no use. Locations by
/// regular expression or by name are not checked.
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
