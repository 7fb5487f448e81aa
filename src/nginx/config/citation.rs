//! Finds where the directive stands that conflicts with a `clerk_proxy` line, so that the message cites that place.

use std::fs;
use std::path::Path;

use crate::configuration_text::{find, Included, Near};
use crate::conflict::Conflict;
use crate::error::Error;
use crate::nginx::base::ffi::ngx_conf_t;
use crate::nginx::base::parser::{ConfExt, Place, Stop};
use crate::nginx::config::key::full_name;

/// Logs a conflict with the place of its cause, if that is found in the block that `place` is `near`.
pub fn cite<T>(
    cf: &mut ngx_conf_t,
    place: Place,
    near: fn(usize) -> Near,
    result: Result<T, Stop>,
) -> Result<T, Stop> {
    let Err(Stop::Error(Error::Conflict(conflict))) = &result else { return result };
    let Some(cause) = cause(cf, place, near, conflict) else { return result };
    cf.at(cause, "", |_| result)
}

fn cause(
    cf: &mut ngx_conf_t,
    place: Place,
    near: fn(usize) -> Near,
    conflict: &Conflict,
) -> Option<Place> {
    let (directives, around) = conflict.culprits();
    let text = read(place.path())?;
    let mut include = |name: &str| -> Option<Included> {
        let path = full_name(cf, name).ok()?;
        let text = read(Path::new(&path))?;
        Some((path, text))
    };
    let (file, line) = find(&text, near(place.line()), &directives, around, &mut include)?;
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
