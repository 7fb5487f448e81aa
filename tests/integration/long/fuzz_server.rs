//! Hostile requests to nginx with the module and to the same nginx with `nginx/by-hand.conf`: nothing gets
//! through that stock directives refuse, and what does is one request below the prefix with Clerk's headers.
//!
//! `CLERK_PROXY_TEST_CASES` is how many requests, `CLERK_PROXY_TEST_SEED` where they begin;
//! `scripts/fuzz-server` is the long form.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use crate::kit::harness::{number, Config, Nginx, KEY};
use crate::kit::hostile::{connection, Hostile, Maker};
use crate::kit::http2::{self, Replies};
use crate::kit::strict::{has_dots, replies, Answer, Record, Recorder};

const BY_HAND: &str = include_str!("../../../nginx/by-hand.conf");

/// How many connections there are at a time.
const CLIENTS: usize = 32;

/// What both servers have beside the locations. A client says its address itself, one for each connection.
const SERVER: &str = "listen 127.0.0.1:%PORT% proxy_protocol;\n\
    listen 127.0.0.1:%PORT2% http2 proxy_protocol;\n\
    set_real_ip_from 127.0.0.0/8; real_ip_header proxy_protocol;\n\
    client_header_timeout 1s; client_body_timeout 1s; keepalive_timeout 1s; lingering_close always;\n\
    access_log off; location / { return 404; } location = /end { return 204; }\n";

/// An nginx and what stands behind it.
struct Side {
    nginx: Nginx,
    recorder: Recorder,
}

impl Side {
    /// `clerk_proxy` at `/__clerk/`, and with a path in ORIGIN at `/__base/`.
    fn ours() -> Self {
        let recorder = Recorder::start();
        let location = |prefix: &str, path: &str| {
            format!(
                "location {prefix}/ {{ clerk_proxy https://app.dev{prefix} secret_key=%KEY%\n\
                 upstream=http://127.0.0.1:{}{path}; }}\n",
                recorder.port
            )
        };
        let locations = location("/__clerk", "") + &location("/__base", "/base");
        let http = format!("server {{\n{SERVER}{locations}}}\n");
        Self { nginx: Config::new(&http).start(), recorder }
    }

    /// The same by stock directives.
    fn by_hand() -> Self {
        let recorder = Recorder::start();
        let (_, http) = BY_HAND.split_once("http {").expect("an http block");
        let http = http.trim_end().strip_suffix('}').expect("its end");
        let host = format!("127.0.0.1:{}", recorder.port);
        let mut text = http.to_owned();
        for (from, to) in [
            ("frontend-api.clerk.dev:443", host.as_str()),
            (
                "proxy_set_header Host frontend-api.clerk.dev",
                &format!("proxy_set_header Host {host}"),
            ),
            ("https://clerk;", "http://clerk;"),
            ("listen 127.0.0.1:8080;", SERVER),
            ("sk_live_KEY", KEY),
            ("app.example", "app.dev"),
        ] {
            assert!(text.contains(from), "by-hand.conf has no {from}");
            text = text.replace(from, to);
        }
        let start = text.find("location /__clerk/").expect("the location");
        let end =
            start + text[start..].find("\n        }\n").expect("its end") + "\n        }\n".len();
        let other = text[start..end]
            .replace("/__clerk", "/__base")
            .replace(" /$1 break", " /base/$1 break")
            + "        location = /__base { rewrite ^ /__base/ last; }\n";
        text.insert_str(end, &other);
        Self { nginx: Config::new(&text).start(), recorder }
    }

    /// Sends what a client at this address does, and waits for the end.
    fn exchange(&self, hostile: &Hostile, address: &str) -> Result<Seen, String> {
        let answers = match hostile {
            Hostile::Http1(bytes) => {
                let mut received = Vec::new();
                connection(self.nginx.config.port, address, bytes, |bytes| {
                    received.extend(bytes);
                    Ok(false)
                })?;
                without_key(&received)?;
                replies(&received)?
            }
            Hostile::Http2(streams) => {
                let mut sent = http2::preface();
                sent.extend(streams.iter().flat_map(|(_, frames)| frames));
                let mut replies = Replies::default();
                connection(self.nginx.config.port2, address, &sent, |bytes| {
                    without_key(bytes)?;
                    replies.read(bytes)?;
                    Ok(streams.iter().all(|(id, _)| replies.ended.contains(id)))
                })?;
                streams
                    .iter()
                    .map(|(id, _)| replies.streams.remove(id).unwrap_or_default())
                    .collect()
            }
        };
        Ok(Seen { answers, records: self.recorder.take(address) })
    }

    /// The same with a connection for each stream: one that ends a connection takes others with it, or not,
    /// which is a matter of time.
    fn exchange_apart(&self, hostile: &Hostile, address: &str) -> Result<Seen, String> {
        let Hostile::Http2(streams) = hostile else { return self.exchange(hostile, address) };
        let mut all = Seen::default();
        for stream in streams {
            let seen = self.exchange(&Hostile::Http2(vec![stream.clone()]), address)?;
            all.answers.extend(seen.answers);
            all.records.extend(seen.records);
        }
        Ok(all)
    }
}

