//! Random configurations: nginx takes them or says why not, and those that it takes work.
//!
//! `CLERK_PROXY_TEST_CASES` is how many, `CLERK_PROXY_TEST_SEED` where they begin; `scripts/random-configs` is the
//! long form.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Mutex;
use std::thread;

use rcgen::CertificateParams;

use crate::kit::dns_server::{private_etc, resolv_conf};
use crate::kit::fapi::{json, Fapi, Request, CA};
use crate::kit::grammar::{beside_clerk, plain, smallest, text, Grammar, Node};
use crate::kit::harness::{number, split_head, values, Config, Nginx, KEY};

/// Headers of the Frontend API.
const REPLY: &str =
    "X-Fapi: 1\r\nCache-Control: no-store\r\nAccess-Control-Allow-Origin: https://app.dev\r\n\
    Set-Cookie: __client=a\r\n";

/// What a client says to it.
const CLIENT: &str =
    "Cookie: __client=b\r\nAuthorization: Bearer token\r\nOrigin: https://app.dev\r\n\
    User-Agent: Client/1\r\nAccept-Encoding: br\r\nAccept-Language: de\r\n";

/// What an edge says to nginx.
const EDGE: &str = "CF-Connecting-IP: 6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\nTrue-Client-IP: 6.6.6.6\r\n";

/// What nginx may connect to.
struct World {
    /// Where `clerk_proxy` leads with a path, plain and by TLS, and without one.
    clerk: [Fapi; 3],
    /// Where other directives lead, plain and by TLS.
    own: [Fapi; 2],
}

