//! Puts the recipe into one location, as if the user had written its lines there.

use std::cell::RefCell;
use std::rc::Rc;

use crate::buffer_sizes::Sizes;
use crate::configuration_text::Near;
use crate::conflict::Conflict;
use crate::directive::Effective;
use crate::failure::Failure;
use crate::neighbour::Neighbour;
use crate::nginx::base::expression::Expression;
use crate::nginx::base::ffi::{ngx_conf_t, ngx_http_err_page_t, ngx_http_handler_pt};
use crate::nginx::base::guard;
use crate::nginx::base::parser::{Place, Stop, NO_MEMORY};
use crate::nginx::base::pool::Pool;
use crate::nginx::config::common::Common;
use crate::nginx::config::{cache_rules, citation};
use crate::nginx::request::proxy::{Cache, Proxy};
use crate::nginx::request::{cache, handler};
use crate::nginx::stock::directives::Stock;
use crate::nginx::stock::level::{is_same, location_name, Level};
use crate::nginx::stock::settings::UserSettings;
use crate::nginx::upstream::blocks;
use crate::passing::Passing;
use crate::recipe::{is_twin, CANNOT_BE_INHERITED};
use crate::recipe_values::Values;
use crate::redirects::Redirects;
use crate::warning::Warning;

/// Lines that have nginx read or write what replies contain.
const INTERPRETERS: [(&str, &str); 2] = [
    ("ssi on", "runs what replies of the Frontend API contain"),
    ("sub_filter", "changes what replies of the Frontend API contain"),
];

/// One location with its `clerk_proxy` line.
pub struct Block<'a> {
    /// The directives of this nginx.
    pub stock: &'a Stock,
    /// The location.
    pub level: Level,
    /// The effective line.
    pub line: &'a Effective,
    /// Where its `clerk_proxy` line stands.
    pub place: Place,
    /// What the user wrote in the location with the line and in this one.
    pub written_here: &'a UserSettings,
    /// Set if the line is that of an outer location.
    pub nested: Option<Nested<'a>>,
    /// Warnings, which are logged once it is certain that the line is not refused.
    pub warnings: RefCell<Vec<Neighbour>>,
}

/// A location without its own line inside one with a line. In nginx it inherits everything that it does not set itself,
/// except `proxy_pass`.
pub struct Nested<'a> {
    /// What the user wrote in the location itself.
    pub own: &'a UserSettings,
    /// What is effective in the location around, the recipe included.
    pub around: &'a UserSettings,
    /// The zone of a cache in the location around.
    pub zone: Option<&'a str>,
    /// Whether the location around keeps redirects as they are.
    pub keeps_redirects: bool,
    /// Whether the key and the Frontend API are those of the location around.
    pub same_key: bool,
    pub same_origin: bool,
}

