//! Checks the variables that our directives name. nginx reports one that does not exist, but not where it stands.

use crate::error::Error;
use crate::nginx::base::expression::Expression;
use crate::nginx::base::ffi::ngx_conf_t;
use crate::nginx::base::module::Conf;
use crate::nginx::base::parser::{ConfExt, Stop};
use crate::nginx::base::variables::is_defined;
use crate::nginx::config::state::{MainConf, Named};
use crate::variable_names::variable_names;

/// Compiles a text of the directive that is parsed now, so that an error in it cites that directive.
pub fn check(cf: &mut ngx_conf_t, directive: &'static str, text: &str) -> Result<(), Stop> {
    Expression::compile(cf, text)?;
    let place = cf.place();
    let mut named = MainConf::read(cf)?.named.borrow_mut();
    named.extend(variable_names(text).map(|name| Named { name, directive, place }));
    Ok(())
}

/// Checks that all variables that directives name exist, once all modules have defined theirs.
pub fn check_all(cf: &mut ngx_conf_t, named: &[Named]) -> Result<(), Stop> {
    let Some(unknown) = named.iter().find(|one| !is_defined(cf, &one.name)) else {
        return Ok(());
    };
    let (directive, name) = (unknown.directive, unknown.name.clone());
    cf.at(unknown.place, "", |_| Err(Error::UnknownVariable { directive, name }.into()))
}
