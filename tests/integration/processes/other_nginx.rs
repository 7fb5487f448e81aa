//! An nginx with another layout than that of the headers, as forks have it, takes no module: it would misread memory.

use std::path::PathBuf;
use std::sync::LazyLock;

use crate::kit::c::library;
use crate::kit::documents::assert_is_sample;
use crate::kit::harness::{has, Config, FAULTY_MODULE, KEY};

/// displaced.c, made with the headers of the nginx under test.
static DISPLACED: LazyLock<PathBuf> = LazyLock::new(|| library("displaced.c"));

fn with_displaced(lines: &str, field: &str) -> Config {
    let library = DISPLACED.to_str().expect("UTF-8");
    Config::server(lines).env("LD_PRELOAD", library).env("CLERK_PROXY_DISPLACED", field)
}

#[test]
fn a_field_at_another_place_is_one_clear_error() {
    let location = format!(
        "location /__clerk/ {{ clerk_proxy https://app.dev/__clerk secret_key={KEY}; \
         proxy_ssl_trusted_certificate %DIR%/ca.pem; }}"
    );
    let fields = [
        "timer_resolution",
        "variables_hash_bucket_size",
        "underscores_in_headers",
        "sendfile",
        "proxy_buffering",
        "proxy_cache_lock",
        "proxy_ssl_verify",
        "request_uri",
        "http_host",
    ];
    let fields = fields.map(|field| has(field).then_some(field));
    assert!(fields.iter().flatten().count() >= 7, "{fields:?}");
    // Without a `clerk_proxy`, too.
    for lines in ["", &location] {
        for field in fields.into_iter().flatten() {
            let (good, printed) = with_displaced(lines, field).check();
            assert!(!good, "{field}: {printed}");
            let emergencies: Vec<_> =
                printed.lines().filter(|line| line.contains("[emerg]")).collect();
            let [line] = emergencies[..] else { panic!("{field}: {printed}") };
            assert!(line.contains("\"ngx_http_clerk_proxy_module\" was built for "), "{line}");
            assert!(line.contains(" is at ") && line.contains(field), "{line}");
            assert!(line.contains(", build the module from the sources of "), "{line}");
            assert!(line.contains("nginx.conf:1"), "{line}");
            if field == "timer_resolution" {
                assert_is_sample(line);
            }
        }
        let (good, printed) = with_displaced(lines, "nothing").check();
        assert!(good, "{printed}");
    }
}

/// An upstream is no field of a directive: nginx is asked for one.
#[test]
fn an_upstream_of_another_nginx_is_one_clear_error() {
    let displaced =
        |what| Config::server("").module(&FAULTY_MODULE).env("CLERK_PROXY_DISPLACED", what).check();
    for what in ["end", "content_length_n", "last_modified_time", "log"] {
        let (good, printed) = displaced(what);
        assert!(!good && printed.matches("[emerg]").count() == 1, "{what}: {printed}");
        assert!(printed.contains(" differ (an upstream has "), "{what}: {printed}");
        assert!(printed.contains(", build the module from the sources of "), "{what}: {printed}");
    }
    let (good, printed) = displaced("nothing");
    assert!(good, "{printed}");
}
