//! HTTP/1.1 as a server reads it that takes nothing but what the standard allows, and keeps it by its client.

use std::collections::HashMap;
use std::fmt;
use std::net::TcpStream;
use std::sync::{Arc, Mutex};

use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::kit::fapi::Stream;
use crate::kit::harness::{split_head, values};
use crate::kit::raw::Raw;

/// One request as it arrived.
#[derive(Clone)]
pub struct Record {
    /// The server name of the TLS handshake.
    pub sni: Option<String>,
    /// The first line.
    pub line: String,
    /// Header lines without their ends, one char per byte.
    pub headers: Vec<String>,
    /// The body without its chunks, as far as it arrived.
    pub body: Vec<u8>,
    /// Whether it arrived to its end.
    pub complete: bool,
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (line, headers, body) = (&self.line, &self.headers, self.body.escape_ascii());
        write!(f, "{line:?} {headers:#?} \"{body}\" complete: {}", self.complete)
    }
}

impl Record {
    pub fn all(&self, name: &str) -> Vec<&str> {
        values(&self.headers, name)
    }

    pub fn target(&self) -> &str {
        self.line.split(' ').nth(1).unwrap_or_default()
    }

    /// The only value of a header, which must be there under no name either that a server takes for the same.
    pub fn one(&self, name: &str) -> Result<&str, String> {
        // A server that takes names for variables, as CGI does, sees no difference between these.
        let alike = |header: &&String| {
            let other = header.split(':').next().unwrap_or_default().trim().replace('_', "-");
            other.eq_ignore_ascii_case(name)
        };
        match (self.headers.iter().filter(alike).count(), &self.all(name)[..]) {
            (1, [value]) => Ok(value),
            _ => Err(format!("not just one {name}")),
        }
    }

    /// Checks that the request has these headers, none for one hop, and a path below `base`.
    pub fn fits(&self, base: &str, headers: &[(&str, &str)]) -> Result<(), String> {
        for (name, expected) in headers {
            if self.one(name)? != *expected {
                return Err(format!("{name} is forged"));
            }
        }
        for name in [
            "Connection",
            "Expect",
            "Keep-Alive",
            "Proxy",
            "Proxy-Authorization",
            "Proxy-Connection",
            "TE",
            "Trailer",
            "Upgrade",
        ] {
            if !self.all(name).is_empty() {
                return Err(format!("{name} is passed on"));
            }
        }
        let path = self.target().split('?').next().unwrap_or_default();
        if has_dots(path) || !path.starts_with(base) {
            return Err("the path leaves the prefix".to_owned());
        }
        Ok(())
    }

    /// Reads a request line and headers, which end in an empty line.
    fn parse(head: &[u8]) -> Result<Self, String> {
        let text: String = head.iter().map(|&b| char::from(b)).collect();
        let mut lines = text.split("\r\n").map(str::to_owned);
        let line = lines.next().unwrap_or_default();
        let mut words = line.split(' ');
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        if method.is_empty() || !method.chars().all(is_token) {
            return Err(format!("the method is no token: {line:?}"));
        }
        if !target.starts_with('/') || target.contains(|c: char| c <= ' ' || c == '\x7f') {
            return Err(format!("no path: {line:?}"));
        }
        if words.collect::<Vec<_>>() != ["HTTP/1.1"] {
            return Err(format!("the request line does not end: {line:?}"));
        }
        let headers: Vec<String> = lines.collect();
        for header in &headers {
            let (name, value) = header.split_once(':').unwrap_or((header, "\0"));
            if name.is_empty() || !name.chars().all(is_token) {
                return Err(format!("no name of a header: {header:?} of {line:?}"));
            }
            if value.contains(['\r', '\n', '\0']) {
                return Err(format!("the header is more than a line: {header:?} of {line:?}"));
            }
        }
        Ok(Self { sni: None, line, headers, body: Vec::new(), complete: false })
    }

    /// How long the body is; `None` if it is chunked.
    fn length(&self) -> Result<Option<usize>, String> {
        let (lengths, codings) = (self.all("Content-Length"), self.all("Transfer-Encoding"));
        match (&lengths[..], &codings[..]) {
            ([], []) => Ok(Some(0)),
            ([], ["chunked"]) => Ok(None),
            ([length], []) if length.bytes().all(|b| b.is_ascii_digit()) => {
                Ok(Some(length.parse().map_err(|_| format!("the length is {length:?}"))?))
            }
            _ => Err(format!("the body has no one length: {lengths:?} {codings:?}")),
        }
    }
}