impl World {
    fn new() -> Self {
        // What nginx passes on can be told from all else.
        let reply = || json(200, REPLY, r#"{"ok":true}"#);
        let tls = CA.server(&["localhost"]);
        let clerk = [None, Some(tls), None].map(|tls| Fapi::answering(tls, reply()));
        Self { clerk, own: [Fapi::plain(), Fapi::tls()] }
    }

    fn config() -> Config {
        let (certificate, key) = CA.sign(CertificateParams::new(Vec::new()).expect("no names"));
        let config = Config::new("include random.conf;")
            .file("key", format!("{KEY}\n"))
            .file("empty", "")
            .file("passwords", "one\n")
            .file("bundle.pem", format!("{0}{0}", CA.pem()))
            .file("cert.pem", certificate.pem())
            .file("cert.key", key.serialize_pem())
            .env("TEST_KEY", KEY)
            .env("CLERK_SECRET_KEY", KEY)
            .allow("[crit]");
        // Nobody answers there: a name is unknown at once.
        private_etc(config, &resolv_conf(IpAddr::from([127, 0, 0, 1])))
    }

    fn write(&self, config: &Config, nodes: &[Node]) {
        let mut text = text(nodes);
        let ([fapi, tls, bare], [own, own_tls]) = (&self.clerk, &self.own);
        let ports = [
            ("%FAPI%", fapi.port),
            ("%TLS%", tls.port),
            ("%BARE%", bare.port),
            ("%OWN%", own.port),
            ("%OWNTLS%", own_tls.port),
            ("%PORT%", config.port),
            ("%PORT2%", config.port2),
        ];
        for (name, port) in ports {
            text = text.replace(name, &port.to_string());
        }
        let folder = config.folder.path().to_string_lossy().into_owned();
        config.folder.write("random.conf", text.replace("%DIR%", &folder).replace("%KEY%", KEY));
    }

    /// Checks a configuration by `nginx -t`: whether it is good, or what is wrong with nginx.
    fn check(&self, config: &Config, nodes: &[Node]) -> Result<(bool, String), String> {
        self.write(config, nodes);
        let output = config.command().arg("-t").output().expect("nginx runs");
        let printed = String::from_utf8_lossy(&output.stderr).into_owned();
        let forbidden = [KEY, "[alert]", "this is a defect of the module"];
        if let Some(text) = forbidden.into_iter().find(|&text| printed.contains(text)) {
            return Err(format!("{text} is printed"));
        }
        let file = format!("{}/random.conf:", config.folder.path().display());
        let mut errors = printed.lines().filter(|line| line.contains("[emerg]")).peekable();
        match (output.status.code(), errors.peek()) {
            (Some(0), None) => Ok((true, printed)),
            (Some(1), Some(_)) => {
                match errors.find(|line| is_ours(line) && !line.contains(&file)) {
                    Some(line) => Err(format!("no place is named: {line}")),
                    None => Ok((false, printed)),
                }
            }
            _ => Err(format!("{}, {printed}", output.status)),
        }
    }

    /// Checks a configuration with the module's directives and without them.
    fn both(&self, config: &Config, nodes: &[Node]) -> Result<Verdict, String> {
        let ours = self.check(config, nodes)?;
        let stock = self.check(config, &plain(nodes))?;
        match (ours, stock) {
            // The recipe may fix sizes that contradict nginx's own defaults.
            ((true, _), (false, printed)) if !printed.contains("_size\" must be ") => {
                Err(format!("more is accepted than without the module's directives:\n{printed}"))
            }
            ((true, _), _) => Ok(Verdict::Good),
            ((false, printed), (true, _)) if !is_explained(&printed) => {
                Err(format!("it is not refused without the module's directives:\n{printed}"))
            }
            ((false, printed), (good, _)) => Ok(Verdict::Bad { printed, stock_is_good: good }),
        }
    }
}

/// What nginx says of a configuration.
enum Verdict {
    Good,
    Bad { printed: String, stock_is_good: bool },
}

/// What nginx itself says only beside a `clerk_proxy`, and may.
const BY_NGINX: &[&str] = &[
    // Of expressions.
    "invalid variable name",
    "\" variable",
    // What a location with a certificate is checked for once it proxies.
    "no \"proxy_ssl_certificate_key\" is defined",
    // Of odd values for TLS, which are looked at once a location speaks it.
    "failed (SSL: ",
    "could not build proxy_headers_hash",
    // Sizes in a location nested in that of a `clerk_proxy`, whose buffers it inherits.
    "_size\" must be ",
];

/// Whether what is refused beside a `clerk_proxy` alone says why.
fn is_explained(printed: &str) -> bool {
    let mut errors = printed.lines().filter(|line| line.contains("[emerg]"));
    errors.any(|line| is_ours(line) || BY_NGINX.iter().any(|text| line.contains(text)))
}

/// Whether a message comes from the module.
fn is_ours(line: &str) -> bool {
    line.contains("clerk_proxy")
}

/// Tells what failed.
struct Case<'a>(u64, &'a [Node]);

impl Drop for Case<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            println!("--- CLERK_PROXY_TEST_SEED={}\n{}", self.0, text(self.1));
        }
    }
}

