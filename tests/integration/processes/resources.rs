//! Workers that are killed, descriptors and disks that are used up, clocks that jump: what can be answered
//! is, the rest gets an error, and all is well afterwards.

use std::ffi::OsStr;
use std::fs;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::kit::assert::assert_json;
use crate::kit::dns_server::{assert_root, logging, resolv_conf, Dns, Subnet};
use crate::kit::fapi::{json, Fapi, CA};
use crate::kit::harness::{free_port, kill, Config, Nginx, Reply};
use crate::kit::load::{ask, connect, head};
use crate::kit::meter::{preloaded, Meter};
use crate::kit::process::open_files;

/// nginx with connections to a stand-in that are kept ready.
fn config(fapi: &Fapi, more: &str) -> Config {
    let port = fapi.port;
    Config::server(&format!(
        "location /__clerk/ {{ clerk_proxy https://app.dev/__clerk secret_key=%KEY% \
         upstream=https://localhost:{port}; proxy_ssl_trusted_certificate ca.pem; \
         add_header X-Worker $pid always; }}\n{more}\nclerk_proxy_warm 2;\n"
    ))
}

/// A client that notes which worker it talks to. A connection may fail if that worker was killed; one that
/// has had no answer yet, if any was killed meanwhile.
fn client(port: u16, done: &AtomicBool, killed: &Mutex<Vec<String>>, answered: &AtomicUsize) {
    let get = head("GET", "/__clerk/v1", "keep-alive") + "\r\n";
    while !done.load(Ordering::Relaxed) {
        let before = killed.lock().unwrap().len();
        let mut stream = connect(port);
        let mut worker = None;
        for _ in 0..20 {
            let Some(reply) = ask(&mut stream, &get) else {
                let killed = killed.lock().unwrap();
                let excused = worker.map_or(killed.len() > before, |pid| killed.contains(&pid));
                assert!(excused, "a connection of another worker has failed");
                break;
            };
            assert_eq!(reply.status, 200);
            worker = Some(reply.all("X-Worker")[0].to_owned());
            answered.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[test]
fn a_worker_that_is_killed_under_load() {
    let fapi = Fapi::tls();
    let mut nginx = config(&fapi, "").workers(3).allow("exited on signal 9").start();
    let (port, done) = (nginx.port(), AtomicBool::new(false));
    let (killed, answered) = (Mutex::new(Vec::new()), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| client(port, &done, &killed, &answered));
        }
        for _ in 0..6 {
            let before = answered.load(Ordering::Relaxed);
            nginx.until("there is load", |_| answered.load(Ordering::Relaxed) > before + 20);
            let workers = nginx.workers();
            // Held, so that nobody sees its end before its name is on the list.
            let mut list = killed.lock().unwrap();
            list.push(workers[0].to_string());
            kill("KILL", workers[0]);
            drop(list);
            nginx.until("there is another", |nginx| {
                let now = nginx.workers();
                now.len() == 3 && !now.contains(&workers[0])
            });
        }
        done.store(true, Ordering::Relaxed);
    });
    assert_eq!(nginx.count("exited on signal 9"), 6);
}

#[test]
fn a_worker_without_descriptors() {
    const CLIENTS: usize = 70;
    let gate = Arc::new((Mutex::new(true), Condvar::new()));
    let waiting = Arc::clone(&gate);
    let fapi = Fapi::start(CA.server(&["localhost"]), move |request, stream| {
        if request.target() == "/held" {
            let (held, released) = &*waiting;
            drop(released.wait_while(held.lock().unwrap(), |held| *held).unwrap());
        }
        stream.write_all(json(200, "", r#"{"ok":true}"#).as_bytes()).is_ok()
    });
    let cold = Fapi::plain();
    let config = config(&fapi, &format!(
        "location /cold/ {{ clerk_proxy https://app.dev/cold secret_key=%KEY% upstream=http://127.0.0.1:{}; \
         proxy_http_version 1.0; }}",
        cold.port
    ));
    let config = config.main("worker_rlimit_nofile 64; error_log logs/error.log info;");
    let mut nginx = config.allow("(24: Too many open files)").start();
    nginx.until("connections are ready", |nginx| nginx.count("is ready") == 2);
    let missing = |nginx: &Nginx| nginx.count("(24: Too many open files)");
    let (worker, port) = (nginx.workers()[0], nginx.port());
    let before = open_files(worker);
    let start = Instant::now();
    let get = |target: &str| {
        let request = head("GET", target, "close") + "\r\n";
        let reply = ask(&mut connect(port), &request).expect("an answer");
        if reply.status != 200 {
            assert_json(&reply, 500, "proxy_configuration_error");
        }
        reply.status
    };

    // A client waits until it is accepted. It gets an error if no descriptor is left for the Frontend API.
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| get("/__clerk/held"));
        }
        nginx.until("descriptors are missing", |nginx| missing(nginx) > 0);
        let (held, released) = &*gate;
        *held.lock().unwrap() = false;
        released.notify_all();
    });
    let told = missing(&nginx);
    let mut idle: Vec<_> = (0..CLIENTS).map(|_| connect(port)).collect();
    nginx.until("all are in use", |nginx| missing(nginx) > told);
    let request = head("GET", "/cold/v1", "close") + "\r\n";
    let reply = ask(&mut idle[0], &request).expect("an answer");
    assert_json(&reply, 500, "proxy_configuration_error");
    assert!(cold.requests().is_empty());
    drop(idle);

    // Nothing was tried over and over, and nothing is left.
    let most = 2 * CLIENTS + usize::try_from(start.elapsed().as_millis() / 100).unwrap();
    assert!(missing(&nginx) < most, "{} lines", missing(&nginx));
    nginx.until("it is over", |_| get("/cold/v1") == 200);
    for _ in 0..10 {
        assert_eq!((get("/__clerk/v1"), get("/cold/v1")), (200, 200));
    }
    assert_eq!(nginx.workers(), [worker]);
    // Of the connections to the stand-in as many are kept as the recipe says, and no others.
    nginx.until("descriptors are given back", |_| open_files(worker) <= before + 32);
}

