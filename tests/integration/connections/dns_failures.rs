//! Look-ups and addresses that fail, many workers and many reloads: what worked goes on to work.

use std::collections::HashSet;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use crate::kit::dns_server::{
    addresses, config, line, logging, patient_resolv_conf, resolv_conf, Dns, Mode, Subnet,
};
use crate::kit::fapi::Fapi;
use crate::kit::harness::{free_port, kill, Config, Nginx};
use crate::kit::process::{ignores, memory, open_files};

const FAILED: &str = "\"fapi.test\" of \"clerk_proxy\" could not be resolved (";
const GOOD_AGAIN: &str = "\"fapi.test\" of \"clerk_proxy\" is resolved again";

/// Reloads with one request before and one after.
fn reload(nginx: &mut Nginx) {
    assert_eq!(nginx.get("/__clerk/v1").status, 200);
    nginx.reload();
    assert_eq!(nginx.get("/__clerk/v1").status, 200);
}

/// nginx that has looked its name up, and waits for half a minute when the server is silent.
fn patient(net: &Subnet, dns: &Dns, port: u16) -> Nginx {
    dns.answer("fapi.test", &[net.ip(2)]);
    let origin = format!("http://fapi.test:{port}");
    let config = config(&origin, &patient_resolv_conf(net.ip(53)));
    // For the test that kills a worker.
    let nginx = config.allow("exited on signal 9").start();
    dns.wait_for("fapi.test", 4);
    nginx
}

#[test]
fn a_failed_look_up_changes_nothing() {
    let net = Subnet::new();
    let dns = Dns::at(net.ip(53));
    let port = free_port();
    let fapi = Fapi::at(net.ip(2), port);
    dns.answer("fapi.test", &[net.ip(2)]);
    let origin = format!("http://fapi.test:{port}");
    let mut nginx = config(&origin, &resolv_conf(net.ip(53))).start();
    dns.wait_for("fapi.test", 4);
    let modes = [Mode::Servfail, Mode::Nxdomain, Mode::Empty, Mode::Garbage, Mode::Silent];
    for (index, mode) in modes.into_iter().enumerate() {
        let what = format!("{mode:?}");
        dns.set("fapi.test", mode);
        reload(&mut nginx);
        nginx.until(&what, |nginx| nginx.count(FAILED) == index + 1);
        // The next look-up, which is no news.
        let queries = dns.queries("fapi.test");
        reload(&mut nginx);
        dns.wait_for("fapi.test", queries + 2);
        assert_eq!((nginx.count(FAILED), nginx.count(GOOD_AGAIN)), (index + 1, index), "{what}");

        dns.answer("fapi.test", &[net.ip(2)]);
        reload(&mut nginx);
        nginx.until("resolved again", |nginx| nginx.count(GOOD_AGAIN) == index + 1);
    }
    let log = nginx.error_log();
    let warnings: Vec<&str> = log.lines().filter(|line| line.contains(FAILED)).collect();
    assert_eq!(warnings.len(), 5, "{warnings:#?}");
    for warning in warnings {
        let (head, rest) = warning.split_once(FAILED).expect(warning);
        let (reason, rest) = rest.split_once("), its last addresses stay in use").expect(warning);
        assert!(head.contains(" [warn] "), "{warning}");
        assert!(!reason.is_empty() && !reason.contains("Success"), "{warning}");
        // Not a line about a request.
        assert_eq!(rest, "", "{warning}");
    }
    assert_eq!(nginx.count("addresses of "), 0);
    assert_eq!(fapi.requests().len(), 30);
}

#[test]
fn nothing_waits_for_a_silent_server_while_there_are_addresses() {
    let net = Subnet::new();
    let dns = Dns::at(net.ip(53));
    let port = free_port();
    let _fapi = Fapi::at(net.ip(2), port);
    let mut nginx = patient(&net, &dns, port);
    dns.set("fapi.test", Mode::Silent);
    let start = Instant::now();
    // From the second on, a reload ends a worker with a look-up under way.
    for round in 1..4 {
        let queries = dns.queries("fapi.test");
        reload(&mut nginx);
        dns.wait_for("fapi.test", queries + 1);
        assert_eq!(nginx.get("/__clerk/v1").status, 200, "{round}");
    }
    nginx.stop();
    // Each look-up takes half a minute.
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
}

