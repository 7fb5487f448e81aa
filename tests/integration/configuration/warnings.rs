//! Every `[warn]` line of the module in full, but for that of logs.

use std::os::unix::fs::{chown, symlink, PermissionsExt as _};
use std::process::Stdio;
use std::{fs, io};

use crate::kit::harness::{Config, KEY};
use crate::kit::printed::{location, warn, KEYLESS, LINE};

/// Gives the configuration file this mode.
fn readable(mut config: Config, mode: u32) -> Config {
    config.mode = mode;
    config
}

#[test]
fn a_good_configuration_has_no_warning() {
    const FILE: &str = "clerk_proxy https://app.dev/__clerk secret_key=file:key";
    for lines in [
        LINE,
        "clerk_proxy https://app.dev/__clerk upstream=https://127.0.0.1:1 secret_key=env:K;",
        "clerk_proxy https://$host/__clerk upstream=http://127.0.0.1:1 secret_key=$http_key;",
        &format!("{FILE} upstream=https://127.0.0.1:1; proxy_ssl_verify on; auth_basic off;"),
        &format!("{FILE} upstream=http://127.0.0.1:1; auth_request off; error_log stderr info;"),
        &format!("{FILE} upstream=http://127.0.0.1:1; if ($arg_x) {{ return 403; }}"),
    ] {
        for mode in [0o600, 0o640, 0o400] {
            warn(&location(lines).file_of_mode("key", KEY, mode).env("K", KEY), &[]);
        }
    }
    // Without a clerk_proxy nothing of it matters.
    let other =
        "auth_basic x; location / { proxy_pass https://127.0.0.1:1; proxy_ssl_verify off; }";
    warn(&Config::server(other).main("error_log logs/x.log debug;"), &[]);
}

#[test]
fn a_key_of_a_development_instance() {
    let text = |source: &str, directive: &str| {
        format!(
            "{source} in \"{directive}\" belongs to a development instance, which Clerk does not proxy, \
             write the key that begins with \"sk_live_\""
        )
    };
    let parameter = |source: &str| {
        format!(
            "clerk_proxy https://app.dev/__clerk upstream=http://127.0.0.1:1 secret_key={source};"
        )
    };
    for (written, source) in [
        ("sk_test_two", "literal key"),
        ("test_two", "literal key"),
        ("file:key", "key in file \"%DIR%/key\""),
        ("env:K", "key in environment variable \"K\""),
    ] {
        let check = |config: Config, directive: &str, line: usize| {
            let source = source.replace("%DIR%", &config.folder.path().to_string_lossy());
            let config = config.file_of_mode("key", "sk_test_two\n", 0o600).env("K", "sk_test_two");
            warn(&config, &[(line, &text(&source, directive))]);
        };
        check(location(&parameter(written)), "clerk_proxy", 5);
        let own = "clerk_proxy_secret_key";
        let line = format!("{own} {written};");
        // One line for all that use it, or none.
        let one =
            format!("location /__clerk/ {{ {KEYLESS} }} location /__clerk/v1/ {{ {KEYLESS} }}");
        check(Config::server(&format!("{line}\n{one}")), own, 4);
        check(Config::new(&line), own, 2);
        check(location(&format!("{KEYLESS}\n{line}")), own, 6);
    }
    let message = text("key in environment variable \"CLERK_SECRET_KEY\"", "clerk_proxy");
    warn(&location(KEYLESS).env("CLERK_SECRET_KEY", "sk_test_two"), &[(5, &message)]);
}