/// Whether a server may see a segment that leads upwards.
pub fn has_dots(path: &str) -> bool {
    let path = path.to_lowercase().replace("%2e", ".").replace("%2f", "/").replace("%5c", "/");
    path.split(['/', '\\']).any(|segment| segment == "." || segment == "..")
}

/// The characters of methods and names of headers.
fn is_token(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c)
}

/// What has arrived.
#[derive(Default)]
struct Kept {
    by_client: HashMap<String, Vec<Record>>,
    faults: Vec<String>,
}

/// A server that keeps what it gets by the address in `X-Forwarded-For`.
pub struct Recorder {
    pub port: u16,
    kept: Arc<Mutex<Kept>>,
    _raw: Raw,
}

/// What follows a reply.
#[derive(Clone, Copy, PartialEq)]
pub enum Then {
    Keep,
    Close,
    /// Any further byte is a fault.
    Silence,
}

/// Makes the reply to a whole request.
type Answerer = dyn Fn(&Record) -> (Vec<u8>, Then) + Send + Sync;

impl Recorder {
    pub fn start() -> Self {
        Self::answering(None, |record| {
            let body = if record.line.starts_with("HEAD ") { "" } else { "{\"ok\":true}" };
            let head = "HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n";
            ([head, body].concat().into_bytes(), Then::Keep)
        })
    }

    pub fn answering(
        tls: Option<Arc<ServerConfig>>,
        answer: impl Fn(&Record) -> (Vec<u8>, Then) + Send + Sync + 'static,
    ) -> Self {
        let kept = Arc::<Mutex<Kept>>::default();
        let keeper = Arc::clone(&kept);
        let raw = Raw::start(move |stream| {
            stream.set_read_timeout(None).expect("no time-out");
            let served = match &tls {
                None => serve(stream, &keeper, &answer),
                Some(tls) => {
                    let server = ServerConnection::new(Arc::clone(tls)).expect("a server");
                    serve(StreamOwned::new(server, stream), &keeper, &answer)
                }
            };
            if let Err(fault) = served {
                keeper.lock().unwrap().faults.push(fault);
            }
        });
        Self { port: raw.port, kept, _raw: raw }
    }

    /// What has arrived for a client, which is forgotten.
    pub fn take(&self, client: &str) -> Vec<Record> {
        self.kept.lock().unwrap().by_client.remove(client).unwrap_or_default()
    }

    /// What was no HTTP.
    pub fn faults(&self) -> Vec<String> {
        self.kept.lock().unwrap().faults.clone()
    }

    /// What nobody has asked for, by client.
    pub fn left(&self) -> Vec<(String, Record)> {
        let by_client = std::mem::take(&mut self.kept.lock().unwrap().by_client);
        let each = |(client, records): (String, Vec<Record>)| {
            records.into_iter().map(move |record| (client.clone(), record))
        };
        by_client.into_iter().flat_map(each).collect()
    }
}

/// A connection, with or without TLS.
trait Connection: Stream {
    fn sni(&self) -> Option<String> {
        None
    }
}

impl Connection for TcpStream {}

impl Connection for StreamOwned<ServerConnection, TcpStream> {
    fn sni(&self) -> Option<String> {
        self.conn.server_name().map(str::to_owned)
    }
}

fn serve(mut stream: impl Connection, kept: &Mutex<Kept>, answer: &Answerer) -> Result<(), String> {
    let mut buffer = Vec::new();
    loop {
        let Some(end) = read_to(&mut stream, &mut buffer, b"\r\n\r\n") else { return Ok(()) };
        let head: Vec<u8> = buffer.drain(..end + 4).take(end).collect();
        let mut record = Record { sni: stream.sni(), ..Record::parse(&head)? };
        let length = record.length()?;
        let client = record.all("X-Forwarded-For").join(",");
        let index = {
            let mut kept = kept.lock().unwrap();
            let records = kept.by_client.entry(client.clone()).or_default();
            records.push(record.clone());
            records.len() - 1
        };
        record.complete = match length {
            Some(length) => read_body(&mut stream, &mut buffer, length, &mut record.body),
            None => read_chunks(&mut stream, &mut buffer, &mut record.body)?,
        };
        if !buffer.is_empty() {
            return Err(format!("{:?} behind {record:#?}", String::from_utf8_lossy(&buffer)));
        }
        let reply = record.complete.then(|| answer(&record));
        // Whoever the client was may have asked for it already, if it came to no end.
        if let Some(kept) = kept.lock().unwrap().by_client.get_mut(&client) {
            if let Some(place) = kept.get_mut(index) {
                *place = record;
            }
        }
        let Some((reply, then)) = reply else { return Ok(()) };
        if stream.write_all(&reply).and_then(|()| stream.flush()).is_err() || then == Then::Close {
            return Ok(());
        }
        if then == Then::Silence {
            let came = read_more(&mut stream, &mut buffer);
            return came.map_or(Ok(()), |()| Err(format!("\"{}\" came", buffer.escape_ascii())));
        }
    }
}

