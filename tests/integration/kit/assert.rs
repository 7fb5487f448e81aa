//! What tests assert of replies, and of requests that fail.

use std::time::{Duration, Instant};

use crate::kit::harness::{Nginx, Reply, PATIENCE};

/// clerk-js waits so long; under valgrind nobody does.
pub const IN_TIME: Duration =
    if PATIENCE.as_secs() > 20 { PATIENCE } else { Duration::from_secs(7) };

/// The JSON that the module puts in the place of an error page.
pub fn assert_json(reply: &Reply, status: u16, code: &str) {
    assert_eq!(reply.status, status, "{reply:?}");
    assert_eq!(reply.all("Content-Type"), ["application/json"]);
    assert_eq!(reply.all("Cache-Control"), ["no-store"]);
    assert_eq!(reply.all("Content-Length"), [reply.body.len().to_string()]);
    let value: serde_json::Value = serde_json::from_slice(&reply.body).expect("JSON");
    let error = &value["errors"][0];
    assert_eq!(error["code"], code, "{}", reply.text());
    assert!(error["message"].is_string() && error["long_message"].is_string());
}

/// A request that fails: JSON, in time, and one line in the log that names the upstream and says why.
pub fn assert_fails(nginx: &Nginx, method: &str, target: &str, status: u16, why: &[&str]) {
    let (before, start) = (nginx.errors().len(), Instant::now());
    assert_json(&nginx.ask(method, target), status, "proxy_request_failed");
    assert!(start.elapsed() < IN_TIME, "{:?}", start.elapsed());
    assert_logged_once(nginx, before, why);
}

pub fn assert_logged_once(nginx: &Nginx, before: usize, why: &[&str]) {
    let new = nginx.errors().split_off(before);
    let [line] = &new[..] else { panic!("not one line but {new:#?}") };
    assert!(line.contains("upstream: \"http://"), "{line}");
    assert!(why.iter().any(|why| line.contains(why)), "none of {why:?} in {line}");
}

/// The first request after a failure succeeds, and those of others do.
pub fn assert_well(nginx: &Nginx, location: &str) {
    let before = nginx.errors().len();
    for _ in 0..10 {
        assert_eq!(nginx.get(&format!("/{location}/good")).status, 200);
    }
    assert_eq!(nginx.errors().len(), before);
    assert!(!nginx.error_log().contains("no live upstreams"));
}
