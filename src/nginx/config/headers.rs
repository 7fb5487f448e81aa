//! The request headers of a location, and what outer blocks may add to its replies.

use crate::error::Error;
use crate::nginx::base::ffi::ngx_conf_t;
use crate::nginx::base::parser::{ConfExt, Stop};
use crate::nginx::config::apply::Block;
use crate::nginx::stock::settings::UserSettings;
use crate::recipe;
use crate::recipe_values::Values;
use crate::request_headers::misfit;
use crate::warning::Warning;

impl Block<'_> {
    /// The user's own headers and those of the contract.
    pub fn set_request_headers(
        &self,
        cf: &mut ngx_conf_t,
        values: &Values,
        in_force: &UserSettings,
    ) -> Result<(), Stop> {
        let own = self.stock.is_set(self.written_here, "proxy_set_header");
        let user = self.stock.headers(in_force);
        for (name, value) in &user {
            if own {
                self.check_request_header(cf, name, value)?;
            } else if !recipe::owns_header(name) {
                // As soon as a location has a header of its own, nginx inherits none: carry them over.
                self.stock.set(cf, self.level, "proxy_set_header", &[name.as_bytes(), value])?;
            }
        }
        let has =
            |name: &str| own && user.iter().any(|(other, _)| other.eq_ignore_ascii_case(name));
        for [name, value] in recipe::headers().filter(|[name, _]| !has(name)) {
            self.set(cf, "proxy_set_header", &[name, value], values)?;
        }
        Ok(())
    }

    /// Looks at a header that the user sets in the location itself.
    fn check_request_header(
        &self,
        cf: &mut ngx_conf_t,
        name: &str,
        value: &[u8],
    ) -> Result<(), Error> {
        if let Some(instead) = recipe::instead_of_header(name) {
            return Err(Error::OwnedHeader { name: name.to_owned(), instead });
        }
        let value = String::from_utf8_lossy(value);
        if let Some(misfit) = misfit(name, &value, self.line.url.authority()) {
            let (name, value) = (name.to_owned(), value.into_owned());
            cf.warn(&Warning::RequestHeader { name, value, misfit });
        }
        Ok(())
    }
}
