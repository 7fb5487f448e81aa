//! What `nginx -t` says of lines that stand beside `clerk_proxy`, or around it, in the configurations that people
//! have: each in full.

use crate::kit::harness::Config;
use crate::kit::printed::{expect, location, warn, LINE};

#[test]
fn request_headers_of_a_pasted_block() {
    let host = |value: &str| {
        format!(
            "\"proxy_set_header Host {value}\" beside \"clerk_proxy\" is no name of the Frontend API, remove it"
        )
    };
    let connection = |value: &str| {
        format!(
            "\"proxy_set_header Connection {value}\" beside \"clerk_proxy\" ends or switches connections that \
             should be kept, remove it"
        )
    };
    let clients = |name: &str| {
        format!(
            "\"proxy_set_header {name}\" beside \"clerk_proxy\" replaces what clients say to the Frontend API, \
             remove it"
        )
    };
    for (header, message) in [
        ("Host $host", host("$host")),
        ("host $http_host", host("$http_host").replace("Host", "host")),
        ("Host app.dev", host("app.dev")),
        ("Host $server_name:443", host("$server_name:443")),
        ("Host $proxy_host", host("$proxy_host")),
        ("Connection upgrade", connection("upgrade")),
        ("Connection close", connection("close")),
        ("Cookie \"\"", clients("Cookie")),
        ("Authorization \"Basic c2VjcmV0\"", clients("Authorization")),
        ("Origin https://app.dev", clients("Origin")),
    ] {
        warn(&location(&format!("{LINE}\nproxy_set_header {header};")), &[(5, &message)]);
        warn(&location(&format!("proxy_set_header {header};\n{LINE}")), &[(6, &message)]);
    }
    for header in [
        "Host frontend-api.clerk.dev",
        "Connection \"\"",
        "Cookie $http_cookie",
        "X-Request-Id $request_id",
        "X-Forwarded-Proto $scheme",
        "Accept-Encoding \"\"",
    ] {
        warn(&location(&format!("{LINE}\nproxy_set_header {header};")), &[]);
    }
}

#[test]
fn lines_that_undo_a_part_of_it() {
    let text =
        |line: &str, effect: &str| format!("\"{line}\" beside \"clerk_proxy\" {effect}, remove it");
    let contradicts = "contradicts what the Frontend API says of its replies";
    let kept = text("expires", "has replies kept that are for one user");
    for (line, message) in [
        ("proxy_redirect off", text("proxy_redirect off", "lets redirects leave the proxy URL")),
        ("expires 1h", kept.clone()),
        ("expires max", kept.clone()),
        ("expires $arg_x", kept),
        ("add_header Cache-Control public", text("add_header Cache-Control", contradicts)),
        (
            "add_header Access-Control-Allow-Origin * always",
            text("add_header Access-Control-Allow-Origin", contradicts),
        ),
    ] {
        warn(&location(&format!("{LINE}\n{line};")), &[(5, &message)]);
        warn(&location(&format!("{line};\n{LINE}")), &[(6, &message)]);
    }
    for line in [
        "proxy_redirect https://other.example/ /x/",
        "expires off",
        "expires epoch",
        "add_header Cache-Control no-store",
        "add_header X-Frame-Options DENY",
    ] {
        warn(&location(&format!("{LINE}\n{line};")), &[]);
    }
}

#[test]
fn the_path_of_the_url_and_the_location() {
    for (url, location, better) in [
        ("https://app.dev", "/__clerk/", "https://app.dev/__clerk"),
        ("https://app.dev/api", "/api/__clerk/", "https://app.dev/api/__clerk"),
        ("https://app.dev/__clerk", "/__clerk/__clerk", "https://app.dev/__clerk/__clerk"),
        ("https://$host", "^~ /clerk/", "https://$host/clerk"),
    ] {
        let line = LINE.replace("https://app.dev/__clerk", url);
        let name = location.rsplit(' ').next().unwrap();
        let message = format!(
            "\"clerk_proxy {url}\" passes requests of location \"{name}\" to a path that the Frontend API does not \
             have, write \"clerk_proxy {better}\""
        );
        warn(&Config::server(&format!("location {location} {{\n{line}\n}}")), &[(5, &message)]);
    }
    for (url, location) in [
        ("https://app.dev", "/"),
        ("https://app.dev", "/v1/"),
        ("https://app.dev", "/npm/"),
        ("https://app.dev", "~ ^/x"),
        ("https://app.dev/__clerk", "/__clerk/v1/client"),
        ("https://app.dev/__clerk", "= /__clerk/.well-known/jwks.json"),
    ] {
        let line = LINE.replace("https://app.dev/__clerk", url);
        warn(&Config::server(&format!("location {location} {{\n{line}\n}}")), &[]);
    }
}

#[test]
fn variables_that_are_no_host() {
    let with = |url: &str| LINE.replace("https://app.dev/__clerk", url);
    for url in ["https://$http_host/__clerk", "https://${http_host}/__clerk"] {
        let message = format!(
            "\"$http_host\" in URL \"{url}\" of \"clerk_proxy\" is any host that a client says, write \"$host\", \
             which \"server_name\" guards"
        );
        warn(&location(&with(url)), &[(5, &message)]);
    }
    let url = "https://$server_name/__clerk";
    let server =
        |name: &str| Config::server(&format!("{name}\nlocation /__clerk/ {{\n{}\n}}", with(url)));
    for (line, name) in [
        ("server_name _;", "_"),
        ("", ""),
        ("server_name \"\" app.dev;", ""),
        ("server_name *.app.dev;", "*.app.dev"),
        ("server_name ~^(?<x>.+)$;", "~^(?<x>.+)$"),
    ] {
        let message = format!(
            "\"$server_name\" in URL \"{url}\" of \"clerk_proxy\" is \"{name}\" here, which is no host, write the host \
             of the proxy URL"
        );
        expect(&server(line), 6, &message);
    }
    for line in ["server_name app.dev _;", "server_name .app.dev;"] {
        warn(&server(line), &[]);
    }
}
