//! What `nginx -t` says of the directives beside `clerk_proxy`.

use crate::kit::harness::{Config, KEY};
use crate::kit::printed::{location, says, warn, KEYLESS, LINE};

fn emerg(config: &Config, line: usize, message: &str) {
    says(config, "emerg", &[(line, message)]);
}

#[test]
fn words_of_the_smaller_directives() {
    for (name, value) in [
        ("clerk_proxy_secret_key", "sk_live_two"),
        ("clerk_proxy_upstream", "http://127.0.0.1:1"),
        ("clerk_proxy_client_ip", "$http_x"),
    ] {
        let number = format!("invalid number of arguments in \"{name}\" directive");
        emerg(&Config::new(&format!("{name};")), 2, &number);
        emerg(&location(&format!("{LINE}\n{name} {value} {value};")), 6, &number);
        let twice = format!("{name} {value};\n{name} {value};");
        let duplicate = format!("\"{name}\" directive is duplicate");
        emerg(&Config::new(&twice), 3, &duplicate);
        emerg(&Config::server(&twice), 5, &duplicate);
        emerg(&location(&format!("{twice}\n{LINE}")), 6, &duplicate);
        let context = format!("\"{name}\" directive is not allowed here");
        emerg(&Config::new("").main(&format!("{name} {value};")), 1, &context);
        emerg(&Config::new(&format!("upstream a {{\n{name} {value};\n}}")), 3, &context);
        emerg(&Config::server(&format!("if ($host) {{\n{name} {value};\n}}")), 5, &context);
        emerg(&location(&format!("if ($host) {{\n{name} {value};\n}}")), 6, &context);
        emerg(&location(&format!("{LINE}\nlimit_except GET {{\n{name} {value};\n}}")), 7, &context);
        // Each block has its own.
        let line = format!("{name} {value};");
        let config = format!("{line} server {{ {line} location /__clerk/ {{ {line} {LINE} }} }}");
        warn(&Config::new(&config), &[]);
    }
}

#[test]
fn keys_and_origins_for_whole_blocks() {
    const NOT_SET: &str = "it is not set in the environment of this command, set it";
    for (value, source, fault) in [
        ("\"\"", "literal key", "it is empty, copy the key from the Clerk Dashboard"),
        (
            "sk_live_***",
            "literal key",
            "it is hidden by asterisks, let the Clerk Dashboard reveal the key before you copy it",
        ),
        (
            "whatever",
            "literal key",
            "it does not begin with \"sk_live_\", copy it from the Clerk Dashboard",
        ),
        (
            "FILE:key",
            "literal key",
            "it contains a character other than letters, digits, \"_\" and \"-\", write the key alone",
        ),
        ("\"sk_live_two \"", "literal key", "it contains spaces or several lines, write the key alone"),
        (
            "env:sk_live_two",
            "key in environment variable \"sk_live_***\"",
            "it is the key itself, put the key into a file of mode 600 and write \"file:PATH\"",
        ),
        ("$1", "key \"$1\"", "\"$1\" changes with each regular expression, use a named capture"),
        (
            "sk_live_two$host",
            "key \"sk_live_***$host\"",
            "it contains \"$\", which no key does, write the key alone",
        ),
        (
            "$CLERK_SECRET_KEY",
            "key \"$CLERK_SECRET_KEY\"",
            "nginx has no such variable, write \"env:CLERK_SECRET_KEY\"",
        ),
    ] {
        let message = format!("invalid {source} in \"clerk_proxy_secret_key\": {fault}");
        emerg(&Config::server(&format!("clerk_proxy_secret_key {value};")), 4, &message);
    }
    for (value, source, fault) in [
        ("file:", "file \"%DIR%/\"", "it cannot be read (it is not a regular file)"),
        ("file:none", "file \"%DIR%/none\"", "it cannot be read (2: No such file or directory)"),
        ("file:/no/ne", "file \"/no/ne\"", "it cannot be read (2: No such file or directory)"),
        ("file:ca.pem/x", "file \"%DIR%/ca.pem/x\"", "it cannot be read (20: Not a directory)"),
        ("env:", "environment variable \"\"", NOT_SET),
        ("env:A=B", "environment variable \"A=B\"", NOT_SET),
    ] {
        let config = Config::server(&format!("clerk_proxy_secret_key {value};"));
        let source = source.replace("%DIR%", &config.folder.path().to_string_lossy());
        let message = format!("no key in {source} in \"clerk_proxy_secret_key\": {fault}");
        emerg(&config, 4, &message);
    }
    for (value, shown, fault) in [
        ("\"\"", "", "it has no scheme"),
        ("frontend-api.clerk.dev", "frontend-api.clerk.dev", "it has no scheme"),
        (
            "upstream=http://a",
            "upstream=http://a",
            "its scheme \"upstream=http\" is neither \"https\" nor \"http\"",
        ),
        ("https://$host", "https://$host", "variables are not supported here"),
        ("https://u:p@a.dev", "https://***@a.dev", "it has credentials"),
        ("https://a.dev?sk_live_two", "https://a.dev?sk_live_***", "it has a query"),
    ] {
        let message = format!(
            "invalid value \"{shown}\" in \"clerk_proxy_upstream\": {fault}, write an origin such as \
             \"https://frontend-api.clerk.dev\""
        );
        emerg(&Config::server(&format!("clerk_proxy_upstream {value};")), 4, &message);
    }
}

