//! The connection to the Frontend API: kept, verified, and the user's own `upstream {}` where there is one.

use crate::fapi::{json, Ca, Fapi, CA};
use crate::forwarding::{location, nginx};
use crate::harness::Config;

#[test]
fn connections_are_kept() {
    let fapi = Fapi::tls();
    let nginx = nginx(&fapi, "");
    for _ in 0..20 {
        assert_eq!(nginx.get("/__clerk/v1").status, 200);
    }
    let connections = fapi.requests().iter().map(|request| request.connection).max().unwrap() + 1;
    // One for each address of "localhost".
    assert!(connections <= 2, "{connections} connections");
}

#[test]
fn the_server_must_be_the_one_that_is_meant() {
    let stranger = Fapi::answering(Some(Ca::new().server(&["localhost"])), json(200, "", "{}"));
    let other_name = Fapi::answering(Some(CA.server(&["other.example"])), json(200, "", "{}"));
    for (fapi, why) in [
        (&stranger, "upstream SSL certificate verify error"),
        (&other_name, "upstream SSL certificate does not match \"localhost\""),
    ] {
        // What an outer block says about verification does not count.
        let nginx =
            Config::server(&format!("proxy_ssl_verify off;\n{}", location(fapi, ""))).start();
        assert_eq!(nginx.get("/__clerk/v1").status, 502);
        let log = nginx.error_log();
        assert!(log.contains(why), "{log}");
        assert!(fapi.requests().is_empty(), "a request went to an impostor");
    }
    // The location's own word counts.
    let nginx = nginx(&stranger, "proxy_ssl_verify off;");
    nginx.get("/__clerk/v1");
    assert_eq!(stranger.wait_for(1).len(), 1);
}

#[test]
fn the_certificates_of_the_system_are_trusted_and_no_others() {
    let fapi = Fapi::tls();
    let line = format!(
        "location /__clerk/ {{ clerk_proxy https://app.dev/__clerk secret_key=%KEY% \
         upstream=https://localhost:{}; }}",
        fapi.port
    );
    let outer = format!("proxy_ssl_trusted_certificate ca.pem; {line}");
    assert_eq!(Config::server(&outer).start().get("/__clerk/v1").status, 502);
    assert!(fapi.requests().is_empty());
    let config = Config::server(&line);
    let ca = config.folder.path().join("ca.pem");
    let nginx = config.env("SSL_CERT_FILE", &ca.to_string_lossy()).start();
    assert_eq!(nginx.get("/__clerk/v1").status, 200);
}

#[test]
fn a_block_of_the_user() {
    let fapi = Fapi::tls();
    let nginx = Config::new(&format!(
        "upstream clerk_fapi {{ server 127.0.0.1:{}; keepalive 2; }} server {{ listen 127.0.0.1:%PORT%;\n\
         location /__clerk/ {{ clerk_proxy https://app.dev/__clerk secret_key=%KEY% \
         upstream=https://clerk_fapi/base; proxy_ssl_verify off; }} }}",
        fapi.port
    ))
    .start();
    assert_eq!(nginx.get("/__clerk/v1").status, 200);
    let request = fapi.only();
    assert_eq!(request.target(), "/base/v1");
    assert_eq!(request.one("Host"), "frontend-api.clerk.dev");
    assert_eq!(request.sni.as_deref(), Some("frontend-api.clerk.dev"));
}

#[test]
fn a_block_that_follows_the_server_is_found_too() {
    let fapi = Fapi::plain();
    let nginx = Config::new(&format!(
        "server {{ listen 127.0.0.1:%PORT%; location /__clerk/ {{ clerk_proxy https://app.dev/__clerk \
         secret_key=%KEY% upstream=http://fapi.test; }} }} upstream fapi.test {{ server 127.0.0.1:{}; }}",
        fapi.port
    ))
    .start();
    assert_eq!(nginx.get("/__clerk/v1").status, 200);
    assert_eq!(fapi.only().one("Host"), "fapi.test");
}

#[test]
fn a_socket() {
    let fapi = Fapi::plain();
    let nginx = Config::new(&format!(
        "server {{ listen unix:%DIR%/fapi.sock; location / {{ proxy_pass http://127.0.0.1:{}; }} }}\n\
         server {{ listen 127.0.0.1:%PORT%; location /__clerk/ {{ clerk_proxy https://app.dev/__clerk \
         secret_key=%KEY% upstream=http://unix:%DIR%/fapi.sock:/base; }} }}",
        fapi.port
    ))
    .start();
    assert_eq!(nginx.get("/__clerk/v1").status, 200);
    assert_eq!(fapi.only().target(), "/base/v1");
}

#[test]
fn the_users_own_proxy_pass_to_the_same_host_is_left_alone() {
    let fapi = Fapi::tls();
    let port = fapi.port;
    let own = format!("location /own/ {{ proxy_pass https://localhost:{port}/; }}");
    let nginx = Config::server(&format!("{}\n{own}", location(&fapi, ""))).start();
    assert_eq!(nginx.get("/__clerk/v1").status, 200);
    assert_eq!(nginx.get("/own/v1").status, 200);
    let requests = fapi.wait_for(2);
    assert!(requests[1].all("Clerk-Secret-Key").is_empty());
    assert!(requests[1].line.ends_with("HTTP/1.0"), "stock settings: {}", requests[1].line);
}
