//! What `nginx -t` says: every mistake is one `[emerg]` line that names the directive, the value, what to do,
//! the file and the line.

use crate::kit::printed::{expect, location};

fn url(value: &str, fault: &str) -> (String, String) {
    let message = format!(
        "invalid URL \"{value}\" in \"clerk_proxy\": {fault}, write the proxy URL as in the Clerk \
         Dashboard, such as \"https://app.example/__clerk\""
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

/// The fault of a text with a numbered capture.
const CAPTURE: &str = "\"$1\" changes with each regular expression, use a named capture";

#[test]
fn urls() {
    for (lines, message) in [
        url("app.dev/__clerk", "it has no scheme"),
        url("/__clerk", "it has no scheme"),
        url("ftp://app.dev/__clerk", "its scheme \"ftp\" is neither \"https\" nor \"http\""),
        url("https:///__clerk", "it has no host"),
        url("https://app.dev/__clerk?x", "it has a query"),
        url("https://app.dev/__clerk#x", "it has a fragment"),
        url("https://app.dev/$x", "only its host may contain variables"),
        url("$scheme://app.dev/__clerk", "only its host may contain variables"),
        url("https://$/__clerk", "invalid variable name"),
        url("https://app.dev/__clerk ", "it contains a space or a character outside ASCII"),
        url("https://app.dev/a/../__clerk", "its path \"/a/../__clerk\" is not normalized"),
        url("https://app.dev:66000/__clerk", "invalid port number"),
        url("https://app.dev:/__clerk", "invalid port number"),
        url("https://app{x}.dev/__clerk", "invalid character in the host"),
        url("https://.app.dev/__clerk", "empty label in the host"),
        url("https://a..b/__clerk", "empty label in the host"),
        url("https://.$host/__clerk", "empty label in the host"),
        url("https://$1.app.dev/__clerk", CAPTURE),
        url("https://a${2}.app.dev/__clerk", CAPTURE),
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
        upstream("https://2", "its host is not normalized"),
        upstream("https://a{secret_key}", "invalid character in the host"),
        upstream("https://.a.dev", "empty label in the host"),
        upstream("https://a..b", "empty label in the host"),
        upstream("https://$fapi", "variables are not supported here"),
        upstream("http://unix:run", "the absolute path of a socket is missing after \"unix:\""),
        upstream("gopher://a.dev", "its scheme \"gopher\" is neither \"https\" nor \"http\""),
    ] {
        expect(&location(&lines), 5, &message);
    }
}

/// The fault of a line of a file with environment variables.
const ASSIGNMENT: &str = "it has \"NAME=\" before the key, write the key alone";

#[test]
fn keys() {
    const LITERAL: &str = "literal key";
    const QUOTES: &str =
        "nginx takes quotes inside a word as part of the value, write them around the whole \
                          word or leave them out";
    const DOLLAR: &str = "it contains \"$\", which no key does, write the key alone";
    const SHELL: &str = "nginx has no such variable, write \"env:CLERK_SECRET_KEY\"";
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
        key(
            "/etc/nginx/clerk_secret_key",
            LITERAL,
            "it looks like the path of a file, write \"file:PATH\" to read the key from it",
        ),
        key(
            "CLERK_SECRET_KEY",
            LITERAL,
            "it looks like the name of an environment variable, write \"env:NAME\"",
        ),
        key("CLERK_SECRET_KEY=%KEY%", LITERAL, ASSIGNMENT),
        key("file:'/k'", "key in file \"'/k'\"", QUOTES),
        key("env:'K'", "key in environment variable \"'K'\"", QUOTES),
        key("%KEY% ", LITERAL, "it contains spaces or several lines, write the key alone"),
        key(
            "%KEY%.",
            LITERAL,
            "it contains a character other than letters, digits, \"_\" and \"-\", write the key alone",
        ),
        key("$1", "key \"$1\"", CAPTURE),
        key("x${12}y", "key \"x${12}y\"", CAPTURE),
        key("$%KEY%", "key \"$sk_live_***\"", DOLLAR),
        key("${%KEY%}", "key \"${sk_live_***}\"", DOLLAR),
        key("$sk_test_two", "key \"$sk_test_***\"", DOLLAR),
        key("sk_live_part$arg_k", "key \"sk_live_***$arg_k\"", DOLLAR),
        key("$CLERK_SECRET_KEY", "key \"$CLERK_SECRET_KEY\"", SHELL),
        key("${CLERK_SECRET_KEY}", "key \"${CLERK_SECRET_KEY}\"", SHELL),
        key(
            "file",
            LITERAL,
            "it does not begin with \"sk_live_\", copy it from the Clerk Dashboard",
        ),
    ] {
        expect(&location(&lines), 5, &message);
    }
}

#[test]
fn keys_elsewhere() {
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
            "invalid key in {what} \"sk_live_***\" in \"clerk_proxy\": it is the key itself, put the \
             key into a file of mode 600 and write \"file:PATH\""
        );
        expect(&location(&line), 5, &message);
    }
    let file = "clerk_proxy https://app.dev/__clerk secret_key=file:key;";
    for (content, fault) in [
        ("", "it is empty, copy the key from the Clerk Dashboard"),
        ("\n", "it is empty, copy the key from the Clerk Dashboard"),
        (" x", "it contains spaces or several lines, write the key alone"),
        ("\nCLERK_PROXY=x\nexport CLERK_SECRET_KEY=sk_live_a\n", ASSIGNMENT),
        (
            "/run/secrets/clerk\n",
            "it looks like the path of a file, write \"file:PATH\" to read the key from it",
        ),
        ("sk_live_a\nsk_live_b\n", "it contains spaces or several lines, write the key alone"),
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
    let quoted = |name: &str| {
        format!(
            "invalid parameter \"{name}\" in \"clerk_proxy\": nginx takes quotes inside a word as part of the \
             value, write them around the whole parameter or leave them out"
        )
    };
    for (lines, message) in [
        (
            "clerk_proxy https://app.dev/__clerk secretkey=%KEY%;".to_owned(),
            format!("invalid parameter \"secretkey=\" in \"clerk_proxy\", {unknown}"),
        ),
        (
            "clerk_proxy https://app.dev/__clerk %KEY%;".to_owned(),
            format!("invalid parameter \"sk_live_***\" in \"clerk_proxy\", {unknown}"),
        ),
        // As a key without its mark is.
        (
            "clerk_proxy https://app.dev/__clerk QqZzJjXx0123456789abcdefghijABCDEFGHIJ01;".to_owned(),
            format!("invalid parameter \"***\" in \"clerk_proxy\", {unknown}"),
        ),
        (
            "clerk_proxy secret_key=%KEY%;".to_owned(),
            "\"clerk_proxy\" begins with parameter \"secret_key=\", write the proxy URL before it, such as \
             \"https://app.example/__clerk\""
                .to_owned(),
        ),
        (
            "clerk_proxy https://app.dev/__clerk secret_key=\"%KEY%\";".to_owned(),
            quoted("secret_key="),
        ),
        (format!("{LINE} upstream='http://a';"), quoted("upstream=")),
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
