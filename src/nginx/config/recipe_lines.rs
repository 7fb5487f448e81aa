//! The lines of the recipe, but those for request headers, put into a location.

use crate::conflict::Conflict;
use crate::nginx::base::ffi::ngx_conf_t;
use crate::nginx::base::parser::Stop;
use crate::nginx::config::apply::{Block, Nested};
use crate::nginx::stock::added_headers;
use crate::nginx::stock::settings::UserSettings;
use crate::recipe::{self, Class, RECIPE};
use crate::recipe_values::Values;

impl Block<'_> {
    /// All lines of the recipe but headers. Returns the directives of the user's that take their place.
    pub fn set_lines(
        &self,
        cf: &mut ngx_conf_t,
        values: &Values,
        effective: &UserSettings,
        with_cache: bool,
    ) -> Result<Vec<&'static str>, Stop> {
        let mut seen = Vec::new();
        for entry in RECIPE.iter().filter(|entry| entry.directive != "proxy_set_header") {
            let user = match entry.class {
                Class::Contract | Class::Cache => self.written_here,
                Class::Tuning => effective,
            };
            let of_cache = entry.class == Class::Cache;
            let skip = (entry.tls && !self.line.origin.tls)
                || (entry.directive == "proxy_ssl_trusted_certificate"
                    && values.ca_bundle.is_empty())
                || (of_cache && !with_cache)
                || (of_cache && self.takes_over_cache(entry.directive));
            let skip =
                skip || entry.directive == "proxy_hide_header" && self.passes(entry.arguments[0]);
            let list = recipe::LISTS.contains(&entry.directive);
            // nginx takes over what is set around, but no list beside one of the location's own.
            let nested = self.nested.as_ref().filter(|_| entry.class == Class::Contract);
            let takes_over = |nested: &Nested| {
                let is_own = list && self.stock.is_set(nested.own, entry.directive);
                !is_own && (list || !entry.tls || nested.same_origin)
            };
            if nested.is_some_and(takes_over) {
                continue;
            }
            let by_user = !list && self.stock.is_set(user, entry.directive);
            if skip || (by_user && !of_cache) {
                continue;
            }
            let done = !by_user && self.set(cf, entry.directive, entry.arguments, values)?;
            if !done && of_cache {
                return Err(Conflict::BesideCache { what: entry.directive.to_owned() }.into());
            }
            if !done && self.stock.has(entry.directive) && !seen.contains(&entry.directive) {
                seen.push(entry.directive);
                self.warn_of_line(cf, entry.directive);
            }
        }
        Ok(seen)
    }

    /// Whether a line of the cache is that of the location around. Its key contains the server's name.
    fn takes_over_cache(&self, directive: &str) -> bool {
        let around = self.nested.as_ref().filter(|nested| nested.zone.is_some());
        around.is_some_and(|nested| nested.same_origin || directive != "proxy_cache_key")
    }

    /// Whether a hop-by-hop header of replies passes in this location.
    fn passes(&self, name: &str) -> bool {
        match name {
            recipe::TRAILER => {
                let directive = "proxy_pass_trailers";
                self.stock.has(directive) && !self.stock.is_off(self.written_here, directive)
            }
            recipe::UPGRADE => self.asks_for_upgrades(),
            _ => false,
        }
    }

    /// Whether the location lets clients ask for another protocol.
    pub fn asks_for_upgrades(&self) -> bool {
        let headers = self.stock.headers(self.written_here);
        let asks = |(name, value): &(String, Vec<u8>)| {
            name.eq_ignore_ascii_case(recipe::UPGRADE) && !value.is_empty()
        };
        headers.iter().any(asks)
    }

    /// Checks a user's line that replaces the recipe's and whose value is not in a field that could be read.
    fn warn_of_line(&self, cf: &mut ngx_conf_t, directive: &str) {
        let (line, effect) = match directive {
            // Other values add up with ours.
            "proxy_redirect" => ("proxy_redirect off", "lets redirects leave the proxy URL"),
            "expires" if added_headers::keeps_replies(cf, self.level) => {
                ("expires", "lets caches keep replies for one user")
            }
            _ => return,
        };
        self.note_beside(line, effect);
    }

    /// Sets a directive with arguments of the recipe.
    pub fn set(
        &self,
        cf: &mut ngx_conf_t,
        directive: &'static str,
        arguments: &[&str],
        values: &Values,
    ) -> Result<bool, Stop> {
        let filled: Vec<_> = arguments.iter().map(|argument| values.fill(argument)).collect();
        let filled: Vec<&[u8]> = filled.iter().map(|argument| argument.as_bytes()).collect();
        self.stock.set(cf, self.level, directive, &filled)
    }
}
