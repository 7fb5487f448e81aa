//! The `[warn]` line of logs with the headers of requests, which a build of nginx with debugging writes.

use crate::kit::fapi::Fapi;
use crate::kit::harness::{debug_build, Config, KEY};
use crate::kit::printed::{location, warn, LINE};

const TEXT: &str =
    "\"error_log\" at level \"debug\" shows the secret key of \"clerk_proxy\" in this nginx, which is built \
     with debugging, write \"info\"";

const LOGS: [&str; 2] = ["error_log logs/x.log debug;", "error_log logs/x.log debug_http;"];

/// Checks that there is just the one warning, which cites this line, or none from a build without debugging.
fn warns(config: &Config, line: usize) {
    let expected = [(line, TEXT)];
    warn(config, if debug_build() { &expected } else { &[] });
}

/// As above, with a part of the configuration's text replaced.
fn warns_with(config: &Config, part: &str, by: &str, line: usize) {
    let mut command = config.command();
    assert_eq!(config.text().matches(part).count(), 1);
    config.folder.write("nginx.conf", config.text().replace(part, by));
    let output = command.arg("-t").output().expect("nginx runs");
    let printed = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{printed}");
    let file = config.folder.path().join("nginx.conf");
    let expected = format!("nginx: [warn] {TEXT} in {}:{line}", file.display());
    // nginx itself has a word about `debug_connection` in other builds.
    let is_ours = |line: &&str| line.starts_with("nginx: [") && line.contains("clerk_proxy");
    let got: Vec<&str> = printed.lines().filter(is_ours).collect();
    assert_eq!(got, if debug_build() { vec![expected] } else { Vec::new() }, "{by}");
}

#[test]
fn the_logs_of_all_blocks_around_the_location() {
    for log in LOGS {
        let inner = format!("location /__clerk/ {{\n{LINE}\n}}");
        let server = format!("server {{\nlisten 127.0.0.1:%PORT%;\n{inner}\n}}");
        warns(&location(LINE).main(log), 5);
        warns(&Config::new(&format!("{log}\n{server}")), 6);
        warns(&Config::server(&format!("{inner}\n{log}")), 5);
        warns(&location(&format!("{log}\n{LINE}")), 6);
        // A log of its own keeps the location's subrequests away from it no more than its requests do: they log
        // where their main request does.
        warns(&location(&format!("{LINE} error_log logs/y.log info;")).main(log), 5);
        let end = "scgi_temp_path scgi;\n}\n";
        warns_with(&location(LINE), end, &format!("{end}{log}\n"), 5);
    }
}

#[test]
fn one_line_for_all_of_the_configuration() {
    for log in LOGS {
        let blocks = format!(
            "error_log logs/y.log warn; {log} if ($arg_x) {{ return 403; }} limit_except GET {{ deny all; }}"
        );
        let nested = format!("location /__clerk/v1/ {{ {LINE} {log} }}");
        let server = format!(
            "server {{ location / {{ {log} }}\nlocation /__clerk/ {{\n{LINE} {log} {blocks}\n{nested} }} {log} }}"
        );
        let second = server.replacen("server {", "server { server_name second;", 1);
        warns(&Config::new(&format!("{server}\n{second} {log}")).main(log), 4);
    }
}

#[test]
fn the_log_of_another_location_whose_subrequest_it_may_be() {
    let fapi = Fapi::plain();
    for log in LOGS {
        let line = LINE.replace("127.0.0.1:1", &format!("127.0.0.1:{}", fapi.port));
        let lines = format!(
            "root %DIR%; location / {{ {log} mirror /__clerk/v1; }}\n\
             location /__clerk/ {{ {line} error_log logs/y.log info; }}"
        );
        warns(&Config::server(&lines.replace(&fapi.port.to_string(), "1")), 5);
        let mut nginx = Config::server(&lines).start();
        nginx.get("/x");
        nginx.stop();
        let shown = nginx.config.folder.read("logs/x.log").contains(KEY);
        assert_eq!(shown, debug_build(), "the warning says so");
    }
}

#[test]
fn connections_that_are_debugged() {
    for address in ["127.0.0.1", "192.0.2.0/24", "unix:"] {
        let by = format!("events {{ debug_connection {address};");
        warns_with(&location(LINE), "events {", &by, 5);
    }
}

#[test]
fn logs_without_requests() {
    for part in ["info", "debug_core", "debug_alloc", "debug_mutex", "debug_event"] {
        warn(&location(LINE).main(&format!("error_log logs/x.log {part};")), &[]);
    }
}
