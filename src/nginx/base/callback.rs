//! Callbacks of nginx's configuration: success, or one `[emerg]`.

use std::ffi::{c_char, c_void};
use std::ptr;

use crate::failure::Failure;
use crate::nginx::base::ffi::{ngx_conf_t, ngx_int_t};
use crate::nginx::base::guard;
use crate::nginx::base::parser::{ConfExt, Stop};
use crate::nginx::base::reserve;
use crate::nginx::base::status::{ERROR, OK};

/// A directive's `set` or a merge: success, or one `[emerg]`.
pub fn directive(
    cf: *mut ngx_conf_t,
    callback: &str,
    body: impl FnOnce(&mut ngx_conf_t) -> Result<(), Stop>,
) -> *mut c_char {
    // SAFETY: nginx calls configuration callbacks with its one parser state, which nothing else uses
    // meanwhile.
    let cf = unsafe { &mut *cf };
    match run(cf, callback, body) {
        Some(()) => ptr::null_mut(),
        // NGX_CONF_ERROR
        None => usize::MAX as *mut c_char,
    }
}

/// `preconfiguration` and `postconfiguration`.
pub fn configuration(
    cf: *mut ngx_conf_t,
    callback: &str,
    body: impl FnOnce(&mut ngx_conf_t) -> Result<(), Stop>,
) -> ngx_int_t {
    if directive(cf, callback, body).is_null() {
        OK
    } else {
        ERROR
    }
}

/// `create_*_conf`: the new configuration, or null.
pub fn create<T: 'static>(
    cf: *mut ngx_conf_t,
    callback: &str,
    value: impl FnOnce() -> T,
) -> *mut c_void {
    // SAFETY: as in `directive`.
    let cf = unsafe { &mut *cf };
    run(cf, callback, |cf| cf.keep(value()))
        .map_or(ptr::null_mut(), |conf| ptr::from_mut(conf).cast())
}

fn run<T>(
    cf: &mut ngx_conf_t,
    callback: &str,
    body: impl FnOnce(&mut ngx_conf_t) -> Result<T, Stop>,
) -> Option<T> {
    let before = reserve::taken();
    match guard::catch(callback, || body(cf)) {
        Ok(Ok(value)) if reserve::taken() == before => return Some(value),
        Ok(Ok(_)) => cf.emerg(&Failure::NoMemory.to_string()),
        Ok(Err(Stop::Logged)) => {}
        Ok(Err(Stop::Error(error))) => cf.emerg(&error.to_string()),
        Err(what) => cf.emerg(&Failure::Internal(what).to_string()),
    }
    None
}
