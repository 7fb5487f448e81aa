//! What `nginx -t` says of lines that stand beside `clerk_proxy`, or around it, in the configurations that people
//! have: each in full.

use crate::kit::harness::Config;
use crate::kit::printed::{expect, location, warn, LINE};

#[test]
fn request_headers_of_a_pasted_block() {
    let host = |value: &str| {
        format!(
            "\"proxy_set_header Host {value}\" beside \"clerk_proxy\" does not name the Frontend API, remove it"
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
        // Its own line is cited, and not that of the directive.
        warn(&location(&format!("{LINE}\nproxy_set_header {header};")), &[(6, &message)]);
        warn(&location(&format!("proxy_set_header {header};\n{LINE}")), &[(5, &message)]);
        let line = format!("\nproxy_set_header\n{header};");
        let included = location(&format!("{LINE}\ninclude own.conf;")).file("own.conf", &line);
        let (ok, printed) = included.check();
        let place = format!("{}:3\n", included.folder.path().join("own.conf").display());
        assert!(ok && printed.contains(&format!("{message} in {place}")), "{printed}");
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
    let kept = text("expires", "lets caches keep replies for one user");
    for (line, message) in [
        ("proxy_redirect off", text("proxy_redirect off", "lets redirects leave the proxy URL")),
        ("ssi on", text("ssi on", "runs what replies of the Frontend API contain")),
        ("sub_filter a b", text("sub_filter", "changes what replies of the Frontend API contain")),
        ("expires 1h", kept.clone()),
        ("expires max", kept.clone()),
        ("expires $arg_x", kept),
        ("add_header Cache-Control public", text("add_header Cache-Control", contradicts)),
        (
            "add_header Access-Control-Allow-Origin * always",
            text("add_header Access-Control-Allow-Origin", contradicts),
        ),
    ] {
        warn(&location(&format!("{LINE}\n{line};")), &[(6, &message)]);
        warn(&location(&format!("{line};\n{LINE}")), &[(5, &message)]);
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
            "\"$server_name\" in URL \"{url}\" of \"clerk_proxy\" is \"{name}\" here, which is not a host, write the host \
             of the proxy URL"
        );
        expect(&server(line), 6, &message);
    }
    for line in ["server_name app.dev _;", "server_name .app.dev;"] {
        warn(&server(line), &[]);
    }
}

const SCRIPT: &str = "/__clerk/npm/@clerk/clerk-js@6/dist/clerk.browser.js";
const JWKS: &str = "/__clerk/.well-known/jwks.json";

/// A server whose first line is line 4 of the file.
fn server(lines: &str) -> Config {
    Config::server(lines)
}

fn taken(config: &Config, by: &str, line: usize, path: &str, better: &str) -> String {
    let file = config.folder.path().join("nginx.conf");
    format!(
        "location \"{by}\" in {}:{line} takes \"{path}\" away from \"clerk_proxy\", write {better}",
        file.display()
    )
}

#[test]
fn siblings_that_take_a_part_of_the_path() {
    let prefix = "\"location ^~ /__clerk/\"";
    for (sibling, name, path) in [
        ("~* \\.(js|css)$", "\\.(js|css)$", SCRIPT),
        ("~ \"\\.(?:ico|js)$\"", "\\.(?:ico|js)$", SCRIPT),
        ("~ /\\.", "/\\.", JWKS),
        ("~ \\.json$", "\\.json$", JWKS),
        ("~ ^/", "^/", "/__clerk/v1/client"),
    ] {
        for lines in [
            format!("location {sibling} {{ root html; }}\nlocation /__clerk/ {{\n{LINE}\n}}"),
            format!("location {sibling} {{ root html; }}\nlocation /__clerk {{\n{LINE}\n}}"),
        ] {
            let config = server(&lines);
            let prefix =
                if lines.contains("location /__clerk/ ") { "/__clerk/" } else { "/__clerk" };
            let better = &format!("\"location ^~ {prefix}\"");
            warn(&config, &[(6, &taken(&config, name, 4, path, better))]);
        }
        let config = server(&format!(
            "location /__clerk/ {{\n{LINE}\n}}\nlocation {sibling} {{ root html; }}"
        ));
        warn(&config, &[(5, &taken(&config, name, 7, path, prefix))]);
        for better in ["^~ /__clerk/", "= /__clerk/v1/client"] {
            let lines =
                format!("location {sibling} {{ root html; }}\nlocation {better} {{\n{LINE}\n}}");
            warn(&server(&lines), &[]);
        }
    }
    // What stands around decides last; each place is named once.
    let config = server(&format!(
        "location / {{\nlocation ~ \\.js$ {{ root html; }}\nlocation /__clerk/ {{\n{LINE}\n}}\n\
         location /__clerk/v1/ {{\n{LINE}\n}}\n}}\nlocation ~ /v1/ {{ root html; }}\nlocation ~ nothing {{ root html; }}"
    ));
    warn(
        &config,
        &[
            (7, &taken(&config, "\\.js$", 5, SCRIPT, prefix)),
            (7, &taken(&config, "/v1/", 13, "/__clerk/v1/client", "\"location ^~ /\"")),
        ],
    );
    // Another line of the module's does not take it away, and an earlier expression comes first.
    warn(
        &server(&format!("location /__clerk/ {{ {LINE} }} location ~ ^/__clerk/v1 {{ {LINE} }}")),
        &[],
    );
    let both = |first: &str, second: &str| server(&format!("{first}\n{second}"));
    let (ours, theirs) = (
        format!("location ~ ^/__clerk/ {{ {LINE} }}"),
        "location ~ \\.js$ { root html; }".to_owned(),
    );
    warn(&both(&ours, &theirs), &[]);
    let config = both(&theirs, &ours);
    warn(&config, &[(5, &taken(&config, "\\.js$", 4, SCRIPT, "that location behind this one"))]);
}

#[test]
fn what_answers_before_it() {
    let text =
        |line: &str, effect: &str| format!("\"{line}\" beside \"clerk_proxy\" {effect}, remove it");
    let answers = text("return", "answers before the Frontend API is asked");
    let rewrite = text("rewrite", "changes paths, whose prefix is cut off without it");
    let files = text("try_files", "looks for files before the Frontend API is asked");
    for (lines, message) in [
        ("return 503;", &answers),
        ("return 200 mine;", &answers),
        ("set $x 1; if ($arg_a) { set $x 2; } return 301 https://app.dev/;", &answers),
        ("rewrite ^/__clerk/(.*)$ /$1 break;", &rewrite),
        ("rewrite ^/__clerk(/.*)$ $1 break;", &rewrite),
        ("rewrite ^ /index.html last;", &rewrite),
        ("rewrite ^ https://app.dev/ permanent;", &rewrite),
        ("if ($arg_a ~ x) { return 403; } rewrite /v1/ /x break;", &rewrite),
        ("try_files $uri /index.html;", &files),
        ("try_files $uri =404;", &files),
    ] {
        warn(&location(&format!("{LINE}\n{lines}")), &[(6, message)]);
        warn(&location(&format!("{lines}\n{LINE}")), &[(5, message)]);
    }
    let two = format!(
        "{LINE}\nrewrite ^/__clerk/old/ /__clerk/v1/ break;\nrewrite \"^/.*\\.?\" / break;"
    );
    warn(&location(&two), &[(7, &rewrite)]);
    for lines in [
        "if ($arg_a) { return 503; }",
        "if ($uri ~ ^/__clerk/v1) { set $x 1; }",
        "if (-f %DIR%/maintenance) { return 503; }",
        "set $x $uri;",
        "rewrite ^/__clerk/old/(.*)$ /__clerk/v1/$1 break;",
    ] {
        warn(&location(&format!("{LINE}\n{lines}")), &[]);
    }
    // Nested locations are others.
    warn(&location(&format!("{LINE}\nlocation /__clerk/static/ {{ return 404; }}")), &[]);
}

#[test]
fn lines_of_the_server_that_answer_before_it() {
    let location = format!("location ^~ /__clerk/ {{\n{LINE}\n}}");
    let text = |directive: &str, path: &str| {
        format!(
            "\"{directive}\" in the server takes \"{path}\" away from \"clerk_proxy\", move it to \"location /\""
        )
    };
    for (line, directive, path) in [
        ("return 301 https://app.dev$request_uri;", "return", "/__clerk/v1/client"),
        ("rewrite ^ /index.html break;", "rewrite", "/__clerk/v1/client"),
        ("rewrite ^/(.*\\.js)$ /assets/$1 last;", "rewrite", SCRIPT),
    ] {
        // Once for a server.
        let lines = format!("{line}\n{location}\nlocation ^~ /__clerk/v1/ {{ {LINE} }}");
        warn(&server(&lines), &[(4, &text(directive, path))]);
    }
    for line in ["if ($scheme = ftp) { return 301 /; }", "rewrite ^/old/ /new/ last;", "set $x y;"]
    {
        warn(&server(&format!("{line}\n{location}")), &[]);
    }
}