fn without_key(bytes: &[u8]) -> Result<(), String> {
    let has_key = bytes.windows(KEY.len()).any(|window| window == KEY.as_bytes());
    if has_key {
        Err("the client got the key".to_owned())
    } else {
        Ok(())
    }
}

/// What became of a client's requests.
#[derive(Default)]
struct Seen {
    /// Of HTTP/2 one for each stream, with status 0 where there is none.
    answers: Vec<Answer>,
    records: Vec<Record>,
}

/// Checks one request that arrived behind the module.
fn contract(record: &Record, address: &str, host: &str) -> Result<(), String> {
    let url = record.one("Clerk-Proxy-Url")?;
    let base = match url {
        "https://app.dev/__clerk" => "/",
        "https://app.dev/__base" => "/base/",
        _ => return Err(format!("Clerk-Proxy-Url is {url}")),
    };
    record.fits(
        base,
        &[
            ("Host", host),
            ("Clerk-Secret-Key", KEY),
            ("X-Forwarded-For", address),
            ("X-Forwarded-Host", "app.dev"),
            ("X-Forwarded-Proto", "https"),
        ],
    )
}

/// The path as a server reads it that decodes it once and knows no empty segments, and the query.
fn meaning(target: &str) -> (String, String) {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    // Raw bytes are passed on, where nginx by itself cuts a fragment off.
    let query = query.split('#').next().unwrap_or_default();
    let mut parts = path.split('%');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => plain.extend([char::from(byte).to_string().as_str(), &part[2..]]),
            None => plain.extend(["%", part]),
        }
    }
    let segments: Vec<&str> = plain.split('/').filter(|segment| !segment.is_empty()).collect();
    (segments.join("/"), query.to_owned())
}

/// What a client sends, and to whom.
struct Case<'a> {
    hostile: &'a Hostile,
    address: String,
    /// The authorities of what stands behind the module and behind stock directives.
    hosts: [&'a str; 2],
}

impl Case<'_> {
    fn is_http2(&self) -> bool {
        matches!(self.hostile, Hostile::Http2(_))
    }

    /// Whether some `Connection` names a header.
    fn takes_away(&self, header: &str) -> bool {
        let name = header.split(':').next().unwrap_or_default().to_lowercase();
        let sent = match self.hostile {
            Hostile::Http1(bytes) => bytes.clone(),
            Hostile::Http2(streams) => {
                streams.iter().flat_map(|(_, frames)| http2::payloads(frames)).collect()
            }
        };
        let sent = String::from_utf8_lossy(&sent).to_lowercase();
        // In HTTP/2 a zero stands before each header.
        let mut values = sent.match_indices("connection").map(|(at, _)| &sent[at..]);
        values
            .any(|text| text.split(['\n', '\0']).next().is_some_and(|value| value.contains(&name)))
    }

    /// Whether the module's request is what stock directives make of the same one, but for the spelling of the path
    /// for headers that `Connection` took away and the site's password, and for the length of a body over HTTP/2,
    /// which is read to its end first.
    fn is_alike(&self, ours: &Record, theirs: &Record) -> bool {
        let method = |record: &Record| record.line.split(' ').next().unwrap_or_default().to_owned();
        let [host, their_host] = self.hosts.map(|host| format!("Host: {host}"));
        let length = format!("Content-Length: {}", ours.body.len());
        let mut left = ours.headers.iter().peekable();
        let only = theirs.headers.iter().filter(|header| {
            let expected = match header.as_str() {
                name if name == their_host => &host,
                "Transfer-Encoding: chunked" if self.is_http2() => &length,
                _ => header,
            };
            left.next_if(|other| *other == expected).is_none()
        });
        method(ours) == method(theirs)
            && ours.body == theirs.body
            && meaning(ours.target()) == meaning(theirs.target())
            && only.collect::<Vec<_>>().iter().all(|header| {
                header.to_lowercase().starts_with("authorization: basic ")
                    || self.takes_away(header)
            })
            && left.next().is_none()
    }
}

/// Whether it is the module's 404; that of a HEAD has no body.
fn is_mismatch((status, body): &Answer) -> bool {
    (*status == 404 && body.is_empty())
        || String::from_utf8_lossy(body).contains("proxy_path_mismatch")
}

