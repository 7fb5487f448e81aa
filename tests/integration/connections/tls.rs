//! TLS to the Frontend API: not a byte of a request goes to anyone but it, and handshakes are few.

use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{mpsc, Arc, Mutex};

use rcgen::{date_time_ymd, Certificate, CertificateParams, KeyPair};
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{HandshakeKind, ProtocolVersion, ServerConfig, SupportedProtocolVersion};

use crate::kit::assert::assert_json;
use crate::kit::fapi::{Ca, Fapi, CA};
use crate::kit::harness::{speaks_by_openssl, Config, Nginx};
use crate::kit::location::{location, nginx};
use crate::kit::raw::{relay, Raw};
use crate::kit::tls::{asking, fapi, localhost, server, serving, ANY};

/// The request gets 502, the log says why, and the stand-in has not got a byte of it.
fn assert_refused(nginx: &Nginx, fapi: &Fapi, why: &str) {
    assert_json(&nginx.get("/__clerk/v1"), 502, "proxy_request_failed");
    let log = nginx.error_log();
    assert!(log.contains(why), "{why} is not in {log}");
    assert_eq!(fapi.received(), 0, "bytes of a request went to an impostor");
}

#[test]
fn the_server_must_be_the_one_that_is_meant() {
    let (mut expired, mut future) = (localhost(), localhost());
    expired.not_after = date_time_ymd(2020, 1, 1);
    future.not_before = date_time_ymd(4000, 1, 1);
    let other = CertificateParams::new(["other.example".to_owned()]).unwrap();
    let own_name = "upstream SSL certificate does not match \"localhost\"";
    // What an outer block says about verification does not count.
    let outer = "proxy_ssl_verify off; proxy_ssl_name other.example; proxy_ssl_server_name off;";
    for (certificate, why) in [
        (Ca::new().sign(localhost()), "upstream SSL certificate verify error: ("),
        (CA.sign(other), own_name),
        (CA.sign(expired), "upstream SSL certificate verify error: (10:certificate has expired)"),
        (CA.sign(future), "upstream SSL certificate verify error: (9:certificate is not yet valid"),
    ] {
        for version in ANY {
            let fapi = serving(server(&[version], &certificate), true);
            let nginx = Config::server(&format!("{outer}\n{}", location(&fapi, ""))).start();
            assert_refused(&nginx, &fapi, why);
        }
        // The location's own word counts.
        let fapi = serving(server(ANY, &certificate), true);
        assert_eq!(nginx(&fapi, "proxy_ssl_verify off;").get("/__clerk/v1").status, 200);
        let nginx = nginx(&fapi, "proxy_ssl_name other.example;");
        assert_eq!(nginx.get("/__clerk/v1").status == 200, why == own_name);
    }
}

#[test]
fn the_certificates_of_the_system_are_trusted_and_no_others() {
    let fapi = Fapi::tls();
    let line = format!(
        "location /__clerk/ {{ clerk_proxy https://app.dev/__clerk secret_key=%KEY% \
         upstream=https://localhost:{}; }}",
        fapi.port
    );
    let outer = Config::server(&format!("proxy_ssl_trusted_certificate ca.pem; {line}")).start();
    assert_refused(&outer, &fapi, "upstream SSL certificate verify error");
    let config = Config::server(&line);
    let ca = config.folder.path().join("ca.pem");
    let nginx = config.env("SSL_CERT_FILE", &ca.to_string_lossy()).start();
    assert_eq!(nginx.get("/__clerk/v1").status, 200);
}

#[test]
fn the_name_that_is_sent_and_verified() {
    let fapi = Fapi::tls();
    // Without SNI a server with many names would show another certificate.
    let outer = "proxy_ssl_server_name off; proxy_ssl_name other.example;";
    let outer = Config::server(&format!("{outer}\n{}", location(&fapi, ""))).start();
    assert_eq!(outer.get("/__clerk/v1").status, 200);
    assert_eq!(fapi.only().sni.as_deref(), Some("localhost"));
    let nginx = nginx(&fapi, "proxy_ssl_server_name off;");
    assert_eq!(nginx.get("/__clerk/v1").status, 200);
    assert_eq!(fapi.wait_for(2)[1].sni, None);
}

