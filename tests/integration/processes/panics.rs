//! A panic in any callback costs one configuration or one request, never a worker.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::kit::assert::assert_json;
use crate::kit::fapi::Fapi;
use crate::kit::harness::{Config, FAULTY_MODULE};

/// The callbacks of the configuration, which it fails with.
const IN_CONFIGURATION: &[&str] = &[
    "clerk_proxy",
    "clerk_proxy_secret_key",
    "clerk_proxy_upstream",
    "clerk_proxy_client_ip",
    "clerk_proxy_warm",
    "clerk_proxy_status",
    "preconfiguration",
    "preconfiguration of variables",
    "create_main_conf",
    "create_srv_conf",
    "create_loc_conf",
    "create_request_conf",
    "create_last_head",
    "merge_loc_conf",
    "completion of merge_loc_conf",
    "postconfiguration",
];

/// Those on the way of a request, and its status. A filter that fails lets the reply pass as nginx made it.
/// Names that are not followed keep the addresses they had at the start.
const IN_REQUESTS: &[(&str, u16)] = &[
    ("content handler", 500),
    ("handler of the cache", 500),
    ("choice of a server", 500),
    ("choice of a connection", 200),
    ("request to the server", 200),
    ("end of a connection's use", 200),
    ("variable", 200),
    ("header filter", 200),
    ("body filter", 200),
    ("count of a request", 200),
    ("cleanup", 200),
    ("timer", 200),
    ("init_module", 200),
    ("init_process", 200),
];

/// Those of connections that are kept ready; one only comes after another.
const IN_WARM_CONNECTIONS: &[&str] =
    &["start of warm connections", "warm connections", "warm connection"];

/// Those of a reply's head that comes in two parts, for a request that is sent twice.
const IN_HEADS: &[&str] = &["status line", "header lines", "another try"];

/// The rest, each with a test of its own.
const OTHERS: &[&str] =
    &["shared memory", "idle connection", "exit_process", "body of an upload", "lookup", "status"];

fn config(fapi: &Fapi, fault: &str) -> Config {
    let port = fapi.port;
    let outer = "proxy_cache_path cache keys_zone=zone:1m; clerk_proxy_secret_key %KEY%; \
                 clerk_proxy_upstream http://127.0.0.1:1;";
    Config::server(&format!(
        "location /__clerk/ {{\nclerk_proxy https://app.dev/__clerk secret_key=%KEY% \
         upstream=http://localhost:{port}; proxy_cache zone;\n}} \
         location = /status {{ clerk_proxy_status; }} location / {{ add_header X-Uri $clerk_proxy_uri; return 204; }}"
    ))
    .http(&format!("{outer} clerk_proxy_client_ip $http_x;"))
    .main("env CLERK_PROXY_FAULT;")
    .module(&FAULTY_MODULE)
    .env("CLERK_PROXY_FAULT", fault)
}

/// The sources in a folder and those in it.
fn sources(folder: &Path, found: &mut Vec<String>) {
    for file in fs::read_dir(folder).expect("sources") {
        let path = file.expect("a file").path();
        if path.is_dir() {
            sources(&path, found);
        } else {
            found.push(fs::read_to_string(&path).expect("a source"));
        }
    }
}

/// What stands behind each of these in a text, up to the end that is found.
fn behind<'a>(text: &'a str, mark: &'a str, end: &'a str) -> impl Iterator<Item = &'a str> {
    text.split(mark).skip(1).map(move |rest| rest.split(end).next().expect("a part"))
}

