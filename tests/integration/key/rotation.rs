//! The key's way into nginx: the file that it is read from, mistakes on the way, and a new key by a reload.

use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::kit::fapi::Fapi;
use crate::kit::harness::{Config, Nginx, Reply, KEY, PATIENCE};

/// A location with the key of the file `key`, which only its owner can read.
fn with_file(fapi: &Fapi, content: &str) -> Config {
    let config = Config::server(&format!(
        "location /__clerk/ {{ clerk_proxy https://app.dev/__clerk secret_key=file:key \
         upstream=http://127.0.0.1:{}; }}",
        fapi.port
    ));
    write(&config, content);
    config
}

/// Writes a key as a tool for deployments does: a new file in the place of the old one.
fn write(config: &Config, content: &str) {
    let new = config.folder.write("key.new", content);
    fs::set_permissions(&new, Permissions::from_mode(0o600)).expect("the file is ours");
    fs::rename(new, config.folder.path().join("key")).expect("a folder of ours");
}

/// The key of the request for this path.
fn key_of(fapi: &Fapi, path: &str) -> String {
    let requests = fapi.requests();
    let request = requests.iter().find(|request| request.target() == path).expect("it arrived");
    request.one("Clerk-Secret-Key").to_owned()
}

fn wait(what: &str, holds: impl Fn() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "waited in vain until {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn one_line_end_behind_the_key_is_no_part_of_it() {
    let fapi = Fapi::plain();
    for (index, end) in ["", "\n", "\r\n"].into_iter().enumerate() {
        let nginx = with_file(&fapi, &format!("{KEY}{end}")).start();
        assert_eq!(nginx.get("/__clerk/v1").status, 200);
        assert_eq!(fapi.wait_for(index + 1)[index].one("Clerk-Secret-Key"), KEY);
    }
    let line = format!(
        "location /__clerk/ {{ clerk_proxy https://app.dev/__clerk secret_key=env:K \
         upstream=http://127.0.0.1:{}; }}",
        fapi.port
    );
    let nginx = Config::server(&line).env("K", &format!("{KEY}\r\n")).start();
    assert_eq!(nginx.get("/__clerk/v1").status, 200);
    assert_eq!(fapi.wait_for(4)[3].one("Clerk-Secret-Key"), KEY);
}

