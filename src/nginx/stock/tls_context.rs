//! One TLS context for all locations that verify in the same way.
//!
//! Until 1.27 nginx makes a context for each location and reads all certificates of the system into it: 1,000
//! locations take 24 s and 841 MB to start. Here nginx makes that of the first location with given settings;
//! the others are merged with verification off, which costs next to nothing, and get the first one's context
//! and verification back once nginx has merged all. No request is passed on before it is there.

use std::mem::offset_of;

use crate::failure::Failure;
use crate::nginx::base::ffi::{ngx_http_request_t, ngx_http_upstream_conf_t};
use crate::nginx::base::parser::Stop;
use crate::nginx::stock::directives::Stock;
use crate::nginx::stock::level::Level;

const VERIFY: &str = "proxy_ssl_verify";
/// Has nginx make no context for a location that does not speak TLS, whatever outer blocks say.
pub fn do_not_verify(stock: &Stock, level: Level) {
    if let Some(own) = Shared::lend(stock, level) {
        own.borrow(level);
    }
}

/// The upstream that a merged location which is none of ours passes requests to without looking at its
/// certificate.
pub fn unverified_upstream(stock: &Stock, level: Level) -> Option<String> {
    let conf = Shared::lend(stock, level)?.lender;
    // SAFETY: see `Shared::borrow`; the upstream is null or one of the configuration.
    unsafe {
        let upstream = (*conf).upstream.as_ref()?;
        let verified = !(*conf).ssl.is_null() && (*conf).ssl_verify == 1;
        (!verified).then(|| String::from_utf8_lossy(upstream.host.as_bytes()).into_owned())
    }
}

/// The upstream settings of the location whose context is shared.
#[derive(Clone, Copy)]
pub struct Shared {
    lender: *mut ngx_http_upstream_conf_t,
    /// Where a block keeps the proxy module's configuration.
    ctx_index: usize,
}

impl Shared {
    /// Lets this location lend its context. `None` where this nginx keeps the settings at another place than
    /// the headers say; each location then has a context of its own.
    pub fn lend(stock: &Stock, level: Level) -> Option<Self> {
        let directive = stock.get(VERIFY)?;
        // SAFETY: the command's table entry lives as long as its module.
        let offset = unsafe { directive.command.as_ref() }.offset;
        // That the settings of upstreams come first in the proxy module's is no promise of nginx.
        let known = offset == offset_of!(ngx_http_upstream_conf_t, ssl_verify);
        let ctx_index = directive.ctx_index;
        known.then(|| Self { lender: level.conf(ctx_index).cast(), ctx_index })
    }

    /// The upstream settings of the location.
    pub fn conf(&self) -> *mut ngx_http_upstream_conf_t {
        self.lender
    }

    fn of(&self, level: Level) -> *mut ngx_http_upstream_conf_t {
        level.conf(self.ctx_index).cast()
    }

    /// Has nginx make a bare context for this location, whose settings are not merged yet.
    pub fn borrow(&self, level: Level) {
        // SAFETY: that the proxy module's configuration begins with one of upstreams was checked in `lend`;
        // it lives as long as the cycle and nginx configures in one thread.
        unsafe { (*self.of(level)).ssl_verify = 0 }
    }

    /// Gives a location, now merged, the context and verification.
    pub fn complete(&self, level: Level) -> Result<(), Stop> {
        // SAFETY: as above.
        unsafe {
            if (*self.lender).ssl.is_null() || (*self.lender).ssl_verify != 1 {
                return Err(Failure::Internal("no TLS context".to_owned()).into());
            }
            let own = self.of(level);
            (*own).ssl = (*self.lender).ssl;
            (*own).ssl_verify = 1;
        }
        Ok(())
    }

    /// Whether a request's connection will be verified with the shared context.
    pub fn is_in_force(&self, r: &ngx_http_request_t) -> bool {
        Level::of(r).is_some_and(|level| {
            let own = self.of(level);
            // SAFETY: as above; nobody changes it once requests are served.
            unsafe { (*own).ssl_verify == 1 && (*own).ssl == (*self.lender).ssl }
        })
    }
}
