//! Reloads, upgrades of nginx and of the module while clients are at work: none of them sees any.
//!
//! `CLERK_PROXY_TEST_RELOADS` is the number of reloads.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use crate::kit::fapi::{Fapi, CA};
use crate::kit::harness::{number, Config, Nginx, KEY, MODULE};
use crate::kit::load::{ask, get, head, telling, Load};
use crate::kit::process::{mapped, memory, open_files};

const TARGETS: &[&str] = &["/plain/v1", "/tls/v1"];

/// Locations for a plain and a TLS origin.
fn locations(plain: &Fapi, tls: &Fapi, source: &str, parameter: &str, lines: &str) -> String {
    let (plain, tls) = (plain.port, tls.port);
    format!(
        "clerk_proxy_secret_key {source};\n\
         location /plain/ {{ clerk_proxy https://app.dev/plain upstream=http://127.0.0.1:{plain}{parameter}; \
         {lines} }}\n\
         location /tls/ {{ clerk_proxy https://app.dev/tls upstream=https://localhost:{tls}{parameter}; \
         proxy_ssl_trusted_certificate ca.pem; {lines} }}\n"
    )
}

/// Asks both locations for what the stand-ins got.
fn assert_told(port: u16, plain: &str, key: &str) {
    for (target, name) in [("/plain/probe", plain), ("/tls/probe", "tls")] {
        let told = get(port, target).text();
        assert_eq!(told.replace(KEY, "key "), format!("{name} {key} /probe").replace(KEY, "key "));
    }
}

#[test]
fn reloads_under_load() {
    let reloads = number("CLERK_PROXY_TEST_RELOADS", 20);
    let fapis = [telling("one", None), telling("two", None)];
    let tls = telling("tls", Some(CA.server(&["localhost"])));
    let text = locations(&fapis[0], &tls, "file:key", "", "");
    let config = Config::server(&format!("{text}\n# more\n")).file("key", format!("{KEY}0"));
    // The broken ones among the configurations.
    let mut nginx = config.allow("[emerg]").start();
    let port = nginx.port();
    assert_told(port, "one", &format!("{KEY}0"));
    let files_of_worker = open_files(nginx.workers()[0]);
    let whole = nginx.config.text();
    let load = Load::start(port, TARGETS);
    let mut before = (0, 0);
    for round in 1..=reloads {
        let old = format!("{KEY}{}", round - 1);
        if round % 5 == 0 {
            let (key, broken) = [
                (old.as_str(), whole.replace("# more", "nonsense;")),
                (old.as_str(), whole.replace("https://app.dev/plain", "app.dev")),
                ("", whole.clone()),
                (old.as_str(), whole.replace("ca.pem", "nowhere.pem")),
            ][usize::try_from(round / 5 % 4).unwrap()]
            .clone();
            refuse(&mut nginx, key, &broken);
            assert_told(port, name_of(round - 1), &old);
        }
        let key = format!("{KEY}{round}");
        nginx.config.folder.write("key", format!("{key}\n"));
        nginx.config.folder.write("nginx.conf", edited(&whole, round, &fapis, &tls, &text));
        nginx.reload();
        assert_told(port, name_of(round), &key);
        let more = get(port, "/more/v1").status;
        assert_eq!(more, if round % 3 == 0 { 200 } else { 404 });
        if round == reloads / 4 + 1 {
            before = (open_files(nginx.master()), memory(nginx.master()));
        }
        let answered = load.answered();
        nginx.until("there is load", |_| load.answered() >= answered + 8);
    }
    load.stop();
    nginx.config.folder.write("nginx.conf", &whole);
    nginx.reload();
    assert_told(port, "one", &format!("{KEY}{reloads}"));
    let after = (open_files(nginx.master()), memory(nginx.master()));
    println!("{reloads} reloads, files and KB of the master: {before:?}, then {after:?}");
    assert!(after.0 <= before.0 && after.1 < before.1 + 512, "{before:?} became {after:?}");
    let files = |nginx: &mut Nginx| open_files(nginx.workers()[0]);
    nginx.until("no file is left open", |nginx| files(nginx) <= files_of_worker);
    assert_eq!(nginx.count("[emerg]"), usize::try_from(reloads / 5).unwrap());
}

/// The plain stand-in of a round.
fn name_of(round: u64) -> &'static str {
    ["one", "two"][usize::from(round % 2 == 1)]
}

