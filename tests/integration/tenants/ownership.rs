//! Random configurations with two tenants, four upstream identities, a cache and subrequests, clients that forge headers and
//! a Frontend API that sends hostile replies: nobody gets a key or a reply that is not his.
//!
//! `CLERK_PROXY_TEST_CASES` is how many, `CLERK_PROXY_TEST_SEED` where they begin; `scripts/random-configs` is the
//! long form.

use std::collections::HashSet;
use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use proptest::prelude::Rng as _;
use proptest::test_runner::{RngAlgorithm, TestRng};

use crate::kit::fapi::{is_timeout, json, Ca, Fapi, Request, Stream, CA};
use crate::kit::harness::{number, Config, Nginx, Reply};
use crate::kit::load;
use crate::kit::tls::localhost;

const TENANTS: [&str; 2] = ["one", "two"];
const LOCATIONS: usize = 5;
const IDENTITIES: usize = 4;
/// Clients of a configuration, which ask at the same time, and the requests of each.
const CLIENTS: u64 = 5;
const REQUESTS: u64 = 100;

/// How the Frontend API replies to a path with this name.
const REPLIES: [&str; 7] =
    ["plain", "interim", "switch", "location", "refresh", "markup", "commands"];
/// Names of scripts that may be kept, and of those that may not.
const KEPT: [&str; 3] = ["a.js", "b.js", "c.js"];
const UNKEPT: [&str; 5] = ["private", "cookie", "vary", "encoded", "missing"];

/// What a location sends, to whom.
struct Place {
    identity: usize,
    url: &'static str,
    key: &'static str,
    address: &'static str,
    has_cache: bool,
    lines: String,
}

/// A part of the list.
fn pick<T: Copy>(rng: &mut TestRng, list: &[T]) -> T {
    list[rng.random_range(0..list.len())]
}

impl Place {
    fn random(rng: &mut TestRng, number: usize) -> Self {
        let has_cache = rng.random_range(0..3) > 0;
        let mut lines = String::new();
        let other = |rng: &mut TestRng| {
            let other = rng.random_range(0..LOCATIONS);
            format!("/l{other}/v1/own{other}/sub")
        };
        for directive in ["auth_request", "mirror"] {
            if rng.random_range(0..2) == 0 {
                lines += &[directive, " ", &other(rng), ";\n"].concat();
            }
        }
        for line in ["proxy_buffering off;", "set $own $by_path;", "access_log logs/own.log own;"] {
            if rng.random_range(0..3) == 0 {
                lines += line;
                lines.push('\n');
            }
        }
        if has_cache {
            lines += "proxy_cache c;\n";
        }
        let identity = (number + rng.random_range(0..2)) % IDENTITIES;
        // All that use a block must have the same settings.
        let depth = if identity == 3 { 5 } else { 4 };
        let path = format!("/l{number}/v1/own{number}");
        let inside = [
            format!("location {path}/plain {{ limit_rate 9m; location {path}/plain/x {{ limit_rate 8m; }} }}"),
            format!("location {path}/commands {{ proxy_ignore_headers X-Accel-Charset; proxy_set_header X-In 1; }}"),
            format!("location /l{number}/npm/ {{ proxy_cache_min_uses 1; }}"),
            format!("location {path}/interim {{ proxy_ssl_verify_depth {depth}; }}"),
            "if ($arg_none) { set $none 1; } limit_except GET { allow all; }".to_owned(),
        ];
        for block in inside.iter().filter(|_| rng.random_range(0..2) == 0) {
            lines += block;
            lines.push('\n');
        }
        if identity == 2 {
            // Another server at the same address.
            lines += "proxy_ssl_name other.test;\n";
        }
        Self {
            identity,
            url: pick(rng, &["app.dev", "$host", "$name.test"]),
            key: pick(
                rng,
                &["sk_live_fixed", "$by_host", "$by_path", "$by_header", "${by_nested}"],
            ),
            address: pick(rng, &["$remote_addr", "$http_cf_connecting_ip", "$address"]),
            has_cache,
            lines,
        }
    }