#[test]
fn a_key_that_every_user_can_read() {
    for mode in [0o644, 0o604, 0o666] {
        let line =
            "clerk_proxy https://app.dev/__clerk upstream=http://127.0.0.1:1 secret_key=file:key;";
        let config = location(line).file_of_mode("key", KEY, mode);
        let text = |directive: &str| {
            let path = config.folder.path().join("key");
            format!(
                "key in file \"{0}\" in \"{directive}\" can be read by every user of this machine, run \
                 \"chmod 600 {0}\"",
                path.display()
            )
        };
        warn(&config, &[(5, &text("clerk_proxy"))]);
        let path = config.folder.path().join("key");
        let line = format!("{KEYLESS}\nclerk_proxy_secret_key file:{};", path.display());
        warn(&location(&line), &[(6, &text("clerk_proxy_secret_key"))]);

        let text = |directive: &str| {
            format!(
                "literal key in \"{directive}\" is in a file that every user of this machine can read, put \
                 the key into a file of mode 600 and write \"file:PATH\""
            )
        };
        let with_mode = |lines: &str| readable(location(lines), mode);
        warn(&with_mode(LINE), &[(5, &text("clerk_proxy"))]);
        let line = format!("{KEYLESS}\nclerk_proxy_secret_key %KEY%;");
        warn(&with_mode(&line), &[(6, &text("clerk_proxy_secret_key"))]);
        // It is the file with the line that counts.
        let included = format!("location /__clerk/ {{ {LINE} }}").replace("%KEY%", KEY);
        let config = readable(Config::server("include clerk.conf;"), mode);
        warn(&config.file_of_mode("clerk.conf", &included, 0o600), &[]);
        let config =
            Config::server("include clerk.conf;").file_of_mode("clerk.conf", &included, mode);
        let (ok, printed) = config.check();
        let place = format!("{}:1\n", config.folder.path().join("clerk.conf").display());
        assert!(
            ok && printed.contains(&format!("{} in {place}", text("clerk_proxy"))),
            "{printed}"
        );
    }
}

#[test]
fn connections_without_tls_or_verification() {
    let url = |url: &str| {
        format!(
            "URL \"{url}\" in \"clerk_proxy\" does not use TLS, which browsers and Clerk expect, write \"https://\""
        )
    };
    for typed in ["http://app.dev/__clerk", "http://$host/__clerk", "http://app.dev:81/__clerk"] {
        warn(&location(&LINE.replace("https://app.dev/__clerk", typed)), &[(5, &url(typed))]);
    }
    let text =
        "\"proxy_ssl_verify off\" beside \"clerk_proxy\" sends the secret key to whoever answers, \
                write \"proxy_ssl_trusted_certificate\" with the CA of that server";
    let line = LINE.replace("http://127", "https://127");
    warn(&location(&format!("{line}\nproxy_ssl_verify off;")), &[(6, text)]);
    warn(&location(&format!("proxy_ssl_verify off;\n{line}")), &[(5, text)]);
    // Of an outer block it does not count, and without TLS it means nothing.
    warn(&Config::server(&format!("proxy_ssl_verify off; location /__clerk/ {{ {line} }}")), &[]);
    warn(&location(&format!("{LINE} proxy_ssl_verify off;")), &[]);
}

/// A thousand warnings about one file do not read it a thousand times.
#[test]
fn warnings_of_one_file_read_it_once() {
    const PADDING: usize = 100_000;
    let read = |warnings: usize| {
        let location = |number: usize| {
            let line =
                LINE.replace("http://127", "https://127").replace("__clerk", &number.to_string());
            format!("location /{number}/ {{ {line} proxy_ssl_verify off; }}\n")
        };
        let text: String = (10..10 + warnings).map(location).collect();
        let config = Config::server(&text).http(&"# nothing\n".repeat(PADDING / 10));
        let mut child =
            config.command().arg("-t").stderr(Stdio::piped()).spawn().expect("nginx runs");
        let printed =
            io::read_to_string(child.stderr.take().expect("it is piped")).expect("a text");
        let counts = fs::read_to_string(format!("/proc/{}/io", child.id())).expect("its counts");
        assert!(child.wait().expect("it ends").success(), "{printed}");
        assert_eq!(
            printed.matches("\"proxy_ssl_verify off\" beside").count(),
            warnings,
            "{printed}"
        );
        let count = counts.lines().find_map(|line| line.strip_prefix("rchar: "));
        count.and_then(|count| count.parse::<usize>().ok()).expect("a number")
    };
    let [one, many] = [1, 40].map(read);
    assert!(many < one + PADDING, "{one} and {many} bytes");
}

