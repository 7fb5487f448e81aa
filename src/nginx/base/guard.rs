//! The panic boundary: every callback of nginx runs its body through here, so that a defect of this module
//! costs one configuration or one request and never a worker.

use std::any::Any;
use std::cell::RefCell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

use crate::nginx::base::ffi::{ngx_http_request_t, ngx_int_t, NGX_LOG_ALERT};
use crate::nginx::base::log;

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
        log::write(unsafe { (*(*r).connection).log }, NGX_LOG_ALERT, &alert(&what));
        failure
    })
}

/// A callback of the process: its result, or `failure`.
pub fn process<T>(callback: &str, failure: T, body: impl FnOnce() -> T) -> T {
    catch(callback, body).unwrap_or_else(|what| {
        log::log(NGX_LOG_ALERT, &alert(&what));
        failure
    })
}

/// Runs `body`; a panic becomes text.
pub fn catch<T>(callback: &str, body: impl FnOnce() -> T) -> Result<T, String> {
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

fn alert(what: &str) -> String {
    format!("\"clerk_proxy\" failed in {what}, this is a defect of the module")
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
