//! Malformed and hostile requests at random: HTTP/1 as bytes and HTTP/2 as frames.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

use proptest::prelude::Rng as _;
use proptest::test_runner::{RngAlgorithm, TestRng};

use crate::kit::harness::PATIENCE;
use crate::kit::http2::{self, frame, literal};

const METHODS: &str = "GET|GET|GET|GET|POST|POST|POST|HEAD|PUT|PATCH|DELETE|OPTIONS|PROPFIND";
const ODD_METHODS: &str = "CONNECT|TRACE|PRI|get|G_T|M-X|GE\tT|G\0T|\u{fc}|\"GET\"|GET:|X!| GET";

/// Where the locations are, and what only looks like them.
const PREFIXES: &str = "/__clerk|/__clerk|/__clerk|/__base";
const ODD_PREFIXES: &str = "//__clerk|/./__clerk|/x/../__clerk|/%5f_clerk|/__clerk;x|/__clerk%2f|\
    /__clerk%2F..%2f__clerk|/__CLERK|/__clerk\\|/__clerk%00|/__clerkfoo|/__clerk/..;|/__base/..|\
    /__base/%2e%2e|/__base/..%2f..|/x%2f%2e%2e%2f__clerk|/%2e/__clerk|/__clerk/../__base|\\__clerk|\
    /__clerk%5c|http://evil.example/__clerk|HTTP://app.dev:99/__clerk|http://u:p@evil.example/__clerk|\
    http:///__clerk|https://[::1]/__clerk|ftp://evil.example/__clerk|//evil.example/__clerk|\
    http://evil.example?/__clerk|http://evil.example#/__clerk|evil.example:443||*|?|/|http:/__clerk|\
    http://a b/__clerk|/__clerk%2|/%|/\u{ff}";

const SEGMENTS: &str = "/v1|/v1|/client|/npm/@clerk/x.js|/a%2Fb|/";
const ODD_SEGMENTS: &str = "/..|/.|/%2e%2e|/%2E.|/..%2f|/%2f..|/..;|/;|/..%5c|/..\\|/\\..\\|/%252e%252e|\
    //|///|/%c0%ae%c0%ae|/%u002e|/..%00|/%00|/%0d%0aX:y|/%0a|/%20|/\t|/ x|/\u{ff}|/%zz|/%|/#|/#/..|/~|/*|\
    /@|/:80|http://evil.example/|/.%2e/|/%2e|/...|/..x|/x..|/__clerk|/%3f|/%23|/.//..|/x/../|/..?|\
    /%2e%2e%2f|/%2E%2E|&|=";

const QUERIES: &str = "|||?a=b|?a=%2F&b|?__session=e30.e30.x";
const ODD_QUERIES: &str =
    "?|??|?/../..|?%0d%0aX: y|? x|?\x01|?#|?a#b|?\u{ff}|?http://evil.example|?\\|?;|\
    ?a\tb|?%00|?../../../x|?\x7f|?a=b HTTP/1.1|?<\">";

const VERSIONS: &str = "HTTP/1.1|HTTP/1.1|HTTP/1.1|HTTP/1.1|HTTP/1.1|HTTP/1.0";
const ODD_VERSIONS: &str =
    "HTTP/0.9|HTTP/1.2|HTTP/2.0|HTTP/3.0|http/1.1|HTTP/11.1|HTTP/1.|HTTP/1.1 |HTTP/1.1 x|\
    HTTP/01.1|HTTP /1.1|HTTP/1.1\t|HTTP/1.1\0||HTTPS/1.1|HTTP/1.111|\u{ff}";

const ENDS: &str = "\n|\r|\r\r\n|\n\r|\r\n\r\n|\0\r\n| \r\n||\x0b\r\n|\r\n\n";

const HOSTS: &str = "app.dev|app.dev|app.dev:443|[::1]|evil.example|127.0.0.1";
const ODD_HOSTS: &str =
    "|a b|a/b|a..b|.|app.dev.|app.dev:x|app.dev:99999|a@b|u:p@app.dev|a,b|\u{fc}|app\0dev|\
    [::1|::1|[]|app.dev\t|$host|a\\b|a?b|a#b|../x|-|%61pp.dev|a;b|app.dev,evil.example";