#[test]
fn addresses_that_are_not_one_variable() {
    for value in [
        "http_cf_connecting_ip",
        "off",
        "\"\"",
        "192.0.2.1",
        "203.0.113.300",
        "[2001:db8::1]:443",
        "$",
        "$1",
        "${1}",
        "${x",
        "$remote_addr,$remote_addr",
        "\"$remote_addr \"",
        "192.0.2.$arg_x",
        "$http_a$http_b",
    ] {
        let message = format!(
            "invalid value \"{}\" in \"clerk_proxy_client_ip\", write a single variable, such as \
             \"$http_cf_connecting_ip\"",
            value.trim_matches('"')
        );
        let line = format!("clerk_proxy_client_ip {value};");
        emerg(&Config::new(&line), 2, &message);
        emerg(&Config::server(&format!("{line}\nlocation /__clerk/ {{ {LINE} }}")), 4, &message);
        emerg(&location(&format!("{LINE}\n{line}")), 6, &message);
    }
    for value in ["$http_x", "${http_x}", "\"$http_x\"", "$HTTP_X"] {
        warn(&location(&format!("{LINE} clerk_proxy_client_ip {value};")), &[]);
    }
}

#[test]
fn variables_that_there_are_not() {
    let unknown = |directive: &str, name: &str| {
        format!("unknown \"{name}\" variable in \"{directive}\", correct its name or define it, as by \"map\"")
    };
    let around = format!("location /__clerk/ {{ {KEYLESS} }}");
    for directive in ["clerk_proxy_client_ip", "clerk_proxy_secret_key"] {
        for block in ["", &around] {
            let config = Config::server(&format!("{block}\n{directive} $Nope;"));
            let config = config.env("CLERK_SECRET_KEY", KEY);
            emerg(&config, 5, &unknown(directive, "nope"));
        }
    }
    let line = |url: &str, key: &str| {
        format!("clerk_proxy https://{url}/__clerk secret_key={key} upstream=http://127.0.0.1:1;")
    };
    for (url, key, name) in [
        ("$domain", "%KEY%", "domain"),
        ("${host}$tenant_2.app.dev", "%KEY%", "tenant_2"),
        ("app.dev", "${clerk_key}", "clerk_key"),
        ("$host", "$http_a$clerk_key", "clerk_key"),
    ] {
        emerg(&location(&line(url, key)), 5, &unknown("clerk_proxy", name));
        // What defines it may stand anywhere.
        let map = format!("map $host ${name} {{ default x; }}");
        warn(&location(&line(url, key)).http(&map), &[]);
        warn(&location(&format!("{}\nset ${name} x;", line(url, key))), &[]);
        let by_name = format!("server {{ server_name ~^(?<{name}>x)$; }}");
        warn(&location(&line(url, key)).http(&by_name), &[]);
    }
    for known in ["$http_x", "$arg_nope", "$COOKIE_x", "$clerk_proxy_uri", "$remote_addr"] {
        warn(&location(&line("app.dev", known)), &[]);
    }
    let included = format!("location /__clerk/ {{\n{}\n}}", line("$domain", KEY));
    let config = Config::server("include clerk.conf;").file("clerk.conf", &included);
    let (_, printed) = config.check();
    let place = format!("{}:2\n", config.folder.path().join("clerk.conf").display());
    assert!(
        printed.contains(&format!("{} in {place}", unknown("clerk_proxy", "domain"))),
        "{printed}"
    );
}

#[test]
fn the_line_of_a_malformed_variable() {
    for value in ["$", "x${", "$-"] {
        let lines =
            format!("clerk_proxy_secret_key {value};\nlocation /__clerk/ {{\n{KEYLESS}\n}}");
        emerg(&Config::server(&lines), 4, "invalid variable name");
    }
}