#[test]
fn a_relative_path_starts_at_the_folder_of_the_configuration() {
    let fapi = Fapi::plain();
    let config = with_file(&fapi, "sk_live_*");
    let conf = config.folder.path().join("conf");
    fs::create_dir_all(conf.join("sites")).unwrap();
    let check = |text: &str| {
        let mut command = config.command();
        fs::write(conf.join("nginx.conf"), text).unwrap();
        let output = command.args(["-c", "conf/nginx.conf", "-t"]).output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let text = config.text();
    let (ok, printed) = check(&text);
    assert!(!ok && printed.contains("No such file"), "{printed}");
    fs::write(conf.join("key"), KEY).unwrap();
    assert!(check(&text).0);
    // An included file elsewhere changes nothing.
    let at = text.find("location").unwrap();
    let end = text[at..].find('}').unwrap() + at + 1;
    fs::write(conf.join("sites/clerk.conf"), &text[at..end]).unwrap();
    let (ok, printed) = check(&text.replace(&text[at..end], "include sites/clerk.conf;"));
    assert!(ok, "{printed}");
}

#[test]
fn workers_that_could_not_read_the_file_have_its_key() {
    let fapi = Fapi::plain();
    let nginx = with_file(&fapi, KEY).start();
    // Who answers has given up the rights of root.
    assert_eq!(nginx.get("/__clerk/v1").status, 200);
    let status = fs::read_to_string(format!("/proc/{}/status", nginx.workers()[0])).unwrap();
    let uid = status.lines().find_map(|line| line.strip_prefix("Uid:")).expect("a user");
    let worker: u32 = uid.split_whitespace().next().unwrap().parse().unwrap();
    let file = fs::metadata(nginx.config.folder.path().join("key")).unwrap().uid();
    // Run by another user than root, both are that user.
    assert!(file != 0 || worker != 0);
    assert_eq!(fapi.only().one("Clerk-Secret-Key"), KEY);
}

#[test]
fn no_mistake_in_the_configuration_prints_the_key() {
    const URL: &str = "clerk_proxy https://app.dev/__clerk";
    let lines = [
        "clerk_proxy %KEY%;".to_owned(),
        "clerk_proxy https://%KEY%;".to_owned(),
        "clerk_proxy https://%KEY%@app.dev/__clerk;".to_owned(),
        "clerk_proxy https://u:%KEY%@app.dev/__clerk;".to_owned(),
        "clerk_proxy https://app.dev/%KEY%;".to_owned(),
        "clerk_proxy https://app.dev/__clerk?%KEY%;".to_owned(),
        "clerk_proxy %KEY%://app.dev/__clerk;".to_owned(),
        "clerk_proxy https://app.dev:%KEY%/__clerk;".to_owned(),
        format!("{URL} %KEY%;"),
        format!("{URL} key=%KEY%;"),
        format!("{URL} secret_key:%KEY%;"),
        format!("{URL} \"secret_key %KEY%\";"),
        format!("{URL} secret_key = %KEY%;"),
        format!("{URL} secret_key=\"%KEY%\";"),
        format!("{URL} \"secret_key= %KEY%\";"),
        format!("{URL} secret_key=%KEY%%KEY%$;"),
        format!("{URL} secret_key=secret_key=%KEY%;"),
        format!("{URL} secret_key=%KEY% secret_key=%KEY%;"),
        format!("{URL} secret_key=file:%KEY%;"),
        format!("{URL} secret_key=file:/%KEY%;"),
        format!("{URL} secret_key=env:%KEY%;"),
        format!("{URL} secret_key=env:K=%KEY%;"),
        format!("{URL} secret_key=Bearer%KEY%;"),
        format!("{URL} upstream=%KEY%;"),
        format!("{URL} upstream=https://%KEY%@a.dev;"),
        format!("{URL} upstream=http://unix:%KEY%;"),
        format!("{URL} keepalive=%KEY%;"),
        format!("{URL} secret_key=%KEY%; proxy_set_header Clerk-Secret-Key %KEY%;"),
        format!("{URL} secret_key=%KEY%; proxy_pass http://127.0.0.1:1;"),
        format!("{URL} secret_key=%KEY%; {URL} secret_key=%KEY%;"),
        format!("{URL} secret_key=%KEY% {{ }}"),
        format!("{URL} secret_key=%KEY%"),
        "clerk_proxy_secret_key %KEY% %KEY%;".to_owned(),
        "clerk_proxy_secret_key %KEY%; clerk_proxy_secret_key %KEY%;".to_owned(),
        "clerk_proxy_secret_key secret_key=%KEY%;".to_owned(),
        "clerk_proxy_secret_key file:%KEY%;".to_owned(),
        "clerk_proxy_secret_key env:%KEY%;".to_owned(),
        "clerk_proxy_secret_key %KEY%.;".to_owned(),
        "clerk_proxy_secret_key \"%KEY%\u{20ac}\";".to_owned(),
        "clerk_proxy_secret_key %KEY% { }".to_owned(),
        "clerk_proxy_upstream %KEY%;".to_owned(),
        "clerk_proxy_upstream secret_key=%KEY%;".to_owned(),
        "clerk_proxy_client_ip %KEY% x;".to_owned(),
        "secret_key %KEY%;".to_owned(),
        "secret_key=%KEY%;".to_owned(),
    ];
    // One that was copied without its mark is a key, too.
    let bare = "QqZzJjXx0123456789abcdefghijABCDEFGHIJ01";
    let unmarked = lines.iter().map(|line| line.replace("%KEY%", bare));
    for line in lines.iter().cloned().chain(unmarked) {
        let config = Config::server(&format!("location /__clerk/ {{\n{line}\n}}"));
        let (ok, printed) = config.check();
        // What has no directive of ours at its front is nginx's own to report.
        let own = line.starts_with("clerk_proxy");
        assert!(!ok, "{line}");
        let log = config.folder.read("logs/error.log");
        let tells = |text: &str| ["ofTheTests", "QqZz"].iter().any(|part| text.contains(part));
        let seen = tells(&printed) || tells(&log);
        assert!(!own || !seen, "{line}");
    }
}

#[test]
fn a_key_in_a_url_that_gets_through_is_not_printed_either() {
    // A name that cannot be looked up is a warning.
    for key in ["%KEY%", "QqZzJjXx0123456789abcdefghijABCDEFGHIJ01"] {
        let line =
            format!("clerk_proxy https://app.dev upstream=http://{key}.invalid secret_key=%KEY%;");
        let (ok, printed) = Config::server(&format!("location / {{ {line} }}")).check();
        let told = printed.to_lowercase();
        let seen = told.contains("ofthetests") || told.contains("qqzz");
        assert!(ok && printed.contains("[warn]") && !seen, "{printed}");
    }
}

#[test]
fn a_value_that_is_no_key_is_answered_without_it() {
    let fapi = Fapi::plain();
    let nginx = Config::server(&format!(
        "location /__clerk/ {{\nclerk_proxy https://app.dev/__clerk secret_key=$http_x_key \
         upstream=http://127.0.0.1:{};\n}}",
        fapi.port
    ))
    .start();
    let send = |key: &str| -> Reply {
        let head = "GET /__clerk/v1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX-Key: ";
        nginx.send(format!("{head}{key}\r\n\r\n"))
    };
    assert_eq!(send("sk_live_two").status, 200);
    let bad =
        ["", "sk_live_", "sk_live_two.", "pk_live_two", "sk_live_two, sk_live_two", "sk_live_*"];
    for key in bad {
        let reply = send(key);
        assert_eq!(reply.status, 500, "{key}");
        assert!(!reply.text().contains("sk_live_two"));
    }
    let log = nginx.error_log();
    let file = nginx.config.folder.path().join("nginx.conf");
    let line = format!("no valid key \"$http_x_key\" in \"clerk_proxy\" in {}:5", file.display());
    assert_eq!(log.matches(&line).count(), bad.len(), "{log}");
    assert!(!log.contains("sk_live_two"), "{log}");
    assert_eq!(fapi.only().one("Clerk-Secret-Key"), "sk_live_two");
}

#[test]
fn a_new_key_is_in_use_after_a_reload_and_no_request_fails() {
    const ROUNDS: usize = 5;
    let key = |round: usize| format!("sk_live_round{round}");
    let fapi = Fapi::plain();
    let nginx = with_file(&fapi, &key(0)).workers(2).start();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let clients: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    let mut count = 0;
                    while !done.load(Ordering::Relaxed) {
                        assert_eq!(nginx.get("/__clerk/loop").status, 200);
                        count += 1;
                    }
                    count
                })
            })
            .collect();
        for round in 1..=ROUNDS {
            assert_eq!(nginx.get(&format!("/__clerk/before{round}")).status, 200);
            let before = nginx.workers();
            write(&nginx.config, &key(round));
            // Written, and not yet in use.
            assert_eq!(nginx.get(&format!("/__clerk/written{round}")).status, 200);
            nginx.signal("HUP");
            wait("all workers are new ones", || {
                let workers = nginx.workers();
                workers.len() >= 2 && !workers.iter().any(|worker| before.contains(worker))
            });
            assert_eq!(nginx.get(&format!("/__clerk/after{round}")).status, 200);
        }
        done.store(true, Ordering::Relaxed);
        let counts: Vec<usize> = clients.into_iter().map(|client| client.join().unwrap()).collect();
        assert!(counts.iter().all(|&count| count > ROUNDS), "{counts:?}");
    });
    for round in 1..=ROUNDS {
        assert_eq!(key_of(&fapi, &format!("/before{round}")), key(round - 1));
        assert_eq!(key_of(&fapi, &format!("/written{round}")), key(round - 1));
        assert_eq!(key_of(&fapi, &format!("/after{round}")), key(round));
    }
    let keys: Vec<String> = (0..=ROUNDS).map(key).collect();
    for request in fapi.requests() {
        assert!(keys.iter().any(|key| key == request.one("Clerk-Secret-Key")), "{request:?}");
    }
}