#[test]
fn no_warning_stands_before_a_mistake() {
    let words = ["http://app.dev/__clerk secret_key=/key", "http://app.dev secret_key=sk_test_a.b"];
    for words in words {
        let (ok, printed) = readable(location(&format!("clerk_proxy {words};")), 0o644).check();
        assert!(!ok && !printed.contains("[warn]"), "{printed}");
    }
    for line in [
        "proxy_set_header Host $host; proxy_set_header X-Forwarded-For x;",
        "proxy_ssl_verify off; proxy_set_header X-Forwarded-For x;",
        "proxy_set_header X-Forwarded-For x;",
    ] {
        let (ok, printed) =
            location(&format!("{} {line}", LINE.replace("127.0.0.1", "192.0.2.1"))).check();
        assert!(!ok && !printed.contains("[warn]"), "{printed}");
    }
}

#[test]
fn an_origin_without_tls_on_another_machine() {
    for (origin, server) in [
        ("http://192.0.2.1", "192.0.2.1:80"),
        ("http://192.0.2.1:8080/base", "192.0.2.1:8080"),
        ("http://[2001:db8::1]:81", "[2001:db8::1]:81"),
    ] {
        let text = format!(
            "upstream \"http://{server}\" of \"clerk_proxy\" gets the secret key without TLS, write \"https://\""
        );
        let line = "clerk_proxy https://app.dev/__clerk secret_key=%KEY%";
        warn(&location(&format!("{line} upstream={origin};")), &[(5, &text)]);
        warn(&location(&format!("clerk_proxy_upstream {origin};\n{line};")), &[(6, &text)]);
    }
    for origin in [
        "https://192.0.2.1",
        "https://127.0.0.1:8080",
        "https://unix:/tmp/fapi.sock",
        "https://own",
        "http://127.0.0.1:1",
        "http://127.1.2.3",
        "http://[::1]:1023",
        "http://localhost:1",
        "http://unix:/nowhere/fapi.sock",
        "http://unix:/run/fapi.sock",
    ] {
        warn(&with_origin(origin, "192.0.2.1"), &[]);
    }
}

/// A line with this ORIGIN, in line 4 of the file, beside a block `own` of these servers.
fn with_origin(origin: &str, servers: &str) -> Config {
    let line = LINE.replace("http://127.0.0.1:1", origin);
    let servers: String =
        servers.split(' ').fold(String::new(), |all, one| all + "server " + one + ";");
    let block = format!("upstream own {{ {servers} }} upstream other {{ server 192.0.2.9; }}");
    Config::new(&format!("{block} server {{\nlocation /__clerk/ {{\n{line} }} }}"))
}

#[test]
fn an_origin_without_tls_where_others_can_answer() {
    let port =
        "and any user of this machine can listen there, write \"https://\" or a port below 1024";
    let socket =
        "and any user of this machine can make this socket, move it to a folder that others cannot write to";
    let network = "write \"https://\"";
    for (origin, servers, shown, advice) in [
        ("http://127.0.0.1:8080", "", "127.0.0.1:8080", port),
        ("http://localhost:1024", "", "localhost:1024", port),
        ("http://[::1]:8080/base", "", "[::1]:8080", port),
        ("http://unix:/tmp/fapi.sock", "", "unix:/tmp/fapi.sock", socket),
        ("http://own", "192.0.2.1", "192.0.2.1:80", network),
        ("http://own", "127.0.0.1:80 unix:/tmp/x", "unix:/tmp/x", socket),
        ("http://OWN", "127.0.0.1:81 127.0.0.1:8080", "127.0.0.1:8080", port),
    ] {
        let text = format!(
            "upstream \"http://{shown}\" of \"clerk_proxy\" gets the secret key without TLS, {advice}"
        );
        let servers = if servers.is_empty() { "127.0.0.1:1" } else { servers };
        warn(&with_origin(origin, servers), &[(4, &text)]);
    }
    for servers in ["127.0.0.1:80", "unix:/run/x", "127.0.0.1:1023 [::1]:1"] {
        warn(&with_origin("http://own", servers), &[]);
    }
}

