//! One TLS context for all locations that verify in the same way.
//!
//! Until 1.27 nginx makes a context for each location and reads all certificates of the system into it: 1,000
//! locations take 24 s and 841 MB to start. Here nginx makes one context, for the first location with given settings.
//! The others are merged with verification off, which costs next to nothing. Once nginx has merged all, they get the
//! first one's context and verification back. No request is passed on before that.

use crate::failure::Failure;
use crate::nginx::base::ffi::{self, ngx_flag_t, ngx_http_request_t, ngx_http_upstream_conf_t};
use crate::nginx::base::links::configuration::upstream_of;
use crate::nginx::stock::directives::{ProxyConf, Stock};
use crate::nginx::stock::level::Level;

/// Keeps nginx from making a context for a location without TLS, whatever outer blocks say.
pub fn do_not_verify(stock: &Stock, level: Level) {
    Shared::lend(stock, level).borrow(level);
}

/// The upstream to which a merged location without `clerk_proxy` passes requests without verifying a certificate.
pub fn unverified_upstream(stock: &Stock, level: Level) -> Option<String> {
    let conf = stock.proxy.of(level);
    let upstream = upstream_of(conf)?;
    let verified = tls_of(conf).is_some_and(|(context, verify)| !context.is_null() && *verify == 1);
    (!verified).then(|| String::from_utf8_lossy(upstream.host.as_bytes()).into_owned())
}

/// The location whose context is shared.
#[derive(Clone, Copy)]
pub struct Shared {
    lender: Level,
    proxy: ProxyConf,
}

impl Shared {
    /// Makes this location's context the one to share.
    pub fn lend(stock: &Stock, level: Level) -> Self {
        Self { lender: level, proxy: stock.proxy }
    }

    /// Whether it is this location's.
    pub fn is_lent_by(&self, level: Level) -> bool {
        self.lender == level
    }

    /// Has nginx make a context that verifies for this location, whose settings are not merged yet.
    pub fn make(&self, level: Level) {
        if let Some((_, verify)) = tls_of(self.proxy.of(level)) {
            *verify = 1;
        }
    }

    /// Has nginx make an empty context for this location, whose settings are not merged yet.
    pub fn borrow(&self, level: Level) {
        if let Some((_, verify)) = tls_of(self.proxy.of(level)) {
            *verify = 0;
        }
    }

    /// Gives a location, now merged, the context and verification.
    pub fn complete(&self, level: Level) -> Result<(), Failure> {
        let lent = tls_of(self.proxy.of(self.lender)).map(|(context, verify)| (*context, *verify));
        let lent = lent.filter(|(context, verify)| !context.is_null() && *verify == 1);
        match (tls_of(self.proxy.of(level)), lent) {
            (Some(own), Some(lent)) => (*own.0, *own.1) = lent,
            _ => return Err(Failure::Internal("no TLS context".to_owned())),
        }
        // HTTP/3 speaks TLS by the same context.
        #[cfg(nginx_upstream_quic)]
        {
            let own = self.proxy.of(level);
            own.quic.ssl = own.ssl;
        }
        Ok(())
    }

    /// Whether a request's connection will be verified with the shared context.
    pub fn is_used_for(&self, r: &ngx_http_request_t) -> bool {
        let context = |level| tls_of(self.proxy.of(level)).map(|(context, _)| *context);
        Level::of(r).is_some_and(|level| {
            verifies(self.proxy.of(level)) && context(level) == context(self.lender)
        })
    }
}

/// Whether connections with these settings are verified if they use TLS.
pub fn verifies(conf: &mut ngx_http_upstream_conf_t) -> bool {
    tls_of(conf).is_some_and(|(_, verify)| *verify == 1)
}

/// The context, and whether it verifies.
#[cfg(nginx_http_ssl)]
#[allow(clippy::unnecessary_wraps)]
fn tls_of(
    conf: &mut ngx_http_upstream_conf_t,
) -> Option<(&mut *mut ffi::ngx_ssl_t, &mut ngx_flag_t)> {
    Some((&mut conf.ssl, &mut conf.ssl_verify))
}

/// Without TLS, nginx has none.
#[cfg(not(nginx_http_ssl))]
fn tls_of(
    _conf: &mut ngx_http_upstream_conf_t,
) -> Option<(&mut *mut ffi::ngx_ssl_t, &mut ngx_flag_t)> {
    None
}
