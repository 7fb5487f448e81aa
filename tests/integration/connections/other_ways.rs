//! Other ways to an upstream of `clerk_proxy`. nginx keeps connections by upstream: none may be made there that is
//! not verified, since the key would go out over it.

use crate::kit::domains::ask;
use crate::kit::fapi::{json, Fapi, CA};
use crate::kit::harness::{Config, Nginx};
use crate::kit::printed::{expect, good};

#[test]
fn blocks_that_others_use_unverified() {
    let config = |own: &str, stock: &str| {
        Config::new(&format!(
            "upstream Own {{ server 127.0.0.1:1; }}\n\
             server {{ location /__clerk/ {{ clerk_proxy https://app.dev/__clerk secret_key=%KEY% upstream={own} }}\n\
             location /stock/ {{\n{stock} }} }}"
        ))
    };
    for stock in ["proxy_pass https://own;", "proxy_pass http://own/x/;"] {
        let message = "\"proxy_pass\" in location \"/stock/\" uses upstream \"Own\" without \
                       \"proxy_ssl_verify on\", and \"clerk_proxy\" would send the secret key over its \
                       connections, write an \"upstream\" block for each";
        expect(&config("https://own;", stock), 5, message);
    }
    let verified = "proxy_ssl_verify on; proxy_ssl_trusted_certificate ca.pem;";
    good(&config("https://own;", &format!("proxy_pass https://own; {verified}")));
    good(&config("https://own; proxy_ssl_verify off;", "proxy_pass https://own;"));
    good(&config("http://own;", "proxy_pass http://own;"));
}

/// The request gets 500 and the log says why; nothing arrives anywhere.
fn assert_not_admitted(nginx: &Nginx, fapi: &Fapi, name: &str, host: &str, target: &str) {
    let (lines, bytes) = (nginx.errors().len(), fapi.received());
    let handshakes = fapi.handshakes().len();
    assert_eq!(ask(nginx, host, target).status, 500, "{target}");
    let new = nginx.errors().split_off(lines);
    let expected =
        format!("upstream \"{name}\" of \"clerk_proxy\" is not for this location, client:");
    assert!(new.len() == 1 && new[0].contains(&expected), "{target}: {new:#?}");
    assert_eq!((fapi.received(), fapi.handshakes().len()), (bytes, handshakes), "{target}");
}

#[test]
fn an_implicit_upstream_that_a_client_names() {
    for (fapi, scheme) in [(Fapi::tls(), "https"), (Fapi::plain(), "http")] {
        let port = fapi.port;
        let nginx = Config::server(&format!(
            "location /__clerk/ {{ clerk_proxy https://app.dev/__clerk secret_key=%KEY%\n\
             upstream={scheme}://localhost:{port}; proxy_ssl_trusted_certificate ca.pem; }}\n\
             proxy_http_version 1.1; proxy_set_header Connection ''; proxy_ssl_name localhost;\n\
             proxy_ssl_trusted_certificate ca.pem;\n\
             location ~ ^/http/(.+)$ {{ proxy_pass http://$1; }}\n\
             location ~ ^/https/(.+)$ {{ proxy_pass https://$1; }}\n\
             location ~ ^/verified/(.+)$ {{ proxy_pass https://$1; proxy_ssl_verify on; }}"
        ))
        .start();
        let name = format!("clerk_proxy localhost|{port}");
        // The second time there is a connection that could be used.
        for round in 1..=2 {
            for way in ["http", "https", "verified"] {
                let target = format!("/{way}/clerk_proxy%20localhost%7C{port}/x");
                assert_not_admitted(&nginx, &fapi, &name, "app.dev", &target);
            }
            assert_eq!(nginx.get("/__clerk/v1").status, 200);
            assert_eq!(fapi.wait_for(round)[round - 1].target(), "/v1");
        }
        assert!(fapi.requests().iter().all(|request| request.connection == 0));
    }
}

/// A block of the user's that the location uses over TLS, with these lines beside, and ways to it.
fn with_block(fapi: &Fapi, lines: &str) -> Nginx {
    Config::new(&format!(
        "upstream own {{ server 127.0.0.1:{}; keepalive 4; }} server {{ listen 127.0.0.1:%PORT%;\n\
         location /__clerk/ {{ clerk_proxy https://app.dev/__clerk secret_key=%KEY% upstream=https://own;\n\
         {lines} }}\n\
         proxy_http_version 1.1; proxy_set_header Connection ''; proxy_ssl_server_name on;\n\
         proxy_ssl_name frontend-api.clerk.dev; proxy_ssl_trusted_certificate ca.pem;\n\
         location /http/ {{ proxy_pass http://$http_host; }}\n\
         location /https/ {{ proxy_pass https://$http_host; }}\n\
         location /fastcgi/ {{ fastcgi_pass $http_host; }}\n\
         location /verified/ {{ proxy_pass https://$http_host; proxy_ssl_verify on; }} }}",
        fapi.port
    ))
    .start()
}

#[test]
fn a_block_that_a_client_names() {
    let reply = json(200, "", "{}");
    let fapi = Fapi::answering(Some(CA.server(&["frontend-api.clerk.dev"])), reply);
    let nginx = with_block(&fapi, "proxy_ssl_trusted_certificate ca.pem;");
    for _ in 0..2 {
        for target in ["/http/x", "/https/x", "/fastcgi/x"] {
            assert_not_admitted(&nginx, &fapi, "own", "own", target);
        }
        assert_eq!(ask(&nginx, "own", "/verified/x").status, 200);
        assert_eq!(ask(&nginx, "own", "/__clerk/v1").status, 200);
    }
    let arrived = fapi.requests();
    let keys = arrived.iter().map(|request| request.all("Clerk-Secret-Key").len());
    assert_eq!(keys.collect::<Vec<_>>(), [0, 1, 0, 1]);
    assert!(arrived.iter().all(|request| request.connection == 0), "they may share one");
}

#[test]
fn an_impostor_behind_a_block_gets_no_key() {
    let reply = json(200, "", "{}");
    let fapi = Fapi::answering(Some(CA.server(&["evil.example"])), reply);
    let nginx = with_block(&fapi, "proxy_ssl_trusted_certificate ca.pem;");
    for target in ["/__clerk/v1", "/https/x", "/verified/x", "/__clerk/v1"] {
        let status = if target == "/https/x" { 500 } else { 502 };
        assert_eq!(ask(&nginx, "own", target).status, status, "{target}");
    }
    assert!(fapi.requests().is_empty());
}

#[test]
fn a_block_that_is_not_verified_anyway_is_open_to_all() {
    let fapi = Fapi::tls();
    let nginx = with_block(&fapi, "proxy_ssl_verify off;");
    for target in ["/https/x", "/__clerk/v1"] {
        assert_eq!(ask(&nginx, "own", target).status, 200, "{target}");
    }
}
