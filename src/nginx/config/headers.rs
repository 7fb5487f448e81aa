//! The request headers of a location, and what outer blocks may add to its replies.

use crate::conflict::Conflict;
use crate::nginx::base::ffi::ngx_conf_t;
use crate::nginx::base::parser::Stop;
use crate::nginx::config::apply::Block;
use crate::nginx::config::common::Common;
use crate::nginx::stock::directives::ADDED;
use crate::nginx::stock::settings::UserSettings;
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
        common: &Common,
    ) -> Result<(), Stop> {
        let here = self.nested.as_ref().map_or(self.written_here, |nested| nested.own);
        let own = self.stock.is_set(here, "proxy_set_header");
        if self.nested.is_some() && !own {
            return Ok(());
        }
        let user = self.stock.headers(effective);
        for (name, value) in &user {
            if own {
                self.check_request_header(name, value)?;
            } else if !recipe::owns_header(name) {
                // nginx inherits no header if the location has any, so these are copied.
                self.stock.set(cf, self.level, "proxy_set_header", &[name.as_bytes(), value])?;
            }
        }
        let has =
            |name: &str| own && user.iter().any(|(other, _)| other.eq_ignore_ascii_case(name));
        let early_data = common.early_data.is_some().then_some(recipe::EARLY_DATA);
        for [name, value] in recipe::headers().chain(early_data).filter(|[name, _]| !has(name)) {
            self.set(cf, "proxy_set_header", &[name, value], values)?;
        }
        Ok(())
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
