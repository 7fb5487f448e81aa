//! The request headers of a location, and what outer blocks may add to its replies.

use crate::conflict::Conflict;
use crate::nginx::base::ffi::{ngx_conf_t, ngx_keyval_t};
use crate::nginx::base::parser::{ConfExt, Stop};
use crate::nginx::config::apply::{Block, Nested};
use crate::nginx::config::common::Common;
use crate::nginx::stock::directives::ADDED;
use crate::nginx::stock::settings::{UserSettings, SET_HEADER};
use crate::recipe;
use crate::recipe_values::Values;
use crate::reply_headers::{is_harmless, is_of_reply};
use crate::request_headers::misfit;

impl Block<'_> {
    /// The user's own headers and those of the contract.
    pub fn set_request_headers(
        &self,
        cf: &mut ngx_conf_t,
        values: &Values,
        effective: &UserSettings,
        common: &mut Common,
    ) -> Result<(), Stop> {
        // Those of the location around would say its key, or its server's name.
        let inherits = |nested: &&Nested| nested.same_key && nested.same_origin;
        let nested = self.nested.as_ref().filter(inherits);
        let here = nested.map_or(self.written_here, |nested| nested.own);
        let own = self.stock.is_set(here, SET_HEADER);
        if nested.is_some() && !own {
            return Ok(());
        }
        if own {
            for (name, value) in self.stock.headers(effective) {
                self.check_request_header(&name, &value)?;
            }
        }
        // nginx inherits no header if the location has any, so those of outer blocks are copied.
        let is_owned = |pair: &ngx_keyval_t| {
            recipe::owns_header(&String::from_utf8_lossy(pair.key.as_bytes()))
        };
        let user = self.stock.list::<ngx_keyval_t>(effective, SET_HEADER);
        let mut all: Vec<_> = user.iter().filter(|pair| own || !is_owned(pair)).copied().collect();
        let has = |name: &str| {
            let mut names = user.iter().map(|pair| pair.key.as_bytes());
            own && names.any(|other| other.eq_ignore_ascii_case(name.as_bytes()))
        };
        let early_data = common.early_data.is_some().then_some(recipe::EARLY_DATA);
        let headers = || recipe::headers().chain(early_data);
        if common.headers.is_empty() {
            for [name, value] in headers() {
                common.headers.push(ngx_keyval_t { key: cf.copy(name)?, value: cf.copy(value)? });
            }
        }
        for ([name, value], &known) in headers().zip(&common.headers) {
            if has(name) {
                continue;
            }
            let filled = value.contains('{').then(|| values.fill(value));
            let filled = filled.map(|value| cf.copy(value.as_bytes())).transpose()?;
            all.push(ngx_keyval_t { value: filled.unwrap_or(known.value), ..known });
        }
        self.stock.put_headers(cf, self.level, &all)
    }

    /// Checks a header that the user sets in the location itself.
    fn check_request_header(&self, name: &str, value: &[u8]) -> Result<(), Conflict> {
        if let Some(instead) = recipe::instead_of_header(name) {
            return Err(Conflict::OwnedHeader { name: name.to_owned(), instead });
        }
        let value = String::from_utf8_lossy(value);
        if let Some(misfit) = misfit(name, &value, self.line.url.authority()) {
            self.note_beside(misfit.line(name, &value), misfit.effect());
        }
        Ok(())
    }

    /// Adds to replies the headers of outer blocks that are the site's, and no trailers.
    pub fn take_reply_headers(
        &self,
        cf: &mut ngx_conf_t,
        outer: Option<&UserSettings>,
    ) -> Result<(), Stop> {
        let here = self.nested.as_ref().map_or(self.written_here, |nested| nested.own);
        for [name, value] in self.stock.added(here, "add_header") {
            if is_of_reply(&name) && !is_harmless(&name, &value) {
                let effect = "contradicts what the Frontend API says of its replies";
                self.note_beside(format!("add_header {name}"), effect);
            }
        }
        let Some(outer) = outer.filter(|_| self.nested.is_none()) else { return Ok(()) };
        let settings = [self.written_here, outer];
        let [headers, trailers] = ADDED;
        let is_of_site = |name: &[u8]| !is_of_reply(&String::from_utf8_lossy(name));
        self.stock.take_added(cf, self.level, headers, settings, is_of_site)?;
        self.stock.take_added(cf, self.level, trailers, settings, |_| false)
    }
}
