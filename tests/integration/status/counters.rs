//! What `clerk_proxy_status` counts, held against what was done.

use std::io::Write;
use std::net::TcpStream;
use std::sync::mpsc;
use std::sync::Mutex;

use crate::kit::fapi::{json, Fapi, CA};
use crate::kit::harness::{free_port, kill, Config, Nginx, KEY};
use crate::kit::load::{telling, Load};
use crate::kit::network::{forget, inside};
use crate::kit::status::Scrape;

const STATUS: &str = "location /status { clerk_proxy_status; access_log off; }";

/// A stand-in that answers with the status at the end of the target.
fn saying() -> Fapi {
    Fapi::start(None, |request, stream| {
        let status = request.target().rsplit('/').next().and_then(|text| text.parse().ok());
        stream.write_all(json(status.unwrap_or(200), "", "{}").as_bytes()).is_ok()
    })
}

/// Lines for a location that leads to this origin.
fn location(path: &str, origin: &str, lines: &str) -> String {
    format!(
        "location {path} {{ clerk_proxy https://app.dev{} secret_key=%KEY% upstream={origin};\n\
         proxy_ssl_trusted_certificate %DIR%/ca.pem;\n{lines}\n}}",
        path.trim_end_matches('/')
    )
}

/// One server with the location `/__clerk` and the status.
fn config(origin: &str, lines: &str) -> Config {
    Config::server(&format!("{STATUS}\n{}", location("/__clerk", origin, lines)))
}

fn plain(fapi: &Fapi) -> String {
    format!("http://127.0.0.1:{}", fapi.port)
}

/// Waits until so many requests have ended, which nginx counts once it has answered.
fn after(nginx: &mut Nginx, requests: u64) -> Scrape {
    nginx.until("the requests have ended", |nginx| {
        Scrape::of(nginx).sum("requests_total", &[]) >= requests
    });
    let scrape = Scrape::of(nginx);
    assert_eq!(scrape.sum("requests_total", &[]), requests);
    scrape
}

#[test]
fn replies_errors_and_bytes() {
    let fapi = saying();
    let lines = "client_max_body_size 4; location /__clerk/denied { deny all; }\n\
                 location /__clerk/gone { return 410; } location /__clerk/moved { return 301 /; }";
    let log =
        "log_format bytes '$request_length $bytes_sent $uri'; access_log logs/bytes.log bytes;";
    let mut nginx = config(&plain(&fapi), lines).http(log).start();
    for target in ["200", "204", "302", "404", "404", "502", "503"] {
        assert_eq!(nginx.get(&format!("/__clerk/v1/{target}")).status.to_string(), target);
    }
    assert_eq!(nginx.ask("HEAD", "/__clerk/v1/200").status, 200);
    assert_eq!(nginx.ask("POST", "/__clerk/v1").status, 413);
    assert_eq!(nginx.get("/__clerkfoo").status, 404);
    assert_eq!(nginx.get("/elsewhere").status, 404);
    let scrape = after(&mut nginx, 10);
    for (class, count) in [("1xx", 0), ("2xx", 3), ("3xx", 1), ("4xx", 2), ("5xx", 2)] {
        assert_eq!(scrape.sum("replies_total", &[class]), count, "{class}");
    }
    for (code, count) in [("404", 1), ("413", 1), ("502", 0), ("other", 0)] {
        assert_eq!(scrape.sum("errors_total", &[&format!("code=\"{code}\"")]), count, "{code}");
    }
    assert_eq!(scrape.sum("errors_total", &[]), 2);
    let log = nginx.config.folder.read("logs/bytes.log");
    let lines = log.lines().filter(|line| line.contains("/__clerk"));
    let bytes: Vec<Vec<u64>> =
        lines.map(|line| line.split(' ').flat_map(str::parse).collect()).collect();
    let sum = |column: usize| bytes.iter().map(|line| line[column]).sum::<u64>();
    assert_eq!(scrape.sum("received_bytes_total", &[]), sum(0));
    assert_eq!(scrape.sum("sent_bytes_total", &[]), sum(1));
    // Locations inside have the line of the one around, unless they answer themselves.
    assert_eq!(nginx.get("/__clerk/denied/x").status, 403);
    assert_eq!(nginx.get("/__clerk/gone").status, 410);
    assert_eq!(nginx.get("/__clerk/moved").status, 301);
    let scrape = after(&mut nginx, 11);
    assert_eq!(scrape.sum("errors_total", &["location=\"/__clerk/denied\"", "403"]), 1);
    assert!(!nginx.get("/status").text().contains("gone"));
}

