//! Finds where the directive stands that conflicts with a `clerk_proxy` line, so that the message cites that place.

use std::fmt;
use std::fs;
use std::path::Path;

use crate::configuration_text::{find, Included, Near};
use crate::error::Error;
use crate::nginx::base::ffi::ngx_conf_t;
use crate::nginx::base::parser::{ConfExt, Place, Stop};

/// Logs a conflict with the place of its cause, if that is found in the block that `place` is `near`.
pub fn cite<T>(
    cf: &mut ngx_conf_t,
    place: Place,
    near: fn(usize) -> Near,
    result: Result<T, Stop>,
) -> Result<T, Stop> {
    let Err(Stop::Error(Error::Conflict(conflict))) = &result else { return result };
    let (directives, around) = conflict.culprits();
    match cause(cf, near(place.line()), place, &directives, around) {
        Some(cause) => cf.at(cause, "", |_| result),
        None => result,
    }
}

/// Warns with the place of `what`, a directive with one of its arguments or without, in the same way; it may stand in
/// an outer block if `around` is set.
pub fn warn(
    cf: &mut ngx_conf_t,
    place: Place,
    near: fn(usize) -> Near,
    (what, around): (&str, bool),
    warning: &dyn fmt::Display,
) {
    if !warn_if_found(cf, place, near, (what, around), warning) {
        cf.warn(warning);
    }
}

/// Does so only where the directive is found, which no field of nginx's tells, and returns whether it is.
pub fn warn_if_found(
    cf: &mut ngx_conf_t,
    place: Place,
    near: fn(usize) -> Near,
    (what, around): (&str, bool),
    warning: &dyn fmt::Display,
) -> bool {
    let cause = cause(cf, near(place.line()), place, &[what.to_owned()], around);
    let warned = cause.map(|cause| {
        cf.at(cause, "", |cf| {
            cf.warn(warning);
            Ok(())
        })
    });
    warned.is_some()
}

fn cause(
    cf: &mut ngx_conf_t,
    near: Near,
    place: Place,
    directives: &[String],
    around: bool,
) -> Option<Place> {
    let text = read(place.path())?;
    let mut include = |name: &str| -> Option<Included> {
        let path = cf.full_name(name).ok()?;
        let text = read(Path::new(&path))?;
        Some((path, text))
    };
    let (file, line) = find(&text, near, directives, around, &mut include)?;
    match file {
        Some(file) => cf.copy(file).ok().map(|file| Place::new(file, line)),
        None => Some(place.in_line(line)),
    }
}

/// The text of a regular file. nginx may have read the configuration from a pipe, and opening that again would block.
fn read(path: &Path) -> Option<String> {
    fs::metadata(path).ok().filter(fs::Metadata::is_file)?;
    fs::read(path).ok().map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}