impl<'a> Block<'a> {
    /// A location with the effective line, and where that stands.
    pub fn new(
        stock: &'a Stock,
        level: Level,
        (line, place): (&'a Effective, Place),
        written_here: &'a UserSettings,
        nested: Option<Nested<'a>>,
    ) -> Self {
        let warnings = RefCell::default();
        Self { stock, level, line, place, written_here, nested, warnings }
    }

    /// Makes the location a stock proxy location with the lines of the recipe. Also returns what is effective there
    /// then.
    pub fn apply(
        &self,
        cf: &mut ngx_conf_t,
        outer: Option<&UserSettings>,
        common: &mut Common,
    ) -> Result<(Proxy, UserSettings), Stop> {
        guard::inject_fault("apply");
        let line = self.line;
        let effective = self.written_here.within(outer);
        self.check(&effective)?;
        let in_block = blocks::is_block(cf, &line.origin);
        let ca_bundle = self.ca_bundle(in_block, common)?;
        let values = Values {
            line,
            in_block,
            verified: !self.stock.is_off(self.written_here, "proxy_ssl_verify"),
            ca_bundle: &ca_bundle,
            buffers: Sizes::beside(self.stock.sizes(&effective)),
        };
        let zone = self.zone();
        if zone.is_some() {
            cache_rules::check(self.stock, self.written_here)?;
        }
        self.set_request_headers(cf, &values, &effective, common)?;
        self.take_reply_headers(cf, outer)?;
        let by_user = self.set_lines(cf, &values, &effective, zone.is_some())?;
        let way = self.way(cf, outer, in_block, common)?;
        if line.origin.tls && way.verified != values.verified {
            // A defect must not send the key to whoever answers.
            let what = "a location verifies otherwise than it says";
            return Err(Failure::Internal(what.to_owned()).into());
        }
        let cache = zone.map(|zone| self.cache(cf, &zone, way.handler)).transpose()?;
        self.hold_error_pages_off(cf)?;
        let proxy = Proxy {
            prefix: line.url.prefix().as_bytes().into(),
            base: way.has_line.then(|| line.origin.path.as_bytes().into()),
            delegate: if cache.is_some() { Some(cache::handler) } else { way.handler },
            cache,
            location: location_name(self.level.core()),
            place: self.place,
            context: way.context,
            unauthorized: Rc::default(),
            url: self.url(cf)?,
            key: self.key(cf)?,
            client_ip: self.client_ip(cf)?,
            computed: self.computed(cf, common)?,
            is_twin: common.folds.then_some(is_twin),
            early_data: common.early_data.clone(),
            warm: way.warm,
            streams: !self.stock.is_set(&effective, "proxy_request_buffering"),
            upgrades: self.asks_for_upgrades(),
            redirects: Redirects::new(&line.origin, in_block, line.url.as_str())
                .filter(|_| !self.keeps_redirects(&by_user)),
            tls: line.origin.tls,
            counted: Rc::default(),
        };
        self.warn(cf, in_block, way.verified);
        Ok((proxy, way.settings))
    }

    /// Whether `proxy_redirect off` stands beside the line; any other value is in addition to what this module does.
    fn keeps_redirects(&self, by_user: &[&str]) -> bool {
        let around = self.nested.as_ref().map(|nested| nested.keeps_redirects);
        around.unwrap_or_else(|| by_user.contains(&"proxy_redirect"))
    }

    /// Most distributions have an `error_page`. An empty list keeps it from answering clerk-js.
    fn hold_error_pages_off(&self, cf: &ngx_conf_t) -> Result<(), Stop> {
        let core = self.level.core();
        // OpenResty has another value than null for none.
        let unset = core.error_pages.is_null() || core.error_pages as usize == usize::MAX;
        if unset && self.nested.is_none() {
            core.error_pages = Pool::from(cf).array::<ngx_http_err_page_t>(&[]).ok_or(NO_MEMORY)?;
        }
        Ok(())
    }

    /// The zone of a cache, which nginx then gets from our variable.
    fn zone(&self) -> Option<String> {
        let is_off = cache_rules::is_off(self.stock, self.level);
        let around = self.nested.as_ref().filter(|_| !is_off).and_then(|nested| nested.zone);
        cache_rules::take(self.stock, self.level).or_else(|| around.map(str::to_owned))
    }

    /// Checks what stands beside the line and around it.
    fn check(&self, effective: &UserSettings) -> Result<(), Stop> {
        let core = self.level.core();
        // A handler that was set after ours would replace it silently.
        if !is_same(core.handler, Some(handler::content_handler)) {
            return Err(Conflict::OtherHandler { location: location_name(core) }.into());
        }
        if self.line.origin.tls && !self.stock.has("proxy_ssl_verify") {
            return Err(Failure::MissingModule("ngx_http_ssl_module").into());
        }
        let is_inherited = |name: &str| {
            !self.stock.is_set(self.written_here, name) && self.stock.is_set(effective, name)
        };
        match CANNOT_BE_INHERITED.iter().find(|name| is_inherited(name)) {
            Some(directive) => Err(Conflict::Inherited { directive }.into()),
            None => Ok(()),
        }
    }

    /// Remembers a warning of a line beside `clerk_proxy`.
    pub fn note_beside(&self, line: impl Into<String>, effect: &'static str) {
        self.warnings.borrow_mut().push(Neighbour::Beside { line: line.into(), effect });
    }

    /// Warns of lines that work against the recipe, and of connections that others may read or answer.
    fn warn(&self, cf: &mut ngx_conf_t, in_block: bool, verified: bool) {
        if self.nested.is_some() {
            return;
        }
        let (origin, near, place) = (&self.line.origin, Near::Line, self.place);
        for warning in self.warnings.take() {
            citation::warn(cf, place, near, (warning.culprit(), false), &warning);
        }
        if origin.tls && !verified {
            citation::warn(cf, place, near, ("proxy_ssl_verify off", false), &Warning::Unverified);
        }
        if !origin.tls {
            self.warn_of_answerers(cf, in_block);
        }
        for (line, effect) in INTERPRETERS {
            let warning = Neighbour::Beside { line: line.to_owned(), effect };
            citation::warn_if_found(cf, place, near, (line, false), &warning);
        }
    }

    /// The part for requests if the location has a cache.
    fn cache(
        &self,
        cf: &mut ngx_conf_t,
        zone: &str,
        next: ngx_http_handler_pt,
    ) -> Result<Cache, Stop> {
        let scripts = format!("{}/npm/", self.line.url.as_str());
        Ok(Cache {
            zone: Expression::compile(cf, zone)?,
            scripts: Expression::compile(cf, &scripts)?,
            next,
            passing: Passing::default(),
        })
    }
}
