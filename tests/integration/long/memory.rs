//! Memory that runs out, at each place where nginx or the module asks for some: a clean error each time.
//!
//! Of the thousands of places where a configuration needs some, only every so many are tried;
//! scripts/faults tries all.

use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::LazyLock;
use std::thread;

use crate::kit::assert::assert_json;
use crate::kit::c::library;
use crate::kit::fapi::{json, Fapi, CA};
use crate::kit::harness::{free_port, number, Config, Nginx, Reply, FAULTY_MODULE, KEY};
use crate::kit::meter::{preloaded, Meter, Who};

/// How many calls fail, from a given one on.
const HOW_MANY: [u64; 2] = [1, u64::MAX];

/// A module of somebody else's, which does what modules may do.
static NEIGHBOUR: LazyLock<PathBuf> = LazyLock::new(|| library("neighbour.c"));

/// Stand-ins, plain and with TLS.
fn fapis() -> [Fapi; 2] {
    let tls = CA.server(&["localhost", "frontend-api.clerk.dev"]);
    [None, Some(tls)].map(|tls| {
        Fapi::start(tls, |request, stream| {
            let hop = request.target().contains("hop");
            let headers = if hop {
                "Connection: X-Hop\r\nX-Hop: 1\r\n"
            } else {
                "Cache-Control: max-age=60\r\n"
            };
            let interim = "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n";
            let reply = interim.to_owned() + &json(200, headers, r#"{"ok":true}"#);
            stream.write_all(reply.as_bytes()).is_ok()
        })
    })
}

/// A configuration that needs all that the module has.
fn everything(fapis: &[Fapi; 2], warm: usize) -> Config {
    let [plain, tls] = fapis.each_ref().map(|fapi| fapi.port);
    let dead = free_port();
    let location = |name: &str, url: &str, more: &str| {
        format!(
            "location {name} {{ clerk_proxy https://{url} {more}; \
             proxy_ssl_trusted_certificate ca.pem; if ($arg_x) {{ add_header X-If 1; }} }}\n"
        )
    };
    let locations = [
        location("/__clerk/", "app.dev/__clerk", ""),
        location("/own/", "$host/own", "secret_key=$key upstream=https://own"),
        location(
            "/plain/",
            "$host/plain",
            &format!(
                "keepalive=4 upstream=http://127.0.0.1:{plain}; proxy_cache zone; \
                 proxy_cache_bypass $http_x_anew"
            ),
        ),
        location("~ ^/dead", "app.dev/dead", &format!("upstream=http://127.0.0.1:{dead}")),
        "location = /status { clerk_proxy_status; }".to_owned(),
    ]
    .concat();
    Config::new(&format!(
        "proxy_cache_path cache keys_zone=zone:1m; map $host $key {{ default %KEY%; none.dev none; }} proxy_set_header X-App 1;\n\
         clerk_proxy_secret_key file:key; clerk_proxy_warm {warm};\n\
         server {{ listen 127.0.0.1:%PORT%; clerk_proxy_upstream https://localhost:{tls};\n\
         clerk_proxy_client_ip $http_x_ip;\n{locations}}}\n\
         upstream own {{ server 127.0.0.1:{tls}; keepalive 4; }}\n"
    ))
    .file("key", KEY)
    .beside(&NEIGHBOUR)
}

/// Runs `nginx -t`, with each of the calls failing that `step` leads to; how many there are.
fn check_each(
    who: Who,
    step: u64,
    config: impl Fn() -> Config + Sync,
    assert: impl Fn(&Output, &str) + Sync,
) -> u64 {
    let (next, most) = (AtomicU64::new(1), AtomicU64::new(0));
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                let (meter, config) = Meter::on(config());
                loop {
                    let first = next.fetch_add(step, Ordering::Relaxed);
                    for count in HOW_MANY {
                        meter.set(who, first, count);
                        let output = config.command().arg("-t").output().expect("nginx runs");
                        let calls = meter.stop();
                        most.fetch_max(calls, Ordering::Relaxed);
                        let text = String::from_utf8_lossy(&output.stderr);
                        let what = format!("{who:?} {first}, {count}: {}, {text}", output.status);
                        assert!(!text.contains(KEY) && !text.contains("defect"), "{what}");
                        if calls < first {
                            assert!(output.status.success(), "{what}");
                            return;
                        }
                        assert(&output, &what);
                    }
                }
            });
        }
    });
    most.into_inner()
}

/// How many of the places of a configuration are passed over.
fn step(default: u64) -> u64 {
    number("CLERK_PROXY_TEST_STEP", default)
}

#[test]
fn in_configuration() {
    let fapis = fapis();
    let faulty = || everything(&fapis, 1).module(&FAULTY_MODULE);
    let calls = check_each(Who::Reader, step(53), faulty, |output, what| {
        // By a signal there would be no code.
        assert_eq!(output.status.code(), Some(1), "{what}");
    });
    assert!(calls > 500, "{calls}");
    println!("{calls} calls into nginx");
}

