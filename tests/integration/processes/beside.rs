//! A module of somebody else's in the same process, which does what modules may do: see neighbour.c.

use std::path::PathBuf;
use std::sync::LazyLock;

use crate::kit::assert::assert_json;
use crate::kit::c::library;
use crate::kit::fapi::{json, Fapi};
use crate::kit::harness::{Config, KEY};
use crate::kit::location::location;

static NEIGHBOUR: LazyLock<PathBuf> = LazyLock::new(|| library("neighbour.c"));

/// nginx with the neighbour.
fn beside(config: Config) -> Config {
    config.beside(&NEIGHBOUR).main("error_log logs/error.log info;")
}

/// Its part in the choice of servers works with what stands in for a request, too.
#[test]
fn warm_connections() {
    let fapi = Fapi::tls();
    let config = Config::server(&location(&fapi, "")).http("clerk_proxy_warm 1;");
    let mut nginx = beside(config).start();
    let workers = nginx.workers();
    nginx.until("a connection is ready", |nginx| nginx.count("a connection to upstream") == 1);
    for method in ["GET", "POST"] {
        assert_eq!(nginx.ask(method, "/__clerk/v1").status, 200);
    }
    assert_eq!(fapi.requests()[0].connection, 0);
    assert_eq!(nginx.workers(), workers);
}

/// What it adds to the headers of a request has room there, also where the client sent none.
#[test]
fn a_request_without_headers() {
    let fapi = Fapi::answering(None, json(200, "Cache-Control: max-age=60\r\n", "{}"));
    let config = Config::server(&format!(
        "location /__clerk/ {{ clerk_proxy https://app.dev/__clerk secret_key=%KEY% \
         upstream=http://localhost:{}; proxy_cache zone; }}",
        fapi.port
    ));
    let nginx = beside(config.http("proxy_cache_path cache keys_zone=zone:1m;")).start();
    for head in
        ["GET /__clerk/npm/x.js HTTP/1.0\r\n\r\n", "GET /__clerk/v1 HTTP/1.0\r\nCookie: a\r\n\r\n"]
    {
        assert_eq!(nginx.send(head).status, 200);
    }
}

/// A request that is not as the proxy module has made it gets no URI put into it.
#[test]
fn a_request_that_is_rewritten() {
    let fapi = Fapi::tls();
    let nginx = beside(Config::server(&location(&fapi, ""))).start();
    let workers = nginx.workers();
    let rest = "Content-Length: 5\r\n\r\nhello";
    let post = format!(
        "POST /__clerk/v1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX-Rewritten: 1\r\n{rest}"
    );
    assert_json(&nginx.send(post), 500, "proxy_configuration_error");
    assert_eq!((fapi.received(), nginx.workers()), (0, workers));
    assert_eq!(nginx.ask("POST", "/__clerk/v1").status, 200);
}

/// What the environment said at the start stays known when it is emptied.
#[test]
fn an_environment_that_is_emptied() {
    let fapi = Fapi::tls();
    let config = Config::server(&format!(
        "location /__clerk/ {{ clerk_proxy https://app.dev/__clerk secret_key=env:OUR_KEY \
         upstream=https://localhost:{}; }}",
        fapi.port
    ));
    let bundle = config.folder.path().join("ca.pem").display().to_string();
    let config = config.env("OUR_KEY", KEY).env("SSL_CERT_FILE", &bundle);
    let mut nginx = beside(config).start();
    for _ in 0..2 {
        assert_eq!(nginx.get("/__clerk/v1").status, 200);
        nginx.reload();
    }
    assert_eq!(nginx.get("/__clerk/v1").status, 200);
    assert!(fapi.requests().iter().all(|request| request.one("Clerk-Secret-Key") == KEY));
}

/// nginx's own client for ACME is written in Rust as well; it is there where scripts/matrix builds it.
#[test]
fn a_client_for_acme() {
    let fapi = Fapi::tls();
    let config = Config::server(&location(&fapi, "")).main("error_log logs/error.log info;").http(
        "clerk_proxy_warm 1; acme_shared_zone zone=acme:1m; resolver 127.0.0.1:1;\n\
         acme_issuer example { uri https://127.0.0.1:1/directory; state_path %DIR%; \
         accept_terms_of_service; }\n\
         server { listen 127.0.0.1:%PORT2% ssl; server_name app.dev; acme_certificate example; \
         ssl_certificate $acme_certificate; ssl_certificate_key $acme_certificate_key; }\n",
    );
    if config.check().1.contains("unknown directive \"acme_") {
        return;
    }
    let mut nginx = config.start();
    for times in 1..3 {
        nginx.until("a connection is ready", |nginx| nginx.count("a connection to ") >= times);
        for method in ["GET", "POST"] {
            assert_eq!(nginx.ask(method, "/__clerk/v1").status, 200);
        }
        nginx.reload();
    }
    // Its server cannot be reached, which is its own matter.
    nginx.until("the other module works", |nginx| nginx.count("example") > 0);
    let bad = "POST /__clerk/v1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n";
    assert_json(&nginx.send(bad), 400, "bad_request");
    assert!(fapi.requests().iter().all(|request| request.one("Clerk-Secret-Key") == KEY));
}