#[test]
fn nothing_waits_for_a_silent_server_while_there_is_no_address() {
    let net = Subnet::new();
    let dns = Dns::at(net.ip(53));
    dns.set("fapi.test", Mode::Silent);
    let config = config("http://fapi.test:1", &resolv_conf(net.ip(53)));
    let file = config.folder.path().join("resolv.conf");
    let mut nginx = thread::scope(|scope| {
        let starting = scope.spawn(|| config.start());
        // nginx waits a second when it reads its configuration, the worker's look-up takes half a minute.
        dns.wait_for("fapi.test", 2);
        fs::write(file, patient_resolv_conf(net.ip(53))).unwrap();
        starting.join().unwrap()
    });
    dns.wait_for("fapi.test", 3);
    let start = Instant::now();
    for _ in 0..5 {
        assert_eq!(nginx.get("/__clerk/v1").status, 502);
        assert_eq!(nginx.get("/").status, 204);
    }
    nginx.stop();
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
}

#[test]
fn a_look_up_that_dies_with_its_worker_is_done_by_the_next() {
    let net = Subnet::new();
    let dns = Dns::at(net.ip(53));
    let port = free_port();
    let (_old, new) = (Fapi::at(net.ip(2), port), Fapi::at(net.ip(3), port));
    let mut nginx = patient(&net, &dns, port);
    dns.set("fapi.test", Mode::Silent);
    reload(&mut nginx);
    dns.wait_for("fapi.test", 5);
    let worker = nginx.workers()[0];
    dns.answer("fapi.test", &[net.ip(3)]);
    kill("KILL", worker);
    nginx.until("the next worker has looked", |nginx| nginx.count(&addresses(&[net.ip(3)])) == 1);
    assert_eq!(nginx.get("/__clerk/v1").status, 200);
    assert_eq!(new.requests().len(), 1);
}

#[test]
fn one_worker_looks_for_all() {
    let net = Subnet::new();
    let dns = Dns::at(net.ip(53));
    let port = free_port();
    let (old, new) = (Fapi::at(net.ip(2), port), Fapi::at(net.ip(3), port));
    dns.answer("fapi.test", &[net.ip(2)]);
    // The kernel shares connections out between the workers' own sockets.
    let text = format!(
        "server {{ listen 127.0.0.1:%PORT% reuseport; {} }}",
        line("__clerk", &format!("http://fapi.test:{port}"))
    );
    let mut nginx = logging(Config::new(&text), &resolv_conf(net.ip(53))).workers(2).start();
    let ask_both = |nginx: &mut Nginx| {
        let mut seen = HashSet::new();
        nginx.until("both workers have answered", |nginx| {
            let reply = nginx.get("/__clerk/v1");
            assert_eq!(reply.status, 200);
            seen.insert(reply.all("X-Worker")[0].to_owned());
            seen.len() == 2
        });
    };
    ask_both(&mut nginx);
    // By the master, and by one of the workers.
    dns.wait_for("fapi.test", 4);

    dns.set("fapi.test", Mode::Servfail);
    nginx.reload();
    nginx.until("the look-up fails", |nginx| nginx.count(FAILED) > 0);
    ask_both(&mut nginx);
    assert_eq!((dns.queries("fapi.test"), nginx.count(FAILED)), (6, 1));

    dns.answer("fapi.test", &[net.ip(3)]);
    let before = old.requests().len();
    nginx.reload();
    let changed = addresses(&[net.ip(3)]);
    nginx.until("the addresses change", |nginx| nginx.count(&changed) > 0);
    assert_eq!(old.requests().len(), before);
    ask_both(&mut nginx);
    assert_eq!(old.requests().len(), before);
    assert!(new.requests().len() >= 2);
    assert_eq!(dns.queries("fapi.test"), 8);

    // Both take over what one of them finds while they run.
    let other = Fapi::at(net.ip(4), port);
    dns.answer("fapi.test", &[net.ip(4)]);
    new.close();
    nginx.until("a look-up at once", |nginx| nginx.get("/__clerk/v1").status == 200);
    ask_both(&mut nginx);
    assert!(other.requests().len() >= 2);
    let log = [nginx.count("addresses of"), nginx.count(FAILED), nginx.count(GOOD_AGAIN)];
    assert_eq!(log, [2, 1, 1]);
}

