//! Hostile requests of two tenants to three identities of the Frontend API that send hostile replies, with a cache and
//! subrequests between them: nobody gets a key or a reply that is not his.
//!
//! `CLERK_PROXY_TEST_CASES` is how many requests, `CLERK_PROXY_TEST_SEED` where they begin;
//! `scripts/fuzz-server` is the long form.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::kit::fapi::CA;
use crate::kit::harness::{number, Config, Nginx};
use crate::kit::hostile::{connection, Hostile, Maker};
use crate::kit::http2::{self, Replies};
use crate::kit::strict::{replies, Record, Recorder, Then};
use crate::kit::tls::localhost;

/// How many connections there are at a time.
const CLIENTS: usize = 32;

/// The tenants' networks, which no client can change, have these numbers in front.
const TENANTS: [(u8, &str); 2] = [(10, "one"), (11, "two")];

/// What nobody may get.
const SECRETS: [&str; 4] = ["sk_live_one", "sk_live_two", "sk_live_nobody", "INTERNAL"];

/// The ways to reply, which take turns.
const WAYS: u64 = 14;

/// A path's owner is an identity: of those behind TLS, one is another server at the same address.
const LOCATIONS: &str = r"
    location /__clerk/ { mirror /__third/v1/sub; mirror_request_body off; proxy_cache c;
    clerk_proxy https://$tenant.test/__clerk secret_key=$own_key upstream=http://127.0.0.1:%PLAIN%; }
    location /__base/ { auth_request /__third/v1/sub; proxy_cache c; proxy_ssl_trusted_certificate ca.pem;
    clerk_proxy https://$tenant.test/__base secret_key=$own_key upstream=https://localhost:%TLS%/base; }
    location /__third/ { proxy_ssl_name other.test; proxy_ssl_trusted_certificate ca.pem;
    clerk_proxy https://$tenant.test/__third secret_key=$own_key upstream=https://localhost:%TLS%/base;
    location = /__third/v1/sub { proxy_pass_request_body off; proxy_set_header Content-Length ''; } }
    location / { error_page 404 = /__third/v1/sub; return 404; }
    location /secret { internal; return 200 INTERNAL; }
    location = /end { return 204; }";

/// nginx and the identities behind it.
struct Site {
    nginx: Nginx,
    plain: Recorder,
    tls: Recorder,
}

impl Site {
    fn start() -> Self {
        let serial = Arc::new(AtomicU64::new(0));
        let identity = |name: &'static str| {
            let serial = Arc::clone(&serial);
            move |record: &Record| {
                answer(name, record, serial.fetch_add(1, Ordering::Relaxed)).unwrap_or_else(|| {
                    (b"HTTP/1.1 400 Whatever\r\nContent-Length: 0\r\n\r\n".to_vec(), Then::Keep)
                })
            }
        };
        let plain = Recorder::answering(None, identity("plain"));
        let certificate = CA.server(&["localhost", "other.test"]);
        let tls = Recorder::answering(Some(certificate), identity("tls"));
        let locations = LOCATIONS
            .replace("%PLAIN%", &plain.port.to_string())
            .replace("%TLS%", &tls.port.to_string());
        let (certificate, key) = CA.sign(localhost());
        let config = Config::new(&format!(
            "geo $tenant {{ default nobody; 10.0.0.0/8 one; 11.0.0.0/8 two; }}\n\
             map \"$tenant $uri\" $own_key {{ default sk_live_nobody; {} }}\n\
             proxy_cache_path %DIR%/cache keys_zone=c:256k; clerk_proxy_warm 2;\n\
             ssi on; ssi_types *; underscores_in_headers on;\n\
             server {{ listen 127.0.0.1:%PORT% proxy_protocol; listen 127.0.0.1:%PORT2% http2 proxy_protocol;\n\
             set_real_ip_from 127.0.0.0/8; real_ip_header proxy_protocol; access_log off;\n\
             client_header_timeout 1s; client_body_timeout 1s; keepalive_timeout 1s;\n\
             lingering_close always; {locations} }}\n\
             server {{ listen unix:%DIR%/early.sock ssl; ssl_early_data on; ssl_certificate cert.pem;\n\
             ssl_certificate_key cert.key; }}",
            keys()
        ))
        .file("cert.pem", certificate.pem())
        .file("cert.key", key.serialize_pem());
        Self { nginx: config.workers(2).start(), plain, tls }
    }

    /// Sends what a client at this address does, and checks what it gets. How many replies there were.
    fn exchange(&self, hostile: &Hostile, client: &Client) -> Result<u64, String> {
        let config = &self.nginx.config;
        let mut received = Vec::new();
        match hostile {
            Hostile::Http1(bytes) => connection(config.port, &client.address, bytes, |bytes| {
                received.extend(bytes);
                Ok(false)
            })?,
            Hostile::Http2(streams) => {
                let mut sent = http2::preface();
                sent.extend(streams.iter().flat_map(|(_, frames)| frames));
                let mut replies = Replies::default();
                connection(config.port2, &client.address, &sent, |bytes| {
                    received.extend(bytes);
                    replies.read(bytes)?;
                    Ok(streams.iter().all(|(id, _)| replies.ended.contains(id)))
                })?;
                // A body may have come in several frames.
                received.extend(replies.streams.values().flat_map(|(_, body)| body));
                client.check(&received, &self.authorities())?;
                return Ok(replies.streams.len() as u64);
            }
        }
        client.check(&received, &self.authorities())?;
        // What stands behind a reply that is cut off is a part of it.
        Ok(replies(&received).map_or(1, |replies| replies.len() as u64))
    }

    fn authorities(&self) -> [String; 2] {
        [format!("127.0.0.1:{}", self.plain.port), format!("localhost:{}", self.tls.port)]
    }

    /// Checks a request that has arrived, and says for which location.
    fn check(&self, record: &Record, address: &str) -> Result<&'static str, String> {
        let [plain, tls] = self.authorities();
        let (path, base, host) = match record.sni.as_deref() {
            None => ("/__clerk", "/", plain),
            Some("localhost") => ("/__base", "/base/", tls),
            Some("other.test") => ("/__third", "/base/", tls),
            other => return Err(format!("the server is {other:?}")),
        };
        let tenant = tenant(address).ok_or("the address is forged")?;
        let domain = format!("{tenant}.test");
        record.fits(
            base,
            &[
                ("Host", &host),
                ("Clerk-Proxy-Url", &format!("https://{domain}{path}")),
                ("Clerk-Secret-Key", &format!("sk_live_{tenant}{path}").replace("/__", "_")),
                ("X-Forwarded-For", address),
                ("X-Forwarded-Host", &domain),
                ("X-Forwarded-Proto", "https"),
            ],
        )?;
        match record.all("Early-Data")[..] {
            [] | ["1"] => Ok(path),
            ref other => Err(format!("Early-Data is {other:?}")),
        }
    }
}