/// A client that leaves gets no reply, and nginx's own status for that is counted.
#[test]
fn clients_that_leave() {
    let (go_on, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let fapi = Fapi::start(None, move |_, _| {
        let _ = wait.lock().expect("the test").recv();
        false
    });
    let mut nginx = config(&plain(&fapi), "").start();
    let mut client: TcpStream = nginx.connect();
    client.write_all(b"GET /__clerk/v1 HTTP/1.1\r\nHost: a\r\n\r\n").expect("nginx reads");
    fapi.wait_for(1);
    drop(client);
    let scrape = after(&mut nginx, 1);
    assert_eq!(scrape.sum("errors_total", &["499"]), 1);
    assert_eq!(scrape.sum("replies_total", &[]), 0);
    go_on.send(()).expect("the stand-in waits");
}

#[test]
fn failures_and_retries() {
    let fapi = saying();
    let own = format!(
        "upstream own {{ server 127.0.0.1:{} max_fails=0; server 127.0.0.1:{} backup; }}\n\
         server {{ listen 127.0.0.1:%PORT%;\n{STATUS}\n{}\n{} }}",
        free_port(),
        fapi.port,
        location("/two/", "http://own", ""),
        location("/dead/", &format!("http://127.0.0.1:{}", free_port()), ""),
    );
    let mut nginx = Config::new(&own).start();
    assert_eq!(nginx.get("/dead/v1").status, 502);
    for _ in 0..3 {
        assert_eq!(nginx.get("/two/v1").status, 200);
    }
    let scrape = after(&mut nginx, 4);
    assert_eq!(scrape.sum("errors_total", &["location=\"/dead/\"", "502"]), 1);
    assert_eq!(scrape.sum("errors_total", &["location=\"/two/\""]), 0);
    assert_eq!(scrape.sum("replies_total", &["location=\"/two/\"", "2xx"]), 3);
    assert_eq!(scrape.sum("upstream_retries_total", &["upstream=\"own\""]), 3);
    // Since 1.29.7 nginx keeps the connections of blocks without a line for it.
    let own = |metric: &str| scrape.sum(&format!("upstream_{metric}_total"), &["upstream=\"own\""]);
    assert_eq!(own("connections_made") + own("connections_reused"), 3);
    assert_eq!(scrape.sum("upstream_retries_total", &["upstream=\"clerk_proxy 127.0.0.1"]), 0);
    assert_eq!(scrape.sum("upstream_connections_made_total", &["upstream=\"clerk_proxy"]), 0);
}

#[test]
fn connections_and_handshakes() {
    let fapi = Fapi::start(CA.server(&["localhost"]), |request, stream| {
        let end = if request.target() == "/end" { "Connection: close\r\n" } else { "" };
        stream.write_all(json(200, end, "{}").as_bytes()).is_ok() && end.is_empty()
    });
    let mut nginx = config(&format!("https://localhost:{}", fapi.port), "").start();
    for target in ["v1", "v1", "end", "v1", "v1", "v1"] {
        assert_eq!(nginx.get(&format!("/__clerk/{target}")).status, 200);
    }
    let scrape = after(&mut nginx, 6);
    let upstream = |metric: &str, part| scrape.sum(&format!("upstream_{metric}_total"), &[part]);
    assert_eq!(upstream("connections_made", ""), 2);
    assert_eq!(upstream("connections_reused", ""), 4);
    assert_eq!(upstream("handshakes", "full"), 1);
    assert_eq!(upstream("handshakes", "resumed"), 1);
    assert_eq!(fapi.handshakes().len(), 2);
    assert_eq!(upstream("retries", ""), 0);
    assert_eq!(upstream("dead_connections", ""), 0);
}

#[test]
fn connections_that_the_network_has_forgotten() {
    if !inside("status::counters::connections_that_the_network_has_forgotten") {
        return;
    }
    let fapi = saying();
    let mut nginx = config(&plain(&fapi), "").start();
    assert_eq!(nginx.get("/__clerk/v1").status, 200);
    forget(fapi.port);
    assert_eq!(nginx.get("/__clerk/v1").status, 200);
    let scrape = after(&mut nginx, 2);
    let upstream = |metric: &str| scrape.sum(&format!("upstream_{metric}_total"), &[]);
    assert_eq!(upstream("dead_connections"), 1);
    assert_eq!(upstream("retries"), 1);
    assert_eq!((upstream("connections_made"), upstream("connections_reused")), (2, 1));
}

#[test]
fn states_of_the_cache() {
    let fapi = Fapi::answering(None, json(200, "Cache-Control: max-age=600\r\n", "{}"));
    let mut nginx = config(&plain(&fapi), "proxy_cache zone;")
        .http("proxy_cache_path %DIR%/cache keys_zone=zone:1m;")
        .start();
    for _ in 0..3 {
        assert_eq!(nginx.get("/__clerk/npm/@clerk/clerk-js@6/a.js").status, 200);
    }
    assert_eq!(nginx.get("/__clerk/v1/client").status, 200);
    let scrape = after(&mut nginx, 4);
    let state = |state: &str| scrape.sum("cache_requests_total", &[state]);
    assert_eq!([state("MISS"), state("HIT"), state("EXPIRED"), state("")], [1, 2, 0, 3]);
    assert_eq!(scrape.sum("replies_total", &["2xx"]), 4);
    assert_eq!(fapi.requests().len(), 2);
}

/// Requests of both workers count together, and go on counting in the next configuration, also those that the old workers
/// end.
#[test]
fn workers_and_reloads() {
    let fapi = telling("one", None);
    let mut nginx = config(&plain(&fapi), "").workers(2).start();
    let whole = nginx.config.text();
    let load = Load::start(nginx.port(), &["/__clerk/v1"]);
    for round in 0..8 {
        let more = location(&format!("/more{round}/"), &plain(&fapi), "").replace("%KEY%", KEY);
        let more = more.replace("%DIR%", &nginx.config.folder.path().display().to_string());
        let text = whole.replace("location /__clerk ", &format!("{more} location /__clerk "));
        nginx.config.folder.write("nginx.conf", text);
        nginx.reload();
        let answered = load.answered();
        nginx.until("there is load", |_| load.answered() >= answered + 8);
        assert_eq!(Scrape::of(&nginx).sum("requests_total", &["/more"]), 0);
    }
    load.stop();
    let logged = |nginx: &Nginx| {
        nginx.config.folder.read("logs/access.log").matches("/__clerk/").count() as u64
    };
    let counted = |nginx: &Nginx| Scrape::of(nginx).sum("requests_total", &["/__clerk"]);
    nginx.until("all are counted", |nginx| counted(nginx) == logged(nginx));
    let (scrape, all) = (Scrape::of(&nginx), logged(&nginx));
    assert_eq!(scrape.sum("replies_total", &["/__clerk", "2xx"]), all);
    let sum = |metric| scrape.sum(metric, &[]);
    let sent = sum("upstream_connections_made_total") + sum("upstream_connections_reused_total");
    assert_eq!(sent, all + sum("upstream_retries_total"));
    assert!(all > 64);
}

/// Where the memory has no room for more, other memory begins with what was counted.
#[test]
fn reloads_with_many_more_locations() {
    let fapi = saying();
    let mut nginx = config(&plain(&fapi), "# more").start();
    let whole = nginx.config.text();
    let mut requests = 0;
    for count in [0, 200, 0, 300, 300, 1] {
        let more = (0..count).map(|number| {
            let origin = plain(&fapi);
            format!("location /m{count}/{number}/ {{ clerk_proxy https://app.dev/m{count}/{number} upstream={origin}; }}")
        });
        let more = format!(
            "# more\n}} clerk_proxy_secret_key {KEY};\n{} location /other {{",
            more.collect::<String>()
        );
        nginx.config.folder.write("nginx.conf", whole.replace("# more", &more));
        nginx.reload();
        assert_eq!(nginx.get("/__clerk/v1").status, 200);
        requests += 1;
        let scrape = after(&mut nginx, requests);
        assert_eq!(scrape.sum("replies_total", &["/__clerk", "2xx"]), requests);
        let lines = scrape.0.keys().filter(|key| key.starts_with("clerk_proxy_requests_total"));
        assert_eq!(lines.count(), count + 1);
    }
    // Without the directive nothing is kept, and nothing is counted.
    nginx.config.folder.write("nginx.conf", whole.replace("clerk_proxy_status;", "return 204;"));
    nginx.reload();
    assert_eq!(nginx.get("/__clerk/v1").status, 200);
    nginx.config.folder.write("nginx.conf", whole);
    nginx.reload();
    assert_eq!(Scrape::of(&nginx).sum("requests_total", &[]), 0);
}

#[test]
fn connections_that_are_ready() {
    let fapi = Fapi::tls();
    let origin = format!("https://localhost:{}", fapi.port);
    let mut nginx =
        config(&origin, "clerk_proxy_warm 3;").workers(2).allow("exited on signal 9").start();
    let metric = "upstream_ready_connections";
    let ready = |nginx: &Nginx| Scrape::of(nginx).sum(metric, &[]);
    nginx.until("both workers have theirs", |nginx| ready(nginx) == 6);
    nginx.reload();
    nginx.until("the new workers have theirs", |nginx| ready(nginx) == 6);
    let made = |nginx: &Nginx| Scrape::of(nginx).sum("upstream_connections_made_total", &[]);
    assert_eq!(made(&nginx), 12);
    assert_eq!(Scrape::of(&nginx).sum("upstream_handshakes_total", &[]), 12);
    // A worker that is killed says nothing more; its successor has its place.
    let killed = nginx.workers()[0];
    kill("KILL", killed);
    nginx.until("another takes its place", |nginx| made(nginx) == 15 && ready(nginx) == 6);
    // With fewer workers, and where fewer are wanted, nothing is left of the rest.
    let text = nginx.config.text().replace("worker_processes 2", "worker_processes 1");
    for wanted in [1, 3] {
        let text = text.replace("warm 3", &format!("warm {wanted}"));
        nginx.config.folder.write("nginx.conf", text);
        nginx.signal("HUP");
        nginx.until("one worker is left", |nginx| nginx.workers().len() == 1);
        nginx.until("it has its own", |nginx| ready(nginx) == wanted);
    }
    nginx.config.folder.write("nginx.conf", text.replace("warm 3", "warm 0"));
    nginx.signal("HUP");
    let metric = format!("clerk_proxy_{metric}");
    nginx.until("it says so", |nginx| !Scrape::of(nginx).metrics().contains(&metric.as_str()));
}
