//! The variables that our directives name: nginx says which of them there are not, but not where they stand.

use crate::error::Error;
use crate::nginx::base::expression::Expression;
use crate::nginx::base::ffi::ngx_conf_t;
use crate::nginx::base::module::{HttpModuleMainConf, Module};
use crate::nginx::base::parser::{ConfExt, Place, Stop, NO_MEMORY};
use crate::nginx::base::variables::is_defined;
use crate::variable_names::variable_names;

/// A variable that a directive names.
pub struct Named {
    name: String,
    directive: &'static str,
    place: Place,
}

/// Compiles a text of the directive that is parsed now, so that what is wrong with it is said where it stands.
pub fn check(cf: &mut ngx_conf_t, directive: &'static str, text: &str) -> Result<(), Stop> {
    Expression::compile(cf, text)?;
    let place = cf.place();
    let named = &mut Module::main_conf_mut(cf).ok_or(NO_MEMORY)?.named;
    named.extend(variable_names(text).map(|name| Named { name, directive, place }));
    Ok(())
}

/// Checks that there are all variables that directives name, once all modules have defined theirs.
pub fn check_all(cf: &mut ngx_conf_t, named: &[Named]) -> Result<(), Stop> {
    let Some(unknown) = named.iter().find(|one| !is_defined(cf, &one.name)) else {
        return Ok(());
    };
    let (directive, name) = (unknown.directive, unknown.name.clone());
    let message = Error::UnknownVariable { directive, name }.to_string();
    cf.at(unknown.place, "", |cf| cf.emerg(&message));
    Err(Stop::Logged)
}
