//! The panic boundary: every callback of nginx runs its body through here, so that a defect of this module
//! costs one configuration or one request and never a worker.

use std::any::Any;
use std::cell::RefCell;
use std::ffi::{c_char, c_void};
use std::panic::{self, AssertUnwindSafe};
use std::ptr;
use std::sync::Once;

use ngx::ffi::{
    ngx_conf_t, ngx_cycle, ngx_http_request_t, ngx_int_t, ngx_log_error_core, ngx_log_t,
    ngx_uint_t, NGX_LOG_ALERT, NGX_LOG_ERR,
};

use super::cf::{ConfExt, Stop, ERROR, OK};
use super::reserve;
use crate::error::Error;

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

/// A callback of a request: its result, or `failure`.
pub fn request(
    r: *mut ngx_http_request_t,
    callback: &str,
    failure: ngx_int_t,
    body: impl FnOnce(&mut ngx_http_request_t) -> ngx_int_t,
) -> ngx_int_t {
    // SAFETY: nginx calls request handlers with a live request, and one at a time.
    let request = unsafe { &mut *r };
    catch(callback, || body(request)).unwrap_or_else(|what| {
        // SAFETY: `r` outlives the callback; a request has a connection with a log.
        let log = unsafe { (*(*r).connection).log };
        alert(log, &what);
        failure
    })
}

/// A callback of the process: its result, or `failure`.
pub fn process<T>(callback: &str, failure: T, body: impl FnOnce() -> T) -> T {
    catch(callback, body).unwrap_or_else(|what| {
        alert(process_log(), &what);
        failure
    })
}

fn process_log() -> *mut ngx_log_t {
    // SAFETY: `ngx_cycle` is set before any module code runs.
    unsafe { (*ngx_cycle).log }
}

fn run<T>(
    cf: &mut ngx_conf_t,
    callback: &str,
    body: impl FnOnce(&mut ngx_conf_t) -> Result<T, Stop>,
) -> Option<T> {
    let before = reserve::taken();
    match catch(callback, || body(cf)) {
        Ok(Ok(value)) if reserve::taken() == before => return Some(value),
        Ok(Ok(_)) => cf.emerg(&Error::NoMemory.to_string()),
        Ok(Err(Stop::Logged)) => {}
        Ok(Err(Stop::Error(error))) => cf.emerg(&error.to_string()),
        Err(what) => cf.emerg(&Error::Internal(what).to_string()),
    }
    None
}

fn catch<T>(callback: &str, body: impl FnOnce() -> T) -> Result<T, String> {
    static HOOK: Once = Once::new();
    thread_local!(static PLACE: RefCell<String> = const { RefCell::new(String::new()) });
    HOOK.call_once(|| {
        // The default hook writes to stderr, where nobody looks; the caller logs what is kept here.
        panic::set_hook(Box::new(|info| {
            let place = info.location().map(ToString::to_string).unwrap_or_default();
            PLACE.with(|kept| *kept.borrow_mut() = place);
        }));
    });
    // What a panic leaves half done is freed with the configuration or the request that failed.
    panic::catch_unwind(AssertUnwindSafe(|| {
        inject_fault(callback);
        body()
    }))
    .map_err(|payload| format!("{callback}: {} at {}", text(&*payload), PLACE.take()))
}

fn text(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("panic")
}

fn alert(log: *mut ngx_log_t, what: &str) {
    let text = format!("\"clerk_proxy\" failed in {what}, this is a defect of the module");
    write(log, NGX_LOG_ALERT as ngx_uint_t, &text);
}

/// Logs what is wrong with a request.
pub fn error(r: &ngx_http_request_t, text: &str) {
    // SAFETY: a request has a connection with a log.
    write(unsafe { (*r.connection).log }, NGX_LOG_ERR as ngx_uint_t, text);
}

/// Logs what concerns no request.
pub fn log(level: u32, text: &str) {
    write(process_log(), level as ngx_uint_t, text);
}

fn write(log: *mut ngx_log_t, level: ngx_uint_t, text: &str) {
    // SAFETY: `log` is nginx's; "%*s" takes a size_t and a pointer to that many bytes (ngx_vslprintf).
    unsafe {
        if (*log).log_level >= level {
            let (len, data) = (text.len(), text.as_ptr().cast::<c_char>());
            ngx_log_error_core(level, log, 0, c"%*s".as_ptr(), len, data);
        }
    }
}

/// Panics in the callbacks that the environment names; compiled for tests alone.
#[cfg(feature = "fault-injection")]
pub fn inject_fault(callback: &str) {
    use std::sync::LazyLock;
    static FAULT: LazyLock<Option<String>> =
        LazyLock::new(|| std::env::var("CLERK_PROXY_FAULT").ok());
    let faults = FAULT.as_deref().unwrap_or_default();
    assert!(!faults.split(',').any(|fault| fault == callback), "injected");
}

#[cfg(not(feature = "fault-injection"))]
pub fn inject_fault(_callback: &str) {}
