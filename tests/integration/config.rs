//! What `nginx -t` says: every mistake is one `[emerg]` line that names the directive, the value, the cure,
//! the file and the line.

use crate::harness::{Config, KEY};

/// Checks that the `[emerg]` lines are just this message, citing the configuration's line `line`.
fn expect(config: &Config, line: usize, message: &str) {
    let (ok, printed) = config.check();
    let file = config.folder.path().join("nginx.conf");
    let expected = format!("{message} in {}:{line}", file.display());
    let errors: Vec<&str> =
        printed.lines().filter_map(|line| line.strip_prefix("nginx: [emerg] ")).collect();
    assert_eq!(errors, [expected], "from\n{}\n{printed}", config.shown());
    assert!(!ok && !printed.contains(KEY));
}

fn good(config: &Config) -> String {
    let (ok, printed) = config.check();
    assert!(ok, "from\n{}\n{printed}", config.shown());
    printed
}

/// `location /__clerk/ { LINES }`, whose first line is line 5 of the file.
fn location(lines: &str) -> Config {
    Config::server(&format!("location /__clerk/ {{\n{lines}\n}}"))
}

fn url(value: &str, fault: &str) -> (String, String) {
    let message = format!(
        "invalid URL \"{value}\" in \"clerk_proxy\": {fault}, write the proxy URL as in the Clerk \
         Dashboard, such as \"https://app.dev/__clerk\""
    );
    (format!("clerk_proxy \"{value}\" secret_key=%KEY%;"), message)
}

fn upstream(value: &str, fault: &str) -> (String, String) {
    let message = format!(
        "invalid parameter \"upstream={value}\" in \"clerk_proxy\": {fault}, write an origin such as \
         \"https://frontend-api.clerk.dev\""
    );
    (format!("clerk_proxy https://app.dev/__clerk secret_key=%KEY% \"upstream={value}\";"), message)
}

fn key(source: &str, named: &str, fault: &str) -> (String, String) {
    let message = format!("invalid {named} in \"clerk_proxy\": {fault}");
    (format!("clerk_proxy https://app.dev/__clerk \"secret_key={source}\";"), message)
}

#[test]
fn urls() {
    for (lines, message) in [
        url("app.dev/__clerk", "it has no scheme"),
        url("/__clerk", "it has no scheme"),
        url("ftp://app.dev/__clerk", "its scheme \"ftp\" is neither \"https\" nor \"http\""),
        url("https:///__clerk", "it has no host"),
        url("https://app.dev/__clerk?x", "it has a query"),
        url("https://app.dev/__clerk#x", "it has a fragment"),
        url("https://app.dev/$x", "variables can stand in its host alone"),
        url("$scheme://app.dev/__clerk", "variables can stand in its host alone"),
        url("https://$/__clerk", "invalid variable name"),
        url("https://app.dev/__clerk ", "it has a blank or a character outside ASCII"),
        url("https://app.dev/a/../__clerk", "its path \"/a/../__clerk\" is not in plain form"),
        url("https://app.dev:66000/__clerk", "invalid port number"),
        url("https://app.dev:/__clerk", "invalid port number"),
        url("https://app{x}.dev/__clerk", "invalid character in the host"),
    ] {
        expect(&location(&lines), 5, &message);
    }
    let credentials = "clerk_proxy https://user:pw@app.dev/__clerk secret_key=%KEY%;";
    let (_, message) = url("https://***@app.dev/__clerk", "it has credentials");
    expect(&location(credentials), 5, &message);
}

#[test]
fn upstreams() {
    for (lines, message) in [
        upstream("frontend-api.clerk.dev", "it has no scheme"),
        upstream("", "it has no scheme"),
        upstream("https://", "it has no host"),
        upstream("https://a.dev?x", "it has a query"),
        upstream("https://a.dev/#x", "it has a fragment"),
        upstream("https://a.dev:0", "invalid port number"),
        upstream("https://2", "its host is not in plain form"),
        upstream("https://a{secret_key}", "invalid character in the host"),
        upstream("https://$fapi", "variables are not supported here"),
        upstream("http://unix:run", "it has no absolute path of a socket after \"unix:\""),
        upstream("gopher://a.dev", "its scheme \"gopher\" is neither \"https\" nor \"http\""),
    ] {
        expect(&location(&lines), 5, &message);
    }
}

