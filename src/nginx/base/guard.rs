//! The panic boundary: every callback of nginx runs its body through here. A defect of this module costs one
//! configuration or one request, and never a worker.

use std::any::Any;
use std::cell::RefCell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

use crate::nginx::base::ffi::{
    ngx_cycle_t, ngx_http_handler_pt, ngx_http_request_t, ngx_int_t, NGX_LOG_ALERT,
};
use crate::nginx::base::log;
use crate::nginx::base::status::{ERROR, OK};

/// A callback of a request: its result, or `failure`.
pub fn request(
    r: *mut ngx_http_request_t,
    callback: &str,
    failure: ngx_int_t,
    body: impl FnOnce(&mut ngx_http_request_t) -> ngx_int_t,
) -> ngx_int_t {
    // SAFETY: nginx calls request handlers with a live request, and one at a time.
    let r = unsafe { &mut *r };
    catch(callback, || body(r)).unwrap_or_else(|what| {
        log::of_request(r, NGX_LOG_ALERT, &alert(&what));
        failure
    })
}

/// A handler or filter that hands the request on to the handler or filter which `body` returns, unless that returns a
/// status. A panic has the result of `failure`.
pub fn handler(
    r: *mut ngx_http_request_t,
    callback: &str,
    failure: Result<ngx_http_handler_pt, ngx_int_t>,
    body: impl FnOnce(&mut ngx_http_request_t) -> Result<ngx_http_handler_pt, ngx_int_t>,
) -> ngx_int_t {
    let mut next = failure;
    request(r, callback, ERROR, |r| {
        next = body(r);
        OK
    });
    match next {
        // SAFETY: a handler takes the request that the one before it was given, to which no reference is held here.
        Ok(Some(next)) => unsafe { next(r) },
        Ok(None) => ERROR,
        Err(status) => status,
    }
}

/// A callback of the process: its result, or `failure`.
pub fn process<T>(callback: &str, failure: T, body: impl FnOnce() -> T) -> T {
    catch(callback, body).unwrap_or_else(|what| {
        log::log(NGX_LOG_ALERT, &alert(&what));
        failure
    })
}

/// A callback of the process about a configuration that it has read, serves or has served.
pub fn cycle(cycle: *mut ngx_cycle_t, callback: &str, body: impl FnOnce(&ngx_cycle_t)) {
    // SAFETY: nginx hands such callbacks a cycle that was read.
    process(callback, (), || body(unsafe { &*cycle }));
}

/// Runs `body`; a panic becomes text.
pub fn catch<T>(callback: &str, body: impl FnOnce() -> T) -> Result<T, String> {
    static HOOK: Once = Once::new();
    thread_local!(static PLACE: RefCell<String> = const { RefCell::new(String::new()) });
    HOOK.call_once(|| {
        // The default hook writes to stderr, which nobody reads; the caller logs what is kept here.
        panic::set_hook(Box::new(|info| {
            let place = info.location().map(ToString::to_string).unwrap_or_default();
            PLACE.with(|kept| *kept.borrow_mut() = place);
        }));
    });
    // What a panic leaves incomplete is freed with the configuration or the request that failed.
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

fn alert(what: &str) -> String {
    format!("\"clerk_proxy\" failed in {what}, this is a defect of the module")
}

/// Panics in the callbacks that the environment names; for tests alone.
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