#[test]
fn versions() {
    use ProtocolVersion::{TLSv1_2, TLSv1_3};
    let outer = "proxy_ssl_protocols TLSv1 TLSv1.1;";
    for (versions, spoken) in [(ANY, TLSv1_3), (&ANY[..1], TLSv1_2), (&ANY[1..], TLSv1_3)] {
        let fapi = fapi(versions, true);
        let nginx = Config::server(&format!("{outer}\n{}", location(&fapi, ""))).start();
        assert_eq!(nginx.get("/__clerk/v1").status, 200);
        assert_eq!(fapi.handshakes(), [(spoken, HandshakeKind::Full)]);
    }
    let fapi = fapi(ANY, true);
    assert_eq!(nginx(&fapi, "proxy_ssl_protocols TLSv1.2;").get("/__clerk/v1").status, 200);
    assert_eq!(fapi.handshakes()[0].0, TLSv1_2);
}

#[test]
fn versions_below_1_2_are_refused() {
    // Others know no levels, and write the names of their errors.
    let (level, refused) = if speaks_by_openssl() {
        (":@SECLEVEL=0", "unsupported protocol")
    } else {
        ("", "UNSUPPORTED_PROTOCOL")
    };
    for version in [0, 1, 2] {
        let (sender, bytes) = mpsc::channel();
        let sender = Mutex::new(sender);
        let fapi = Raw::start(move |mut stream| {
            let mut bytes = vec![0; 4096];
            let count = stream.read(&mut bytes).unwrap_or_default();
            bytes.truncate(count);
            // A ServerHello of this version with the suite TLS_RSA_WITH_AES_128_CBC_SHA.
            let hello = [&[2, 0, 0, 38, 3, version][..], &[7; 32], &[0, 0, 0x2f, 0]].concat();
            let record = [&[22, 3, version, 0, 42][..], &hello].concat();
            let _ = stream.write_all(&record);
            let _ = stream.read_to_end(&mut bytes);
            let _ = sender.lock().unwrap().send(bytes);
        });
        let nginx = Config::server(&format!(
            "proxy_ssl_protocols SSLv3 TLSv1 TLSv1.1; proxy_ssl_ciphers ALL{level};\n\
             location /__clerk/ {{ clerk_proxy https://app.dev/__clerk secret_key=%KEY% \
             upstream=https://localhost:{}; }}",
            fapi.port
        ))
        .allow(refused)
        .start();
        assert_json(&nginx.get("/__clerk/v1"), 502, "proxy_request_failed");
        assert!(nginx.error_log().contains(refused), "{}", nginx.error_log());
        let bytes = bytes.recv().expect("a connection");
        // A ClientHello and an alert: records of these types and no other, so no request.
        let (mut rest, mut types) = (&bytes[..], Vec::new());
        while let [kind, _, _, high, low, behind @ ..] = rest {
            types.push(*kind);
            rest = &behind[usize::from(u16::from_be_bytes([*high, *low]))..];
        }
        assert_eq!(types, [22, 21]);
    }
}

#[test]
fn twenty_requests_use_one_connection() {
    for versions in [&ANY[..1], &ANY[1..]] {
        let fapi = fapi(versions, true);
        let location = location(&fapi, "proxy_ssl_name localhost;");
        // One of the addresses of "localhost".
        let nginx = Config::server(&location.replace("//localhost", "//127.0.0.1")).start();
        for _ in 0..20 {
            assert_eq!(nginx.get("/__clerk/v1").status, 200);
        }
        assert!(fapi.requests().iter().all(|request| request.connection == 0));
        assert_eq!(fapi.handshakes().len(), 1);
    }
}

#[test]
fn handshakes_are_resumed() {
    for versions in [&ANY[..1], &ANY[1..]] {
        let fapi = fapi(versions, false);
        let nginx = nginx(&fapi, "");
        for _ in 0..6 {
            assert_eq!(nginx.get("/__clerk/v1").status, 200);
        }
        let handshakes = fapi.handshakes();
        let full = handshakes.iter().filter(|(_, kind)| *kind != HandshakeKind::Resumed).count();
        // One for each address of "localhost".
        assert!(handshakes.len() == 6 && full <= 2, "{handshakes:?}");
    }
}