#[test]
fn a_key_file_that_every_user_can_change() {
    const FILE: &str =
        "clerk_proxy https://app.dev/__clerk upstream=http://127.0.0.1:1 secret_key=file:in/key;";
    let text = |what: &str, how: &str, config: &Config, path: &str| {
        let folder = config.folder.path();
        format!(
            "key in file \"{0}/in/key\" in \"clerk_proxy\" can be {what} by every user of this machine, run \
             \"chmod {how} {0}{path}\"",
            folder.display()
        )
    };
    let set = |config: &Config, path: &str, mode: u32| {
        let path = config.folder.path().join(path);
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    let folder = || {
        let config = location(FILE);
        fs::create_dir(config.folder.path().join("in")).unwrap();
        config.file_of_mode("in/key", KEY, 0o600)
    };
    let config = folder();
    for mode in [0o602, 0o642] {
        set(&config, "in/key", mode);
        warn(&config, &[(5, &text("changed", "600", &config, "/in/key"))]);
    }
    let config = folder();
    for (path, of_file) in [("in", "/in"), ("", "")] {
        set(&config, path, 0o757);
        warn(&config, &[(5, &text("replaced", "o-w", &config, of_file))]);
        // As /tmp is.
        set(&config, path, 0o1777);
        warn(&config, &[]);
        set(&config, path, 0o755);
    }
    warn(&config, &[]);
    // A group counts unless it is root's or the owner's own.
    let config = folder();
    for (path, mode, group, how) in [
        ("in/key", 0o660, 0, None),
        ("in/key", 0o660, 1, Some(("changed", "600", "/in/key"))),
        ("in/key", 0o640, 1, None),
        ("in", 0o775, 0, None),
        ("in", 0o775, 1, Some(("replaced", "g-w", "/in"))),
        ("", 0o2770, 1, Some(("replaced", "g-w", ""))),
        ("", 0o3770, 1, None),
    ] {
        let full = config.folder.path().join(path);
        if chown(&full, None, Some(group)).is_err() {
            // Only root can give a file to any group.
            continue;
        }
        set(&config, path, mode);
        let of_group = |(what, how, path)| {
            let text = text(what, how, &config, path);
            text.replace("every user of this machine", "every member of a group")
        };
        let expected = how.map(of_group);
        let expected: Vec<_> = expected.iter().map(|text| (5, text.as_str())).collect();
        warn(&config, &expected);
        chown(&full, None, Some(0)).expect("as above");
        set(&config, path, if path == "in/key" { 0o600 } else { 0o755 });
    }
    // A link leads to where others can write.
    let config = location(&FILE.replace("in/key", "link"));
    fs::create_dir(config.folder.path().join("in")).unwrap();
    let config = config.file_of_mode("in/key", KEY, 0o600);
    symlink(config.folder.path().join("in/key"), config.folder.path().join("link")).unwrap();
    warn(&config, &[]);
    set(&config, "in", 0o777);
    let expected = text("replaced", "o-w", &config, "/in").replacen("/in/key", "/link", 1);
    warn(&config, &[(5, &expected)]);
}

#[test]
fn what_signs_users_out() {
    for (directive, argument) in
        [("auth_basic", "realm"), ("auth_basic", "$host"), ("auth_request", "/a")]
    {
        let text = format!(
            "\"{directive}\" applies to \"clerk_proxy\" and answers 401, which signs users out, write \
             \"{directive} off\" in this location"
        );
        let line = format!("{directive} {argument};");
        let server = format!("server {{\nlocation /__clerk/ {{\n{LINE}\n%OFF%\n}}\n}}");
        let off = format!("{directive} off;");
        for (outer, at) in [
            (format!("{line}\n{server}"), 5),
            (server.replacen("{\n", &format!("{{\n{line}\n"), 1), 5),
        ] {
            warn(&Config::new(&outer.replace("%OFF%", "")), &[(at, &text)]);
            warn(&Config::new(&outer.replace("%OFF%", &off)), &[]);
        }
        warn(&location(&format!("{line}\n{LINE}\nif ($arg_x) {{ return 403; }}")), &[(6, &text)]);
    }
    // For some methods it is for some users, and once is enough.
    let text =
        "\"auth_basic\" applies to \"clerk_proxy\" and answers 401, which signs users out, write \
                \"auth_basic off\" in this location";
    for (lines, at) in [
        (format!("{LINE}\nlimit_except GET {{ auth_basic x; }}"), 5),
        (format!("limit_except GET {{ auth_basic x; }}\n{LINE}"), 6),
        (format!("{LINE}\nauth_basic x; limit_except GET {{ auth_basic y; }}"), 5),
        (format!("{LINE}\nauth_basic off; limit_except GET {{ auth_basic y; }}"), 5),
        (format!("{LINE}\nauth_basic x; limit_except GET {{ auth_basic off; }}"), 5),
    ] {
        warn(&location(&lines), &[(at, text)]);
    }
    warn(&location(&format!("{LINE} limit_except GET {{ auth_basic off; }}")), &[]);
    // Elsewhere they are nobody's business.
    warn(
        &Config::server(&format!("location / {{ auth_basic x; }} location /__clerk/ {{ {LINE} }}")),
        &[],
    );
}

#[test]
fn several_faults_are_several_lines() {
    let line =
        "clerk_proxy http://app.dev/__clerk secret_key=sk_test_two upstream=https://127.0.0.1:1;";
    let config = location(&format!("{line}\nproxy_ssl_verify off; auth_basic x; auth_request /a;"));
    let (ok, printed) = readable(config, 0o644).check();
    let about = [
        "literal key",
        "literal key",
        "URL",
        "\"proxy_ssl_verify",
        "\"auth_basic\"",
        "\"auth_request\"",
    ];
    let lines: Vec<&str> =
        printed.lines().filter_map(|line| line.strip_prefix("nginx: [warn] ")).collect();
    assert_eq!(lines.len(), about.len(), "{printed}");
    assert!(
        ok && lines.iter().zip(about).all(|(line, start)| line.starts_with(start)),
        "{printed}"
    );
}

/// Whoever sets it for nginx takes it for effective. What it names can be a secret.
#[test]
fn a_proxy_of_the_environment() {
    const PROXY: &str = "http://user:secret@proxy.example:3128";
    let line = |origin: &str| {
        location(&format!(
            "clerk_proxy https://app.dev/__clerk secret_key=%KEY% upstream={origin};"
        ))
    };
    let text = |variable: &str| {
        format!(
            "\"clerk_proxy\" connects to \"192.0.2.1:443\" itself and not through the proxy of environment variable \
             \"{variable}\", write \"upstream=\" with a tunnel through it, or name the host in \"no_proxy\""
        )
    };
    for variable in ["https_proxy", "HTTPS_PROXY"] {
        let config = line("https://192.0.2.1").env(variable, PROXY);
        warn(&config, &[(5, &text(variable))]);
        warn(&line("https://192.0.2.1").env(variable, PROXY).env("no_proxy", "192.0.2.1"), &[]);
        warn(&line("https://127.0.0.1:1").env(variable, PROXY), &[]);
        let block = line("https://tunnel").http("upstream tunnel { server 127.0.0.1:1; }");
        warn(&block.env(variable, PROXY), &[]);
    }
    // Two locations with one upstream.
    let two = "location /__clerk/ { LINE } location /__clerk/v1/ { LINE }".replace(
        "LINE",
        "clerk_proxy https://app.dev/__clerk secret_key=%KEY% upstream=https://192.0.2.1;",
    );
    warn(&Config::server(&two).env("https_proxy", PROXY), &[(4, &text("https_proxy"))]);
}