#[test]
fn keys() {
    const LITERAL: &str = "literal key";
    for (lines, message) in [
        key("", LITERAL, "it is empty, copy the key from the Clerk Dashboard"),
        key(
            "pk_live_YXBwLmRldiQ",
            LITERAL,
            "it is a publishable key (\"pk_\"), copy the secret key (\"sk_live_\") from the Clerk Dashboard",
        ),
        key(
            "sk_live_***",
            LITERAL,
            "it is hidden by asterisks, let the Clerk Dashboard reveal the key before you copy it",
        ),
        key("%KEY% ", LITERAL, "it has blanks or several lines, write the key alone"),
        key("%KEY%.", LITERAL, "it has a character other than letters, digits, \"_\" and \"-\", write the key alone"),
        key(
            "file",
            LITERAL,
            "it does not begin with \"sk_live_\", copy it from the Clerk Dashboard",
        ),
    ] {
        expect(&location(&lines), 5, &message);
    }
    for (source, message) in [
        (
            "file:/nowhere/key",
            "no key in file \"/nowhere/key\" in \"clerk_proxy\": it cannot be read (2: No such file or directory)",
        ),
        (
            "env:NOT_SET",
            "no key in environment variable \"NOT_SET\" in \"clerk_proxy\": it is not set in the environment \
             of this command, set it",
        ),
    ] {
        let line = format!("clerk_proxy https://app.dev/__clerk secret_key={source};");
        expect(&location(&line), 5, message);
    }
    for (source, what) in [("file", "file"), ("env", "environment variable")] {
        let line = format!("clerk_proxy https://app.dev/__clerk secret_key={source}:%KEY%;");
        let message = format!(
            "invalid key in {what} \"sk_live_***\" in \"clerk_proxy\": this is the key itself, write it \
             without \"file:\" or \"env:\""
        );
        expect(&location(&line), 5, &message);
    }
    let file = "clerk_proxy https://app.dev/__clerk secret_key=file:key;";
    for (content, fault) in [
        ("", "it is empty, copy the key from the Clerk Dashboard"),
        ("\n", "it is empty, copy the key from the Clerk Dashboard"),
        (" x", "it has blanks or several lines, write the key alone"),
        ("sk_live_a\nsk_live_b\n", "it has blanks or several lines, write the key alone"),
    ] {
        let config = location(file).file("key", content);
        let path = config.folder.path().join("key");
        let message =
            format!("invalid key in file \"{}\" in \"clerk_proxy\": {fault}", path.display());
        expect(&config, 5, &message);
    }
    expect(
        &location("clerk_proxy https://app.dev/__clerk;"),
        5,
        "no key in environment variable \"CLERK_SECRET_KEY\" in \"clerk_proxy\": it is not set \
         in the environment of this command, set it or write \
         \"secret_key=file:/etc/nginx/clerk_secret_key\"",
    );
    let hidden =
        location("clerk_proxy https://app.dev/__clerk;").env("CLERK_SECRET_KEY", "sk_live_*");
    expect(
        &hidden,
        5,
        "invalid key in environment variable \"CLERK_SECRET_KEY\" in \"clerk_proxy\": it is hidden by \
         asterisks, let the Clerk Dashboard reveal the key before you copy it",
    );
}

#[test]
fn words() {
    const LINE: &str = "clerk_proxy https://app.dev/__clerk secret_key=%KEY%";
    let unknown = "expected \"secret_key=\", \"upstream=\" or \"keepalive=\"";
    for (lines, message) in [
        (
            "clerk_proxy https://app.dev/__clerk secretkey=%KEY%;".to_owned(),
            format!("invalid parameter \"secretkey=\" in \"clerk_proxy\", {unknown}"),
        ),
        (
            "clerk_proxy https://app.dev/__clerk %KEY%;".to_owned(),
            format!("invalid parameter \"sk_live_***\" in \"clerk_proxy\", {unknown}"),
        ),
        (
            format!("{LINE} secret_key=env:X;"),
            "duplicate parameter \"secret_key=\" in \"clerk_proxy\", write it once".to_owned(),
        ),
        (
            "clerk_proxy https://app.dev/__clerk upstream=http://a upstream=http://b;".to_owned(),
            "duplicate parameter \"upstream=\" in \"clerk_proxy\", write it once".to_owned(),
        ),
        (
            format!("{LINE} keepalive=0;"),
            "invalid parameter \"keepalive=0\" in \"clerk_proxy\", write the number of idle connections \
             that a worker keeps, such as \"keepalive=64\""
                .to_owned(),
        ),
        (
            "clerk_proxy;".to_owned(),
            "invalid number of arguments in \"clerk_proxy\" directive".to_owned(),
        ),
    ] {
        expect(&location(&lines), 5, &message);
    }
    let twice = format!("{LINE} upstream=http://127.0.0.1:1;\n{LINE};");
    expect(&location(&twice), 6, "\"clerk_proxy\" directive is duplicate");
}