#[test]
fn certificates_of_clients() {
    let (certificate, key) = CA.sign(CertificateParams::default());
    for version in ANY {
        let fapi = serving(asking(&[version], &CA.sign(localhost()), true), true);
        let lines = "proxy_ssl_certificate client.pem; proxy_ssl_certificate_key client.key;";
        let start = |lines: &str| {
            Config::server(&location(&fapi, lines))
                .file("client.pem", certificate.pem())
                .file("client.key", key.serialize_pem())
                // The alert of a server that misses a certificate.
                .allow("alert")
                .start()
        };
        assert_json(&start("").get("/__clerk/v1"), 502, "proxy_request_failed");
        assert_eq!(fapi.received(), 0);
        assert_eq!(start(lines).get("/__clerk/v1").status, 200);
    }
}

#[test]
fn a_certificate_that_becomes_good() {
    // In TLS 1.2 nginx keeps the session of a handshake that it refused.
    becomes_good(&TLS12);
    becomes_good(&TLS13);
}

fn becomes_good(version: &'static SupportedProtocolVersion) {
    let (mut expired, good) = (localhost(), localhost());
    expired.not_after = date_time_ymd(2020, 1, 1);
    let certificates = Certificates::new([expired, good].map(|params| CA.sign(params)));
    let mut config = ServerConfig::clone(&server(&[version], &CA.sign(localhost())));
    config.cert_resolver = certificates.clone();
    let fapi = serving(Arc::new(config), false);
    let nginx = nginx(&fapi, "");
    for _ in 0..3 {
        assert_refused(&nginx, &fapi, "10:certificate has expired");
    }
    certificates.next.store(1, Ordering::Relaxed);
    assert_eq!(nginx.get("/__clerk/v1").status, 200);
}

/// Shows one of its certificates.
#[derive(Debug)]
struct Certificates {
    next: AtomicUsize,
    all: [Arc<CertifiedKey>; 2],
}

impl Certificates {
    fn new(all: [(Certificate, KeyPair); 2]) -> Arc<Self> {
        let all = all.map(|(certificate, key)| {
            let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
            let key = any_supported_type(&key).expect("a key");
            Arc::new(CertifiedKey::new(vec![certificate.der().clone()], key))
        });
        Arc::new(Self { next: AtomicUsize::new(0), all })
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, _hello: ClientHello) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.all[self.next.load(Ordering::Relaxed)]))
    }
}

/// A client that leaves while nginx still connects says nothing about the server, whose TLS sessions stay.
#[test]
fn a_client_that_leaves_meanwhile() {
    let fapi = fapi(&[&TLS13], false);
    let (port, stalls) = (fapi.port, Arc::new(AtomicBool::new(false)));
    let is_stalled = Arc::clone(&stalls);
    let server = Raw::start(move |mut client| {
        if is_stalled.load(Ordering::Relaxed) {
            // Until nginx gives it up.
            let _ = std::io::copy(&mut client, &mut std::io::sink());
        } else {
            relay(client, port, Write::write_all);
        }
    });
    let mut nginx = nginx_at(server.port);
    assert_eq!(nginx.get("/__clerk/v1").status, 200);
    stalls.store(true, Ordering::Relaxed);
    let mut client = nginx.connect();
    client.write_all(b"GET /__clerk/v1 HTTP/1.1\r\nHost: app.dev\r\n\r\n").expect("nginx reads");
    drop(client);
    let log = |nginx: &Nginx| nginx.config.folder.read("logs/access.log");
    nginx.until("the client has left", |nginx| log(nginx).contains(" 499 "));
    stalls.store(false, Ordering::Relaxed);
    assert_eq!(nginx.get("/__clerk/v1").status, 200);
    let kinds: Vec<_> = fapi.handshakes().iter().map(|(_, kind)| *kind).collect();
    assert_eq!(kinds, [HandshakeKind::Full, HandshakeKind::Resumed]);
}

/// nginx that reaches the stand-in by way of this port.
fn nginx_at(port: u16) -> Nginx {
    Config::server(&format!(
        "location /__clerk/ {{ clerk_proxy https://app.dev/__clerk secret_key=%KEY% \
         upstream=https://localhost:{port}; proxy_ssl_trusted_certificate ca.pem; }}"
    ))
    .start()
}