/// The headers that the module sets or drops, and how they can be written.
const OWNED: &str = "Clerk-Secret-Key|Clerk-Proxy-Url|X-Forwarded-For|X-Forwarded-Host|X-Forwarded-Proto|\
    Host|Connection|TE|Trailer|Upgrade|Keep-Alive|Expect|Proxy|Proxy-Connection|Proxy-Authorization|\
    Content-Length|Transfer-Encoding|Cookie|Authorization|Content-Type|Origin|X-Real-IP|Forwarded|X-Hop|\
    Early-Data";
const FORGED: &str = "sk_live_forged|https://evil.example/__clerk|6.6.6.6|6.6.6.6, 7.7.7.7|evil.example|\
    gopher|x||,|a,b|100-continue|h2c|websocket|trailers|Basic eA==|timeout=5|\"|\u{ff}|a b|\t|chunked|0|\
    close|::1|unknown";
const ODD_VALUES: &str =
    "a\0b|a\rb|a\r\n b|a\r\n\tb|a\r\nX-Forwarded-For: 6.6.6.6|a\nClerk-Secret-Key: sk_live_x|\
    \x01|\x7f|a\r\n\r\nGET /__clerk/in HTTP/1.1\r\nHost: x\r\n\r\n|\x0b|\x0c|\r";
const ODD_NAMES: &str =
    "|X Y|X\tY|X\0Y|:|X:|\u{fc}|X_Y|(x)|X@|\"x\"|X/Y|[x]|{x}| X|\tX|X |X\t|X\r|!|X;Y|X=|X\x01|.";

const CONNECTIONS: &str = "close|keep-alive|Upgrade|X-Hop|close, X-Hop|Clerk-Secret-Key|\
    clerk-proxy-url, X-Forwarded-For|Host|Content-Length|Transfer-Encoding|Cookie, Authorization|\
    X-Forwarded-Host,X-Forwarded-Proto|te, trailer|,|connection|Keep-Alive, close, \u{ff}|Content-Type|\
    Origin,|X-Real-IP|Early-Data|keep-alive, keep-alive| X-Hop |x-hop\t";

const LENGTHS: &str = "+5|5,5|5, 5|0x5| 5|5 |-1|5.0|05|00000000000000000005|99999999999999999999|\
    9223372036854775808|4294967301|5 5||five|5\t|\u{ff}|5;|1e1|18446744073709551621";
const CODINGS: &str = "chunked, identity|identity, chunked|identity|xchunked|chunked\x0b|chunked | chunked|\
    Chunked|CHUNKED|chunked,|,chunked|chunked, chunked|gzip|gzip, chunked|chunked;x=y||\"chunked\"|chunke|\
    x|chunked\0|\tchunked|chunked\r|\r\n chunked|chunked\u{ff}|compress, chunked|trailers|deflate";
const SIZES: &str =
    "5;x=y|5 ;x|5; x=\"a;b\"|005|0000000000000005|+5|-5|0x5|5 |5\t|\t5| 5|g|5g||FFFFFFFFFFFFFFFF|\
    7fffffffffffffff|10000000000000005|5\0|5\r|5;\r|5;\n|5,5|5;\0|\u{ff}|80000000";

/// What could be taken for a request of its own.
const INNER: &str = "GET /__clerk/inner HTTP/1.1\r\nHost: inner\r\n\r\n";

/// A connection's bytes, or the streams of HTTP/2 and the frames of each.
#[derive(Clone, Debug)]
pub enum Hostile {
    Http1(Vec<u8>),
    Http2(Vec<(u32, Vec<u8>)>),
}

impl Hostile {
    /// As it may be printed.
    pub fn shown(&self) -> String {
        match self {
            Hostile::Http1(bytes) => bytes.escape_ascii().to_string().replace("\\r\\n", "\\r\\n\n"),
            Hostile::Http2(streams) => {
                let line =
                    |(id, frames): &(u32, Vec<u8>)| format!("{id}: {}\n", frames.escape_ascii());
                streams.iter().map(line).collect()
            }
        }
    }
}

