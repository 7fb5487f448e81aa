//! Clients that ask and do not read, as many as they like and without a login: a replica of the container stays below the
//! memory that its manifest gives it.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::thread;
use std::time::Duration;

use crate::kit::container::{admitted, image, memory_limit, sysctls};
use crate::kit::fapi::{json, Fapi, CA};
use crate::kit::harness::Nginx;
use crate::kit::load::connect;
use crate::kit::network;
use crate::kit::process::proportional;

const SCRIPT: &str = "/npm/clerk.js";
/// More than the image lets in.
const READERS: usize = 500;
/// Requests whose head does not end, of which nginx knows no location yet. They find the connections that are left.
const HEADS: usize = 200;
/// Replies that the kernel takes as a whole, with which nginx is done.
const UNREAD: usize = 500;

/// Asks for something and reads nothing but the status, which an old worker that ends may not send.
fn ask(port: u16, target: &str, number: usize) -> (TcpStream, String) {
    let mut stream = connect(port);
    // Clients behind the load balancer that is trusted.
    let client = number % 200;
    let request = format!(
        "GET /__clerk{target} HTTP/1.1\r\nHost: app.example\r\nX-Forwarded-For: 203.0.113.{client}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).expect("nginx reads");
    let mut status = [0; 12];
    let _ = stream.read_exact(&mut status);
    (stream, String::from_utf8_lossy(&status[9..]).into_owned())
}

/// As much of a head as nginx takes.
fn begin(port: u16) -> TcpStream {
    let mut stream = connect(port);
    let line = format!("X-Line: {}\r\n", "x".repeat(15_000));
    let head = format!("GET /__clerk/v1 HTTP/1.1\r\nHost: app.example\r\n{}", line.repeat(4));
    // Where no connection is left nginx closes this one.
    let _ = stream.write_all(head.as_bytes());
    stream
}

/// What counts as the container's memory, in KiB: that of nginx's processes, and what the kernel holds for them.
fn used(nginx: &Nginx, fapi: &Fapi) -> (usize, usize) {
    let mut processes = nginx.workers();
    processes.push(nginx.master());
    let filter = format!("( sport = :{} or dport = :{} )", nginx.port(), fapi.port);
    let output = Command::new("ss").args(["-Htmn", &filter]).output().expect("ss runs");
    let text = String::from_utf8_lossy(&output.stdout);
    let fields = text.split(['(', ',', ')']);
    // Received, to be sent, and reserved.
    let bytes = fields.filter_map(|field| {
        ["r", "w", "f"].iter().find_map(|name| field.strip_prefix(name)?.parse::<usize>().ok())
    });
    (processes.into_iter().map(proportional).sum(), bytes.sum::<usize>() / 1024)
}

/// The same in MiB, when it grows no more.
fn settled(nginx: &mut Nginx, fapi: &Fapi, when: &str) -> usize {
    let mut most = 0;
    nginx.until("nothing more is held", |nginx| {
        let (own, kernel) = used(nginx, fapi);
        println!("{when}: {} MiB of nginx, {} MiB of the kernel", own / 1024, kernel / 1024);
        thread::sleep(Duration::from_millis(500));
        // Other processes share some pages now and then.
        let grows = own + kernel > most + 512;
        most = most.max(own + kernel);
        !grows
    });
    most / 1024
}

#[test]
fn a_replica_stays_below_the_memory_of_its_manifest() {
    if !network::inside("long::slow_readers::a_replica_stays_below_the_memory_of_its_manifest") {
        return;
    }
    for (name, value) in sysctls() {
        let path = format!("/proc/sys/net/{}", name.replace('.', "/"));
        fs::write(&path, value).unwrap_or_else(|why| panic!("{path}: {why}"));
    }
    let [script, reply] = [3_000_000, 220_000].map(|size| json(200, "", &"x".repeat(size)));
    let fapi = Fapi::start(CA.server(&["localhost"]), move |request, stream| {
        let reply = if request.target() == SCRIPT { &script } else { &reply };
        stream.write_all(reply.as_bytes()).is_ok()
    });
    let origin = format!("https://localhost:{}", fapi.port);
    let config = image(&[
        ("CLERK_PROXY_URL", "https://app.example/__clerk"),
        ("CLERK_PROXY_UPSTREAM", &origin),
    ]);
    let ca = config.folder.path().join("ca.pem");
    let config = config.env("SSL_CERT_FILE", &ca.to_string_lossy());
    let mut nginx = config.allow("worker_connections are not enough").start();
    settled(&mut nginx, &fapi, "idle");
    let (limit, admitted) = (memory_limit(), admitted());

    let (streams, statuses): (Vec<_>, Vec<_>) =
        (0..READERS).map(|number| ask(nginx.port(), SCRIPT, number)).unzip();
    let count = |status: &str| statuses.iter().filter(|other| *other == status).count();
    assert_eq!((count("200"), count("429")), (admitted, READERS - admitted));
    let slow = settled(&mut nginx, &fapi, "slow readers");
    // The rule of the documents.
    assert!(slow < admitted * 3 / 4 + 16, "{slow} MiB");

    let heads: Vec<_> = (0..HEADS).map(|_| begin(nginx.port())).collect();
    let most = settled(&mut nginx, &fapi, "and heads without an end");
    assert!(most < limit, "{most} of {limit} MiB");

    // What goes on in old workers counts as before, and new ones let nobody in.
    nginx.signal("HUP");
    nginx.until("there are new workers", |nginx| nginx.workers().len() == 2);
    nginx.until("new workers refuse", |nginx| ask(nginx.port(), SCRIPT, 0).1 == "429");
    let most = settled(&mut nginx, &fapi, "after a reload");
    assert!(most < limit, "{most} of {limit} MiB");
    drop((streams, heads));
    nginx.until("old workers are gone", |nginx| nginx.workers().len() == 1);

    let unread: Vec<_> = (0..UNREAD).map(|number| ask(nginx.port(), "/v1", number)).collect();
    assert!(unread.iter().all(|(_, status)| status == "200"));
    let most = settled(&mut nginx, &fapi, "with replies that are not read");
    assert!(most < limit, "{most} of {limit} MiB");
    drop(unread);
    assert_eq!(nginx.get("/healthz").status, 204);
}