/// What differs where nothing may, and by class what differs where it may.
fn compare(case: &Case, ours: &Seen, theirs: &Seen) -> Result<Vec<&'static str>, String> {
    let (is_http2, address) = (case.is_http2(), &case.address);
    for record in &ours.records {
        contract(record, address, case.hosts[0]).map_err(|why| format!("{why} in {record:#?}"))?;
    }
    let mut left: Vec<&Record> = theirs.records.iter().filter(|record| record.complete).collect();
    for record in ours.records.iter().filter(|record| record.complete) {
        let same = left.iter().position(|other| case.is_alike(record, other));
        let Some(same) = same else {
            return Err(format!(
                "stock directives send no such request: {record:#?} but {left:#?}"
            ));
        };
        left.remove(same);
    }
    let (mut classes, mut refused, mut cut) = (Vec::new(), 0, false);
    let count = ours.answers.len().max(theirs.answers.len());
    let status = |answers: &[Answer], index: usize| answers.get(index).map_or(0, |answer| answer.0);
    for index in 0..count {
        let (one, other) = (status(&ours.answers, index), status(&theirs.answers, index));
        match one {
            404 | 9 if is_mismatch(&ours.answers[index]) && (one, other) != (404, 404) => {
                classes.push("the path has dot segments behind backslashes or encoded twice");
                // The body, which has a mistake too, is not read.
                cut |= ![200, 9].contains(&other);
                refused += 1;
            }
            _ if one == other => {}
            // The stream of another request has ended the connection.
            0 if is_http2 => cut = true,
            _ => return Err(format!("answer {index} is {one} in place of {other}")),
        }
        if cut && !is_http2 {
            break;
        }
    }
    let unexplained = left.iter().any(|record| !has_dots(&meaning(record.target()).0));
    if !cut && (left.len() != refused || unexplained) {
        return Err(format!("it does not arrive: {left:#?}"));
    }
    Ok(classes)
}

/// What there was in a run.
#[derive(Default)]
struct Tally {
    connections: u64,
    again: u64,
    arrived: u64,
    cut: u64,
    statuses: BTreeMap<(bool, u16), u64>,
    classes: BTreeMap<&'static str, u64>,
}

#[test]
fn nothing_gets_through_that_stock_refuses() {
    let wanted = number("CLERK_PROXY_TEST_CASES", 4000);
    let first = number("CLERK_PROXY_TEST_SEED", 0);
    let (mut ours, mut theirs) = (Side::ours(), Side::by_hand());
    let workers = [ours.nginx.workers(), theirs.nginx.workers()];
    let hosts = [&ours, &theirs].map(|side| format!("127.0.0.1:{}", side.recorder.port));
    let hosts = hosts.each_ref().map(String::as_str);
    let (next, answered, clients) = (AtomicU64::new(first), AtomicU64::new(0), AtomicU64::new(1));
    let tally = Mutex::new(Tally::default());
    let both = |hostile: &Hostile| {
        let [_, _, _, _, _, a, b, c] = clients.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        let address = format!("10.{a}.{b}.{c}");
        let one = ours.exchange(hostile, &address)?;
        let other = theirs.exchange_apart(hostile, &address)?;
        let classes = compare(&Case { hostile, address, hosts }, &one, &other)?;
        Ok::<_, String>((one, classes))
    };
    let work = || {
        while answered.load(Ordering::Relaxed) < wanted {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            let hostile = Maker::new(seed).connection();
            // A busy machine can take longer over a connection than nginx waits for it, and a stream of HTTP/2
            // has arrived, or not, when what follows it ends the connection.
            let mut again = 0;
            let (one, classes) = loop {
                match both(&hostile) {
                    Ok(whole) => break whole,
                    Err(why) if again == 20 => {
                        panic!("CLERK_PROXY_TEST_SEED={seed}: {why}\n{}", hostile.shown())
                    }
                    Err(_) => thread::sleep(Duration::from_millis(100)),
                }
                again += 1;
            };
            let mut tally = tally.lock().unwrap();
            tally.connections += 1;
            tally.again += again;
            let (whole, cut): (Vec<_>, Vec<_>) =
                one.records.iter().partition(|record| record.complete);
            tally.arrived += whole.len() as u64;
            tally.cut += cut.len() as u64;
            let is_http2 = matches!(hostile, Hostile::Http2(_));
            for (status, _) in &one.answers {
                *tally.statuses.entry((is_http2, *status)).or_default() += 1;
            }
            for class in classes {
                *tally.classes.entry(class).or_default() += 1;
            }
            answered.fetch_add(one.answers.len() as u64, Ordering::Relaxed);
        }
    };
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(work);
        }
    });
    assert_eq!([ours.nginx.workers(), theirs.nginx.workers()], workers, "a process has died");
    for side in [&mut ours, &mut theirs] {
        side.nginx.stop();
    }
    // A request that came to no end can arrive after the client has gone.
    let (faults, late) = (ours.recorder.faults(), ours.recorder.left());
    assert!(faults.is_empty(), "{faults:#?}");
    for (address, record) in &late {
        let number =
            address.parse::<Ipv4Addr>().map_or(0, |ip| u64::from(u32::from(ip) & 0xff_ffff));
        assert!((1..clients.load(Ordering::Relaxed)).contains(&number), "{address} {record:#?}");
        contract(record, address, hosts[0]).unwrap_or_else(|why| panic!("{why} in {record:#?}"));
    }
    let Tally { connections, again, arrived, cut, statuses, classes } = tally.into_inner().unwrap();
    println!(
        "{} requests on {connections} connections from seed {first}: {arrived} arrived, {cut} in part, \
         {} late; {again} exchanges repeated",
        answered.into_inner(),
        late.len(),
    );
    println!("answers by HTTP/2 and status: {statuses:?}\nother answers than stock: {classes:?}");
}