#[test]
fn a_dead_address_among_others_is_never_seen() {
    let net = Subnet::new();
    let dns = Dns::at(net.ip(53));
    let port = free_port();
    let fapis = [Fapi::at(net.ip(2), port), Fapi::at(net.ip(4), port)];
    dns.answer("fapi.test", &[net.ip(2), net.ip(3), net.ip(4)]);
    let origin = format!("http://fapi.test:{port}");
    let mut nginx = config(&origin, &resolv_conf(net.ip(53))).start();
    dns.wait_for("fapi.test", 4);
    // The failure makes nginx look again: the same list in other order.
    dns.answer("fapi.test", &[net.ip(4), net.ip(2), net.ip(3)]);
    for _ in 0..20 {
        assert_eq!(nginx.get("/__clerk/v1").status, 200);
    }
    dns.wait_for("fapi.test", 6);
    for _ in 0..20 {
        assert_eq!(nginx.get("/__clerk/v1").status, 200);
    }
    let log = nginx.error_log();
    let dead = format!("upstream: \"http://{}:{port}/", net.ip(3));
    let failed = log.lines().filter(|line| line.contains("connect() failed"));
    let tried: Vec<bool> = failed.map(|line| line.contains(&dead)).collect();
    assert!([&[true][..], &[true, true]].contains(&&tried[..]), "{tried:?}");
    for fapi in &fapis {
        let requests = fapi.requests();
        assert!(requests.len() >= 10, "{} requests", requests.len());
        assert!(requests.iter().all(|request| request.connection == 0), "connections are kept");
    }

    // When all are dead they are all tried, always: the first that is back serves the next request.
    fapis.into_iter().for_each(Fapi::close);
    for _ in 0..10 {
        assert_eq!(nginx.get("/__clerk/v1").status, 502);
    }
    let _fapi = Fapi::at(net.ip(3), port);
    for _ in 0..10 {
        assert_eq!(nginx.get("/__clerk/v1").status, 200);
    }
    nginx.stop();
    assert_eq!(nginx.count("no live upstreams"), 0);
}

/// Open files and kilobytes in memory of the master process.
fn footprint(nginx: &Nginx) -> (usize, usize) {
    (open_files(nginx.master()), memory(nginx.master()))
}

#[test]
fn a_hundred_reloads() {
    let net = Subnet::new();
    let dns = Dns::at(net.ip(53));
    let port = free_port();
    let fapi = Fapi::at(net.ip(2), port);
    dns.answer("fapi.test", &[net.ip(2)]);
    let lines = [("__clerk", "fapi"), ("other", "fapi"), ("unknown", "unknown")]
        .map(|(path, name)| line(path, &format!("http://{name}.test:{port}")));
    let mut nginx = logging(Config::server(&lines.join("\n")), &resolv_conf(net.ip(53))).start();
    let mut before = (0, 0);
    for number in 1..=100 {
        reload(&mut nginx);
        assert_eq!(nginx.get("/other/v1").status, 200);
        if number == 20 {
            before = footprint(&nginx);
        }
    }
    assert_eq!(nginx.get("/unknown/v1").status, 502);
    assert_eq!(fapi.requests().len(), 300);
    assert_eq!(nginx.count("addresses of"), 0);
    nginx.until("no file is left open", |nginx| footprint(nginx).0 <= before.0);
    let (_, memory) = footprint(&nginx);
    assert!(memory < before.1 + 512, "{} KB became {memory} KB", before.1);
}

/// Who waits for a name server in vain can give up.
#[test]
fn a_check_that_is_ended_while_it_waits() {
    let net = Subnet::new();
    let dns = Dns::at(net.ip(53));
    dns.set("fapi.test", Mode::Silent);
    let config = config("http://fapi.test:9", &patient_resolv_conf(net.ip(53)));
    for (signal, number) in [("TERM", libc::SIGTERM), ("INT", libc::SIGINT)] {
        if ignores(number) {
            continue;
        }
        let asked = dns.queries("fapi.test");
        let mut check = config.command().arg("-t").spawn().expect("nginx runs");
        dns.wait_for("fapi.test", asked + 1);
        kill(signal, check.id());
        let start = Instant::now();
        while check.try_wait().expect("a child").is_none() {
            assert!(start.elapsed() < Duration::from_secs(10), "SIG{signal} does nothing");
            thread::sleep(Duration::from_millis(5));
        }
    }
}