#[test]
fn nginx_takes_them_or_says_why_not() {
    let cases = number("CLERK_PROXY_TEST_CASES", 100);
    let first = number("CLERK_PROXY_TEST_SEED", 0);
    let next = AtomicU64::new(first);
    let (started, sent) = (AtomicU64::new(0), AtomicU64::new(0));
    let verdicts = Mutex::new(BTreeMap::<String, Vec<u64>>::new());
    let work = || {
        let world = World::new();
        let config = World::config();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= first + cases {
                return;
            }
            let nodes = Grammar::new(seed).http();
            let _case = Case(seed, &nodes);
            let verdict = world.both(&config, &nodes).unwrap_or_else(|why| {
                let least = smallest(nodes.clone(), &|nodes| world.both(&config, nodes).is_err());
                let still = world.both(&config, &least).err().unwrap_or_default();
                panic!("{why}\n--- the least of it: {still}\n{}", text(&least));
            });
            verdicts.lock().unwrap().entry(kind(&verdict)).or_default().push(seed);
            if matches!(verdict, Verdict::Good) && seed % 2 == 0 && is_fit(&text(&nodes)) {
                let arrived = drive(&world, &nodes);
                started.fetch_add(1, Ordering::Relaxed);
                sent.fetch_add(arrived, Ordering::Relaxed);
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    let (started, sent) = (started.into_inner(), sent.into_inner());
    println!("{cases} from seed {first}, {started} started, {sent} requests by clerk_proxy");
    for (verdict, seeds) in verdicts.into_inner().unwrap() {
        println!("{:6} {verdict}, such as seed {}", seeds.len(), seeds[0]);
    }
}

/// A verdict without what differs from one configuration to the next.
fn kind(verdict: &Verdict) -> String {
    let Verdict::Bad { printed, stock_is_good } = verdict else { return "accepted".to_owned() };
    let line = printed.lines().find(|line| line.contains("[emerg]")).unwrap_or_default();
    let whose = match (is_ours(line), stock_is_good) {
        (true, _) => "refused by the module",
        (false, false) => "refused by nginx",
        (false, true) => "refused by nginx, but not without the module's directives",
    };
    let line = line.split(" in /").next().unwrap_or(line).replace(|c: char| c.is_ascii_digit(), "");
    format!("{whose}: {line}")
}

/// Whether requests are worth while: there is a `clerk_proxy`, and nothing lets the stand-in wait for a body.
fn is_fit(text: &str) -> bool {
    const UNFIT: &[&str] =
        &["proxy_pass_request_body off", "Content-Length 3", "transparent", "auth_request /own"];
    text.contains("clerk_proxy ") && !UNFIT.iter().any(|unfit| text.contains(unfit))
}

/// Starts nginx and sends requests; how many of them arrived by `clerk_proxy`.
fn drive(world: &World, nodes: &[Node]) -> u64 {
    let config = World::config();
    world.write(&config, nodes);
    let before: Vec<usize> = world.clerk.iter().map(|fapi| fapi.requests().len()).collect();
    let before_own: Vec<usize> = world.own.iter().map(|fapi| fapi.requests().len()).collect();
    let mut nginx = config.start();
    let processes = nginx.workers();
    let beside = beside_clerk(nodes);
    for target in [
        "/",
        "/__clerk",
        "/__clerk/v1/client?a=%2F",
        "/__clerk/v1",
        "/__clerk//npm/x.js",
        "/__clerk/v2/x?",
        "/__clerk/re/..%2f%2e%2e/__clerk/x",
        "/%5F_clerk/v3;a=b",
        "/old/v1/x",
        "/own/x.css",
        "/other/x?if=1",
        "/a/b",
    ] {
        let head = format!(
            "{target} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nClerk-Secret-Key: sk_live_forged\r\n\
             X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Host: evil.test\r\nClerk-Proxy-Url: x\r\n\
             x-forwarded-proto: x\r\n{CLIENT}{EDGE}",
            if target.contains(';') { "shop.example" } else { "app.dev" }
        );
        for request in
            [format!("GET {head}\r\n"), format!("POST {head}Content-Length: 5\r\n\r\nhello")]
        {
            assert_reply(&exchange(&nginx, &request), &beside);
        }
    }
    exchange(&nginx, &format!("HEAD /__clerk/v1 HTTP/1.0\r\n{CLIENT}{EDGE}\r\n"));
    let left = nginx.workers();
    assert!(processes.iter().all(|process| left.contains(process)), "a process has died");
    nginx.stop();
    for (fapi, before) in world.own.iter().zip(before_own) {
        for request in &fapi.requests()[before..] {
            let keys = request.all("Clerk-Secret-Key");
            assert!(!keys.contains(&KEY) && !keys.contains(&"sk_live_shop"), "{request:#?}");
        }
    }
    let mut arrived = 0;
    for (index, (fapi, before)) in world.clerk.iter().zip(before).enumerate() {
        let base = if index < 2 { "/base/" } else { "/" };
        for request in &fapi.requests()[before..] {
            assert_contract(request, base, &beside);
            arrived += 1;
        }
    }
    arrived
}

/// A request to its end, whatever the answer is, if any.
fn exchange(nginx: &Nginx, request: &str) -> Vec<u8> {
    let (mut stream, mut reply) = (nginx.connect(), Vec::new());
    // nginx may close with a part of the request unread.
    let _ = stream.write_all(request.as_bytes());
    if let Err(error) = stream.read_to_end(&mut reply) {
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}: {request}");
    }
    reply
}

/// Whether a line beside `clerk_proxy`, or in a location inside of its own, begins so, in small letters.
fn stands(beside: &[&str], start: &str) -> bool {
    beside.iter().any(|line| line.to_lowercase().starts_with(start))
}

/// A reply of the Frontend API is not made cacheable by anything but lines of the location itself.
fn assert_reply(reply: &[u8], beside: &[&str]) {
    let Some((head, _)) = split_head(reply).filter(|(head, _)| head.contains("\r\nX-Fapi: 1"))
    else {
        return;
    };
    let headers: Vec<String> = head.split("\r\n").skip(1).map(str::to_owned).collect();
    let own = ["add_header ", "expires ", "proxy_hide_header ", "add_header_inherit"];
    if !own.iter().any(|start| stands(beside, start)) {
        assert_eq!(values(&headers, "Cache-Control"), ["no-store"], "{head}");
        assert_eq!(values(&headers, "Access-Control-Allow-Origin"), ["https://app.dev"], "{head}");
        assert!(values(&headers, "Expires").is_empty(), "{head}");
        assert!(values(&headers, "Set-Cookie").contains(&"__client=a"), "{head}");
    }
}

fn assert_contract(request: &Request, base: &str, beside: &[&str]) {
    for name in
        ["Host", "Clerk-Proxy-Url", "Clerk-Secret-Key", "X-Forwarded-Host", "X-Forwarded-Proto"]
    {
        let own = format!("proxy_set_header {name} ").to_lowercase();
        if !beside.iter().any(|line| line.to_lowercase().starts_with(&own)) {
            assert!(!request.one(name).is_empty(), "{name} is empty in {request:#?}");
        }
    }
    assert!(request.one("Clerk-Proxy-Url").starts_with("http"), "{request:#?}");
    let key = request.one("Clerk-Secret-Key");
    assert!([KEY, "sk_live_shop", "sk_test_two"].contains(&key), "{request:#?}");
    if let [address] = request.all("X-Forwarded-For")[..] {
        assert!(address.parse::<IpAddr>().is_ok(), "{request:#?}");
    } else {
        assert!(request.all("X-Forwarded-For").is_empty(), "{request:#?}");
    }
    assert_said(request, beside);
    let path = request.target().split('?').next().expect("a path").to_lowercase();
    // One ORIGIN of the vocabulary has a path of its own.
    assert!([base, "/(x/"].iter().any(|base| path.starts_with(base)), "{request:#?}");
    assert!(!path.replace("%2e", ".").split('/').any(|segment| segment == ".."), "{request:#?}");
}

/// What clients say arrives, and what an edge says does not, but for lines of the location itself.
fn assert_said(request: &Request, beside: &[&str]) {
    let sets = |name: &str| stands(beside, &format!("proxy_set_header {name} ").to_lowercase());
    for line in EDGE.lines() {
        let name = line.split(':').next().expect("a name");
        assert!(sets(name) || request.all(name).is_empty(), "{name} in {request:#?}");
    }
    // Scripts are asked for without what is personal.
    let is_script = request.target().contains("/npm/") && stands(beside, "proxy_cache ");
    if is_script || stands(beside, "proxy_pass_request_headers off") {
        return;
    }
    for line in CLIENT.lines() {
        let (name, value) = line.split_once(": ").expect("a header");
        assert!(sets(name) || request.all(name) == [value], "{name} in {request:#?}");
    }
}