#[test]
fn every_callback_has_its_guard_and_its_test() {
    let mut sources_of_glue = Vec::new();
    sources(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src/nginx")), &mut sources_of_glue);
    let text = sources_of_glue.concat().replace("callback::", "guard::");
    // The text of each function that nginx calls, of whatever indentation; types of functions have no name.
    let functions = behind(&text, "extern \"C\" fn ", "\n}\n");
    let functions = functions.map(|text| text.split("\n    }\n    const ").next().expect("a part"));
    let callbacks: Vec<_> = functions.filter(|function| !function.starts_with('(')).collect();
    // Directives and timers bring their names.
    let names = behind(&text, " directive(c\"", "\"").chain(behind(&text, "Timer::new(\"", "\""));
    let mut guarded: BTreeSet<_> = names.collect();
    for function in &callbacks {
        let name = function.split(['(', '<']).next().expect("a name");
        let calls = behind(function, "guard::", ";").filter_map(|call| call.split('"').nth(1));
        guarded.extend(calls);
        // One that only calls another has the guard of that.
        let calls_other = callbacks.iter().any(|other| {
            let other = other.split(['(', '<']).next().expect("a name");
            other != name && function.contains(&format!(" {other}("))
        });
        assert!(function.contains("guard::") || calls_other, "{name} has no guard");
    }
    assert!(callbacks.len() > 20, "{callbacks:?}");
    let warm = IN_WARM_CONNECTIONS.iter().flat_map(|names| names.split(','));
    let requests = IN_REQUESTS.iter().map(|(name, _)| *name);
    let others = [IN_CONFIGURATION, IN_HEADS, OTHERS].concat();
    let tested = others.into_iter().chain(requests).chain(warm);
    assert_eq!(guarded, tested.collect());
}

#[test]
fn in_configuration() {
    let fapi = Fapi::plain();
    for callback in IN_CONFIGURATION.iter().chain(&["apply"]) {
        let (ok, printed) = config(&fapi, callback).check();
        // Deep inside a callback: the state that the message is logged by must be whole again.
        let callback = if *callback == "apply" { "merge_loc_conf" } else { callback };
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
    for &(callback, status) in IN_REQUESTS {
        let nginx = config(&fapi, callback).allow("this is a defect of the module").start();
        // Under valgrind those of the cache cannot be told from it.
        let worker = nginx.workers()[0];
        let reply = nginx.get("/__clerk/v1/client");
        assert_eq!(reply.status, status, "{callback}");
        if status == 500 {
            assert_json(&reply, 500, "proxy_configuration_error");
        }
        assert_eq!(nginx.get("/").status, 204);
        assert!(nginx.workers().contains(&worker), "{callback}");
        let told = nginx.error_log() + &nginx.config.folder.read("logs/stderr");
        assert!(told.contains(&format!("failed in {callback}: injected at src/nginx/")), "{told}");
    }
    let arrived = IN_REQUESTS.iter().filter(|(_, status)| *status == 200).count();
    assert_eq!(fapi.requests().len(), arrived);
}

#[test]
fn in_the_status() {
    let nginx = config(&Fapi::plain(), "status").allow("this is a defect of the module").start();
    assert_eq!(nginx.get("/status").status, 500);
    assert_eq!(nginx.get("/").status, 204);
    assert_eq!(nginx.count("failed in status: injected at src/nginx/"), 1);
}

#[test]
fn in_heads_of_replies() {
    for callback in IN_HEADS {
        let fails = AtomicBool::new(false);
        let fapi = Fapi::start(None, move |_, stream| {
            let (head, rest) = ("HTTP/1.1 200 OK\r\nX-A: b\r\n", "Content-Length: 0\r\n\r\n");
            if !fails.fetch_not(Ordering::Relaxed) || stream.write_all(head.as_bytes()).is_err() {
                return false;
            }
            // In most tries nginx reads them one by one then.
            thread::yield_now();
            stream.write_all(rest.as_bytes()).is_ok()
        });
        let server = format!("server 127.0.0.1:{} max_fails=0;", fapi.port);
        let line = "clerk_proxy https://app.dev/__clerk secret_key=%KEY% upstream=http://two;";
        let mut nginx = Config::server(&format!("location /__clerk/ {{ {line} }}"))
            .http(&format!("upstream two {{ {server} {server} }}"))
            .main("env CLERK_PROXY_FAULT;")
            .module(&FAULTY_MODULE)
            .env("CLERK_PROXY_FAULT", callback)
            .allow("this is a defect of the module")
            .start();
        let worker = nginx.workers()[0];
        let told = format!("failed in {callback}: injected at src/nginx/");
        nginx.until("it has failed", |nginx| {
            let reply = nginx.get("/__clerk/v1/client");
            let failed = nginx.error_log().contains(&told);
            if failed {
                assert_json(&reply, 500, "proxy_configuration_error");
            }
            failed
        });
        assert!(nginx.workers().contains(&worker), "{callback}");
    }
}

#[test]
fn in_an_upload_over_http_2() {
    let fapi = Fapi::plain();
    let port = fapi.port;
    let nginx = Config::new(&format!(
        "server {{ listen 127.0.0.1:%PORT%; listen 127.0.0.1:%PORT2% http2;\n\
         location /__clerk/ {{ clerk_proxy https://app.dev/__clerk secret_key=%KEY% \
         upstream=http://127.0.0.1:{port}; }} }}"
    ))
    .main("env CLERK_PROXY_FAULT;")
    .module(&FAULTY_MODULE)
    .env("CLERK_PROXY_FAULT", "body of an upload")
    .allow("this is a defect of the module")
    .start();
    let worker = nginx.workers()[0];
    nginx.config.folder.write("image", vec![0; 400_000]);
    let image = format!("@{}", nginx.config.folder.path().join("image").display());
    let reply = nginx.curl_h2("/__clerk/v1/x", &["--data-binary", &image]);
    assert_json(&reply, 500, "proxy_configuration_error");
    assert!(nginx.workers().contains(&worker));
    assert!(fapi.requests().is_empty());
}

#[test]
fn at_the_end_of_a_worker() {
    let fapi = Fapi::plain();
    let mut nginx = config(&fapi, "exit_process").allow("this is a defect of the module").start();
    assert_eq!(nginx.get("/__clerk/v1/client").status, 200);
    nginx.stop();
    let log = nginx.error_log();
    assert!(log.contains("failed in exit_process: injected at src/nginx/"), "{log}");
    assert!(!log.contains("exited on signal"), "{log}");
}

/// Connections that are not kept ready cost nothing but time.
#[test]
fn in_warm_connections() {
    let fapi = Fapi::plain();
    for callback in IN_WARM_CONNECTIONS {
        let config = config(&fapi, callback).http("clerk_proxy_warm 1;");
        let mut nginx = config.allow("this is a defect of the module").start();
        // Under valgrind those of the cache cannot be told from it.
        let worker = nginx.workers()[0];
        let last = callback.rsplit(',').next().expect("a name");
        let told = format!("failed in {last}: injected at src/nginx/");
        // The timer goes on.
        let times = if *callback == "warm connections" { 2 } else { 1 };
        nginx.until("it has failed", |nginx| nginx.count(&told) >= times);
        assert_eq!(nginx.get("/__clerk/v1/client").status, 200, "{callback}");
        assert!(nginx.workers().contains(&worker), "{callback}");
    }
}

#[test]
fn in_connections_that_wait() {
    let fapi = Fapi::tls();
    let line = format!(
        "clerk_proxy https://app.dev/__clerk secret_key=%KEY% upstream=https://localhost:{}; \
         proxy_ssl_trusted_certificate ca.pem;",
        fapi.port
    );
    let mut nginx = Config::server(&format!("location /__clerk/ {{ {line} }}"))
        .http("clerk_proxy_warm 1;")
        .main("env CLERK_PROXY_FAULT; error_log logs/error.log info;")
        .module(&FAULTY_MODULE)
        .env("CLERK_PROXY_FAULT", "idle connection")
        .allow("this is a defect of the module")
        .start();
    let worker = nginx.workers()[0];
    nginx.until("a connection is ready", |nginx| nginx.count("a connection to upstream") == 1);
    fapi.close();
    let told = "failed in idle connection: injected at src/nginx/";
    nginx.until("it has failed", |nginx| nginx.error_log().contains(told));
    assert!(nginx.workers().contains(&worker));
}

#[test]
fn in_threads() {
    let fapi = Fapi::plain();
    let nginx = config(&fapi, "lookup").start();
    let workers = nginx.workers();
    let stderr = nginx.config.folder.read("logs/stderr");
    assert!(stderr.contains("host not found in upstream \"localhost"), "{stderr}");
    assert_json(&nginx.get("/__clerk/v1/client"), 502, "proxy_request_failed");
    assert_eq!(nginx.workers(), workers);
}

#[test]
fn without_a_fault_the_same_module_works() {
    let fapi = Fapi::plain();
    let nginx = config(&fapi, "nowhere").start();
    assert_eq!(nginx.get("/__clerk/v1/client").status, 200);
}