#[test]
fn of_nginx_in_configuration() {
    let fapis = fapis();
    let stock = || preloaded(everything(&fapis, 1));
    let calls = check_each(Who::Nginx, step(4), stock, |output, what| {
        // It can do without some.
        assert!([Some(0), Some(1)].contains(&output.status.code()), "{what}");
    });
    assert!(calls > 50, "{calls}");
    println!("{calls} allocations of nginx");
}

#[test]
fn of_the_module_in_configuration() {
    let fapis = fapis();
    let stock = || preloaded(everything(&fapis, 1));
    let calls = check_each(Who::Module, step(211), stock, |output, what| {
        // What cannot be enlarged in its place may find another.
        let told = output.stderr.windows(7).any(|text| text == b"[emerg]");
        assert_eq!(output.status.code(), Some(i32::from(told)), "{what}");
    });
    assert!(calls > 1000, "{calls}");
    println!("{calls} allocations of the module");
}

/// A request on a connection of its own, whose reply may be missing or cut off; whether it is whole.
fn exchange(nginx: &Nginx, request: &str) -> Option<Reply> {
    let mut stream = nginx.connect();
    let mut bytes = Vec::new();
    // nginx may close with a part of the request unread.
    let _ = stream.write_all(request.as_bytes());
    let _ = stream.read_to_end(&mut bytes);
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let reply = Reply::parse(&bytes);
    let length = reply.all("Content-Length").first()?.parse::<usize>().expect("a length");
    (bytes.len() == end + 4 + length).then_some(reply)
}

/// Requests that go all ways through the module: how they begin and end, and the status of each.
const REQUESTS: &[(&str, &str, u16)] = &[
    ("POST /__clerk/v1/tokens", "Host: app.dev\r\nContent-Length: 5\r\n\r\nhello", 200),
    // Headers for one hop, a URI that must be written anew, and an address that is worked out.
    (
        "GET /%5F_clerk/v1",
        "Host: app.dev\r\nConnection: X-Hop\r\nX-Hop: 1\r\nX-Ip: 192.0.2.1:5\r\n\r\n",
        200,
    ),
    ("GET /own/v1", "Host: app.dev\r\n\r\n", 200),
    ("GET /plain/%2e%2e/plain/hop", "Host: app.dev\r\n\r\n", 200),
    // A script that is kept.
    ("GET /plain/npm/x.js", "Host: app.dev\r\nCookie: a=b\r\nX-Anew: 1\r\n\r\n", 200),
    ("GET /dead/v1", "Host: app.dev\r\n\r\n", 502),
    ("GET /deadly", "Host: app.dev\r\n\r\n", 404),
    ("GET /own/v1", "Host: none.dev\r\n\r\n", 500),
    ("GET /status", "Host: app.dev\r\n\r\n", 200),
];

/// The whole text of such a request.
fn text((line, rest, _): (&str, &str, u16)) -> String {
    format!("{line} HTTP/1.1\r\nConnection: close\r\n{rest}")
}

/// Lets each call fail that a request leads to: it gets its reply, an error or none, and the next one is
/// well.
fn fail_each(who: Who, nginx: &Nginx, meter: &Meter) -> u64 {
    // Who answers has all that a worker begins with.
    assert_eq!(nginx.get("/__clerk/v1").status, 200);
    let workers = nginx.workers();
    let mut total = 0;
    for &request in REQUESTS {
        let (request, status) = (&*text(request), request.2);
        for count in HOW_MANY {
            for first in 1.. {
                meter.set(who, first, count);
                let reply = exchange(nginx, request);
                let calls = meter.stop();
                let what = format!("{who:?} {first}, {count} of {calls}, {request}: {reply:?}");
                assert_eq!(nginx.workers(), workers, "a worker has died: {what}");
                if calls < first {
                    assert_eq!(reply.expect(&what).status, status, "{what}");
                    total += calls;
                    break;
                }
                if let Some(reply) = reply.filter(|reply| reply.status != status) {
                    assert!([500, 502].contains(&reply.status), "{what}");
                    if request.starts_with("GET /status") {
                        continue;
                    }
                    let code = ["proxy_configuration_error", "proxy_request_failed"];
                    assert_json(&reply, reply.status, code[usize::from(reply.status == 502)]);
                }
                assert_eq!(exchange(nginx, request).expect(&what).status, status, "{what}");
            }
        }
    }
    total / 2
}

#[test]
fn in_requests() {
    let fapis = fapis();
    let (meter, config) = Meter::on(everything(&fapis, 0).module(&FAULTY_MODULE));
    let calls = fail_each(Who::Worker, &config.start(), &meter);
    assert!(calls > 20, "{calls}");
    println!("{calls} calls into nginx");
}