/// Sends these bytes and reads to the end, or until it is enough.
pub fn connection(
    port: u16,
    address: &str,
    bytes: &[u8],
    mut enough: impl FnMut(&[u8]) -> Result<bool, String>,
) -> Result<(), String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).map_err(|why| why.to_string())?;
    stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
    stream.set_write_timeout(Some(PATIENCE)).expect("a time-out");
    let proxy = format!("PROXY TCP4 {address} 127.0.0.1 1 {port}\r\n");
    match stream.write_all(&[proxy.as_bytes(), bytes].concat()) {
        // nginx may close with a part unread.
        Err(error) if !is_end(error.kind()) => return Err(error.to_string()),
        _ => {}
    }
    let mut buffer = [0; 16384];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) if enough(&buffer[..count])? => return Ok(()),
            Ok(_) => {}
            Err(error) if is_end(error.kind()) => return Ok(()),
            Err(error) => return Err(format!("the connection does not end: {error}")),
        }
    }
}

fn is_end(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::ConnectionReset | ErrorKind::BrokenPipe)
}

/// The text with one byte per char.
fn bytes(text: &str) -> Vec<u8> {
    text.chars().map(|c| u8::try_from(u32::from(c)).expect("one byte")).collect()
}

/// Makes the requests of one connection, which its seed determines.
pub struct Maker {
    rng: TestRng,
    /// Of a thousand choices, how many are odd ones.
    odd: u32,
}

impl Maker {
    pub fn new(seed: u64) -> Self {
        let mut rng = TestRng::from_seed(RngAlgorithm::XorShift, &seed_bytes(seed));
        // One mistake hides all that follow it.
        let odd = [10, 40, 120, 300][rng.random_range(0..4)];
        Self { rng, odd }
    }

    /// A connection with several requests, and one more that ends it.
    pub fn connection(mut self) -> Hostile {
        let count = self.below(8) + 1;
        if self.chance(250) {
            return self.http2(count);
        }
        let mut sent: Vec<u8> = (0..count).flat_map(|_| self.request()).collect();
        if self.chance(self.odd / 2) {
            self.spoil(&mut sent);
        }
        // Twice: a body may be meant to be longer than it is.
        for _ in 0..2 {
            sent.extend(b"GET /end HTTP/1.1\r\nHost: app.dev\r\nConnection: close\r\n\r\n");
        }
        Hostile::Http1(sent)
    }

    fn below(&mut self, limit: u32) -> u32 {
        self.rng.random_range(0..limit)
    }

    fn chance(&mut self, of_a_thousand: u32) -> bool {
        self.below(1000) < of_a_thousand
    }

    fn odd(&mut self) -> bool {
        self.chance(self.odd)
    }

    fn pick(&mut self, list: &'static str) -> &'static str {
        let count = u32::try_from(list.split('|').count()).expect("a short list");
        let index = self.below(count) as usize;
        list.split('|').nth(index).expect("an element")
    }

    fn either(&mut self, usual: &'static str, odd: &'static str) -> &'static str {
        let list = if self.odd() { odd } else { usual };
        self.pick(list)
    }