    /// The lines of the location; `origins` are those of the identities.
    fn text(&self, number: usize, origins: &[String; IDENTITIES]) -> String {
        let Self { identity, url, key, address, lines, .. } = self;
        format!(
            "location /l{number}/ {{ clerk_proxy https://{url}/l{number} secret_key={key} upstream={};\n\
             clerk_proxy_client_ip {address}; proxy_ssl_trusted_certificate %DIR%/ca.pem;\n{lines} }}\n",
            origins[*identity]
        )
    }

    fn url_for(&self, number: usize, tenant: usize) -> String {
        let host = if self.url == "app.dev" {
            "app.dev".to_owned()
        } else {
            format!("{}.test", TENANTS[tenant])
        };
        format!("https://{host}/l{number}")
    }

    fn key_for(&self, number: usize, tenant: usize) -> String {
        match self.key {
            "sk_live_fixed" => "sk_live_fixed".to_owned(),
            "$by_path" | "${by_nested}" => format!("sk_live_l{number}"),
            _ => format!("sk_live_{}", TENANTS[tenant]),
        }
    }

    fn address_for(&self, tenant: usize) -> String {
        let of_edge = format!("192.0.2.{}", tenant + 1);
        if self.address == "$remote_addr" {
            "127.0.0.1".to_owned()
        } else {
            of_edge
        }
    }
}

/// The maps, each kept by nginx or not.
fn maps(rng: &mut TestRng) -> String {
    let paths: String =
        (0..LOCATIONS).map(|n| format!("~^/l{n}/ sk_live_l{n};")).collect::<Vec<_>>().concat();
    [
        "map $host $by_host { VOLATILE one.test sk_live_one; two.test sk_live_two; default sk_live_nobody; }".to_owned(),
        "map $http_x_tenant $by_header { VOLATILE one sk_live_one; two sk_live_two; default sk_live_nobody; }".to_owned(),
        "map $http_x_tenant $name { VOLATILE one one; two two; default nobody; }".to_owned(),
        format!("map $uri $by_path {{ VOLATILE {paths} default sk_live_nobody; }}"),
        "map $uri $inner { VOLATILE default $uri; }".to_owned(),
        format!("map $inner $by_nested {{ VOLATILE {paths} default sk_live_nobody; }}"),
        "map $http_cf_connecting_ip $address { VOLATILE default $http_cf_connecting_ip; }".to_owned(),
    ]
    .map(|map| map.replace("VOLATILE", pick(rng, &["", "volatile;"])) + "\n")
    .concat()
}

/// What stands-ins of one configuration have in common.
#[derive(Default)]
struct Shared {
    /// How many replies there were, each of which has its number.
    replies: AtomicU64,
    problems: Mutex<Vec<String>>,
}

