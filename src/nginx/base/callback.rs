//! Callbacks of nginx's configuration: success, or one `[emerg]`.

use std::ffi::{c_char, c_void};
use std::ptr;

use crate::failure::Failure;
use crate::nginx::base::ffi::{ngx_conf_t, ngx_int_t};
use crate::nginx::base::guard;
use crate::nginx::base::module::Conf;
use crate::nginx::base::parser::{ConfExt, Stop};
use crate::nginx::base::reserve;
use crate::nginx::base::status::{ERROR, OK};

/// A directive's `set`, which has the directive's name.
pub fn directive(
    cf: *mut ngx_conf_t,
    body: impl FnOnce(&mut ngx_conf_t) -> Result<(), Stop>,
) -> *mut c_char {
    as_text(run(cf, None, body))
}

/// A merge of the configurations of a block and of that around it.
pub fn merge(
    cf: *mut ngx_conf_t,
    callback: &str,
    body: impl FnOnce(&mut ngx_conf_t) -> Result<(), Stop>,
) -> *mut c_char {
    as_text(run(cf, Some(callback), body))
}

/// `NGX_CONF_OK` or `NGX_CONF_ERROR`.
fn as_text(done: Option<()>) -> *mut c_char {
    done.map_or(usize::MAX as *mut c_char, |()| ptr::null_mut())
}

/// `preconfiguration` and `postconfiguration`.
pub fn configuration(
    cf: *mut ngx_conf_t,
    callback: &str,
    body: impl FnOnce(&mut ngx_conf_t) -> Result<(), Stop>,
) -> ngx_int_t {
    run(cf, Some(callback), body).map_or(ERROR, |()| OK)
}

/// `create_*_conf`: the new configuration, or null.
pub fn create<T: Conf + Default>(cf: *mut ngx_conf_t, callback: &str) -> *mut c_void {
    create_with(cf, callback, |_| T::default())
}

/// The same for one that is told where the parser is.
pub fn create_with<T: Conf>(
    cf: *mut ngx_conf_t,
    callback: &str,
    value: impl FnOnce(&ngx_conf_t) -> T,
) -> *mut c_void {
    run(cf, Some(callback), |cf| {
        let value = value(cf);
        cf.keep(value)
    })
    .map_or(ptr::null_mut(), |conf| ptr::from_mut(conf).cast())
}

fn run<T>(
    cf: *mut ngx_conf_t,
    callback: Option<&str>,
    body: impl FnOnce(&mut ngx_conf_t) -> Result<T, Stop>,
) -> Option<T> {
    // SAFETY: nginx calls configuration callbacks with its one parser state, which nothing else uses meanwhile.
    let cf = unsafe { &mut *cf };
    let name = callback.map_or_else(|| cf.words().swap_remove(0), str::to_owned);
    let before = reserve::taken();
    match guard::catch(&name, || body(cf)) {
        Ok(Ok(value)) if reserve::taken() == before => return Some(value),
        Ok(Ok(_)) => cf.emerg(&Failure::NoMemory.to_string()),
        Ok(Err(Stop::Logged)) => {}
        Ok(Err(Stop::Error(error))) => cf.emerg(&error.to_string()),
        Err(what) => cf.emerg(&Failure::Internal(what).to_string()),
    }
    None
}
