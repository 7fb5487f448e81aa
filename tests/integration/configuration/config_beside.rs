//! What `nginx -t` says of where a `clerk_proxy` line stands and of what stands beside it.

use crate::kit::harness::Config;
use crate::kit::printed::{expect, good, location};

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
    const BESIDE: &str = "no request below \"/__clerk/\" reaches it";
    const WIDER: &str = "requests outside \"/__clerk/\" would get 404 there";
    let line = |location: &str| {
        Config::server(&format!(
            "location {location} {{\nclerk_proxy {URL} secret_key=%KEY% upstream=http://127.0.0.1:1;\n}}"
        ))
    };
    for (name, why) in [
        ("/", WIDER),
        ("^~ /__cler", WIDER),
        ("= /", BESIDE),
        ("/api/", BESIDE),
        ("/__clerkfoo", BESIDE),
        ("= /__cler", BESIDE),
        ("^~ /__clerk2/", BESIDE),
    ] {
        let shown = name.rsplit(' ').next().unwrap();
        let message = format!(
            "\"clerk_proxy {URL}\" does not fit location \"{shown}\", {why}, use location \"/__clerk/\""
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
                           \"/__clerk/\", remove the other one, such as \"proxy_pass\", \"empty_gif\" or \"track_uploads\"";
    for other in ["proxy_pass http://127.0.0.1:1;", "fastcgi_pass 127.0.0.1:1;", "stub_status;"] {
        expect(&location(&format!("{other}\n{LINE}")), 5, MESSAGE);
        expect(&location(&format!("{LINE}\n{other}")), 6, MESSAGE);
    }
    for block in ["location /__clerk/x/", "location ~ x", "if ($host)", "limit_except GET"] {
        let nested = format!("{LINE}\n{block} {{ proxy_pass http://127.0.0.1:1; }}");
        let message =
            "\"proxy_pass\" inside location \"/__clerk/\" would send the secret key of its \
                       \"clerk_proxy\" elsewhere, move it to a location of its own";
        expect(&location(&nested), 6, message);
        let nested = format!("{LINE}\n{block} {{\n\n proxy_pass\nhttp://127.0.0.1:1; }}");
        expect(&location(&nested), 9, message);
        let included = format!("{LINE}\n{block} {{ include own.conf; }}");
        let config = location(&included).file("own.conf", "\nproxy_pass http://127.0.0.1:1;");
        let place = format!("{}:2\n", config.folder.path().join("own.conf").display());
        let (_, printed) = config.check();
        assert!(printed.contains(&format!("{message} in {place}")), "{printed}");
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
        // Its own line is cited, and not that of the directive.
        expect(&location(&format!("{LINE}\nproxy_set_header {name} x;")), 6, &message);
        expect(&location(&format!("proxy_set_header {name} x;\n{LINE}")), 5, &message);
        let nested = "location /__clerk/v1/ {\nlimit_rate 1k;\nproxy_set_header";
        expect(&location(&format!("{LINE}\n{nested} {name} x; }}")), 8, &message);
        // In whatever file it stands.
        for lines in [format!("{LINE} include own.conf;"), format!("include own.conf; {LINE}")] {
            let own = format!("proxy_set_header Host x;\nproxy_set_header\n{name}\nx;");
            let config = location(&lines).file("own.conf", &own);
            let (_, printed) = config.check();
            let place = format!("{}:4\n", config.folder.path().join("own.conf").display());
            assert!(printed.contains(&format!("{message} in {place}")), "{printed}");
        }
        // An outer block's is dropped, as docs/recipe.md says.
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
        expect(&Config::server(&outer), 4, &message);
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
    let place = format!("{}:4\n", config.folder.path().join("clerk.conf").display());
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
        "\"clerk_proxy\" found no CA certificates on this system to verify \"127.0.0.1\", install the \
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

#[test]
fn lines_that_share_a_block_of_the_user() {
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
            "\"{differs}\" of \"clerk_proxy\" differs from that of an earlier location with upstream \
             \"own\", and nginx would reuse its connections here, write the same value or an \"upstream\" \
             block for each"
        );
        expect(&config("https://own;", second), 5, &message);
    }
    let keepalive =
        "parameter \"keepalive=\" in \"clerk_proxy\" has no effect on upstream \"own\", write \
                     \"keepalive\" in that block";
    expect(&config("https://own;", "https://own keepalive=1;"), 5, keepalive);
    good(&config("https://own/x; proxy_bind 127.0.0.1;", "https://own/y; proxy_bind 127.0.0.1;"));
}

/// nginx keeps a connection for whoever comes next, and asks for no name, address or certificate again.
#[test]
fn connections_of_each_request() {
    let line = "clerk_proxy https://app.dev/__clerk secret_key=%KEY%;";
    for (directive, value) in [
        ("proxy_ssl_name", "$host"),
        ("proxy_ssl_name", "a.$host"),
        ("proxy_bind", "$remote_addr transparent"),
        ("proxy_ssl_certificate", "$host.pem"),
        ("proxy_ssl_certificate_key", "$host.key"),
    ] {
        let beside = if directive.contains("certificate") {
            "proxy_ssl_certificate $host.pem; proxy_ssl_certificate_key $host.key;".to_owned()
        } else {
            format!("{directive} {value};")
        };
        let message = |directive: &str| {
            format!(
                "\"{directive}\" with variables beside \"clerk_proxy\" would send requests over connections \
                 that were made with other values, write a value without variables"
            )
        };
        let directive =
            if directive.contains("_key") { "proxy_ssl_certificate" } else { directive };
        expect(&location(&format!("{line}\n{beside}")), 6, &message(directive));
    }
    good(&location(&format!("{line} proxy_ssl_name app.dev; proxy_bind 127.0.0.1;")));
}