#[test]
fn blocks_of_the_user() {
    let config = |first: &str, second: &str| {
        Config::new(&format!(
            "upstream own {{ server 127.0.0.1:1; }}\n\
             server {{\n\
             location /a/ {{ clerk_proxy https://app.dev/a secret_key=%KEY% upstream={first} }}\n\
             location /b/ {{ clerk_proxy https://app.dev/b secret_key=%KEY% upstream={second} }}\n\
             }}"
        ))
    };
    for (second, differs) in [
        ("http://own;", "scheme"),
        ("https://own; proxy_ssl_verify off;", "proxy_ssl_verify"),
        ("https://own; proxy_ssl_crl x;", "proxy_ssl_crl"),
        ("https://own; proxy_bind 127.0.0.1;", "proxy_bind"),
    ] {
        let message = format!(
            "\"{differs}\" of \"clerk_proxy\" is not that of an earlier location with upstream \"own\", whose \
             connections nginx would reuse here, write it alike or an \"upstream\" block for each"
        );
        expect(&config("https://own;", second), 5, &message);
    }
    let keepalive =
        "parameter \"keepalive=\" in \"clerk_proxy\" does not reach upstream \"own\", write \
                     \"keepalive\" in that block";
    expect(&config("https://own;", "https://own keepalive=1;"), 5, keepalive);
    good(&config("https://own/x; proxy_bind 127.0.0.1;", "https://own/y; proxy_bind 127.0.0.1;"));
}

#[test]
fn blocks_that_others_use_unverified() {
    let config = |own: &str, stock: &str| {
        Config::new(&format!(
            "upstream Own {{ server 127.0.0.1:1; }}\n\
             server {{ location /__clerk/ {{ clerk_proxy https://app.dev/__clerk secret_key=%KEY% upstream={own} }}\n\
             location /stock/ {{ {stock} }} }}"
        ))
    };
    for stock in ["proxy_pass https://own;", "proxy_pass http://own/x/;"] {
        let message = "\"proxy_pass\" in location \"/stock/\" uses upstream \"Own\" without \
                       \"proxy_ssl_verify on\", and \"clerk_proxy\" would send the secret key over its \
                       connections, write an \"upstream\" block for each";
        let (ok, printed) = config("https://own;", stock).check();
        assert!(!ok && printed.contains(message), "{printed}");
    }
    let verified = "proxy_ssl_verify on; proxy_ssl_trusted_certificate ca.pem;";
    good(&config("https://own;", &format!("proxy_pass https://own; {verified}")));
    good(&config("https://own; proxy_ssl_verify off;", "proxy_pass https://own;"));
    good(&config("http://own;", "proxy_pass http://own;"));
}

#[test]
fn contexts() {
    const LINE: &str = "clerk_proxy https://app.dev/__clerk secret_key=%KEY%;";
    const MESSAGE: &str = "\"clerk_proxy\" directive is not allowed here";
    expect(&Config::new(LINE), 2, MESSAGE);
    expect(&Config::server(LINE), 4, MESSAGE);
    expect(&Config::server(&format!("if ($host) {{\n{LINE}\n}}")), 5, MESSAGE);
    expect(&location(&format!("limit_except GET {{\n{LINE}\n}}")), 6, MESSAGE);
}

#[test]
fn locations() {
    const URL: &str = "https://app.dev/__clerk";
    let line = |location: &str| {
        Config::server(&format!(
            "location {location} {{\nclerk_proxy {URL} secret_key=%KEY% upstream=http://127.0.0.1:1;\n}}"
        ))
    };
    for name in ["/", "/api/", "/__clerkfoo", "= /__cler", "^~ /__clerk2/"] {
        let shown = name.rsplit(' ').next().unwrap();
        let message = format!(
            "\"clerk_proxy {URL}\" does not fit location \"{shown}\", no request below \"/__clerk/\" is \
             left to it, use location \"/__clerk/\""
        );
        expect(&line(name), 5, &message);
    }
    for name in
        ["/__clerk", "/__clerk/", "= /__clerk/v1", "^~ /__clerk/", "~ ^/(__clerk|x)", "@named"]
    {
        good(&line(name));
    }
}

#[test]
fn other_handlers() {
    const LINE: &str =
        "clerk_proxy https://app.dev/__clerk secret_key=%KEY% upstream=http://127.0.0.1:1;";
    const MESSAGE: &str = "\"clerk_proxy\" conflicts with another content handler in location \
                           \"/__clerk/\", remove what else answers requests there, such as \"proxy_pass\" or \"empty_gif\"";
    for other in ["proxy_pass http://127.0.0.1:1;", "fastcgi_pass 127.0.0.1:1;", "stub_status;"] {
        expect(&location(&format!("{other}\n{LINE}")), 6, MESSAGE);
        expect(&location(&format!("{LINE}\n{other}")), 5, MESSAGE);
    }
    for block in ["location /__clerk/x/", "location ~ x", "if ($host)", "limit_except GET"] {
        let nested = format!("{LINE}\n{block} {{ proxy_pass http://127.0.0.1:1; }}");
        let message =
            "\"proxy_pass\" inside location \"/__clerk/\" would send the secret key of its \
                       \"clerk_proxy\" elsewhere, move it to a location beside that one";
        expect(&location(&nested), 5, message);
    }
    good(&location(&format!("{LINE}\nlocation /__clerk/static/ {{ root html; }}")));
    good(&location(&format!("{LINE}\nlocation ~ ^/__clerk/v2 {{ {LINE} }}")));
    good(&location(&format!("{LINE}\nif ($arg_x) {{ return 403; }}")));
}

