//! A panic in any callback costs one configuration or one request, never a worker.

use crate::fapi::Fapi;
use crate::harness::{Config, FAULTY_MODULE};

fn config(fapi: &Fapi, fault: &str) -> Config {
    let port = fapi.port;
    Config::server(&format!(
        "location /__clerk/ {{\nclerk_proxy https://app.dev/__clerk secret_key=%KEY% \
         upstream=http://localhost:{port};\n}} location / {{ add_header X-Uri $clerk_proxy_uri; return 204; }}"
    ))
    .main("env CLERK_PROXY_FAULT;")
    .module(&FAULTY_MODULE)
    .env("CLERK_PROXY_FAULT", fault)
}

#[test]
fn in_configuration() {
    let fapi = Fapi::plain();
    for callback in [
        "clerk_proxy",
        "preconfiguration",
        "preconfiguration of variables",
        "create_main_conf",
        "create_srv_conf",
        "create_loc_conf",
        "merge_loc_conf",
        "completion of merge_loc_conf",
        "postconfiguration",
        "apply",
    ] {
        let (ok, printed) = config(&fapi, callback).check();
        // Deep inside a callback: the state that the message is logged by must be whole again.
        let callback = if callback == "apply" { "merge_loc_conf" } else { callback };
        let message =
            format!("nginx: [emerg] \"clerk_proxy\" failed: {callback}: injected at src/nginx/");
        assert!(!ok && printed.contains(&message), "{printed}");
    }
    let (ok, printed) = config(&fapi, "shared memory").check();
    let message = "[alert] \"clerk_proxy\" failed in shared memory: injected at src/nginx/";
    assert!(!ok && printed.contains(message), "{printed}");
}

#[test]
fn in_requests() {
    let fapi = Fapi::plain();
    // A filter that fails lets the reply pass as nginx made it. Names that are not followed keep the addresses
    // they had at the start.
    for (callback, status) in [
        ("content handler", 500),
        ("choice of a server", 500),
        ("variable", 200),
        ("header filter", 200),
        ("body filter", 200),
        ("cleanup", 200),
        ("timer", 200),
        ("init_process", 200),
    ] {
        let nginx = config(&fapi, callback).allow("this is a defect of the module").start();
        let workers = nginx.workers();
        assert_eq!(nginx.get("/__clerk/v1/client").status, status, "{callback}");
        assert_eq!(nginx.get("/").status, 204);
        assert_eq!(nginx.workers(), workers);
        let log = nginx.error_log();
        assert!(log.contains(&format!("failed in {callback}: injected at src/nginx/")), "{log}");
    }
    assert_eq!(fapi.requests().len(), 6);
}

/// Connections that are not kept ready cost nothing but time.
#[test]
fn in_warm_connections() {
    let fapi = Fapi::plain();
    for callback in ["start of warm connections", "warm connections", "warm connection"] {
        let config = config(&fapi, callback).http("clerk_proxy_warm 1;");
        let mut nginx = config.allow("this is a defect of the module").start();
        let workers = nginx.workers();
        let told = format!("failed in {callback}: injected at src/nginx/");
        nginx.until("it has failed", |nginx| nginx.error_log().contains(&told));
        assert_eq!(nginx.get("/__clerk/v1/client").status, 200, "{callback}");
        assert_eq!(nginx.workers(), workers);
    }
}

#[test]
fn without_a_fault_the_same_module_works() {
    let fapi = Fapi::plain();
    let nginx = config(&fapi, "nowhere").start();
    assert_eq!(nginx.get("/__clerk/v1/client").status, 200);
}