/// Where an end stands in what is read; `None` if the connection ends before.
fn read_to(stream: &mut impl Stream, buffer: &mut Vec<u8>, end: &[u8]) -> Option<usize> {
    let mut from = 0;
    loop {
        let found = buffer[from..].windows(end.len()).position(|window| window == end);
        if let Some(at) = found {
            return Some(from + at);
        }
        from = (buffer.len() + 1).saturating_sub(end.len());
        read_more(stream, buffer)?;
    }
}

fn read_more(stream: &mut impl Stream, buffer: &mut Vec<u8>) -> Option<()> {
    let mut bytes = [0; 16384];
    let count = stream.read(&mut bytes).ok().filter(|&count| count > 0)?;
    buffer.extend(&bytes[..count]);
    Some(())
}

fn read_body(
    stream: &mut impl Stream,
    buffer: &mut Vec<u8>,
    length: usize,
    body: &mut Vec<u8>,
) -> bool {
    while buffer.len() < length {
        if read_more(stream, buffer).is_none() {
            body.append(buffer);
            return false;
        }
    }
    body.extend(buffer.drain(..length));
    true
}

/// Reads chunks without extensions and trailers, which nginx has no reason to send.
fn read_chunks(
    stream: &mut impl Stream,
    buffer: &mut Vec<u8>,
    body: &mut Vec<u8>,
) -> Result<bool, String> {
    loop {
        let Some(end) = read_to(stream, buffer, b"\r\n") else {
            buffer.clear();
            return Ok(false);
        };
        let line: Vec<u8> = buffer.drain(..end + 2).take(end).collect();
        let line = String::from_utf8_lossy(&line).into_owned();
        let is_size = !line.is_empty() && line.bytes().all(|b| b.is_ascii_hexdigit());
        let size = usize::from_str_radix(&line, 16).ok().filter(|_| is_size);
        let size = size.ok_or_else(|| format!("{line:?} is no size of a chunk"))?;
        let mut end = Vec::new();
        if !read_body(stream, buffer, size, body) || !read_body(stream, buffer, 2, &mut end) {
            return Ok(false);
        }
        if end != b"\r\n" {
            return Err(format!("{end:?} behind a chunk"));
        }
        if size == 0 {
            return Ok(true);
        }
    }
}

/// A reply to a client: its status, 9 if it is one of HTTP/0.9, and its body.
pub type Answer = (u16, Vec<u8>);

/// Reads the replies of a connection to its end.
pub fn replies(mut bytes: &[u8]) -> Result<Vec<Answer>, String> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        if !bytes.starts_with(b"HTTP/") {
            all.push((9, bytes.to_vec()));
            break;
        }
        let no_end = || format!("a reply without an end: {:?}", String::from_utf8_lossy(bytes));
        let (head, rest) = split_head(bytes).ok_or_else(no_end)?;
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status: u16 = status.ok_or_else(|| format!("no status in {head:?}"))?;
        let headers: Vec<String> = head.split("\r\n").skip(1).map(str::to_owned).collect();
        let length = values(&headers, "Content-Length").first().and_then(|text| text.parse().ok());
        let has_body = status >= 200 && status != 204 && status != 304;
        // Whether the request was a HEAD, the reply does not say; no body here begins as a reply does. One of
        // HTTP/0.9 is shorter than the page of an error.
        let has_body = has_body && !rest.starts_with(b"HTTP/");
        let body = match length {
            _ if !has_body => &[][..],
            Some(length) => rest.get(..length).unwrap_or_default(),
            None if head.contains("chunked") => return Err(format!("chunks: {head}")),
            None => rest,
        };
        if status >= 200 {
            all.push((status, body.to_vec()));
        }
        bytes = &rest[body.len()..];
    }
    Ok(all)
}
