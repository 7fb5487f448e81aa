//! The page of `clerk_proxy_status`: who gets it, its two forms, and what nginx says of the directive.

use std::fs;

use crate::kit::fapi::Fapi;
use crate::kit::harness::{Config, Nginx, Reply, KEY};
use crate::kit::load::{ask, head};
use crate::kit::printed::{expect, location, LINE};
use crate::kit::status::Scrape;

const STATUS: &str = "clerk_proxy_status;";

/// Two servers and three locations, with a name, a socket and a block as upstreams.
fn several(fapi: &Fapi) -> Config {
    let port = fapi.port;
    let config = Config::new(&format!(
        "clerk_proxy_secret_key %KEY%;\n\
         upstream own {{ server 127.0.0.1:{port}; }}\n\
         server {{ listen 127.0.0.1:%PORT%; server_name app.dev other.dev;\n\
         location /status {{ {STATUS} allow 127.0.0.1; deny all; }}\n\
         location /denied {{ {STATUS} deny all; }}\n\
         location /__clerk/ {{ clerk_proxy https://app.dev/__clerk upstream=https://localhost:{port};\n\
             location = /__clerk/status {{ {STATUS} }} }}\n\
         location ~ \"^/re\\w{{1,9}}/\\\"\" {{ clerk_proxy https://app.dev upstream=https://own; }} }}\n\
         server {{ listen 127.0.0.1:%PORT2%; server_name app.dev;\n\
         location /__clerk/ {{ clerk_proxy https://app.dev/__clerk upstream=https://localhost:{port}; }} }}\n\
         server {{ listen 127.0.0.1:%PORT2%; server_name b.dev;\n\
         location /__clerk/ {{ clerk_proxy https://b.dev/__clerk upstream=http://unix:/tmp/none; }} }}"
    ));
    let ca = config.folder.path().join("ca.pem");
    config.env("SSL_CERT_FILE", &ca.to_string_lossy())
}

fn json(nginx: &Nginx) -> Reply {
    nginx.send(
        "GET /status HTTP/1.1\r\nHost: app.dev\r\nAccept: text/html;q=0.9, application/json\r\n\
         Connection: close\r\n\r\n",
    )
}

#[test]
fn both_forms_say_the_same() {
    let fapi = Fapi::tls();
    let mut nginx = several(&fapi).start();
    let looked_up = "name_last_lookup_timestamp_seconds";
    nginx.until("the name is looked up", |nginx| {
        Scrape::of(nginx).metrics().contains(&format!("clerk_proxy_{looked_up}").as_str())
    });
    assert_eq!(nginx.get("/__clerk/v1").status, 200);
    nginx.until("it is counted", |nginx| Scrape::of(nginx).sum("requests_total", &[]) == 1);
    let (text, json) = (Scrape::of(&nginx), json(&nginx));
    // Where packaging/monitoring/check has Prometheus read it.
    if let Some(path) = std::env::var_os("CLERK_PROXY_TEST_PAGE") {
        fs::write(path, nginx.get("/status").body).expect("a file");
    }
    assert_eq!(Scrape::of_json(&json), text);
    // Locations of one name in servers of one name count together.
    let requests = text.0.keys().filter(|key| key.starts_with("clerk_proxy_requests_total"));
    assert_eq!(
        requests.collect::<Vec<_>>(),
        [
            "clerk_proxy_requests_total{location=\"/__clerk/\",server=\"app.dev\"}",
            "clerk_proxy_requests_total{location=\"/__clerk/\",server=\"b.dev\"}",
            "clerk_proxy_requests_total{location=\"^/re\\\\w{1,9}/\\\"\",server=\"app.dev\"}",
        ]
    );
    assert!((1..=2).contains(&text.sum("name_addresses", &["name=\"localhost\""])));
    assert_eq!(text.sum("name_lookup_success", &[]), 1);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let age = now.expect("a time").as_secs() - text.sum(looked_up, &[]);
    assert!(age < 60, "{age}");
    let version = format!("version=\"{}\"", env!("CARGO_PKG_VERSION"));
    assert_eq!(text.sum("build_info", &[&version, "nginx_version=\""]), 1);
    for upstream in ["own", "clerk_proxy localhost|", "clerk_proxy unix"] {
        assert_eq!(text.sum("upstream_retries_total", &[upstream]), 0);
    }
    for page in [nginx.get("/status").text(), json.text()] {
        assert!(!page.contains(KEY) && !page.contains("sk_"), "{}", page.replace(KEY, "(the key)"));
        assert!(!page.contains("127.0.0.1\"") && page.ends_with('\n'));
    }
}

