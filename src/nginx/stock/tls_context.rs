//! One TLS context for all locations that verify in the same way.
//!
//! Until 1.27 nginx makes a context for each location and reads all certificates of the system into it: 1,000
//! locations take 24 s and 841 MB to start. Here nginx makes that of the first location with given settings;
//! the others are merged with verification off, which costs next to nothing, and get the first one's context
//! and verification back once nginx has merged all. No request is passed on before it is there.

use crate::failure::Failure;
use crate::nginx::base::ffi::{self, ngx_flag_t, ngx_http_request_t, ngx_http_upstream_conf_t};
use crate::nginx::base::parser::Stop;
use crate::nginx::stock::directives::Stock;
use crate::nginx::stock::level::Level;

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
        let verified =
            tls_of(conf).is_some_and(|(context, _)| !context.is_null()) && verifies(conf);
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
    /// Lets this location lend its context. `None` where nginx has no proxy module.
    pub fn lend(stock: &Stock, level: Level) -> Option<Self> {
        let ctx_index = stock.get("proxy_pass")?.ctx_index;
        Some(Self { lender: level.conf(ctx_index).cast(), ctx_index })
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
        // SAFETY: `layout` has checked that the proxy module's configuration begins with one of upstreams; it lives
        // as long as the cycle and nginx configures in one thread.
        if let Some((_, verify)) = unsafe { tls_of(self.of(level)) } {
            *verify = 0;
        }
    }

    /// Gives a location, now merged, the context and verification.
    pub fn complete(&self, level: Level) -> Result<(), Stop> {
        // SAFETY: as above.
        unsafe {
            let context = tls_of(self.lender).map(|(context, verify)| (*context, *verify));
            let context = context.filter(|(context, verify)| !context.is_null() && *verify == 1);
            match (tls_of(self.of(level)), context) {
                (Some(own), Some(lent)) => (*own.0, *own.1) = lent,
                _ => return Err(Failure::Internal("no TLS context".to_owned()).into()),
            }
        }
        Ok(())
    }

    /// Whether a request's connection will be verified with the shared context.
    pub fn is_in_force(&self, r: &ngx_http_request_t) -> bool {
        Level::of(r).is_some_and(|level| {
            let own = self.of(level);
            // SAFETY: as above; nobody changes it once requests are served.
            unsafe {
                let context = |conf| tls_of(conf).map(|(context, _)| *context);
                verifies(own) && context(own) == context(self.lender)
            }
        })
    }
}

/// Whether connections with these settings are verified, where they speak TLS.
///
/// # Safety
///
/// They are settings of this configuration.
pub unsafe fn verifies(conf: *mut ngx_http_upstream_conf_t) -> bool {
    // SAFETY: promised by the caller.
    unsafe { tls_of(conf) }.is_some_and(|(_, verify)| *verify == 1)
}

/// The context, and whether it verifies.
///
/// # Safety
///
/// They are null or settings of this configuration, and nobody else looks at them meanwhile.
#[cfg(nginx_http_ssl)]
unsafe fn tls_of<'a>(
    conf: *mut ngx_http_upstream_conf_t,
) -> Option<(&'a mut *mut ffi::ngx_ssl_t, &'a mut ngx_flag_t)> {
    // SAFETY: promised by the caller.
    unsafe { conf.as_mut() }.map(|conf| (&mut conf.ssl, &mut conf.ssl_verify))
}

/// Without TLS, nginx has none.
#[cfg(not(nginx_http_ssl))]
unsafe fn tls_of<'a>(
    _conf: *mut ngx_http_upstream_conf_t,
) -> Option<(&'a mut *mut ffi::ngx_ssl_t, &'a mut ngx_flag_t)> {
    None
}
