//! Directives of nginx beside `clerk_proxy` that answer requests themselves: an error, or it is clear who wins.

use crate::kit::fapi::Fapi;
use crate::kit::harness::Config;

/// The location with this directive before or after `clerk_proxy`, with files that others could answer with.
fn both(fapi: &Fapi, directive: &str) -> [Config; 2] {
    let line = format!(
        "clerk_proxy https://app.dev/__clerk secret_key=%KEY% upstream=http://127.0.0.1:{};",
        fapi.port
    );
    [format!("{directive}\n{line}"), format!("{line}\n{directive}")].map(|lines| {
        let config = Config::server(&format!(
            "root %DIR%; location /other {{ return 200 other; }} location /__clerk/ {{\n{lines}\n}}"
        ));
        std::fs::create_dir_all(config.folder.path().join("__clerk")).expect("a folder of ours");
        config.folder.write("__clerk/file", "a file");
        config.folder.write("__clerk/index.html", "an index");
        config
    })
}

#[test]
fn what_answers_by_a_handler_of_its_own_is_an_error() {
    let fapi = Fapi::plain();
    for directive in [
        "uwsgi_pass 127.0.0.1:1;",
        "scgi_pass 127.0.0.1:1;",
        "grpc_pass 127.0.0.1:1;",
        "memcached_pass 127.0.0.1:1;",
        "fastcgi_pass $host;",
        "proxy_pass http://$host;",
        "empty_gif;",
        "flv;",
        "mp4;",
    ] {
        for (config, line) in both(&fapi, directive).iter().zip([5, 6]) {
            let (ok, printed) = config.check();
            if printed.contains("unknown directive") {
                continue; // Not in this build.
            }
            let place = format!("{}:{line}\n", config.folder.path().join("nginx.conf").display());
            let message = format!(
                "nginx: [emerg] \"clerk_proxy\" conflicts with another content handler in location \
                 \"/__clerk/\", remove the other one, such as \"proxy_pass\", \"empty_gif\" or \"track_uploads\" in {place}"
            );
            assert!(!ok && printed.contains(&message), "{directive}\n{printed}");
        }
    }
}

#[test]
fn clerk_proxy_wins_over_what_answers_with_files() {
    let fapi = Fapi::plain();
    for directive in [
        "root %DIR%; index index.html;",
        "alias %DIR%/__clerk/;",
        "autoindex on;",
        "random_index on;",
        "dav_methods PUT DELETE;",
        "gzip_static on;",
        "gzip_static always;",
    ] {
        for config in both(&fapi, directive) {
            let (ok, printed) = config.check();
            if printed.contains("unknown directive") {
                continue;
            }
            assert!(ok, "{printed}");
            let (nginx, before) = (config.start(), fapi.requests().len());
            for (index, target) in ["/__clerk/file", "/__clerk/"].into_iter().enumerate() {
                assert_eq!(nginx.get(target).text(), r#"{"ok":true}"#, "{directive}");
                let sent = target.strip_prefix("/__clerk").unwrap();
                assert_eq!(fapi.wait_for(before + index + 1)[before + index].target(), sent);
            }
        }
    }
}

#[test]
fn what_comes_before_all_handlers_wins_as_beside_a_proxy_pass() {
    let fapi = Fapi::plain();
    for (directive, status, text) in [
        ("return 200 mine;", 200, "mine"),
        ("rewrite ^ /other last;", 200, "other"),
        ("try_files /none =404;", 404, "not_found"),
        ("try_files /none /other;", 200, "other"),
        ("internal;", 404, "not_found"),
        ("deny all;", 403, "forbidden"),
    ] {
        for config in both(&fapi, directive) {
            let reply = config.start().get("/__clerk/v1");
            assert_eq!(reply.status, status, "{directive}");
            assert!(reply.text().contains(text), "{directive} {reply:?}");
        }
    }
    assert!(fapi.requests().is_empty());
    // A file that is there goes to the handler, which is that of clerk_proxy.
    for config in both(&fapi, "try_files $uri =404;") {
        assert_eq!(config.start().get("/__clerk/file").text(), r#"{"ok":true}"#);
    }
}