#[test]
fn a_request_under_way_keeps_the_old_key() {
    let fapi = Fapi::plain();
    let nginx = with_file(&fapi, "sk_live_one").start();
    let before = nginx.workers();
    let mut client = nginx.connect();
    let head = "POST /__clerk/slow HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 2";
    client.write_all(format!("{head}\r\n\r\nx").as_bytes()).unwrap();
    wait("the request arrives", || fapi.received() > 0);
    write(&nginx.config, "sk_live_two");
    nginx.signal("HUP");
    let renewed = |nginx: &Nginx| nginx.workers().iter().any(|worker| !before.contains(worker));
    wait("there is a new worker", || renewed(&nginx));
    client.write_all(b"y").unwrap();
    let mut bytes = Vec::new();
    client.read_to_end(&mut bytes).unwrap();
    drop(client);
    assert_eq!(Reply::parse(&bytes).status, 200);
    wait("the old worker is gone", || !nginx.workers().contains(&before[0]));
    assert_eq!(nginx.get("/__clerk/new").status, 200);
    assert_eq!(key_of(&fapi, "/slow"), "sk_live_one");
    assert_eq!(key_of(&fapi, "/new"), "sk_live_two");
}

#[test]
fn a_reload_with_a_bad_key_changes_nothing() {
    let fapi = Fapi::plain();
    let config = with_file(&fapi, KEY);
    let source = format!(
        "key in file \"{}\" in \"clerk_proxy\": ",
        config.folder.path().join("key").display()
    );
    let mut nginx = config.allow(&source).start();
    let workers = nginx.workers();
    let bad = [
        ("", "it is empty, copy the key"),
        ("sk_live_two.", "it contains a character other than"),
        ("sk_live_two\nsk_live_one", "it contains spaces or several lines"),
    ];
    for (content, fault) in bad {
        write(&nginx.config, content);
        nginx.signal("HUP");
        let line = format!(": invalid {source}{fault}");
        nginx.until("the mistake is logged", |nginx| nginx.error_log().contains(&line));
        assert!(!nginx.error_log().contains("sk_live_two"));
    }
    fs::remove_file(nginx.config.folder.path().join("key")).unwrap();
    nginx.signal("HUP");
    let line = format!(": no {source}it cannot be read (2: No such file or directory) in ");
    nginx.until("the mistake is logged", |nginx| nginx.error_log().contains(&line));
    assert_eq!(nginx.workers(), workers);
    assert_eq!(nginx.get("/__clerk/v1").status, 200);
    assert_eq!(fapi.only().one("Clerk-Secret-Key"), KEY);
}
