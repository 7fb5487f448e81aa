//! Locations share one upstream, and one TLS context, where their connections are made in the same way.

use std::collections::HashSet;
use std::fs;

use crate::kit::fapi::{json, Fapi, CA};
use crate::kit::harness::{Config, Nginx};
use crate::kit::process::memory;

/// nginx with a location `/N/` for each line of `lines`, which stand behind its ORIGIN; it logs `$proxy_host`.
fn nginx(fapi: &Fapi, origin: &str, lines: &[&str]) -> Nginx {
    let port = fapi.port;
    let location = |(i, line): (usize, &&str)| {
        format!(
            "location /{i}/ {{ clerk_proxy https://app.dev/{i} secret_key=%KEY% \
             upstream={origin}:{port}{line} }}\n"
        )
    };
    let locations: String = lines.iter().enumerate().map(location).collect();
    Config::new(&format!(
        "log_format own '$proxy_host'; access_log logs/own.log own; proxy_cache_path %DIR%/cache \
         keys_zone=c:64k; proxy_cache_key $scheme$proxy_host$uri;\n\
         server {{ listen 127.0.0.1:%PORT%;\n{locations} }}"
    ))
    .file("bundle.pem", format!("{}\n{}", system_certificates(), CA.pem()))
    .start()
}

fn system_certificates() -> String {
    fs::read_to_string("/etc/ssl/certs/ca-certificates.crt").expect("scripts/setup installs them")
}

/// The connections that requests came by.
fn connections(fapi: &Fapi) -> HashSet<usize> {
    fapi.requests().iter().map(|request| request.connection).collect()
}

#[test]
fn what_does_not_concern_connections_does_not_divide() {
    let fapi = Fapi::tls();
    let ca = "proxy_ssl_trusted_certificate ca.pem;";
    let lines = [
        format!("; {ca}"),
        format!("/path; {ca} proxy_read_timeout 5s;"),
        format!("; {ca} proxy_ssl_name localhost; proxy_set_header X-Own 1;"),
    ];
    let nginx = nginx(&fapi, "https://localhost", &lines.each_ref().map(String::as_str));
    for i in 0..9 {
        assert_eq!(nginx.get(&format!("/{}/v1", i % 3)).status, 200);
    }
    // "localhost" may have an IPv6 address as well.
    assert!(connections(&fapi).len() <= 2, "{:?}", connections(&fapi));
    let name = format!("clerk_proxy localhost|{}\n", fapi.port);
    assert_eq!(nginx.config.folder.read("logs/own.log"), name.repeat(9));
}

#[test]
fn what_concerns_connections_divides() {
    let fapi = Fapi::tls();
    let lines = [
        "; proxy_ssl_trusted_certificate ca.pem;",
        "; proxy_ssl_trusted_certificate ca.pem; proxy_ssl_ciphers HIGH;",
        "; proxy_ssl_trusted_certificate ca.pem; proxy_ssl_protocols TLSv1.3;",
        "; proxy_ssl_trusted_certificate ca.pem; proxy_ssl_server_name off;",
        "; proxy_ssl_trusted_certificate ca.pem; proxy_ssl_session_reuse off;",
        "; proxy_ssl_trusted_certificate ca.pem; proxy_ssl_conf_command Options -SessionTicket;",
        "; proxy_ssl_trusted_certificate ca.pem; proxy_bind 127.0.0.1;",
        "; proxy_ssl_verify off;",
        " keepalive=5; proxy_ssl_trusted_certificate ca.pem;",
    ];
    let nginx = nginx(&fapi, "https://localhost", &lines);
    for (i, line) in lines.iter().enumerate() {
        assert_eq!(nginx.get(&format!("/{i}/v1")).status, 200, "{line}");
    }
    assert_eq!(connections(&fapi).len(), lines.len());
    let number = |i| if i == 1 { String::new() } else { format!(" {i}") };
    let name = |i| format!("clerk_proxy localhost|{}{}\n", fapi.port, number(i));
    let names: String = (1..=lines.len()).map(name).collect();
    assert_eq!(nginx.config.folder.read("logs/own.log"), names);
}

#[test]
fn tenants_stay_apart_in_the_cache() {
    let cached = json(200, "Cache-Control: max-age=60\r\n", "{}");
    let fapi = Fapi::answering(None, cached);
    let lines = ["; proxy_cache c;", "; proxy_cache c;"];
    let nginx = nginx(&fapi, "http://127.0.0.1", &lines);
    for target in ["/0/npm/x", "/1/npm/x", "/0/npm/x", "/1/npm/x", "/0/npm/y"] {
        assert_eq!(nginx.get(target).status, 200);
    }
    let targets: Vec<_> =
        fapi.requests().iter().map(|r| r.one("Clerk-Proxy-Url").to_owned()).collect();
    assert_eq!(targets, ["https://app.dev/0", "https://app.dev/1", "https://app.dev/0"]);
}

#[test]
fn a_thousand_locations_cost_what_one_costs() {
    let fapi = Fapi::tls();
    let mut lines = vec!["; proxy_ssl_trusted_certificate bundle.pem;"; 1000];
    lines.push(";");
    let nginx = nginx(&fapi, "https://localhost", &lines);
    for pid in nginx.workers() {
        let kilobytes = memory(pid);
        assert!(kilobytes < 100_000, "{kilobytes}");
    }
    for i in [0, 1, 500, 999] {
        assert_eq!(nginx.get(&format!("/{i}/v1")).status, 200);
    }
    assert!(connections(&fapi).len() <= 2, "{:?}", connections(&fapi));
    // The system trusts no CA of tests.
    assert_eq!(nginx.get("/1000/v1").status, 502);
    assert_eq!(fapi.requests().len(), 4);
}