#[test]
fn headers_of_the_contract() {
    const LINE: &str =
        "clerk_proxy https://app.dev/__clerk secret_key=%KEY% upstream=http://127.0.0.1:1;";
    for (name, instead) in [
        ("Clerk-Proxy-Url", "write the value as the URL of \"clerk_proxy\""),
        ("clerk-secret-key", "write the key as its parameter \"secret_key=\""),
        (
            "X-Forwarded-For",
            "let \"set_real_ip_from\" and \"real_ip_header\" find the address of the client, or write \
             \"clerk_proxy_client_ip\"",
        ),
    ] {
        let message = format!(
            "\"proxy_set_header {name}\" conflicts with \"clerk_proxy\" in the same location, which sets \
             this header, {instead}"
        );
        // The order of the lines does not matter: the directive's own line is cited.
        expect(&location(&format!("{LINE}\nproxy_set_header {name} x;")), 5, &message);
        expect(&location(&format!("proxy_set_header {name} x;\n{LINE}")), 6, &message);
        // An outer block's is dropped, as the README says.
        let outer = format!("proxy_set_header {name} x; location /__clerk/ {{ {LINE} }}");
        good(&Config::server(&outer));
    }
    for (directive, argument) in
        [("proxy_set_body", "x"), ("proxy_set_body", "\"\""), ("proxy_method", "PUT")]
    {
        let outer = format!("{directive} {argument};\nlocation /__clerk/ {{ {LINE} }}");
        let message = format!(
            "\"{directive}\" of an outer block would change every request of \"clerk_proxy\", move it to \
             the locations that need it"
        );
        expect(&Config::server(&outer), 5, &message);
    }
}

#[test]
fn mistakes_in_an_included_file_cite_that_file() {
    let config = Config::server("include clerk.conf;").file(
        "clerk.conf",
        "\nlocation /__clerk/ {\nclerk_proxy https://app.dev/__clerk secret_key=sk_live_x;\nproxy_pass \
         http://127.0.0.1:1;\n}\n",
    );
    let (_, printed) = config.check();
    let place = format!("{}:3\n", config.folder.path().join("clerk.conf").display());
    assert!(printed.contains(&place), "{printed}");
}

#[test]
fn no_ca_bundle() {
    const LINE: &str =
        "clerk_proxy https://app.dev/__clerk secret_key=%KEY% upstream=https://127.0.0.1:1;";
    let without = |lines: &str| location(lines).env("SSL_CERT_FILE", "/nowhere/bundle.pem");
    expect(
        &without(LINE),
        5,
        "\"clerk_proxy\" found no CA certificates of the system to verify \"127.0.0.1\" with, install the \
         package \"ca-certificates\" or set \"proxy_ssl_trusted_certificate\"",
    );
    good(&without(&format!("{LINE} proxy_ssl_trusted_certificate ca.pem;")));
    good(&without(&format!("{LINE} proxy_ssl_verify off;")));
    good(&without(&LINE.replace("https://127", "http://127")));
}

#[test]
fn an_unknown_host_is_a_warning() {
    let printed = good(&location(
        "clerk_proxy https://app.dev/__clerk secret_key=%KEY% upstream=http://does-not-exist.invalid;",
    ));
    assert!(
        printed.contains("[warn]") && printed.contains("does-not-exist.invalid:80"),
        "{printed}"
    );
}

#[test]
fn sizes_of_the_user_go_with_ours() {
    const LINE: &str =
        "clerk_proxy https://app.dev/__clerk secret_key=%KEY% upstream=http://127.0.0.1:1;";
    for outer in [
        "proxy_buffers 4 4k;",
        "proxy_buffers 8 16k; proxy_buffer_size 16k;",
        "proxy_buffer_size 128k; proxy_buffers 4 256k; proxy_busy_buffers_size 256k;",
        "proxy_busy_buffers_size 8k;",
        "proxy_temp_file_write_size 8k;",
        "proxy_max_temp_file_size 16k;",
    ] {
        good(&Config::server(&format!(
            "{outer} location /x/ {{ proxy_pass http://127.0.0.1:1; }}"
        )));
        good(&Config::server(&format!("{outer} location /__clerk/ {{ {LINE} }}")));
        good(&location(&format!("{outer} {LINE}")));
    }
}
