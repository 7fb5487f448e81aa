//! Locations with different TLS settings share neither a kept connection nor a TLS session.

use std::collections::HashSet;

use rcgen::CertificateParams;
use rustls::{HandshakeKind, SupportedProtocolVersion};

use crate::kit::assert::assert_json;
use crate::kit::fapi::{Ca, Fapi, CA};
use crate::kit::harness::{Config, Nginx};
use crate::kit::tls::{self, asking, fapi, server, serving, ANY};

/// Each version of TLS, on connections that are kept and on such that are not, so that sessions are resumed.
fn each_kind(test: impl Fn(&'static SupportedProtocolVersion, bool)) {
    for version in ANY {
        for keeps in [true, false] {
            test(version, keeps);
        }
    }
}

/// A location with these lines.
fn location(fapi: &Fapi, name: &str, lines: &str) -> String {
    format!(
        "location /{name}/ {{ clerk_proxy https://app.dev/{name} secret_key=%KEY% \
         upstream=https://localhost:{};\n{lines}\n}}\n",
        fapi.port
    )
}

fn start(locations: &str) -> Nginx {
    Config::server(locations).file("other.pem", Ca::new().pem()).start()
}

#[test]
fn who_one_location_refuses_another_does_not_let_in() {
    each_kind(|version, keeps| {
        let fapi = fapi(&[version], keeps);
        let nginx = start(
            &[
                ("off", "proxy_ssl_verify off;"),
                ("right", "proxy_ssl_trusted_certificate ca.pem;"),
                ("ca", "proxy_ssl_trusted_certificate other.pem;"),
                ("name", "proxy_ssl_trusted_certificate ca.pem; proxy_ssl_name other.example;"),
            ]
            .map(|(name, lines)| location(&fapi, name, lines))
            .concat(),
        );
        for _ in 0..3 {
            // Nor does one that refuses spoil it for the others.
            for refusing in ["ca", "name"] {
                let reply = nginx.get(&format!("/{refusing}/refused"));
                assert_json(&reply, 502, "proxy_request_failed");
            }
            for trusting in ["off", "right", "right", "off"] {
                assert_eq!(nginx.get(&format!("/{trusting}/let-in")).status, 200);
            }
        }
        assert!(fapi.requests().iter().all(|request| request.target() == "/let-in"));
    });
}

/// Of locations with the same settings the first makes the TLS context, and the others borrow it.
#[test]
fn locations_inside_verify_as_those_around() {
    let inside = |name: &str| {
        format!(
            "proxy_ssl_trusted_certificate ca.pem; location /{name}/in/ {{ limit_rate 1m;\n\
             location /{name}/in/most {{ limit_rate 2m; }} }}\n\
             location /{name}/other {{ proxy_ssl_name other.example; }}\n\
             location /{name}/off {{ proxy_ssl_verify off; }}\n\
             if ($arg_x) {{ set $x 1; }} limit_except GET {{ allow all; }}"
        )
    };
    let locations =
        |fapi: &Fapi| ["a", "b", "c"].map(|name| location(fapi, name, &inside(name))).concat();
    let targets = ["v1", "in/v1", "in/most", "other", "v1?x=1"];
    let impostor = serving(server(ANY, &Ca::new().sign(tls::localhost())), true);
    let nginx = start(&locations(&impostor));
    for name in ["a", "b", "c"] {
        for target in targets {
            for method in ["GET", "POST"] {
                let reply = nginx.ask(method, &format!("/{name}/{target}"));
                assert_json(&reply, 502, "proxy_request_failed");
            }
        }
        assert_eq!(nginx.get(&format!("/{name}/off")).status, 200);
    }
    assert!(impostor.requests().iter().all(|request| request.target() == "/off"));

    let fapi = fapi(ANY, true);
    let nginx = start(&locations(&fapi));
    for name in ["a", "b", "c"] {
        for target in targets {
            let status = if target == "other" { 502 } else { 200 };
            assert_eq!(nginx.get(&format!("/{name}/{target}")).status, status, "{target}");
        }
    }
    assert!(fapi.requests().iter().all(|request| request.connection == 0), "one for all");
}

#[test]
fn an_upstream_block_shared_by_hand_lets_them_in() {
    each_kind(|version, keeps| {
        let fapi = fapi(&[version], keeps);
        let location = |name: &str, ca: &str| {
            format!(
                "location /{name}/ {{ proxy_pass https://u/; proxy_http_version 1.1;\n\
                 proxy_set_header Connection ''; proxy_ssl_name localhost; proxy_ssl_verify on;\n\
                 proxy_ssl_protocols TLSv1.2 TLSv1.3; proxy_ssl_trusted_certificate {ca}; }}\n"
            )
        };
        let locations = [location("right", "ca.pem"), location("ca", "other.pem")].concat();
        let nginx = Config::new(&format!(
            "upstream u {{ server 127.0.0.1:{}; keepalive 4; }}\n\
             server {{ listen 127.0.0.1:%PORT%;\n{locations}}}",
            fapi.port
        ))
        .file("other.pem", Ca::new().pem())
        .start();
        assert_eq!(nginx.get("/right/x").status, 200);
        // Stock nginx: what the test above would see if the module did not keep them apart.
        assert_eq!(nginx.get("/ca/x").status, 200);
    });
}

#[test]
fn settings_that_differ_keep_connections_and_sessions_apart() {
    let client = "proxy_ssl_certificate client.pem; proxy_ssl_certificate_key client.key;";
    let [client2, client3, client4] = ["two", "three", "four"]
        .map(|n| format!("proxy_ssl_certificate {n}.pem; proxy_ssl_certificate_key {n}.key;"));
    // Of a server and of its location.
    let settings = [
        ("", ""),
        ("", "proxy_ssl_verify off;"),
        ("", "proxy_ssl_verify_depth 1;"),
        ("", "proxy_ssl_name two.example;"),
        ("", "proxy_ssl_server_name off;"),
        ("", "proxy_ssl_protocols TLSv1.2;"),
        ("", "proxy_ssl_trusted_certificate copy.pem;"),
        ("", client),
        ("", &client2),
        (&client3, ""),
        (&client4, ""),
        ("proxy_ssl_ciphers ECDHE;", ""),
        ("", "proxy_ssl_ciphers ECDHE+AESGCM;"),
        ("", "proxy_ssl_conf_command Ciphersuites TLS_AES_128_GCM_SHA256;"),
    ];
    for keeps in [true, false] {
        let names = ["localhost".to_owned(), "two.example".to_owned()];
        let certificate = CA.sign(CertificateParams::new(names).unwrap());
        let fapi = serving(asking(ANY, &certificate, false), keeps);
        let servers = settings.iter().enumerate().map(|(index, (outer, lines))| {
            let ca = "proxy_ssl_trusted_certificate ca.pem;";
            let own = lines.contains("trusted");
            let location = location(&fapi, "x", &format!("{}\n{lines}", if own { "" } else { ca }));
            format!(
                "server {{ listen 127.0.0.1:%PORT%; server_name s{index};\n{outer}\n{location}}}\n"
            )
        });
        let mut config =
            Config::new(&servers.collect::<Vec<_>>().concat()).file("copy.pem", CA.pem());
        for name in ["client", "two", "three", "four"] {
            let (certificate, key) = CA.sign(CertificateParams::default());
            config = config
                .file(&format!("{name}.pem"), certificate.pem())
                .file(&format!("{name}.key"), key.serialize_pem());
        }
        let nginx = config.start();
        let mut used = HashSet::new();
        for (index, setting) in settings.iter().enumerate() {
            let (requests, handshakes) = (fapi.requests().len(), fapi.handshakes().len());
            for _ in 0..2 {
                let reply = nginx.send(format!(
                    "GET /x/y HTTP/1.1\r\nHost: s{index}\r\nConnection: close\r\n\r\n"
                ));
                assert_eq!(reply.status, 200, "{setting:?}");
            }
            let requests = fapi.requests().split_off(requests);
            let own: HashSet<usize> = requests.iter().map(|request| request.connection).collect();
            assert!(used.is_disjoint(&own), "a connection of another location: {setting:?}");
            used.extend(own);
            let kind = fapi.handshakes()[handshakes].1;
            assert_ne!(kind, HandshakeKind::Resumed, "another location's session: {setting:?}");
        }
    }
}