#[test]
fn who_gets_it() {
    let fapi = Fapi::tls();
    let nginx = several(&fapi).start();
    let page = nginx.get("/status");
    assert_eq!(page.all("Content-Length"), [page.body.len().to_string()]);
    let head = nginx.ask("HEAD", "/status");
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(head.all("Content-Type"), page.all("Content-Type"));
    for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
        assert_eq!(nginx.ask(method, "/status").status, 405, "{method}");
    }
    assert_eq!(nginx.get("/denied").status, 403);
    // Inside of a location with a `clerk_proxy` it is no part of the proxy.
    assert!(nginx.get("/__clerk/status").text().starts_with("# HELP clerk_proxy_build_info "));
    assert!(fapi.requests().is_empty());
    let more = format!("location /s {{ if ($arg_a) {{ add_header X-A b; }} {STATUS} }}");
    let nginx = Config::server(&more).start();
    let page = nginx.get("/s?a=b");
    assert_eq!(page.all("X-A"), ["b"]);
    // Without a `clerk_proxy` there is little to say.
    assert_eq!(page.text().lines().count(), 3);
}

/// A name without addresses, at the start and later.
#[test]
fn a_name_without_addresses() {
    let nginx = Config::server(&format!(
        "location /status {{ {STATUS} }} location /__clerk/ {{\n\
         clerk_proxy https://app.dev/__clerk secret_key=%KEY% upstream=http://none.invalid; }}"
    ))
    .start();
    let scrape = Scrape::of(&nginx);
    assert_eq!(scrape.sum("name_addresses", &["none.invalid"]), 0);
    assert_eq!(scrape.sum("name_lookup_success", &["none.invalid"]), 0);
}

/// How many pieces of memory a process shares.
fn shared(nginx: &Nginx) -> usize {
    let maps = fs::read_to_string(format!("/proc/{}/maps", nginx.workers()[0])).expect("maps");
    maps.lines().filter(|line| line.contains(" rw-s ")).count()
}

#[test]
fn without_the_directive_there_is_no_memory() {
    let fapi = Fapi::plain();
    let server = |lines: &str| {
        let nginx = Config::server(&format!(
            "location /__clerk/ {{ clerk_proxy https://app.dev/__clerk secret_key=%KEY%\n\
             upstream=http://127.0.0.1:{}; }} {lines}",
            fapi.port
        ))
        .start();
        assert_eq!(nginx.get("/__clerk/v1").status, 200);
        nginx
    };
    let none = shared(&Config::server("").start());
    assert_eq!(shared(&server("")), none);
    assert_eq!(shared(&server(&format!("location /status {{ {STATUS} }}"))), none + 1);
}

/// nginx without workers serves what was begun before a reload, and has taken the memory of that away.
#[test]
fn a_process_without_workers() {
    let fapi = Fapi::plain();
    let server = format!(
        "location /status {{ {STATUS} }} location /__clerk/ {{\n\
         clerk_proxy https://app.dev/__clerk secret_key=%KEY% upstream=http://127.0.0.1:{}; }}",
        fapi.port
    );
    let mut nginx = Config::server(&server)
        .main("master_process off; error_log logs/error.log notice;")
        .workers(0)
        .start();
    let mut stream = nginx.connect();
    let request = |target| head("GET", target, "keep-alive") + "\r\n";
    assert_eq!(ask(&mut stream, &request("/__clerk/v1")).expect("a reply").status, 200);
    let scrape = ask(&mut stream, &request("/status")).expect("a reply");
    assert_eq!(Scrape::parse(&scrape.text()).sum("requests_total", &[]), 1);
    let text = nginx.config.text().replace(STATUS, "return 204;");
    nginx.config.folder.write("nginx.conf", text);
    nginx.signal("HUP");
    nginx.until("it is read", |nginx| nginx.count(": reconfiguring\n") == 1);
    assert_eq!(ask(&mut stream, &request("/__clerk/v1")).expect("a reply").status, 200);
    let scrape = ask(&mut stream, &request("/status")).expect("a reply");
    assert_eq!(Scrape::parse(&scrape.text()).metrics(), ["clerk_proxy_build_info"]);
}

#[test]
fn words_and_places() {
    let number = "invalid number of arguments in \"clerk_proxy_status\" directive";
    expect(&location("clerk_proxy_status on;"), 5, number);
    let duplicate = "\"clerk_proxy_status\" directive is duplicate";
    expect(&location(&format!("{STATUS}\n{STATUS}")), 6, duplicate);
    let context = "\"clerk_proxy_status\" directive is not allowed here";
    expect(&Config::new(STATUS), 2, context);
    expect(&Config::server(STATUS), 4, context);
    expect(&location(&format!("if ($host) {{\n{STATUS}\n}}")), 6, context);
    expect(&location(&format!("limit_except GET {{\n{STATUS}\n}}")), 6, context);
    let beside = "\"clerk_proxy_status\" conflicts with another content handler in location \"/__clerk/\", move it to a \
                  location of its own";
    for line in [LINE, "proxy_pass http://127.0.0.1:1;", "stub_status;"] {
        expect(&location(&format!("{line}\n{STATUS}")), 6, beside);
    }
    for line in ["proxy_pass http://127.0.0.1:1;", "stub_status;"] {
        expect(&location(&format!("{STATUS}\n{line}")), 5, beside);
    }
    let other = "\"clerk_proxy\" conflicts with another content handler in location \"/__clerk/\", remove the other one, \
                 such as \"proxy_pass\", \"empty_gif\" or \"track_uploads\"";
    expect(&location(&format!("{STATUS}\n{LINE}")), 5, other);
}
