//! Merges configurations: a `clerk_proxy` line is applied once the whole configuration is read.
//!
//! Our `merge_loc_conf` runs before that of every stock module (see the module order in `mod.rs`). The stock
//! configurations of all blocks are then still as the user wrote them, so that the order of lines does not matter. The
//! stock modules merge, check and compile what we add as if the user had written it.

use std::rc::Rc;

use crate::configuration_text::Near;
use crate::conflict::Conflict;
use crate::defaults::Defaults;
use crate::directive::Effective;
use crate::failure::Failure;
use crate::frontend_api::Origin;
use crate::key_source::{Key, Source};
use crate::neighbour::Neighbour;
use crate::nginx::base::expression::Expression;
use crate::nginx::base::ffi::ngx_conf_t;
use crate::nginx::base::module::Conf;
use crate::nginx::base::parser::{ConfExt, Stop};
use crate::nginx::config::apply::{Block, Nested};
use crate::nginx::config::state::{Line, LocConf, Location, MainConf, Written};
use crate::nginx::config::{advice, citation, earlier, key, lines, locations, named, status};
use crate::nginx::request::proxy::{Proxy, RequestConf};
use crate::nginx::request::{filter, handler};
use crate::nginx::stock::directives::Stock;
use crate::nginx::stock::level::{self, is_same, location_name, Context, Level};
use crate::nginx::stock::server;
use crate::nginx::stock::settings::UserSettings;
use crate::nginx::stock::tls_context;
use crate::nginx::upstream::blocks;
use crate::nginx::upstream::wanted::Wanted;

/// Applies the recipe to one block. Outer blocks are merged first.
pub fn merge(cf: &mut ngx_conf_t) -> Result<(), Stop> {
    let own = &mut *Location::read(cf)?.borrow_mut();
    let outer = own.around.as_ref().and_then(Location::of);
    let outer = outer.ok_or_else(|| Failure::Internal("no block around".to_owned()))?;
    let outer = &mut *outer.borrow_mut();
    own.defaults.fill_from(&outer.defaults);
    status::check(cf, own)?;
    let main = MainConf::read(cf)?;
    if main.first.get().is_none() {
        return Ok(());
    }
    if main.stock.get().is_none() {
        let _ = main.stock.set(Stock::find(cf)?.into());
        let http = main.servers()?;
        main.common.borrow_mut().folds = server::takes_odd_names(cf, http)?;
        if server::takes_early_data(cf, http)? {
            let early = Expression::compile(cf, "$ssl_early_data")?;
            main.common.borrow_mut().early_data = Some(Rc::new(early));
        }
    }
    let stock = main.stock()?;
    if outer.effective.is_none() {
        // The `http` block itself is never merged, only servers with it.
        outer.effective = main.http.get().map(|http| stock.written_in(http).into());
    }
    let level = Level::read(cf)?;
    let written_here = stock.written_in(level);
    let effective = written_here.within(outer.effective.as_deref());
    // Most blocks add nothing and share what they inherit.
    own.effective = match &outer.effective {
        Some(shared) if **shared == effective => Some(Rc::clone(shared)),
        _ => Some(Rc::new(effective)),
    };
    let applied = match own.written.take() {
        Some(written) => apply(cf, level, (written, written_here), outer, own)?,
        None => inherit(cf, level, &written_here, outer, own)?,
    };
    if let Some((proxy, line)) = applied {
        own.inside = Some(Rc::clone(&proxy));
        own.proxy = Some(proxy);
        own.line = Some(Rc::new(line));
    }
    Ok(())
}

/// The effective line of a location.
type Applied = Option<(Rc<Proxy>, Line)>;

/// Applies the line of a location.
fn apply(
    cf: &mut ngx_conf_t,
    level: Level,
    (written, here): (Written, UserSettings),
    outer: &LocConf,
    own: &LocConf,
) -> Result<Applied, Stop> {
    let main = MainConf::read(cf)?;
    let stock = main.stock()?;
    let (place, outer) = (written.place, outer.effective.as_deref());
    let http = main.servers()?;
    let (both, said) = cf.at(place, "", |cf| {
        if let Some(size) = server::make_room(cf, http, &mut main.sized.borrow_mut())? {
            cf.warn(&Neighbour::NarrowHeaders { size });
        }
        let line = effective_with(cf, &written, &own.defaults)?;
        let block = Block::new(stock, level, (&line, place), &here, None);
        let proxy = block.apply(cf, outer, &mut main.common.borrow_mut());
        Ok((citation::cite(cf, place, Near::Line, proxy)?, (line.key, line.origin)))
    })?;
    Ok(Some(applied(both, written, said, here)))
}

/// What was applied to a location, for requests and for locations inside of it.
fn applied(
    (proxy, applied): (Proxy, UserSettings),
    written: Written,
    said: (Key, Origin),
    here: UserSettings,
) -> (Rc<Proxy>, Line) {
    let zone = proxy.cache.as_ref().map(|cache| cache.zone.text().to_owned());
    (proxy.into(), Line { written, said, here, applied, zone })
}

