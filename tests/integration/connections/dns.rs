//! Names of origins: looked up while nginx runs, by the system's own rules, in nobody's way.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::kit::dns_server::{addresses, config, line, logging, resolv_conf, Dns, Subnet};
use crate::kit::fapi::Fapi;
use crate::kit::harness::{free_port, Config, Nginx};

/// Less than the ten seconds after which a name is looked up in any case.
const AT_ONCE: Duration = Duration::from_secs(6);

/// Asks until this stand-in answers, which nothing but a look-up at once can bring about.
fn until_at(nginx: &mut Nginx, fapi: &Fapi, what: &str) {
    let start = Instant::now();
    nginx.until(what, |nginx| nginx.get("/__clerk/v1").status == 200);
    assert!(start.elapsed() < AT_ONCE, "{what} after {:?}", start.elapsed());
    assert_eq!(fapi.requests().len(), 1, "{what}");
}

#[test]
fn nginx_starts_before_its_name_can_be_resolved() {
    let net = Subnet::new();
    let port = free_port();
    // It knows no name.
    let dns = Dns::at(net.ip(53));
    let config = config(&format!("http://fapi.test:{port}"), &resolv_conf(net.ip(53)));
    let warning = format!(
        "host not found in upstream \"fapi.test:{port}\" of \"clerk_proxy\", requests get 502 \
         until the name can be resolved in {}/nginx.conf:4",
        config.folder.path().display()
    );
    let (ok, printed) = config.check();
    assert!(ok, "{printed}");
    let lines: Vec<&str> = printed.lines().filter(|line| line.contains("not found")).collect();
    assert_eq!(lines, [format!("nginx: [warn] {warning}")]);
    config.folder.write("logs/error.log", "");

    let mut nginx = config.start();
    assert!(nginx.config.folder.read("logs/stderr").contains(&warning));
    // Twice by `nginx -t`, by the master and by the worker.
    dns.wait_for("fapi.test", 6);
    let reply = nginx.get("/__clerk/v1");
    assert_eq!((reply.status, reply.all("Cache-Control")), (502, vec!["no-store"]));
    assert!(reply.text().contains(r#""code":"proxy_request_failed""#), "{}", reply.text());
    assert_eq!(nginx.get("/").status, 204);
    assert_eq!(nginx.count(&warning), 1);

    // What the reload finds is used at once.
    dns.answer("fapi.test", &[net.ip(2)]);
    let fapi = Fapi::at(net.ip(2), port);
    nginx.reload();
    until_at(&mut nginx, &fapi, "the name is found");
    assert_eq!(nginx.count(&warning), 1);
}

/// All that a name can do in ten seconds, at once: it moves, stays, comes up, or nobody asks for it.
#[test]
fn names_are_looked_up_every_ten_seconds() {
    let net = Subnet::new();
    let dns = Dns::at(net.ip(53));
    let port = free_port();
    let (old, new) = (Fapi::at(net.ip(2), port), Fapi::at(net.ip(3), port));
    for name in ["fapi.test", "idle.test"] {
        dns.answer(name, &[net.ip(2)]);
    }
    dns.answer("kept.test", &[net.ip(2), net.ip(3)]);
    let names = ["fapi", "idle", "kept", "late"];
    let lines = names.map(|name| line(name, &format!("http://{name}.test:{port}")));
    let mut nginx = logging(Config::server(&lines.join("\n")), &resolv_conf(net.ip(53))).start();
    for name in names {
        // By the master and by the worker.
        dns.wait_for(&format!("{name}.test"), 4);
    }
    let start = Instant::now();
    for _ in 0..4 {
        for name in ["fapi", "kept"] {
            assert_eq!(nginx.get(&format!("/{name}/v1")).status, 200);
        }
    }
    dns.answer("fapi.test", &[net.ip(3)]);
    dns.answer("kept.test", &[net.ip(3), net.ip(2)]);
    dns.answer("late.test", &[net.ip(2), net.ip(3)]);
    nginx.until("the names are looked up again", |nginx| {
        let late = addresses(&[net.ip(2), net.ip(3)]).replace("fapi.test", "late.test");
        [addresses(&[net.ip(3)]), late].iter().all(|text| nginx.count(text) == 1)
            && dns.queries("kept.test") >= 6
    });
    assert!(start.elapsed() > Duration::from_secs(8), "after {:?}", start.elapsed());

    // The old address still works, and its connection is open.
    let from = |fapi: &Fapi, host: &str| {
        let host = format!("{host}.test:{port}");
        fapi.requests()
            .into_iter()
            .filter(|request| request.one("Host") == host)
            .collect::<Vec<_>>()
    };
    let before = from(&old, "fapi").len();
    let connections = |fapi| from(fapi, "kept").iter().map(|it| it.connection).max();
    let kept = [connections(&old), connections(&new)];
    for _ in 0..6 {
        for name in ["fapi", "kept", "late"] {
            assert_eq!(nginx.get(&format!("/{name}/v1")).status, 200, "{name}");
        }
    }
    assert_eq!((before, from(&old, "fapi").len(), from(&new, "fapi").len()), (4, 4, 6));
    assert_eq!(kept, [connections(&old), connections(&new)], "connections that were kept");
    assert_eq!(nginx.count("addresses of \"kept.test\""), 0);
    assert_eq!(nginx.count("\"late.test\" of \"clerk_proxy\" is resolved again"), 1);
    // A name that nobody asks for is not looked up until someone does.
    assert_eq!(dns.queries("idle.test"), 4);
    assert_eq!(nginx.get("/idle/v1").status, 200);
    dns.wait_for("idle.test", 6);
}

#[test]
fn a_failed_connection_makes_nginx_look_at_once() {
    let net = Subnet::new();
    let dns = Dns::at(net.ip(53));
    let port = free_port();
    let old = Fapi::at(net.ip(2), port);
    let new = Fapi::at(net.ip(3), port);
    dns.answer("fapi.test", &[net.ip(2)]);
    let mut nginx = config(&format!("http://fapi.test:{port}"), &resolv_conf(net.ip(53))).start();
    assert_eq!(nginx.get("/__clerk/v1").status, 200);
    dns.wait_for("fapi.test", 4);

    // Not more than once a second, whatever fails.
    old.close();
    let start = Instant::now();
    nginx.until("some seconds are over", |nginx| {
        assert_eq!(nginx.get("/__clerk/v1").status, 502);
        start.elapsed() > Duration::from_millis(2500)
    });
    let queries = dns.queries("fapi.test");
    let most = 4 + 2 * (start.elapsed().as_secs() + 1);
    assert!(queries >= 6 && queries as u64 <= most, "{queries} queries");
    dns.answer("fapi.test", &[net.ip(3)]);
    until_at(&mut nginx, &new, "the new address answers");
    assert_eq!(nginx.count(&addresses(&[net.ip(3)])), 1);
}

#[test]
fn edits_of_hosts_and_nsswitch_count_at_once() {
    let net = Subnet::new();
    let port = free_port();
    let dns = Dns::at(net.ip(53));
    let mut fapi = Fapi::at(net.ip(2), port);
    let config = config(&format!("http://fapi.test:{port}"), &resolv_conf(net.ip(53)));
    config.folder.write("hosts", format!("{} fapi.test\n", net.ip(2)));
    let mut nginx = config.start();
    until_at(&mut nginx, &fapi, "the hosts file counts");
    assert_eq!(dns.queries("fapi.test"), 0);

    fapi.close();
    fapi = Fapi::at(net.ip(3), port);
    nginx.config.folder.write("hosts", format!("{0} other\n{0} fapi.test\n", net.ip(3)));
    until_at(&mut nginx, &fapi, "its edit counts");
    assert_eq!(dns.queries("fapi.test"), 0);

    dns.answer("fapi.test", &[net.ip(5)]);
    fapi.close();
    fapi = Fapi::at(net.ip(5), port);
    nginx.config.folder.write("nsswitch.conf", "passwd: files\ngroup: files\nhosts: dns\n");
    until_at(&mut nginx, &fapi, "nsswitch.conf counts");
}

#[test]
fn edits_of_resolv_conf_count_at_once() {
    let net = Subnet::new();
    let port = free_port();
    let (one, two) = (Dns::at(net.ip(53)), Dns::at(net.ip(54)));
    let search = |server, domain| format!("{}search {domain}\n", resolv_conf(server));
    one.answer("fapi.test", &[net.ip(2)]);
    // A name without a dot.
    let mut nginx = config(&format!("http://fapi:{port}"), &search(net.ip(53), "test")).start();
    let mut last = None::<Fapi>;
    for (what, dns, server, domain, address) in [
        ("a search domain counts", &one, net.ip(53), "test", net.ip(2)),
        ("its edit counts", &one, net.ip(53), "example", net.ip(3)),
        ("another server counts", &two, net.ip(54), "example", net.ip(4)),
    ] {
        if let Some(last) = last {
            last.close();
        }
        let fapi = Fapi::at(address, port);
        dns.answer(&format!("fapi.{domain}"), &[address]);
        nginx.config.folder.write("resolv.conf", search(server, domain));
        until_at(&mut nginx, &fapi, what);
        assert_eq!(fapi.only().one("Host"), format!("fapi:{port}"));
        last = Some(fapi);
    }
}

#[test]
fn a_reload_can_change_name_and_port() {
    let net = Subnet::new();
    let dns = Dns::at(net.ip(53));
    let ports = [free_port(), free_port()];
    let fapi = Fapi::at(net.ip(2), ports[0]);
    dns.answer("fapi.test", &[net.ip(2)]);
    let first = format!("http://fapi.test:{}", ports[0]);
    let config = config(&first, &resolv_conf(net.ip(53))).allow("unknown directive");
    let text = config.text();
    let mut nginx = config.start();
    assert_eq!(nginx.get("/__clerk/v1").status, 200);

    // One that fails changes nothing.
    nginx.config.folder.write("nginx.conf", text.replace("return 204", "nonsense"));
    nginx.signal("HUP");
    nginx.until("the reload has failed", |nginx| nginx.count("unknown directive") > 0);
    assert_eq!(nginx.get("/__clerk/v1").status, 200);
    assert_eq!(
        fapi.requests().iter().map(|request| request.connection).collect::<Vec<_>>(),
        [0, 0]
    );
    fapi.close();
    let mut fapi = Fapi::at(net.ip(3), ports[0]);
    dns.answer("fapi.test", &[net.ip(3)]);
    until_at(&mut nginx, &fapi, "a look-up after a reload that failed");

    dns.answer("other.test", &[net.ip(4)]);
    for (origin, address, port) in [
        (format!("http://fapi.test:{}", ports[1]), net.ip(3), ports[1]),
        (format!("http://other.test:{}", ports[0]), net.ip(4), ports[0]),
        (first.clone(), net.ip(5), ports[0]),
    ] {
        fapi.close();
        fapi = Fapi::at(address, port);
        nginx.config.folder.write("nginx.conf", text.replace(&first, &origin));
        nginx.reload();
        assert_eq!(nginx.get("/__clerk/v1").status, 200, "{origin}");
        assert_eq!(format!("http://{}", fapi.only().one("Host")), origin);
        // It moves while no configuration has it.
        dns.answer("fapi.test", &[net.ip(5)]);
    }
}

#[test]
fn a_resolver_beside_it_changes_nothing() {
    let net = Subnet::new();
    let port = free_port();
    let (dns, other) = (Dns::at(net.ip(53)), Dns::at(net.ip(54)));
    let (right, wrong) = (Fapi::at(net.ip(2), port), Fapi::at(net.ip(3), port));
    dns.answer("fapi.test", &[net.ip(2)]);
    other.answer("fapi.test", &[net.ip(3)]);
    let line = line("__clerk", &format!("http://fapi.test:{port}"));
    let line = line.replace("{ clerk", "{ resolver 127.0.0.1; resolver_timeout 1ms; clerk");
    let config = Config::server(&format!("resolver {} valid=1s ipv6=off;\n{line}", net.ip(54)));
    let nginx = logging(config, &resolv_conf(net.ip(53))).start();
    for _ in 0..5 {
        assert_eq!(nginx.get("/__clerk/v1").status, 200);
    }
    assert_eq!((right.requests().len(), wrong.requests().len()), (5, 0));
    assert_eq!(other.queries("fapi.test"), 0);
}

#[test]
fn ipv6() {
    let net = Subnet::new();
    let dns = Dns::at(net.ip(53));
    let port = free_port();
    let v6: IpAddr = "::1".parse().unwrap();
    let fapi = Fapi::at(v6, port);
    let nginx = config(&format!("http://[::1]:{port}"), &resolv_conf(net.ip(53))).start();
    assert_eq!(nginx.get("/__clerk/v1").status, 200);
    assert_eq!(fapi.only().one("Host"), format!("[::1]:{port}"));
    drop(nginx);

    // Nothing listens at the IPv4 address.
    dns.answer("fapi.test", &[net.ip(2), v6]);
    let config = config(&format!("http://fapi.test:{port}"), &resolv_conf(net.ip(53)));
    // A machine whose addresses are all of one family, but for loopback, gets addresses of that family.
    let getent = config.program("getent".as_ref()).args(["ahosts", "fapi.test"]).output().unwrap();
    let found = String::from_utf8_lossy(&getent.stdout).into_owned();
    let (has_v4, has_v6) = (found.contains(&net.ip(2).to_string()), found.contains("::1"));
    assert!(has_v4 || has_v6, "getent: {found}");
    let nginx = config.start();
    for _ in 0..5 {
        assert_eq!(nginx.get("/__clerk/v1").status, if has_v6 { 200 } else { 502 });
    }
    let tried = nginx.error_log().contains(&format!("http://{}:{port}/", net.ip(2)));
    assert_eq!(tried, has_v4, "getent: {found}");
}