#[test]
fn of_nginx_in_requests() {
    let fapis = fapis();
    let (meter, config) = Meter::on(preloaded(everything(&fapis, 0)));
    // nginx says what it lacks.
    let nginx = config.allow("malloc(").allow("posix_memalign(").start();
    let calls = fail_each(Who::Nginx, &nginx, &meter);
    assert!(calls > 20, "{calls}");
    println!("{calls} allocations of nginx");
}

#[test]
fn of_the_module_in_requests() {
    let fapis = fapis();
    let (meter, config) = Meter::on(preloaded(everything(&fapis, 0)));
    let nginx = config.start();
    let calls = fail_each(Who::Module, &nginx, &meter);
    assert!(calls > 20, "{calls}");
    println!("{calls} allocations of the module");
    // What nearly all requests are needs none.
    for _ in 0..3 {
        meter.set(Who::Module, u64::MAX, 1);
        assert_eq!(exchange(&nginx, &text(REQUESTS[0])).expect("a reply").status, 200);
        assert_eq!(meter.stop(), 0);
    }
}

/// Names that are followed and connections that are kept ready: what fails in the one or the other is tried
/// again.
#[test]
fn in_what_a_worker_does_by_itself() {
    let fapis = fapis();
    let ready = |nginx: &Nginx| nginx.count(" is ready") == 2;
    let start = |first, count| {
        let config = everything(&fapis, 1).main("error_log logs/error.log info;");
        let (meter, config) = Meter::on(config.module(&FAULTY_MODULE));
        meter.set(Who::Worker, first, count);
        (meter, config.start())
    };
    let (meter, mut nginx) = start(u64::MAX, 1);
    nginx.until("the connections are ready", |nginx| ready(nginx));
    let calls = meter.count();
    drop(nginx);
    assert!(calls > 20, "{calls}");
    println!("{calls} calls into nginx");
    for first in (1..=calls).step_by(usize::try_from(step(3)).unwrap()) {
        for count in HOW_MANY {
            let (meter, mut nginx) = start(first, count);
            let workers = nginx.workers();
            nginx.until("a call has failed", |_| meter.count() >= first);
            meter.stop();
            let what = format!("{first}, {count}");
            assert_eq!(nginx.get("/__clerk/v1").status, 200, "{what}");
            assert_eq!(nginx.get("/plain/v1").status, 200, "{what}");
            assert_eq!(nginx.workers(), workers, "{what}");
        }
    }
}

/// Whatever the module calls of nginx can fail in these tests, or needs nothing.
#[test]
fn no_call_is_forgotten() {
    const NEEDS_NOTHING: &[&str] = &[
        "ngx_close_connection",
        "ngx_conf_log_error",
        "ngx_destroy_pool",
        "ngx_hash_find",
        "ngx_http_finalize_request",
        "ngx_http_script_if_code",
        "ngx_http_script_regex_start_code",
        "ngx_http_script_return_code",
        "ngx_regex_exec_array",
        "ngx_http_read_client_request_body",
        "ngx_http_update_location_config",
        "ngx_log_error_core",
        "ngx_parse_http_time",
        "ngx_rbtree_delete",
        "ngx_rbtree_insert",
        "ngx_shmtx_lock",
        "ngx_shmtx_unlock",
        // Setters that are not called but compared.
        "ngx_conf_set_bufs_slot",
        "ngx_conf_set_keyval_slot",
        "ngx_conf_set_str_slot",
        "ngx_http_set_complex_value_slot",
        "ngx_http_set_complex_value_zero_slot",
        "ngx_http_upstream_bind_set_slot",
        // Variables.
        "ngx_cached_time",
        "ngx_connection_counter",
        "ngx_current_msec",
        "ngx_cycle",
        "ngx_event_core_module",
        "ngx_event_timer_rbtree",
        "ngx_events_module",
        "ngx_exiting",
        "ngx_http_core_module",
        "ngx_http_max_module",
        "ngx_http_module",
        "ngx_http_top_body_filter",
        "ngx_http_top_header_filter",
        "ngx_http_upstream_module",
        "ngx_inherited",
        "ngx_ncpu",
        "ngx_pagesize",
        "ngx_process",
        "ngx_worker",
    ];
    let faults = include_str!("../../inside/faults.rs");
    let command = ["-D", "--undefined-only"];
    let output = Command::new("nm").args(command).arg(&*FAULTY_MODULE).output().expect("nm runs");
    let text = String::from_utf8(output.stdout).expect("names");
    let mut count = 0;
    for name in text.split_whitespace().filter(|word| word.starts_with("ngx_")) {
        let fails = [" = ", "("].iter().any(|n| faults.contains(&format!("__wrap_{name}{n}")));
        assert!(fails != NEEDS_NOTHING.contains(&name), "{name}");
        count += 1;
    }
    assert!(count > NEEDS_NOTHING.len(), "{text}");
}
