//! Reads the secret key. The process that does this is the one that reads the configuration: the master.

use std::fs;
use std::path::Path;

use zeroize::Zeroizing;

use crate::error::Error;
use crate::key_risk::KeyRisk;
use crate::key_source::{Key, Source};
use crate::nginx::base::environment;
use crate::nginx::base::ffi::ngx_conf_t;
use crate::nginx::base::parser::{ConfExt, Stop};
use crate::nginx::base::process;
use crate::nginx::config::{exposure, named};
use crate::secret_key::{KeyFault, SecretKey, DEFAULT_VARIABLE};
use crate::warning::Warning;

/// Reads the key that a directive names.
pub fn read(cf: &mut ngx_conf_t, directive: &'static str, source: &Source) -> Result<Key, Stop> {
    if let Some(fault) = source.fault() {
        return Err(Error::SecretKey { directive, source: source.to_string(), fault }.into());
    }
    if let Source::Expression(text) = source {
        named::check(cf, directive, text)?;
        return Ok(Key::Expression(text.clone()));
    }
    // The environment of "nginx -s" is not the master's and has no key.
    if process::only_signals() {
        return Ok(Key::Known(SecretKey::placeholder()));
    }
    // A relative path starts at the folder of the configuration file, as that of a certificate does.
    let source = match source {
        Source::File(path) => &Source::File(cf.full_name(path)?),
        other => other,
    };
    let error = |fault| Error::SecretKey { directive, source: source.to_string(), fault };
    let bytes = match source {
        Source::Literal(key) => Ok(Zeroizing::new(key.as_bytes().to_vec())),
        Source::Env(name) => from_environment(name, KeyFault::NotSet),
        Source::File(path) => read_file(path),
        Source::Default | Source::Expression(_) => {
            from_environment(DEFAULT_VARIABLE, KeyFault::Missing)
        }
    };
    let key = bytes.and_then(|bytes| SecretKey::parse(&bytes)).map_err(error)?;
    let [exposed, replaced] = match source {
        Source::Literal(_)
            if file(cf.place().path()).is_some_and(|data| exposure::is_open(&data)) =>
        {
            [Some(KeyRisk::ReadableConfiguration), None]
        }
        Source::File(path) => of_file(path),
        _ => [None, None],
    };
    let development = key.is_of_development().then_some(KeyRisk::Development);
    for risk in exposed.into_iter().chain(replaced).chain(development) {
        cf.warn(&Warning::Key { directive, source: source.to_string(), risk });
    }
    Ok(Key::Known(key))
}

fn from_environment(name: &str, missing: KeyFault) -> Result<Zeroizing<Vec<u8>>, KeyFault> {
    let left_out = process::is_upgrade().then(|| KeyFault::LeftOut(name.to_owned()));
    environment::get(name).ok_or(left_out.unwrap_or(missing))
}

fn read_file(path: &str) -> Result<Zeroizing<Vec<u8>>, KeyFault> {
    let unreadable = |why: std::io::Error| KeyFault::Unreadable(words(&why));
    // A pipe would make nginx wait.
    if !fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(KeyFault::Unreadable("it is not a regular file".to_owned()));
    }
    fs::read(path).map(Zeroizing::new).map_err(unreadable)
}

/// The system's words for an error, as nginx prints them: `2: No such file or directory`.
fn words(error: &std::io::Error) -> String {
    let text = error.to_string();
    match (error.raw_os_error(), text.split_once(" (os error ")) {
        (Some(number), Some((text, _))) => format!("{number}: {text}"),
        _ => text,
    }
}

/// What others can do with a file, and with its folder.
fn of_file(path: &str) -> [Option<KeyRisk>; 2] {
    let exposed = file(Path::new(path)).and_then(|data| {
        if exposure::is_open(&data) {
            return Some(KeyRisk::ReadableFile(path.to_owned()));
        }
        exposure::writers(&data).map(|others| KeyRisk::WritableFile(path.to_owned(), others))
    });
    let replaced = exposure::open_folder(Path::new(path))
        .map(|(folder, others)| KeyRisk::WritableFolder(folder.display().to_string(), others));
    [exposed, replaced]
}

fn file(path: &Path) -> Option<fs::Metadata> {
    fs::metadata(path).ok().filter(fs::Metadata::is_file)
}