/// The configuration of a round.
fn edited(whole: &str, round: u64, fapis: &[Fapi; 2], tls: &Fapi, text: &str) -> String {
    let plain = &fapis[usize::from(round % 2 == 1)];
    let settings = [
        "proxy_read_timeout 30s;",
        "proxy_buffers 4 64k; proxy_ssl_session_reuse off;",
        "proxy_socket_keepalive on; proxy_http_version 1.0;",
        "client_max_body_size 1m; proxy_buffering off;",
    ];
    let lines = settings[usize::try_from(round % 4).unwrap()];
    let parameter = if round % 7 < 3 { " keepalive=4" } else { "" };
    let more = format!(
        "location /more/ {{ clerk_proxy https://app.dev/more upstream=http://127.0.0.1:{}; }}",
        plain.port
    );
    let more = if round % 3 == 0 { &more } else { "" };
    let edited = locations(plain, tls, "file:key", parameter, lines);
    whole.replace(text, &edited).replace("# more", more)
}

/// A configuration that nginx does not take, and that changes nothing.
fn refuse(nginx: &mut Nginx, key: &str, text: &str) {
    let (workers, errors) = (nginx.workers(), nginx.count("[emerg]"));
    nginx.config.folder.write("key", key);
    nginx.config.folder.write("nginx.conf", text);
    nginx.signal("HUP");
    nginx.until("it is refused", |nginx| nginx.count("[emerg]") > errors);
    assert_eq!(nginx.workers(), workers);
}

/// nginx with a module file of its own, and that file.
fn with_own_file(plain: &Fapi, tls: &Fapi) -> (Nginx, PathBuf) {
    let config = Config::server(&locations(plain, tls, "file:key", "", ""))
        .file("key", KEY)
        .main("error_log logs/error.log notice;");
    let file = config.folder.path().join("clerk.so");
    fs::copy(&*MODULE, &file).unwrap();
    (config.module(&file).start(), file)
}

#[test]
fn a_reload_goes_on_with_a_module_whose_file_is_replaced() {
    let (plain, tls) = (telling("one", None), telling("tls", Some(CA.server(&["localhost"]))));
    let (mut nginx, file) = with_own_file(&plain, &tls);
    let first = fs::metadata(&file).unwrap().ino();
    let load = Load::start(nginx.port(), TARGETS);
    for _ in 0..3 {
        let new = file.with_extension("new");
        fs::copy(&*MODULE, &new).unwrap();
        fs::rename(&new, &file).unwrap();
        nginx.reload();
        assert_told(nginx.port(), "one", KEY);
        // The system's loader knows the name and takes no second look, with any module of nginx.
        for pid in [nginx.master(), nginx.workers()[0]] {
            assert_eq!(mapped(pid, "/clerk.so"), (vec![first], true));
        }
    }
    load.stop();
    nginx.stop();
    assert_eq!(nginx.count("exited on signal"), 0);
}

#[test]
fn a_reload_loads_the_module_from_another_file() {
    let (plain, tls) = (telling("one", None), telling("tls", Some(CA.server(&["localhost"]))));
    let (mut nginx, file) = with_own_file(&plain, &tls);
    let load = Load::start(nginx.port(), TARGETS);
    let text = nginx.config.text();
    for number in 0..3 {
        let new = file.with_file_name(format!("{number}-clerk.so"));
        fs::copy(&*MODULE, &new).unwrap();
        let text = text.replace(file.to_str().unwrap(), new.to_str().unwrap());
        nginx.config.folder.write("nginx.conf", text);
        nginx.reload();
        assert_told(nginx.port(), "one", KEY);
        let inode = fs::metadata(&new).unwrap().ino();
        for pid in [nginx.master(), nginx.workers()[0]] {
            // The ones before stay in memory, since a module is never unloaded.
            assert!(mapped(pid, "clerk.so").0.contains(&inode));
        }
    }
    load.stop();
    nginx.stop();
    assert_eq!(nginx.count("exited on signal"), 0);
}

/// nginx serves only what was begun before it, and that with the configuration of before.
#[test]
fn a_reload_of_a_process_without_workers() {
    let fapi = telling("one", None);
    let server = format!(
        "location /__clerk/ {{ clerk_proxy https://app.dev/__clerk secret_key=%KEY% \
         upstream=http://localhost:{}; }}",
        fapi.port
    );
    let mut nginx = Config::server(&server)
        .main("master_process off; error_log logs/error.log notice;")
        .workers(0)
        .allow("[emerg]")
        .start();
    let mut stream = nginx.connect();
    let request = head("GET", "/__clerk/v1", "keep-alive") + "\r\n";
    assert_eq!(ask(&mut stream, &request).map(|reply| reply.status), Some(200));
    // A configuration that is refused changes nothing.
    let file = nginx.config.folder.path().join("nginx.conf");
    let good = fs::read_to_string(&file).unwrap();
    for (number, text) in [good.as_str(), "worse", good.as_str()].iter().enumerate() {
        fs::write(&file, text).unwrap();
        nginx.signal("HUP");
        nginx.until("it is read", |nginx| nginx.count(": reconfiguring\n") == number + 1);
        assert_eq!(ask(&mut stream, &request).map(|reply| reply.status), Some(200));
    }
}