/// Finishes a block without its own `clerk_proxy`, which may be inside a location with one.
fn inherit(
    cf: &mut ngx_conf_t,
    level: Level,
    here: &UserSettings,
    outer: &LocConf,
    own: &mut LocConf,
) -> Result<Applied, Stop> {
    own.inside.clone_from(&outer.inside);
    let Some(around) = &own.inside else { return Ok(None) };
    let core = level.core();
    let stock = around.cache.as_ref().map_or(around.delegate, |cache| cache.next);
    let place = own.place.unwrap_or(around.place);
    if is_same(core.handler, stock) {
        let conflict = Conflict::NestedProxyPass { location: around.location.clone() };
        return citation::refuse(cf, place, Near::Block, conflict);
    }
    // `if` and `limit_except` are blocks of the same location.
    if core.noname() == 1 && core.handler.is_none() && outer.proxy.is_some() {
        own.proxy.clone_from(&outer.proxy);
        core.handler = Some(handler::content_handler);
    }
    match (&outer.line, &outer.proxy) {
        (Some(line), Some(proxy)) if core.noname() == 0 && !earlier::answers_itself(cf, level) => {
            core.handler = Some(handler::content_handler);
            own.nested = true;
            if let Some((directive, parameter)) =
                own.defaults.idle_inside(&line.written.line, &outer.defaults)
            {
                let conflict = Conflict::Idle { directive, parameter };
                return citation::refuse(cf, place, Near::Block, conflict);
            }
            cf.at(place, "", |cf| apply_again(cf, level, here, (line, proxy), own)).map(Some)
        }
        _ => Ok(None),
    }
}

/// Applies the line of an outer location to a location inside it, such as one for `limit_req`.
fn apply_again(
    cf: &mut ngx_conf_t,
    level: Level,
    here: &UserSettings,
    (around, other): (&Line, &Proxy),
    own: &LocConf,
) -> Result<(Rc<Proxy>, Line), Stop> {
    let main = MainConf::read(cf)?;
    let stock = main.stock()?;
    let line = effective_with(cf, &around.written, &own.defaults)?;
    let written_here = here.within(Some(&around.here));
    let nested = Nested {
        own: here,
        around: &around.applied,
        zone: around.zone.as_deref(),
        keeps_redirects: other.redirects.is_none(),
        same_key: line.key == around.said.0,
        same_origin: line.origin == around.said.1,
    };
    let place = around.written.place;
    let block = Block::new(stock, level, (&line, place), &written_here, Some(nested));
    let proxy = block.apply(cf, own.effective.as_deref(), &mut main.common.borrow_mut());
    let proxy = citation::cite(cf, own.place.unwrap_or(place), Near::Block, proxy);
    let (mut proxy, settings) = citation::cite(cf, place, Near::Line, proxy)?;
    proxy.unauthorized = Rc::clone(&other.unauthorized);
    let written = around.written.clone();
    Ok(applied((proxy, settings), written, (line.key, line.origin), written_here))
}

/// The line, completed by the other directives and the defaults.
fn effective_with(
    cf: &mut ngx_conf_t,
    written: &Written,
    defaults: &Defaults,
) -> Result<Effective, Stop> {
    let key = match written.key.as_ref().or(defaults.key.as_deref()) {
        Some(key) => key.clone(),
        None => key::read(cf, lines::CLERK_PROXY, &Source::Default)?,
    };
    Ok(defaults.complete(&written.line, key))
}

/// Finishes one block, once the proxy module has merged it.
pub fn complete(cf: &mut ngx_conf_t) -> Result<(), Stop> {
    let (main, level) = (MainConf::read(cf)?, Level::read(cf)?);
    if advice::logs_requests(level.core()) {
        main.logs_requests.set(true);
    }
    let Some(stock) = main.stock.get() else { return Ok(()) };
    let location = Location::read(cf)?.borrow();
    let Some(proxy) = &location.proxy else {
        let name = tls_context::unverified_upstream(stock, level);
        return match name.filter(|name| main.common.borrow().upstreams.verifies(name)) {
            Some(name) => {
                let block = location_name(level.core());
                let conflict = Conflict::UnverifiedBlock { name, location: block };
                let place = location.place.unwrap_or(cf.place());
                citation::refuse(cf, place, Near::Block, conflict)
            }
            None => Ok(()),
        };
    };
    for directive in advice::unauthorized(cf, level) {
        // `if` and `limit_except` inherit what was warned about already.
        if proxy.unauthorized.borrow_mut().insert(directive) {
            cf.at(proxy.place, "", |cf| {
                cf.warn(&Neighbour::Unauthorized { directive });
                Ok(())
            })?;
        }
    }
    if let Some((url, _)) = proxy.url.as_ref().filter(|(url, _)| url.has_variable("server_name")) {
        let name = level::server_name(cf)?;
        if matches!(&*name, "" | "_") || name.contains(['*', '~']) {
            let url = url.as_str().to_owned();
            return cf.at(proxy.place, "", |_| Err(Conflict::ServerName { url, name }.into()));
        }
    }
    proxy.context.map_or(Ok(()), |context| context.complete(level))?;
    if let Some((upstream, count)) = &proxy.warm {
        // TLS has no sendfile, see `StandIn::note_sendfile`.
        let possible = !proxy.tls || level.core().sendfile != 1;
        let (context, conf) = (Context::read(cf)?, stock.proxy.of(level));
        let wanted = Wanted { count: *count, context, conf, tls: proxy.tls, possible };
        blocks::keep_warm(cf, upstream, wanted, possible);
    }
    if level.core().noname() == 0 {
        main.locations.borrow_mut().push((level, Rc::clone(proxy)));
        main.status.add_location(cf, proxy)?;
    }
    Ok(RequestConf::read(cf)?.set(proxy)?)
}

/// Installs the filters and the upstreams' callbacks, once nginx has merged all. Filters are installed only if a
/// location needs them.
pub fn finish(cf: &mut ngx_conf_t) -> Result<(), Stop> {
    let main = MainConf::read(cf)?;
    named::check_all(cf, &main.named.borrow())?;
    if main.first.get().is_some() {
        filter::install();
    }
    locations::finish(cf)?;
    // They take memory, and contain keys.
    main.texts.take();
    main.common.borrow().upstreams.install(cf)?;
    main.status.finish(cf)
}
