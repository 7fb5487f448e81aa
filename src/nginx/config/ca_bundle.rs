//! The system's CA certificates, with which the Frontend API is verified.

use std::path::Path;
use std::rc::Rc;

use crate::failure::Failure;
use crate::nginx::base::environment;
use crate::nginx::config::apply::Block;
use crate::nginx::config::common::Common;
use crate::recipe::CA_BUNDLES;

impl Block<'_> {
    /// The file of CA certificates; empty if the location needs none or names its own.
    pub fn ca_bundle(&self, in_block: bool, common: &mut Common) -> Result<Rc<str>, Failure> {
        let origin = &self.line.origin;
        let verifies = origin.tls && !self.stock.is_off(self.written_here, "proxy_ssl_verify");
        if !verifies || self.stock.is_set(self.written_here, "proxy_ssl_trusted_certificate") {
            return Ok("".into());
        }
        if let Some(found) = &common.ca_bundle {
            return Ok(Rc::clone(found));
        }
        // As in OpenSSL, the variable replaces all other places.
        let named = environment::get("SSL_CERT_FILE");
        let named = named.and_then(|path| String::from_utf8(path.to_vec()).ok());
        let places = match &named {
            Some(path) => &[path.as_str()][..],
            None => CA_BUNDLES,
        };
        let found = places.iter().find(|path| Path::new(path).is_file());
        let error = || Failure::NoCaBundle { host: origin.tls_name(in_block).to_owned() };
        let found: Rc<str> = Rc::from(*found.ok_or_else(error)?);
        common.ca_bundle = Some(Rc::clone(&found));
        Ok(found)
    }
}
