//! The environment that nginx was started with. Another module may empty it afterwards, as Debian's Perl module does
//! when it is merely loaded; what was read from it once stays known when the configuration is read again.

use std::collections::HashMap;
use std::env;
use std::os::unix::ffi::OsStringExt;
use std::sync::{Mutex, PoisonError};

use zeroize::Zeroizing;

type Values = HashMap<String, Zeroizing<Vec<u8>>>;

static KNOWN: Mutex<Option<Values>> = Mutex::new(None);

/// The value of a variable, or the one that it had.
pub fn get(name: &str) -> Option<Zeroizing<Vec<u8>>> {
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let known = known.get_or_insert_with(HashMap::new);
    if let Some(value) = env::var_os(name) {
        known.insert(name.to_owned(), Zeroizing::new(value.into_vec()));
    }
    known.get(name).cloned()
}