/// A stand-in that tells the length of what it got, and sends much.
fn large(length: usize) -> Fapi {
    let body = vec![b'x'; length];
    Fapi::start(None, move |request, stream| {
        if request.target().ends_with("/large") {
            let head = "HTTP/1.1 200 OK\r\nCache-Control: public, max-age=600\r\n";
            let head = format!("{head}Content-Length: {}\r\n\r\n", body.len());
            return stream.write_all(head.as_bytes()).is_ok() && stream.write_all(&body).is_ok();
        }
        stream.write_all(json(200, "", &request.body.len().to_string()).as_bytes()).is_ok()
    })
}

/// A download of which nothing is read before `wait` returns; whether it was whole.
fn download(nginx: &mut Nginx, target: &str, wait: impl FnOnce(&mut Nginx)) -> bool {
    let mut stream = nginx.connect();
    stream.write_all((head("GET", target, "close") + "\r\n").as_bytes()).unwrap();
    wait(nginx);
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    if bytes.is_empty() {
        return false;
    }
    let reply = Reply::parse(&bytes);
    reply.status == 200 && reply.all("Content-Length") == [reply.body.len().to_string()]
}

fn upload(nginx: &Nginx, target: &str, length: usize) -> Reply {
    let head = head("POST", target, "close") + &format!("Content-Length: {length}\r\n\r\n");
    let mut request = head.into_bytes();
    request.resize(request.len() + length, b'x');
    let mut stream = nginx.connect();
    // nginx may answer before it has read all.
    let _ = stream.write_all(&request);
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    Reply::parse(&bytes)
}

#[test]
fn a_disk_that_is_full() {
    const LENGTH: usize = 3_000_000;
    assert_root();
    let fapi = large(30 * LENGTH);
    let location = |name: &str, lines: &str| {
        format!(
            "location /{name}/ {{ clerk_proxy https://app.dev/{name} secret_key=%KEY% \
             upstream=http://127.0.0.1:{}; client_body_temp_path full/body; proxy_temp_path full/proxy; \
             {lines} }}\n",
            fapi.port
        )
    };
    let config = Config::new(&format!(
        "proxy_cache_path full/cache keys_zone=c:1m; server {{ listen 127.0.0.1:%PORT%;\n{}{}{}{}}}\n",
        location("usual", ""),
        location("buffered", "proxy_request_buffering on; client_body_buffer_size 8k;"),
        location("spooled", "proxy_max_temp_file_size 1024m;"),
        location("npm", "proxy_cache c;"),
    ));
    let full = config.folder.path().join("full");
    fs::create_dir(&full).unwrap();
    let script = "mount -t tmpfs -o size=200m,mode=1777 none \"$0\" || exit; exec \"$@\"";
    let words = ["unshare", "-m", "sh", "-c", script].map(OsStr::new);
    let config = config.starter(&[&words[..], &[full.as_os_str()]].concat());
    let mut nginx = config.allow("(28: No space left on device)").start();
    // There are processes for the cache beside it.
    let worker = nginx.workers()[0];

    // The disk is that of nginx's mount namespace alone.
    let filler = PathBuf::from(format!("/proc/{}/root{}/filler", nginx.master(), full.display()));
    let mut file = fs::File::create(&filler).unwrap();
    while file.write_all(&[0; 4096]).is_ok() {}
    drop(file);

    // The recipe writes nothing to a disk.
    assert_eq!(upload(&nginx, "/usual/v1", LENGTH).text(), LENGTH.to_string());
    assert!(download(&mut nginx, "/usual/large", |_| ()));
    // What the user had written to one is an error, before a byte of it is sent.
    let before = fapi.requests().len();
    let reply = upload(&nginx, "/buffered/v1", LENGTH);
    assert_json(&reply, 500, "proxy_configuration_error");
    assert_eq!(fapi.requests().len(), before);
    for target in ["/spooled/large", "/npm/npm/large"] {
        let count = |nginx: &Nginx| nginx.count("(28: No space");
        let before = count(&nginx);
        let whole = download(&mut nginx, target, |nginx| {
            nginx.until("it is full", |nginx| count(nginx) > before);
        });
        assert!(!whole, "{target}");
    }
    assert!(nginx.workers().contains(&worker));

    fs::remove_file(&filler).unwrap();
    assert_eq!(upload(&nginx, "/buffered/v1", LENGTH).text(), LENGTH.to_string());
    for target in ["/usual/large", "/spooled/large", "/npm/npm/large"] {
        assert!(download(&mut nginx, target, |_| ()), "{target}");
    }
    assert!(nginx.workers().contains(&worker));
}