/// The lines of a map from tenant and path to key.
fn keys() -> String {
    let line = |(tenant, path): (&str, &str)| {
        format!("\"~^{tenant} /__{path}(/|$)\" sk_live_{tenant}_{path};")
    };
    let tenants = TENANTS.iter().map(|&(_, tenant)| tenant);
    let pairs = tenants.flat_map(|tenant| ["clerk", "base", "third"].map(|path| (tenant, path)));
    pairs.map(line).collect()
}

fn tenant(address: &str) -> Option<&'static str> {
    let net = address.parse::<Ipv4Addr>().ok()?.octets()[0];
    TENANTS.iter().find(|(own, _)| *own == net).map(|&(_, tenant)| tenant)
}

/// Whether a cache may keep a reply to this request, which then says nothing of the client.
fn is_script(record: &Record) -> bool {
    let target = record.target();
    let target = target.strip_prefix("/base").unwrap_or(target);
    let plain = |c: char| c.is_ascii_alphanumeric() || "/@._-+~".contains(c);
    target.starts_with("/npm/") && target.chars().all(plain)
}

/// A reply in one of many ways, which says whose it is.
fn answer(identity: &str, record: &Record, serial: u64) -> Option<(Vec<u8>, Then)> {
    let address = record.one("X-Forwarded-For").ok()?;
    let host = record.one("Host").ok()?;
    let client = if is_script(record) { "-" } else { address };
    let owner = format!("\"owner\":\"{identity} {} {client}\"", tenant(address)?);
    let markup = r#"<!--#echo var="own_key" --><!--#include virtual="/secret" -->"#;
    let body = format!("{{{owner},\"n\":{serial}}} {markup}");
    let has_body = !record.line.starts_with("HEAD ");
    let cache = "Cache-Control: public, max-age=600\r\n";
    let reply = |status: &str, more: &str| {
        let head = format!(
            "HTTP/1.1 {status} Whatever\r\nContent-Type: text/html\r\n{cache}{more}Content-Length: {}\r\n\r\n",
            body.len()
        );
        if has_body {
            head + &body
        } else {
            head
        }
    };
    let usual = || reply("200", "");
    // What is not below the path of ORIGIN is not the proxy's.
    let base = if record.sni.is_some() { "base" } else { "." };
    let away = [
        format!("https://{host}/{base}/v1/x"),
        format!("//{host}/{base}/v1/x"),
        format!(r"\\{host}\{base}\v1\x"),
        format!(" \tHTTP:\\\\u:p@{}/{base}/x", host.to_uppercase()),
    ];
    let away = &away[(serial / WAYS % 4) as usize];
    let mut then = Then::Keep;
    let text = match serial % WAYS {
        0 => "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n".to_owned() + &usual(),
        1 => {
            then = Then::Silence;
            "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n".to_owned()
        }
        2 => reply("307", &format!("LOCATION: {away}\r\n")),
        3 => reply("200", &format!("refresh: 1;URL={away}\r\n")),
        4 => reply(
            "200",
            "X-Accel-Redirect: /secret\r\nx-accel-redirect: /secret\r\nX_Accel_Redirect: /secret\r\n\
             X-Accel-Expires: 600\r\nX-Accel-Charset: x\r\n",
        ),
        // Twice, and behind a reply without a body: the second one belongs to nobody.
        5 => usual() + &usual(),
        6 => reply("304", "ETag: \"x\"\r\n") + &usual(),
        7 => reply("204", "") + "HTTP/1.1 200 OK\r\n\r\n",
        8 => format!(
            "HTTP/1.1 200 OK\r\n{cache}Transfer-Encoding: chunked\r\nTrailer: X-Accel-Redirect\r\n\r\n{:x}\r\n{body}\r\n0\r\n\
             X-Accel-Redirect: /secret\r\nClerk-Secret-Key: x\r\n\r\n",
            body.len()
        ),
        9 => reply("200", "Connection: keep-alive, X-Hop, Set-Cookie\r\nX-Hop: 1\r\n"),
        10 => {
            let odd = ["X Y: 1", ": x", "X-Folded: a\r\n X-Accel-Redirect: /secret", "Content-Length: 3"];
            reply("200", &format!("Set-Cookie: a=b\r\n{}\r\n", odd[(serial / WAYS % 4) as usize]))
        }
        11 => {
            then = Then::Close;
            let whole = usual();
            whole[..whole.len() - 10].to_owned()
        }
        12 => {
            then = Then::Close;
            format!("{body}\r\n\r\n")
        }
        _ => usual(),
    };
    // A body where none is expected cannot be told from the next reply.
    let then = if has_body {
        then
    } else if then == Then::Keep {
        Then::Close
    } else {
        then
    };
    Some((text.into_bytes(), then))
}

