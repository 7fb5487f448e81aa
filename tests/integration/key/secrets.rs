//! Where the secret key can be seen, and above all where it cannot.

use std::fs;
use std::path::Path;

use crate::kit::fapi::{json, Fapi};
use crate::kit::harness::{debug_build, free_port, refuses_odd_headers, Config, Nginx, Reply, KEY};
use crate::kit::location::location;

/// A way to give the key: its name, lines of `http {}`, and what stands behind the URL.
type Source = (&'static str, &'static str, &'static str);

const FILE: Source = ("file", "", "secret_key=file:key");
const LITERAL: Source = ("literal", "", "secret_key=%KEY%");
const SOURCES: &[Source] = &[
    LITERAL,
    FILE,
    ("env", "", "secret_key=env:MY_KEY"),
    ("default", "", ""),
    ("block", "clerk_proxy_secret_key file:key;", ""),
    ("map", "include keys.conf;", "secret_key=$clerk_key"),
];

/// One server with the key from this source, for whose word `%WORD%` stands.
fn config(&(name, outer, word): &Source, http: &str, server: &str) -> Config {
    let text = format!("{outer}\n{http}\nserver {{ listen 127.0.0.1:%PORT%;\n{server}\n}}");
    let config = Config::new(&text.replace("%WORD%", word));
    match name {
        "file" | "block" => config.file_of_mode("key", &format!("{KEY}\n"), 0o600),
        "map" => {
            let map = format!("map $host $clerk_key {{ default {KEY}; }}");
            config.file_of_mode("keys.conf", &map, 0o600)
        }
        "env" => config.env("MY_KEY", KEY),
        "default" => config.env("CLERK_SECRET_KEY", KEY),
        _ => config,
    }
}

/// Locations that answer well and with the errors that `visit` asks for.
fn locations(fapi: &Fapi, lines: &str) -> String {
    let (port, dead) = (fapi.port, free_port());
    format!(
        "location /__clerk {{ clerk_proxy https://app.dev/__clerk %WORD% upstream=http://127.0.0.1:{port};\n\
         client_max_body_size 1; if ($arg_s) {{ return 403; }} {lines} }}\n\
         location /__clerk/down/ {{ clerk_proxy https://app.dev/__clerk %WORD%\n\
         upstream=http://127.0.0.1:{dead}; {lines} }}\n\
         location /__clerk/host/ {{ clerk_proxy https://$arg_h/__clerk %WORD%\n\
         upstream=http://127.0.0.1:{port}; {lines} }}"
    )
}

/// Asks for each of these once, as a client with a key of its own.
fn visit(nginx: &Nginx) -> Vec<Reply> {
    let send = |method: &str, target: &str, length: usize| {
        nginx.send(format!(
            "{method} {target} HTTP/1.1\r\nHost: app.dev\r\nConnection: close\r\nX-Key: x\r\n\
             Clerk-Secret-Key: sk_live_forged\r\nContent-Length: {length}\r\n\r\n{}",
            "x".repeat(length)
        ))
    };
    let replies = vec![
        send("GET", "/__clerk/v1?a", 0),
        send("POST", "/__clerk/v1", 1),
        send("GET", "/__clerk/v1?s=1", 0),
        send("GET", "/__clerkfoo", 0),
        send("POST", "/__clerk/v1", 2),
        send("GET", "/__clerk/host/v1?h=%7b", 0),
        send("GET", "/__clerk/down/v1", 0),
    ];
    let statuses: Vec<u16> = replies.iter().map(|reply| reply.status).collect();
    assert_eq!(statuses, [200, 200, 403, 404, 413, 500, 502]);
    replies
}

fn has_key(text: impl AsRef<[u8]>) -> bool {
    text.as_ref().windows(KEY.len()).any(|window| window == KEY.as_bytes())
}

#[test]
fn of_all_levels_of_the_error_log_only_debug_shows_the_key() {
    const LEVELS: [&str; 8] =
        ["emerg", "alert", "crit", "error", "warn", "notice", "info", "debug"];
    let fapi = Fapi::plain();
    let logs = LEVELS.map(|level| format!("error_log logs/{level}.log {level};"));
    for source in SOURCES {
        let mut nginx = config(source, &logs.concat(), &locations(&fapi, "")).start();
        visit(&nginx);
        nginx.stop();
        for level in LEVELS {
            let log = nginx.config.folder.read(&format!("logs/{level}.log"));
            let expected = level == "debug" && debug_build();
            assert_eq!(has_key(&log), expected, "{level} {}", source.0);
            assert!(
                LEVELS.iter().position(|&l| l == level) < Some(3) || !log.is_empty(),
                "{level}"
            );
        }
    }
}

#[test]
fn parts_of_the_level_debug_do_not_show_the_key() {
    let fapi = Fapi::plain();
    for part in ["debug_core", "debug_alloc", "debug_mutex", "debug_event"] {
        let log = format!("error_log logs/debug.log {part};");
        let mut nginx = config(&FILE, &log, &locations(&fapi, "")).start();
        visit(&nginx);
        nginx.stop();
        assert!(!has_key(nginx.config.folder.read("logs/debug.log")), "{part}");
    }
}

#[test]
fn a_location_can_keep_its_own_requests_out_of_the_log_around_it() {
    let fapi = Fapi::plain();
    let lines = locations(&fapi, "error_log logs/info.log info;");
    let mut nginx = config(&FILE, "error_log logs/debug.log debug;", &lines).start();
    visit(&nginx);
    nginx.stop();
    assert!(!has_key(nginx.config.folder.read("logs/debug.log")));
    assert!(!has_key(nginx.config.folder.read("logs/info.log")));
}

/// Every variable of a request that could hold a request header of the proxy's, or what follows from one.
const VARIABLES: &str = "\
    http_clerk_secret_key sent_http_clerk_secret_key sent_trailer_clerk_secret_key \
    upstream_http_clerk_secret_key upstream_trailer_clerk_secret_key \
    upstream_cookie_clerk_secret_key cookie_clerk_secret_key arg_clerk_secret_key http_x_key \
    http_authorization http_cookie http_host http_via http_x_forwarded_for clerk_proxy_uri \
    clerk_proxy_client_ip proxy_host proxy_port proxy_add_x_forwarded_for \
    proxy_internal_body_length proxy_internal_chunked upstream_addr upstream_status \
    upstream_connect_time upstream_header_time upstream_response_time upstream_response_length \
    upstream_bytes_received upstream_bytes_sent upstream_cache_status request request_uri \
    request_method request_filename request_body request_body_file request_completion \
    request_id request_length request_time uri document_uri document_root args query_string \
    host hostname server_name server_protocol scheme remote_user remote_addr realip_remote_addr \
    content_type content_length sent_http_content_type sent_http_location \
    sent_http_cache_control gzip_ratio status pipe pid";

#[test]
fn no_variable_and_no_reply_shows_the_key() {
    let fapi = Fapi::plain();
    let each = |text: &str| {
        let lines = VARIABLES.split(' ').map(|name| text.replace("NAME", name));
        lines.collect::<Vec<_>>().concat()
    };
    let (format, headers) = (each(" NAME=$NAME"), each("add_header V-NAME $NAME always;\n"));
    let page = each("<!--#echo var=\"NAME\" -->\n");
    let page = format!("{page}<!--#include virtual=\"/__clerk/v1\" -->");
    for source in SOURCES {
        let http = format!(
            "log_format all escape=none '{format}'; log_subrequest on; ssi_types text/plain;"
        );
        let server = format!(
            "root %DIR%; access_log logs/all.log all; {headers} {} location = /page {{ ssi on; }}",
            locations(&fapi, "ssi on;")
        );
        let mut nginx = config(source, &http, &server).file("page", &page).start();
        for reply in visit(&nginx) {
            assert!(!has_key(&reply.body) && !has_key(reply.headers.join("\n")), "{reply:?}");
            assert_eq!(reply.all("V-http_clerk_secret_key"), ["sk_live_forged"]);
        }
        let page = nginx.get("/page");
        assert!(page.text().contains(r#"{"ok":true}"#) && !has_key(&page.body), "{page:?}");
        nginx.stop();
        let log = nginx.config.folder.read("logs/all.log");
        assert!(!has_key(&log), "{}", source.0);
        assert_eq!(log.matches("http_clerk_secret_key=sk_live_forged").count(), 7, "{log}");
    }
}

#[test]
fn nothing_but_what_was_typed_is_in_the_output_of_nginx() {
    let fapi = Fapi::plain();
    for source in SOURCES {
        let config = config(source, "", &locations(&fapi, ""));
        let print = |option: &str| {
            let output = config.command().arg(option).output().expect("nginx runs");
            assert!(output.status.success());
            assert!(!has_key(&output.stderr), "{} {option}", source.0);
            String::from_utf8_lossy(&output.stdout).matches(KEY).count()
        };
        let typed = match source.0 {
            "literal" => 3,
            "map" => 1,
            _ => 0,
        };
        assert_eq!((print("-T"), print("-t")), (typed, 0), "{}", source.0);
    }
}

#[test]
fn what_happens_to_one_location_shows_no_other_the_key() {
    let (fapi, elsewhere) = (Fapi::plain(), Fapi::plain());
    let (port, other) = (fapi.port, elsewhere.port);
    let headers = "add_header V $http_clerk_secret_key$upstream_http_clerk_secret_key always;";
    let server = format!(
        "{headers} location /__clerk/ {{ clerk_proxy https://app.dev/__clerk %WORD%\n\
         upstream=http://127.0.0.1:{port}; mirror /copy; auth_request /ask; error_page 403 /after;\n\
         limit_except GET {{ deny all; }} }}\n\
         location /copy {{ proxy_pass http://127.0.0.1:{other}; }}\n\
         location /ask {{ proxy_pass http://127.0.0.1:{other}; }}\n\
         location /after {{ proxy_pass http://127.0.0.1:{other}; }}\n\
         location /other/ {{ mirror /__clerk/mirror; auth_request /__clerk/ask; add_before_body /__clerk/add;\n\
         proxy_pass http://127.0.0.1:{other}; }}"
    );
    for source in SOURCES {
        let before = elsewhere.requests().len();
        let nginx = config(source, "", &server).start();
        assert!(nginx.get("/__clerk/v1").all("V").is_empty());
        let denied = "POST /__clerk/v1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
        assert!(nginx.send(denied).all("V").is_empty());
        let reply = nginx.get("/other/x");
        assert!(reply.all("V").is_empty() && reply.status == 200, "{reply:?}");
        drop(nginx);
        let arrived = &elsewhere.requests()[before..];
        assert!(arrived.iter().any(|request| request.target() == "/after"), "{arrived:#?}");
        for request in arrived {
            assert!(request.all("Clerk-Secret-Key").is_empty(), "{request:#?}");
            assert!(!has_key(request.headers.join("\n")), "{request:#?}");
        }
    }
    for request in fapi.requests() {
        assert_eq!(request.one("Clerk-Secret-Key"), KEY);
    }
}

#[test]
fn a_client_can_neither_take_away_nor_add_a_key() {
    let fapi = Fapi::plain();
    let http = "underscores_in_headers on; ignore_invalid_headers off;";
    let nginx = config(&FILE, http, &locations(&fapi, "")).start();
    let headers = [
        "Connection: close, Clerk-Secret-Key, X-Forwarded-For, Host",
        "Connection: close\r\nclerk-secret-key: a\r\nCLERK-SECRET-KEY: b\r\nClerk-Secret-Key:",
        "Connection: close\r\nClerk-Secret-Key:\t\u{1}sk_live_x \t\r\nTransfer-Encoding: chunked",
    ];
    for (index, header) in headers.into_iter().enumerate() {
        let head = format!("GET /__clerk/v1 HTTP/1.1\r\nHost: a\r\n{header}\r\n\r\n0\r\n\r\n");
        assert_eq!(nginx.send(head).status, 200, "{header}");
        assert_eq!(fapi.wait_for(index + 1)[index].one("Clerk-Secret-Key"), KEY);
    }
    for header in ["Clerk-Secret-Key : a", "Clerk-Secret-Key: a\0b", " Clerk-Secret-Key: a"] {
        let head = "GET /__clerk/v1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n";
        let status = nginx.send(format!("{head}{header}\r\n\r\n")).status;
        assert!(status == 400 || status == 200 && !refuses_odd_headers(), "{status}, {header}");
    }
    let taken = fapi.requests().split_off(headers.len());
    assert!(taken.is_empty() || !refuses_odd_headers(), "{taken:#?}");
    for request in taken {
        assert_eq!(request.one("Clerk-Secret-Key"), KEY);
    }
}

/// The files below a folder with the key in them, but for those that bring it.
fn files_with_key(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder").map_while(Result::ok) {
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        if path.is_dir() {
            found.extend(files_with_key(&path));
        } else if has_key(fs::read(&path).unwrap_or_default())
            && !["nginx.conf", "key", "keys.conf"].contains(&name.as_str())
        {
            found.push(name);
        }
    }
    found
}

#[test]
fn no_file_that_nginx_writes_holds_the_key() {
    let body = "b".repeat(300_000);
    let headers = "Cache-Control: max-age=60\r\nVary: Clerk-Secret-Key, Clerk-Proxy-Url\r\n";
    let fapi = Fapi::answering(None, json(200, headers, &body));
    let http = "proxy_cache_path %DIR%/cache keys_zone=c:64k;";
    let lines = "proxy_cache c; proxy_request_buffering on; client_body_in_file_only on;\n\
         proxy_max_temp_file_size 1m;";
    for source in SOURCES {
        let mut nginx = config(source, http, &locations(&fapi, lines)).start();
        visit(&nginx);
        assert_eq!(nginx.get("/__clerk/npm/x.js").status, 200);
        nginx.stop();
        let folder = nginx.config.folder.path();
        let count = |name| fs::read_dir(folder.join(name)).map_or(0, Iterator::count);
        assert!(count("cache") > 0 && count("body") > 0, "nothing was written");
        assert!(files_with_key(folder).is_empty(), "{} {:?}", source.0, files_with_key(folder));
    }
}

#[test]
fn no_process_has_the_key_of_a_file_in_its_environment() {
    let fapi = Fapi::plain();
    for source in SOURCES {
        let nginx = config(source, "", &location(&fapi, "")).start();
        for pid in nginx.workers().into_iter().chain([nginx.master()]) {
            for file in ["environ", "cmdline"] {
                let bytes = fs::read(format!("/proc/{pid}/{file}")).expect("a process of ours");
                // nginx itself writes the titles of its processes over their environment.
                assert!(!has_key(bytes), "{} {file}", source.0);
            }
        }
    }
}
