//! Stand-ins of the Frontend API by what their TLS is like.

use std::sync::Arc;

use rcgen::{Certificate, CertificateParams, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};

use crate::kit::fapi::{json, Fapi, CA};

pub const ANY: &[&SupportedProtocolVersion] = &[&TLS12, &TLS13];

/// A server with these versions and this certificate.
pub fn server(
    versions: &[&'static SupportedProtocolVersion],
    certificate: &(Certificate, KeyPair),
) -> Arc<ServerConfig> {
    asking(versions, certificate, false)
}

/// A server that takes certificates of clients by the tests' authority, or insists on one.
pub fn asking(
    versions: &[&'static SupportedProtocolVersion],
    (certificate, key): &(Certificate, KeyPair),
    insists: bool,
) -> Arc<ServerConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CA.certificate().der().clone()).expect("an authority");
    let verifier = WebPkiClientVerifier::builder(roots.into());
    let verifier = if insists { verifier } else { verifier.allow_unauthenticated() };
    let builder = ServerConfig::builder_with_protocol_versions(versions)
        .with_client_cert_verifier(verifier.build().expect("a verifier"));
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let chain = vec![certificate.der().clone()];
    Arc::new(builder.with_single_cert(chain, key).expect("a certificate and its key"))
}

pub fn localhost() -> CertificateParams {
    CertificateParams::new(["localhost".to_owned()]).expect("names")
}

/// Speaks these versions of TLS as `localhost`, and keeps connections or not.
pub fn fapi(versions: &[&'static SupportedProtocolVersion], keeps: bool) -> Fapi {
    serving(server(versions, &CA.sign(localhost())), keeps)
}

pub fn serving(config: Arc<ServerConfig>, keeps: bool) -> Fapi {
    Fapi::start(config, move |_, stream| {
        let reply = json(200, if keeps { "" } else { "Connection: close\r\n" }, r#"{"ok":true}"#);
        stream.write_all(reply.as_bytes()).is_ok() && keeps
    })
}
