//! Failures that are no mistake in the configuration, as `nginx -t` shows them.

use std::fmt;

/// Something that this system or this nginx lacks.
#[derive(Debug, PartialEq)]
pub enum Failure {
    /// There is no bundle of trusted certificates on this system.
    NoCaBundle { host: String },
    /// nginx was built without a module that `clerk_proxy` configures.
    MissingModule(&'static str),
    /// The nginx at hand has other structures than the one that the module was built for.
    OtherNginx { built_for: &'static str, running: String, difference: String },
    /// The system gives no memory.
    NoMemory,
    /// A defect of this module.
    Internal(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoCaBundle { host } => write!(
                f,
                "\"clerk_proxy\" found no CA certificates on this system to verify \"{host}\", install the \
                 package \"ca-certificates\" or set \"proxy_ssl_trusted_certificate\""
            ),
            Self::MissingModule(name) => {
                write!(f, "\"clerk_proxy\" needs {name}, which this nginx was built without")
            }
            Self::OtherNginx { built_for, running, difference } => write!(
                f,
                "\"ngx_http_clerk_proxy_module\" was built for {built_for}, and the structures of {running} differ \
                 ({difference}), build the module from the sources of {running} with its configure \
                 arguments, which \"nginx -V\" prints"
            ),
            Self::NoMemory => f.write_str("\"clerk_proxy\" ran out of memory"),
            Self::Internal(what) => {
                write!(f, "\"clerk_proxy\" failed: {what}, this is a defect of the module, report it")
            }
        }
    }
}

impl std::error::Error for Failure {}