/// A client and what it may get.
struct Client {
    address: String,
    tenant: &'static str,
}

impl Client {
    fn new(number: u64) -> Self {
        let [_, _, _, _, _, a, b, c] = number.to_be_bytes();
        let (net, tenant) = TENANTS[usize::from(c % 2)];
        Self { address: format!("{net}.{a}.{b}.{c}"), tenant }
    }

    /// Checks all that a client has received.
    fn check(&self, received: &[u8], authorities: &[String]) -> Result<(), String> {
        let text = String::from_utf8_lossy(received);
        let away = authorities.iter().map(String::as_str).chain(["HTTP/1.1 101", "X-Hop: 1"]);
        let leak = SECRETS.into_iter().chain(away).find(|secret| text.contains(secret));
        if let Some(secret) = leak {
            return Err(format!("the client got {secret:?}: {text:?}"));
        }
        for mark in text.split("\"owner\":\"").skip(1) {
            // The rest of one may be in another frame or chunk.
            let Some((owner, _)) = mark.split_once('"') else { continue };
            let words: Vec<&str> = owner.split(' ').collect();
            let is_own = matches!(words[..], [_, tenant, address]
                if tenant == self.tenant && [self.address.as_str(), "-"].contains(&address));
            if !is_own && owner.len() < 40 {
                return Err(format!("the client got the reply of {owner:?}: {text:?}"));
            }
        }
        Ok(())
    }
}

