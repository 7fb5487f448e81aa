//! What `nginx -t` says of lines that stand beside `clerk_proxy`, or around it, in the configurations that people
//! have: each in full.

use crate::kit::printed::{location, warn, LINE};

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
