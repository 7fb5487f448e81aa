//! Checks which requests reach the locations with `clerk_proxy`, once nginx has sorted all locations.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use crate::configuration_text::Near;
use crate::conflict::Conflict;
use crate::neighbour::Neighbour;
use crate::nginx::base::ffi::ngx_conf_t;
use crate::nginx::base::module::Conf;
use crate::nginx::base::parser::{ConfExt, Stop};
use crate::nginx::config::state::{Location, MainConf};
use crate::nginx::config::{citation, earlier};
use crate::nginx::request::handler;
use crate::nginx::request::proxy::Proxy;
use crate::nginx::stock::level::{has_expression, is_same, location_name, Level};
use crate::nginx::stock::location_tree::Tree;
use crate::nginx::stock::regex::{self, Regex};

/// Checks all of them, and makes them answer for their names without the slash at the end, too.
pub fn finish(cf: &mut ngx_conf_t) -> Result<(), Stop> {
    let mut told = HashSet::new();
    let mut trees = HashMap::new();
    for (level, proxy) in &*MainConf::read(cf)?.locations.borrow() {
        let (core, place) = (level.core(), proxy.place);
        let is_ours = is_same(core.handler, Some(handler::content_handler));
        let Some(own) = Location::of(level) else { continue };
        // The line contains the key, and all is applied now.
        own.borrow_mut().line = None;
        // A module has set a handler late.
        if !is_ours && own.borrow().nested {
            continue;
        }
        if !is_ours {
            let conflict = Conflict::OtherHandler { location: location_name(core) };
            return citation::refuse(cf, place, Near::Line, conflict);
        }
        cf.at(place, "", |cf| {
            warn(cf, *level, proxy, &mut told);
            Ok(())
        })?;
        let Some(around) = around(*level) else { continue };
        let tree = trees.entry(around.address()).or_insert_with(|| Tree::of(around));
        tree.add_bare_name(cf, core)?;
    }
    Ok(())
}

/// Warns of what keeps requests away from a location, once for each place.
fn warn(cf: &mut ngx_conf_t, level: Level, proxy: &Rc<Proxy>, told: &mut HashSet<usize>) {
    earlier::warn_of_location(cf, level, proxy);
    let Some(server) = ways(level).last().map(|(_, server)| server) else { return };
    if told.insert(server.address()) {
        earlier::warn_of_server(cf, server, level, proxy);
    }
    for (inner, outer) in ways(level) {
        let core = inner.core();
        if core.exact_match() == 1 {
            return;
        }
        // nginx tries these in order, after all prefixes except those with "^~".
        let before = regex::locations(outer).take_while(|other| !std::ptr::eq(*other, core));
        for other in before.filter(|_| !regex::is_final(core)) {
            let conf = Level::of(other).and_then(|level| Location::of(&level));
            let Some(conf) = conf.map(|conf| conf.borrow()) else { continue };
            let taken =
                earlier::paths(level, proxy).find(|path| Regex::of(other).matches(cf, path));
            let (Some(path), None, Some(place)) = (taken, &conf.proxy, conf.place) else {
                continue;
            };
            if told.insert(std::ptr::from_ref(other).addr()) {
                cf.warn(&Neighbour::Taken {
                    by: location_name(other),
                    place: place.to_string(),
                    path,
                    better: (!has_expression(core)).then(|| location_name(core)),
                });
            }
        }
    }
}

/// The block around a block.
fn around(level: Level) -> Option<Level> {
    Location::of(&level)?.borrow().around
}

/// From a location to its server: each block and that around it.
fn ways(level: Level) -> impl Iterator<Item = (Level, Level)> {
    let up = |inner: Level| Some((inner, around(inner)?));
    // The `http` block is around servers and has no locations.
    let next =
        move |&(_, outer): &(Level, Level)| up(outer).filter(|(_, http)| around(*http).is_some());
    std::iter::successors(up(level), next)
}