/// What there was in a run.
#[derive(Default)]
struct Tally {
    connections: u64,
    arrived: BTreeMap<&'static str, u64>,
}

#[test]
fn nobody_gets_what_is_not_his() {
    let wanted = number("CLERK_PROXY_TEST_CASES", 3000);
    let first = number("CLERK_PROXY_TEST_SEED", 0);
    let mut site = Site::start();
    let workers = site.nginx.workers();
    let (next, answered, clients) = (AtomicU64::new(first), AtomicU64::new(0), AtomicU64::new(1));
    let tally = Mutex::new(Tally::default());
    let one = |seed: u64, hostile: &Hostile| {
        let client = Client::new(clients.fetch_add(1, Ordering::Relaxed));
        let count = site.exchange(hostile, &client)?;
        let mut tally = tally.lock().unwrap();
        tally.connections += 1;
        for recorder in [&site.plain, &site.tls] {
            for record in recorder.take(&client.address) {
                let path = site.check(&record, &client.address);
                let path = path.map_err(|why| format!("{why} in {record:#?}, {seed}"))?;
                *tally.arrived.entry(path).or_default() += 1;
            }
        }
        Ok::<_, String>(count)
    };
    let work = || {
        while answered.load(Ordering::Relaxed) < wanted {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            let hostile = Maker::new(seed).connection();
            let count = one(seed, &hostile).unwrap_or_else(|why| {
                panic!("CLERK_PROXY_TEST_SEED={seed}: {why}\n{}", hostile.shown())
            });
            answered.fetch_add(count, Ordering::Relaxed);
        }
    };
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(work);
        }
    });
    assert_eq!(site.nginx.workers(), workers, "a process has died");
    site.nginx.stop();
    let Tally { connections, mut arrived } = tally.into_inner().unwrap();
    let answered = answered.into_inner();
    let mut late = 0;
    for recorder in [&site.plain, &site.tls] {
        assert!(recorder.faults().is_empty(), "{:#?}", recorder.faults());
        // Mirrors, and requests that came to no end, can arrive after the client has gone.
        for (address, record) in recorder.left() {
            let path = site.check(&record, &address);
            let path = path.unwrap_or_else(|why| panic!("{why} in {record:#?}"));
            *arrived.entry(path).or_default() += 1;
            late += 1;
        }
    }
    assert_eq!(arrived.len(), 3, "{arrived:?}");
    println!(
        "{answered} requests on {connections} connections from seed {first}: {arrived:?} arrived, {late} of them late"
    );
}