    fn end(&mut self) -> &'static str {
        if self.chance(self.odd / 8) {
            self.pick(ENDS)
        } else {
            "\r\n"
        }
    }

    fn target(&mut self) -> String {
        let mut target = self.either(PREFIXES, ODD_PREFIXES).to_owned();
        for _ in 0..self.below(4) {
            target += self.either(SEGMENTS, ODD_SEGMENTS);
        }
        // Names of locations end in a slash.
        if matches!(&*target, "/__clerk" | "/__base") && !self.odd() {
            target += "/";
        }
        target += self.either(QUERIES, ODD_QUERIES);
        if self.chance(self.odd / 20) {
            target += &"x/".repeat([600, 4100, 8100, 32_768][self.below(4) as usize]);
        }
        target
    }

    /// A name as it is, in another case or with other letters between its words.
    fn spelling(&mut self, name: &str) -> String {
        match self.below(12) {
            0 => name.to_uppercase(),
            1 => name.to_lowercase(),
            2 => name.replace('-', "_"),
            3 if self.odd() => format!("{name} "),
            4 if self.odd() => format!(" {name}"),
            5 if self.odd() => format!("{name}\0"),
            6 if self.odd() => name.replace('-', " "),
            7 if self.odd() => format!("{name}\t"),
            _ => name.to_owned(),
        }
    }

    fn header(&mut self) -> (String, String) {
        if self.odd() {
            let name = self.pick(ODD_NAMES).to_owned();
            return (name, self.pick(FORGED).to_owned());
        }
        let name = self.pick(OWNED);
        let value = match name {
            "Connection" => self.either(CONNECTIONS, FORGED),
            // Whoever has another one gets no further.
            "Host" | "Content-Length" | "Transfer-Encoding" if !self.odd() => {
                return ("X-Hop".to_owned(), "1".to_owned());
            }
            _ => self.either(FORGED, ODD_VALUES),
        };
        let mut value = value.to_owned();
        if self.chance(self.odd / 30) {
            value += &"x".repeat([1000, 8190, 65_536][self.below(3) as usize]);
        }
        (self.spelling(name), value)
    }

    /// Request line, headers and body of one request of HTTP/1.
    fn request(&mut self) -> Vec<u8> {
        let method = self.either(METHODS, ODD_METHODS);
        let (target, version) = (self.target(), self.either(VERSIONS, ODD_VERSIONS));
        let blank = if self.chance(self.odd / 8) { self.pick("  |\t|| \t |\0") } else { " " };
        let mut text = [method, blank, &target].concat();
        if !self.chance(self.odd / 10) {
            text.extend([" ", version]);
        }
        text += self.end();
        let hosts = if self.odd() { self.below(3) } else { 1 };
        for _ in 0..hosts {
            let (name, host) = (self.spelling("Host"), self.either(HOSTS, ODD_HOSTS));
            text.extend([&name.replace('_', "-"), ": ", host, self.end()]);
        }
        for _ in 0..self.below(6) {
            let (name, value) = self.header();
            let colon = if self.odd() { self.pick(":|::| :| : |:\t|") } else { ": " };
            text.extend([&name, colon, &value, self.end()]);
        }
        if self.chance(self.odd / 30) {
            text += &"X-Many: 1\r\n".repeat([100, 1000][self.below(2) as usize]);
        }
        let body = if method.starts_with('P') || self.chance(150) {
            let (lines, body) = self.body();
            text += &lines;
            body
        } else {
            String::new()
        };
        // Else nginx would take no other.
        if version == "HTTP/1.0" {
            text += "Connection: keep-alive\r\n";
        }
        text += self.end();
        bytes(&(text + &body))
    }

    /// The header lines that frame a body, and the body.
    fn body(&mut self) -> (String, String) {
        let body = ["", "a=b&c=d", INNER, "0\r\n\r\n"][self.below(4) as usize].to_owned();
        let length = format!("Content-Length: {}\r\n", body.len());
        let coding = "Transfer-Encoding: chunked\r\n".to_owned();
        if !self.odd() {
            return if self.chance(500) { (length, body) } else { (coding, self.chunks(&body)) };
        }
        let (odd_length, odd_coding) = (self.pick(LENGTHS), self.pick(CODINGS));
        let odd_length = format!("Content-Length: {odd_length}\r\n");
        let odd_coding = format!("{}: {odd_coding}\r\n", self.spelling("Transfer-Encoding"));
        match self.below(12) {
            0 => (length.clone() + &length, body),
            1 => (length + "Content-Length: 3\r\n", body),
            2 => (format!("Content-Length: {}\r\n", body.len() + 3), body),
            3 => (format!("Content-Length: {}\r\n", body.len() / 2), body),
            4 => (odd_length, body),
            5 => (odd_coding, self.chunks(&body)),
            6 => (length + &coding, self.chunks(&body)),
            7 => (coding + &length, self.chunks(&body)),
            8 => (coding.clone() + &coding, self.chunks(&body)),
            9 => (coding + &odd_coding, self.chunks(&body)),
            10 => (length + &odd_coding, self.chunks(&body)),
            _ => (String::new(), body),
        }
    }

    fn chunks(&mut self, body: &str) -> String {
        let mut text = String::new();
        let half = body.len() / 2;
        for part in [&body[..half], &body[half..]] {
            if self.chance(self.odd / 4) {
                text.extend([self.pick(SIZES), self.end(), "hello", self.end()]);
            } else if !part.is_empty() {
                let size = format!("{:x}", part.len());
                text.extend([&size, self.end(), part, self.end()]);
            }
        }
        text += if self.odd() { self.pick("0|00|0;x|0 |") } else { "0" };
        text += self.end();
        if self.odd() {
            let (name, value) = self.header();
            text.extend([&name, ": ", &value, self.end()]);
        }
        text + self.end()
    }

    /// Changes some bytes wherever they are.
    fn spoil(&mut self, sent: &mut Vec<u8>) {
        for _ in 0..=self.below(3) {
            let at = self.rng.random_range(0..sent.len());
            let byte = bytes(self.pick("\0|\r|\n|\t| |:|/|.|%|\u{ff}|\r\n|\r\n\r\n|;|,"));
            match self.below(4) {
                0 => drop(sent.splice(at..at, byte)),
                1 => drop(sent.splice(at..=at, byte)),
                2 => drop(sent.remove(at)),
                _ => {
                    let end = (at + self.below(40) as usize).min(sent.len());
                    let part = sent[at..end].to_vec();
                    drop(sent.splice(at..at, part));
                }
            }
            if sent.is_empty() {
                return;
            }
        }
    }

    fn http2(&mut self, count: u32) -> Hostile {
        let mut streams: Vec<(u32, Vec<u8>)> =
            (0..count).map(|index| 2 * index + 1).map(|id| (id, self.stream(id))).collect();
        if let Some((_, last)) = streams.last_mut().filter(|_| self.chance(self.odd / 10)) {
            self.spoil(last);
        }
        Hostile::Http2(streams)
    }

    /// The frames of one request of HTTP/2.
    fn stream(&mut self, stream: u32) -> Vec<u8> {
        let method = self.either(METHODS, ODD_METHODS);
        let mut headers = vec![
            (":method".to_owned(), method.to_owned()),
            (":scheme".to_owned(), self.either("https", "http|HTTPS|ftp||x y|a:b").to_owned()),
            (":authority".to_owned(), self.either(HOSTS, ODD_HOSTS).to_owned()),
            (":path".to_owned(), self.target()),
        ];
        for _ in 0..self.below(6) {
            let (name, value) = self.header();
            let keep_case = self.chance(self.odd / 8);
            headers.push((if keep_case { name } else { name.to_lowercase() }, value));
        }
        if self.odd() {
            let odd =
                self.pick(":method|:path|:authority|:scheme|:status|:foo|:|host|:protocol|:path ");
            headers.push((odd.to_owned(), self.either(HOSTS, FORGED).to_owned()));
        }
        if self.chance(self.odd / 4) {
            let (one, other) = (self.below(4) as usize, self.below(4) as usize);
            headers.swap(one, other);
        }
        if self.chance(self.odd / 4) {
            let at = self.rng.random_range(0..headers.len());
            headers.remove(at);
        }
        if self.chance(self.odd / 4) {
            let (from, to) = (0, self.rng.random_range(0..headers.len()));
            let header = headers.remove(from);
            headers.insert(to, header);
        }
        let body = if method.starts_with('P') { "a=b&c=d" } else { "" };
        if !body.is_empty() && self.chance(500) {
            let length = if self.odd() { self.pick(LENGTHS) } else { "7" };
            headers.push(("content-length".to_owned(), length.to_owned()));
        }
        let mut block = Vec::new();
        for (name, value) in &headers {
            literal(&mut block, &bytes(name), &bytes(value));
        }
        let trailers = self.odd().then(|| self.header());
        let end_stream = if body.is_empty() && trailers.is_none() { http2::END_STREAM } else { 0 };
        let mut frames = Vec::new();
        // No frame may be larger.
        let parts: Vec<&[u8]> = block.chunks(if self.odd() { 60 } else { 16_384 }).collect();
        for (index, part) in parts.iter().enumerate() {
            let (kind, mut flags) =
                if index == 0 { (http2::HEADERS, end_stream) } else { (http2::CONTINUATION, 0) };
            flags |= if index + 1 == parts.len() { http2::END_HEADERS } else { 0 };
            frame(&mut frames, kind, flags, stream, part);
        }
        if !body.is_empty() {
            let flags = if trailers.is_none() { http2::END_STREAM } else { 0 };
            frame(&mut frames, http2::DATA, flags, stream, body.as_bytes());
        }
        if let Some((name, value)) = trailers {
            let mut block = Vec::new();
            literal(&mut block, &bytes(&name.to_lowercase()), &bytes(&value));
            let flags = http2::END_STREAM | http2::END_HEADERS;
            frame(&mut frames, http2::HEADERS, flags, stream, &block);
        }
        frames
    }
}

/// What the generator of random numbers begins with, which must not be zero.
fn seed_bytes(seed: u64) -> [u8; 16] {
    let mixed = seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut bytes = [1; 16];
    bytes[..8].copy_from_slice(&mixed.to_ne_bytes());
    bytes
}
