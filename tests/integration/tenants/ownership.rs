//! Random configurations with two tenants, three upstream identities, a cache and subrequests: nobody gets a key or a
//! reply that is not his.
//!
//! `CLERK_PROXY_TEST_CASES` is how many, `CLERK_PROXY_TEST_SEED` where they begin; `scripts/random-configs` is the
//! long form.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use proptest::prelude::Rng as _;
use proptest::test_runner::{RngAlgorithm, TestRng};

use crate::kit::fapi::{json, Fapi, Request, CA};
use crate::kit::harness::{number, Config, Nginx};

const TENANTS: [&str; 2] = ["one", "two"];
const LOCATIONS: usize = 4;
/// Requests to each configuration.
const REQUESTS: u64 = 170;

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
        Self {
            identity: (number + rng.random_range(0..2)) % 3,
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
    fn text(&self, number: usize, origins: &[String; 3]) -> String {
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

/// What stands for an identity: it says who it is, and who asked.
fn stand_in(identity: usize) -> Fapi {
    let tls =
        [None, Some("localhost"), Some("three.test")][identity].map(|name| CA.server(&[name]));
    Fapi::start(tls, move |request, stream| {
        let said = [request.one("Clerk-Proxy-Url"), request.one("Clerk-Secret-Key")].join(" ");
        let cache =
            if request.target().starts_with("/npm/") { "public, max-age=600" } else { "no-store" };
        let body = format!("{identity} {said} {}", request.target());
        let head = format!("Cache-Control: {cache}\r\n");
        stream.write_all(json(200, &head, &body).as_bytes()).is_ok()
    })
}

struct Site {
    places: Vec<Place>,
    stand_ins: [Fapi; 3],
    nginx: Nginx,
    /// Where an `error_page` leads.
    error: usize,
}

impl Site {
    fn new(rng: &mut TestRng) -> Self {
        let stand_ins = [0, 1, 2].map(stand_in);
        let origins = [
            format!("http://127.0.0.1:{}", stand_ins[0].port),
            format!("https://localhost:{}", stand_ins[1].port),
            "https://three.test".to_owned(),
        ];
        let places: Vec<Place> = (0..LOCATIONS).map(|number| Place::random(rng, number)).collect();
        let texts: Vec<_> =
            places.iter().enumerate().map(|(n, place)| place.text(n, &origins)).collect();
        let error = rng.random_range(0..LOCATIONS);
        let seen = pick(rng, &["", "set $seen $by_path$by_nested$by_header;"]);
        let config = Config::new(&format!(
            "{}proxy_cache_path %DIR%/cache keys_zone=c:256k; log_format own '$by_path $clerk_proxy_client_ip';\n\
             upstream three.test {{ server 127.0.0.1:{}; keepalive 2; }}\n\
             server {{ listen 127.0.0.1:%PORT%; {seen}\n\
             location /error/ {{ error_page 404 = /l{error}/v1/own{error}/sub; return 404; }}\n\
             location = /page {{ ssi on; default_type text/html; add_header X-By $by_path;\n\
             return 200 '<!--#include virtual=\"/l0/v1/own0/sub\" --> <!--#include virtual=\"/l1/v1/own1/sub\" -->'; }}\n\
             {} }}",
            maps(rng),
            stand_ins[2].port,
            texts.concat()
        ));
        Self { places, stand_ins, nginx: config.start(), error }
    }

    /// Sends a request of a tenant and checks the reply.
    fn ask(&self, rng: &mut TestRng) {
        let (tenant, number) = (rng.random_range(0..2), rng.random_range(0..LOCATIONS));
        let script = format!("/l{number}/npm/own{number}/{}", rng.random_range(0..3));
        let (target, places) = match rng.random_range(0..6) {
            0 => ("/error/x".to_owned(), vec![self.error]),
            1 => ("/page".to_owned(), vec![0, 1]),
            2 | 3 => (script, vec![number]),
            _ => (format!("/l{number}/v1/own{number}/{}", rng.random_range(0..99)), vec![number]),
        };
        let named = pick(
            rng,
            &["close", "close, X-Tenant", "close, x-tenant, CF-Connecting-IP, Host, X-Trace-Not"],
        );
        let name = TENANTS[tenant];
        let reply = self.nginx.send(format!(
            "GET {target} HTTP/1.1\r\nHost: {name}.test\r\nConnection: {named}\r\nX-Tenant: {name}\r\n\
             CF-Connecting-IP: 192.0.2.{}\r\nX-Trace: {tenant}\r\nClerk-Secret-Key: sk_live_forged\r\n\
             Accept-Encoding: {name}, br\r\n\r\n",
            tenant + 1
        ));
        assert_eq!(reply.status, 200, "{target} of {name}: {}", self.nginx.error_log());
        let text = reply.text();
        for number in places {
            let place = &self.places[number];
            let url = place.url_for(number, tenant);
            // One URL is one tenant to a cache.
            let mixes = target.contains("/npm/") && place.has_cache && place.url == "app.dev";
            let key = if mixes { String::new() } else { place.key_for(number, tenant) + " /" };
            let expected = format!("{} {url} {key}", place.identity);
            assert!(text.contains(&expected), "{target} of {name}: {text:?} and not {expected:?}");
        }
    }

    /// Checks a request that has arrived at an identity.
    fn check(&self, identity: usize, request: &Request) {
        let (_, rest) = request.target().split_once("/own").expect("a path");
        let number: usize = rest[..1].parse().expect("a number");
        let place = &self.places[number];
        assert_eq!(place.identity, identity, "{request:#?}");
        let said = request.all("X-Trace").first().map(|trace| trace.parse().expect("a number"));
        let possible = said.map_or(vec![0, 1], |tenant: usize| vec![tenant]);
        let fits = possible.into_iter().any(|tenant| {
            request.all("Clerk-Proxy-Url") == [place.url_for(number, tenant)]
                && request.all("Clerk-Secret-Key") == [place.key_for(number, tenant)]
                && request.all("X-Forwarded-For") == [place.address_for(tenant)]
        });
        assert!(fits, "{request:#?}");
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

/// Starts one configuration and sends requests to it; how many arrived.
fn drive(seed: u64) -> u64 {
    let _case = Case(seed);
    let mut rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed.to_ne_bytes().repeat(4));
    let mut site = Site::new(&mut rng);
    for _ in 0..REQUESTS {
        site.ask(&mut rng);
    }
    // Mirrors have ended, too.
    site.nginx.stop();
    let mut arrived = 0;
    for (identity, stand_in) in site.stand_ins.iter().enumerate() {
        for request in &stand_in.requests() {
            site.check(identity, request);
            arrived += 1;
        }
    }
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
    let (sent, arrived) = (cases * REQUESTS, arrived.into_inner());
    println!("{cases} from seed {first}, {sent} requests, {arrived} arrived");
}