/// How a server may say that it means a path of its own.
fn spelling(number: u64, host: &str, path: &str) -> String {
    match number % 8 {
        0 => format!("https://{host}{path}"),
        1 => format!("HTTP://{}{path}", host.to_uppercase()),
        2 => format!("//{host}{path}"),
        3 => format!(r"\\{host}{}", path.replace('/', r"\")),
        4 => path.to_owned(),
        5 => format!("../../../..{path}"),
        6 => format!(" \thttps:\\/\t{host}/x/..{path}"),
        _ => format!("https://user:pw@{host}/./%2e{path}"),
    }
}

/// Which identity has got the request, by the port and the name of the server.
fn identity(port: usize, sni: Option<&str>) -> usize {
    match (port, sni) {
        (0, None) => 0,
        (1, Some("localhost")) => 1,
        (1, Some("other.test")) => 2,
        (2, Some("three.test")) => 3,
        other => panic!("{other:?}"),
    }
}

/// What stands for one or two identities: it says who it is, and who asked.
fn stand_in(port: usize, shared: &Arc<Shared>) -> Fapi {
    let names: [&[&str]; 3] = [&[], &["localhost", "other.test"], &["three.test"]];
    let tls = (port > 0).then(|| CA.server(names[port]));
    let shared = Arc::clone(shared);
    Fapi::start(tls, move |request, stream| {
        let serial = shared.replies.fetch_add(1, Ordering::Relaxed);
        reply(port, serial, request, stream, &shared.problems)
    })
}

/// Replies in the way that the path names.
fn reply(
    port: usize,
    serial: u64,
    request: &Request,
    stream: &mut dyn Stream,
    problems: &Mutex<Vec<String>>,
) -> bool {
    let identity = identity(port, request.sni.as_deref());
    let said = [request.one("Clerk-Proxy-Url"), request.one("Clerk-Secret-Key")].join(" ");
    let trace = request.all("X-Trace").first().copied().unwrap_or("-");
    let target = request.target();
    let way = target.split('/').nth(3).expect("a way to reply");
    let (_, own) = target.split_once("/own").expect("a path");
    let sub = format!("/v1/own{}/sub", &own[..1]);
    let link = spelling(serial, request.one("Host"), &sub);
    let public = "Cache-Control: public, max-age=600\r\n";
    let markup = "<!--#echo var=\"by_path\" --><!--#include virtual=\"/l0/v1/own0/sub\" -->";
    let body = format!("{identity} {said} {target} trace={trace} serial={serial} {markup}");
    let (status, head) = match way {
        "location" => (307, format!("LOCATION: {link}\r\n{public}")),
        "refresh" => (200, format!("refresh: 0; URL='{link}'\r\n{public}")),
        "markup" => (200, "Content-Type: text/html\r\nContent-Disposition: inline\r\n".to_owned()),
        "commands" => {
            let to = format!("/l{}/v1/own0/sub", serial % 2);
            let header = |name: &&str| format!("{name}: {to}\r\n");
            let names =
                ["X-Accel-Redirect", "x-accel-redirect", "X-ACCEL-REDIRECT", "X_Accel_Redirect"];
            let hop = "Connection: keep-alive, X-Hop\r\nX-Hop: hop\r\n".to_owned();
            (200, hop + &names.iter().map(header).collect::<String>())
        }
        "private" => (200, "Cache-Control: private, max-age=600\r\n".to_owned()),
        "cookie" => (200, format!("Set-Cookie: of={serial}\r\n{public}")),
        "vary" => (200, format!("Vary: *\r\n{public}")),
        "encoded" => (200, format!("Content-Encoding: own\r\n{public}")),
        "missing" => (404, public.to_owned()),
        // Public without being a script: not to be kept either.
        _ => (200, public.to_owned()),
    };
    let mut write = |text: &str| stream.write_all(text.as_bytes()).is_ok();
    match way {
        "interim" => {
            let first = ["100 Continue", "103 Early Hints", "199 Own"][(serial % 3) as usize];
            let link = format!("HTTP/1.1 {first}\r\nLink: <{serial}>\r\n\r\n");
            if !write(&link) {
                return false;
            }
        }
        "switch" => {
            write(
                "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: own\r\n\r\n",
            );
            let _ = stream.flush();
            let mut after = [0; 64];
            match stream.read(&mut after) {
                Ok(count @ 1..) => {
                    let after = after[..count].escape_ascii();
                    problems.lock().unwrap().push(format!("\"{after}\" came after a 101"));
                }
                Err(error) if !is_timeout(&error) => {}
                _ => {}
            }
            return false;
        }
        _ => {}
    }
    write(&json(status, &head, &body))
}

struct Site {
    places: Vec<Place>,
    stand_ins: [Fapi; 3],
    /// A server that nothing may be sent to.
    impostor: Fapi,
    shared: Arc<Shared>,
    nginx: Nginx,
    /// Where an `error_page` leads.
    error: usize,
    /// The numbers of replies that were for one request.
    seen: Mutex<HashSet<u64>>,
}

/// A request of a tenant, and what it may get.
struct Asked<'a> {
    tenant: usize,
    target: &'a str,
    /// Where it leads, in this order.
    places: &'a [usize],
    /// How the Frontend API replies.
    way: &'a str,
    trace: String,
}

impl Site {
    fn new(rng: &mut TestRng) -> Self {
        let shared = Arc::default();
        let stand_ins = [0, 1, 2].map(|port| stand_in(port, &shared));
        let impostor = Fapi::answering(Some(Ca::new().server(&["localhost"])), json(200, "", "{}"));
        let second = format!("https://localhost:{}", stand_ins[1].port);
        let origins = [
            format!("http://127.0.0.1:{}", stand_ins[0].port),
            second.clone(),
            second,
            "https://three.test".to_owned(),
        ];
        let places: Vec<Place> = (0..LOCATIONS).map(|number| Place::random(rng, number)).collect();
        let texts: Vec<_> =
            places.iter().enumerate().map(|(n, place)| place.text(n, &origins)).collect();
        let error = rng.random_range(0..LOCATIONS);
        let seen = pick(rng, &["", "set $seen $by_path$by_nested$by_header;"]);
        let outer = pick(
            rng,
            &["", "ssi on; ssi_types *;", "sub_filter serial broken; sub_filter_types *;"],
        );
        let names = pick(rng, &["", "underscores_in_headers on;"]);
        // Where a server takes early data, a header more is set.
        let early = rng.random_range(0..3) == 0;
        let listener = if early {
            "server { listen 127.0.0.1:%PORT2% ssl; ssl_certificate cert.pem; ssl_certificate_key cert.key;\n\
             ssl_early_data on; }\n"
        } else {
            ""
        };
        let mut config = Config::new(&format!(
            "{}proxy_cache_path %DIR%/cache keys_zone=c:256k; log_format own '$by_path $clerk_proxy_client_ip';\n\
             upstream three.test {{ server 127.0.0.1:{}; keepalive 2; }}\n{listener}\
             server {{ listen 127.0.0.1:%PORT%; {names} {seen} {outer}\n\
             location /error/ {{ error_page 404 = /l{error}/v1/own{error}/sub; return 404; }}\n\
             location = /page {{ ssi on; default_type text/html; add_header X-By $by_path;\n\
             return 200 '<!--#include virtual=\"/l0/v1/own0/sub\" --> <!--#include virtual=\"/l1/v1/own1/sub\" -->'; }}\n\
             {}\n\
             location /impostor/ {{ clerk_proxy https://$host/impostor secret_key=$by_host\n\
             upstream=https://localhost:{}; proxy_ssl_trusted_certificate %DIR%/ca.pem;\n\
             location /impostor/in/ {{ limit_rate 9m; }} location /impostor/deep/ {{ proxy_ssl_verify_depth 3; }} }} }}",
            maps(rng),
            stand_ins[2].port,
            texts.concat(),
            impostor.port
        ));
        if early {
            let (certificate, key) = CA.sign(localhost());
            let key = key.serialize_pem();
            config = config.file("cert.pem", certificate.pem()).file("cert.key", key);
        }
        let (nginx, seen) = (config.start(), Mutex::default());
        Self { places, stand_ins, impostor, shared, nginx, error, seen }
    }

    /// Sends a request of a tenant, on the client's connection if it has one, and checks the reply.
    fn ask(&self, rng: &mut TestRng, client: &mut Option<TcpStream>, id: &str) {
        let (tenant, number) = (rng.random_range(0..2), rng.random_range(0..LOCATIONS));
        let script =
            if rng.random_range(0..2) == 0 { pick(rng, &KEPT) } else { pick(rng, &UNKEPT) };
        let way = pick(rng, &REPLIES);
        let (target, way, places) = match rng.random_range(0..18) {
            0 => {
                let path = pick(rng, &["x", "in/x", "deep/x"]);
                (format!("/impostor/{path}"), "impostor", vec![])
            }
            1 | 2 => ("/error/x".to_owned(), "sub", vec![self.error]),
            3..=5 => ("/page".to_owned(), "sub", vec![0, 1]),
            6..=11 => (format!("/l{number}/npm/own{number}/{script}"), script, vec![number]),
            _ => (format!("/l{number}/v1/own{number}/{way}"), way, vec![number]),
        };
        let closes = target == "/page" || rng.random_range(0..4) == 0;
        let named =
            pick(rng, &["", ", X-Tenant", ", x-tenant, CF-Connecting-IP, Host, X-Trace-Not"]);
        let named = if closes { format!("close{named}") } else { format!("keep-alive{named}") };
        let (name, early) = (TENANTS[tenant], rng.random_range(0..4) == 0);
        let trace = format!("{tenant}.{}.{id}", u8::from(early));
        let early = if early { "Early-Data: 1\r\n" } else { "" };
        let odd = pick(
            rng,
            &[
                "",
                "Upgrade: own\r\n",
                "Clerk_Secret_Key: sk_live_forged\r\nclerk_proxy_url: https://forged.test\r\n",
                "X-Forwarded-For: 6.6.6.6\r\nX_Forwarded_For: 6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\n",
                "Clerk-Proxy-Url: https://forged.test\r\nX-Accel-Redirect: /l0/v1/own0/sub\r\n",
                "Cookie: __session=1\r\nRange: bytes=0-\r\n",
                "If-None-Match: \"other\"\r\nCache-Control: no-cache\r\n",
            ],
        );
        let request = format!(
            "GET {target} HTTP/1.1\r\nHost: {name}.test\r\nConnection: {named}\r\nX-Tenant: {name}\r\n\
             CF-Connecting-IP: 192.0.2.{}\r\nX-Trace: {trace}\r\nClerk-Secret-Key: sk_live_forged\r\n\
             {odd}{early}Accept-Encoding: {name}, br\r\n\r\n",
            tenant + 1
        );
        let reply = if closes { self.nginx.send(request) } else { self.ask_on(client, &request) };
        if closes || reply.all("Connection").contains(&"close") {
            *client = None;
        }
        self.check_reply(&reply, &Asked { tenant, target: &target, places: &places, way, trace });
    }

    /// Sends a request on a connection that stays, and on another one if that has ended.
    fn ask_on(&self, client: &mut Option<TcpStream>, request: &str) -> Reply {
        let old = client.as_mut().and_then(|stream| load::ask(stream, request));
        old.unwrap_or_else(|| {
            load::ask(client.insert(self.nginx.connect()), request).expect("a reply")
        })
    }

    fn check_reply(&self, reply: &Reply, asked: &Asked) {
        let Asked { tenant, target, places, way, trace } = asked;
        let (text, log) = (reply.text(), || self.nginx.error_log());
        let what = || format!("{target} of {}: {reply:#?}", TENANTS[*tenant]);
        if ["switch", "impostor"].contains(way) {
            assert_eq!(reply.status, 502, "{} {}", what(), log());
            assert!(!text.contains("sk_live"), "{}", what());
            return;
        }
        let partial = reply.status == 206 && text.contains("serial=");
        let expected = match *way {
            "location" => 307,
            "missing" => 404,
            _ => 200,
        };
        assert!(reply.status == expected || partial, "{} {}", what(), log());
        let hop =
            ["X-Hop", "X-Accel-Redirect", "Upgrade"].into_iter().flat_map(|name| reply.all(name));
        assert_eq!(hop.count(), 0, "{}", what());
        for number in *places {
            let (number, place) = (*number, &self.places[*number]);
            let url = place.url_for(number, *tenant);
            let is_script = target.contains("/npm/");
            // One URL is one tenant to a cache.
            let mixes = is_script && place.has_cache && place.url == "app.dev";
            let key = if mixes { String::new() } else { place.key_for(number, *tenant) + " /" };
            let expected = format!("{} {url} {key}", place.identity);
            assert!(text.contains(&expected), "{} and not {expected:?}", what());
            let said = |trace: &str| text.contains(&format!(" trace={trace} serial="));
            let by_cache = is_script && place.has_cache;
            // What is not to be kept is asked for without the cache for a while.
            let is_own = if by_cache && KEPT.contains(way) { said("-") } else { said(trace) };
            assert!(is_own || by_cache && said("-"), "{}", what());
            let link = format!("{url}/v1/own{number}/sub");
            match *way {
                "location" => assert_eq!(reply.all("Location"), [link], "{}", what()),
                "refresh" => assert_eq!(reply.all("Refresh"), [format!("0; URL='{link}'")]),
                _ => {}
            }
        }
        assert_eq!(text.matches("<!--#echo").count(), places.len(), "{}", what());
        // A number that two requests have seen was kept.
        if !KEPT.contains(way) || !self.places[places[0]].has_cache {
            for part in text.split("serial=").skip(1) {
                let digits: String = part.chars().take_while(char::is_ascii_digit).collect();
                let is_new = self.seen.lock().unwrap().insert(digits.parse().expect("a number"));
                assert!(is_new, "the reply of another: {}", what());
            }
        }
    }

    /// Checks a request that has arrived.
    fn check(&self, port: usize, request: &Request) {
        let (_, rest) = request.target().split_once("/own").expect("a path");
        let number: usize = rest[..1].parse().expect("a number");
        let place = &self.places[number];
        assert_eq!(place.identity, identity(port, request.sni.as_deref()), "{request:#?}");
        let said = request.all("X-Trace").first().map(|trace| {
            let mut parts = trace.split('.').map(|part| part.parse().expect("a number"));
            (parts.next().expect("a tenant"), parts.next().expect("early or not"))
        });
        let possible = said.map_or(vec![0, 1], |(tenant, _): (usize, usize)| vec![tenant]);
        let fits = possible.into_iter().any(|tenant| {
            request.all("Clerk-Proxy-Url") == [place.url_for(number, tenant)]
                && request.all("Clerk-Secret-Key") == [place.key_for(number, tenant)]
                && request.all("X-Forwarded-For") == [place.address_for(tenant)]
        });
        let is_early = request.all("Early-Data") == ["1"];
        let fits = fits && said.is_none_or(|(_, early)| is_early == (early == 1));
        let text = request.headers.concat().to_lowercase();
        assert!(fits && !text.contains("forged") && !text.contains("6.6.6.6"), "{request:#?}");
    }
}

/// Tells which seed failed.
struct Case(u64);

impl Drop for Case {
    fn drop(&mut self) {
        if thread::panicking() {
            println!("--- CLERK_PROXY_TEST_CASES=1 CLERK_PROXY_TEST_SEED={}", self.0);
        }
    }
}

/// Random numbers that a seed and a part of the case determine.
fn random(seed: u64, part: u64) -> TestRng {
    let bytes = [seed, seed, seed, part].map(u64::to_ne_bytes).concat();
    TestRng::from_seed(RngAlgorithm::ChaCha, &bytes)
}

/// Starts one configuration and sends requests to it; how many arrived.
fn drive(seed: u64) -> u64 {
    let _case = Case(seed);
    let mut site = Site::new(&mut random(seed, 0));
    thread::scope(|scope| {
        for client in 1..=CLIENTS {
            let site = &site;
            scope.spawn(move || {
                let (mut rng, mut stream) = (random(seed, client), None);
                for number in 0..REQUESTS {
                    site.ask(&mut rng, &mut stream, &format!("{client}.{number}"));
                }
            });
        }
    });
    assert_eq!(site.impostor.received(), 0, "an impostor was trusted");
    // Mirrors have ended, too.
    site.nginx.stop();
    let mut arrived = 0;
    for (port, stand_in) in site.stand_ins.iter().enumerate() {
        for request in &stand_in.requests() {
            site.check(port, request);
            arrived += 1;
        }
    }
    let problems = site.shared.problems.lock().unwrap();
    assert!(problems.is_empty(), "{problems:#?}");
    arrived
}

#[test]
fn nobody_gets_what_is_not_his() {
    let cases = number("CLERK_PROXY_TEST_CASES", 3);
    let first = number("CLERK_PROXY_TEST_SEED", 0);
    let (next, arrived) = (AtomicU64::new(first), AtomicU64::new(0));
    let work = || loop {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        if seed >= first + cases {
            return;
        }
        arrived.fetch_add(drive(seed), Ordering::Relaxed);
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    let (sent, arrived) = (cases * CLIENTS * REQUESTS, arrived.into_inner());
    println!("{cases} from seed {first}, {sent} requests, {arrived} arrived");
}
