//! Finds where the directive stands that conflicts with a `clerk_proxy` line, so that the message cites that place.

use std::fmt;
use std::fs;
use std::path::Path;
use std::rc::Rc;

use crate::configuration_text::{find, Included, Near, Text};
use crate::conflict::Conflict;
use crate::error::Error;
use crate::nginx::base::ffi::ngx_conf_t;
use crate::nginx::base::module::Conf;
use crate::nginx::base::parser::{ConfExt, Place, Stop};
use crate::nginx::config::state::MainConf;

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

/// Refuses the configuration for a conflict of what stands at `place`, in the same way.
pub fn refuse<T>(
    cf: &mut ngx_conf_t,
    place: Place,
    near: fn(usize) -> Near,
    conflict: Conflict,
) -> Result<T, Stop> {
    cf.at(place, "", |cf| cite(cf, place, near, Err(conflict.into())))
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
    let main = MainConf::read(cf).ok()?;
    let text = read(main, place.path())?;
    let mut include = |name: &str| -> Option<Included> {
        let path = cf.full_name(name).ok()?;
        let text = read(main, Path::new(&path))?;
        Some((path, text))
    };
    let (file, line) = find(&text, near, directives, around, &mut include)?;
    match file {
        Some(file) => cf.copy(file).ok().map(|file| Place::new(file, line)),
        None => Some(place.in_line(line)),
    }
}

/// The text of a regular file, which is read once. nginx may have read the configuration from a pipe, and opening that
/// again would block.
fn read(main: &MainConf, path: &Path) -> Option<Rc<Text>> {
    let mut texts = main.texts.borrow_mut();
    if let Some(known) = texts.get(path) {
        return known.clone();
    }
    let is_file = fs::metadata(path).is_ok_and(|data| data.is_file());
    let bytes = is_file.then(|| fs::read(path).ok()).flatten();
    let text = bytes.map(|bytes| Rc::new(Text::new(&String::from_utf8_lossy(&bytes))));
    texts.insert(path.to_owned(), text.clone());
    text
}