#[test]
fn a_clock_that_jumps() {
    const YEAR: i64 = 365 * 86_400;
    let net = Subnet::new();
    let dns = Dns::at(net.ip(53));
    let port = free_port();
    let fapi = Fapi::at(net.ip(2), port);
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    dns.answer("fapi.test", &[net.ip(2)]);
    let config = Config::server(&format!(
        "location /__clerk/ {{ clerk_proxy https://app.dev/__clerk secret_key=%KEY% \
         upstream=http://fapi.test:{port}; }}\nclerk_proxy_warm 1;\n\
         location /silent/ {{ clerk_proxy https://app.dev/silent secret_key=%KEY% \
         upstream=http://{}; proxy_read_timeout 300ms; clerk_proxy_warm 0; }}\n",
        silent.local_addr().unwrap()
    ));
    let config = preloaded(logging(config, &resolv_conf(net.ip(53))));
    let (meter, config) = Meter::on(config);
    let mut nginx = config.start();
    dns.wait_for("fapi.test", 4);
    nginx.until("a connection is ready", |nginx| nginx.error_log().contains("is ready"));
    let workers = nginx.workers();
    let date = |nginx: &Nginx| {
        let reply = nginx.get("/__clerk/v1");
        assert_eq!(reply.status, 200);
        reply.all("Date")[0].split(' ').nth(3).expect("a year").parse::<i64>().expect("a year")
    };
    let year = date(&nginx);
    for wrong in [2, -2, 0] {
        meter.set_clock(wrong * YEAR);
        nginx.until("nginx sees it", |nginx| (date(nginx) - year - wrong).abs() <= 1);
        // Neither is a connection that is kept taken for an old one, nor does a time-out end soon or never.
        for _ in 0..5 {
            date(&nginx);
        }
        let start = Instant::now();
        assert_json(&nginx.ask("POST", "/silent/v1"), 504, "proxy_request_failed");
        assert!(start.elapsed() >= Duration::from_millis(290), "{:?}", start.elapsed());
    }
    let connections = fapi.requests().iter().map(|request| request.connection).max();
    assert_eq!((connections, nginx.workers()), (Some(0), workers));

    // The name is looked up in its time, and the connections are made anew.
    meter.set_clock(-YEAR);
    let queries = dns.queries("fapi.test");
    fapi.close();
    let other = Fapi::at(net.ip(3), port);
    dns.answer("fapi.test", &[net.ip(3)]);
    nginx.until("the other address is in use", |nginx| nginx.get("/__clerk/v1").status == 200);
    assert!(dns.queries("fapi.test") >= queries + 2 && !other.requests().is_empty());
}

/// A script that could not be kept is tried again, whatever became of the wall clock.
#[test]
fn a_clock_that_jumps_beside_a_cache() {
    let public = Arc::new(AtomicBool::new(false));
    let is_public = Arc::clone(&public);
    let fapi = Fapi::start(None, move |_, stream| {
        let kept = is_public.load(Ordering::Relaxed);
        let value = if kept { "public, max-age=600" } else { "no-store" };
        let headers = format!("Cache-Control: {value}\r\n");
        stream.write_all(json(200, &headers, "{}").as_bytes()).is_ok()
    });
    let config = Config::server(&format!(
        "location /__clerk/ {{ clerk_proxy https://app.dev/__clerk secret_key=%KEY% \
         upstream=http://127.0.0.1:{}; proxy_cache c; }}",
        fapi.port
    ));
    let config = config.http("proxy_cache_path cache keys_zone=c:64k;");
    let (meter, config) = Meter::on(preloaded(config));
    let nginx = config.start();
    let get = || assert_eq!(nginx.get("/__clerk/npm/x.js").status, 200);
    get();
    public.store(true, Ordering::Relaxed);
    get();
    get();
    assert_eq!(fapi.requests().len(), 3);
    // The clock that counts goes on by far more than a minute, the other one back.
    meter.set_clock(-365 * 86_400);
    meter.set_speed(1000);
    for _ in 0..4 {
        get();
    }
    assert_eq!(fapi.requests().len(), 4);
}
