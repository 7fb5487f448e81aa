//! A stand-in of the Frontend API that keeps every byte it gets, over TLS or plain.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, LazyLock, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, Certificate, CertificateParams, IsCa, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{HandshakeKind, ProtocolVersion, ServerConfig, ServerConnection, StreamOwned};

use crate::kit::harness::{dechunk, split_head, values, PATIENCE};

/// The certificate authority that signs the stand-ins of this run.
pub static CA: LazyLock<Ca> = LazyLock::new(Ca::new);

/// A throw-away certificate authority.
pub struct Ca {
    certificate: Certificate,
    key: KeyPair,
    pem: String,
}

impl Ca {
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, "clerk-nginx test CA");
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        Self { pem: certificate.pem(), certificate, key }
    }

    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// What a TLS server for these names needs.
    pub fn server(&self, names: &[&str]) -> Arc<ServerConfig> {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let (leaf, key) = self.sign(CertificateParams::new(names).expect("names"));
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![leaf.der().clone()], key)
            .expect("a certificate and its key");
        Arc::new(config)
    }

    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// A certificate by this authority, and its key.
    pub fn sign(&self, params: CertificateParams) -> (Certificate, KeyPair) {
        let key = KeyPair::generate().expect("a key");
        (params.signed_by(&key, &self.certificate, &self.key).expect("a certificate"), key)
    }
}

/// One request as it arrived.
#[derive(Clone, Debug)]
pub struct Request {
    /// The number of the connection, from 0.
    pub connection: usize,
    /// The server name of the TLS handshake.
    pub sni: Option<String>,
    /// The first line.
    pub line: String,
    /// Header lines without their ends, in order, one char per byte.
    pub headers: Vec<String>,
    /// The body, joined where it was chunked.
    pub body: Vec<u8>,
    /// Whether the body arrived to its end.
    pub complete: bool,
}

impl Request {
    pub fn all(&self, name: &str) -> Vec<&str> {
        values(&self.headers, name)
    }

    /// The only value of a header.
    pub fn one(&self, name: &str) -> &str {
        match self.all(name)[..] {
            [value] => value,
            ref other => panic!("{name}: {other:?} in {self:#?}"),
        }
    }

    pub fn target(&self) -> &str {
        self.line.split(' ').nth(1).expect("a target")
    }
}

/// What a stand-in writes its reply to.
pub trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

/// Answers a request; false closes the connection.
type Answer = dyn Fn(&Request, &mut dyn Stream) -> bool + Send + Sync;

struct Shared {
    requests: Mutex<Vec<Request>>,
    arrived: Condvar,
    /// Bytes that arrived, of whole requests and others.
    received: AtomicUsize,
    handshakes: Mutex<Vec<(ProtocolVersion, HandshakeKind)>>,
    stop: AtomicBool,
    answer: Box<Answer>,
}

/// A running stand-in, on one port of `127.0.0.1` and `::1` or of an address that the test wants.
pub struct Fapi {
    pub port: u16,
    addresses: Vec<SocketAddr>,
    shared: Arc<Shared>,
}

impl Fapi {
    /// Speaks plain HTTP and answers 200 with `{"ok":true}`.
    pub fn plain() -> Self {
        Self::answering(None, json(200, "", r#"{"ok":true}"#))
    }

    /// Speaks TLS as `localhost`.
    pub fn tls() -> Self {
        Self::answering(Some(CA.server(&["localhost"])), json(200, "", r#"{"ok":true}"#))
    }

    /// Answers every request with these bytes and keeps the connection.
    pub fn answering(tls: Option<Arc<ServerConfig>>, reply: impl Into<Vec<u8>>) -> Self {
        let reply = reply.into();
        Self::start(tls, move |_, stream| stream.write_all(&reply).is_ok())
    }

    /// Redirects to what the request's `X-Location` says.
    pub fn redirecting() -> Self {
        Self::start(None, |request, stream| {
            let reply = json(302, &format!("Location: {}\r\n", request.one("X-Location")), "{}");
            stream.write_all(reply.as_bytes()).is_ok()
        })
    }

    pub fn start(
        tls: impl Into<Option<Arc<ServerConfig>>>,
        answer: impl Fn(&Request, &mut dyn Stream) -> bool + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        // "localhost" has an IPv6 address on most systems; the connections of both are counted together.
        let both = [Some(listener), TcpListener::bind(("::1", port)).ok()];
        Self::listening(both.into_iter().flatten().collect(), tls.into().as_ref(), answer)
    }

    /// Like `plain`, at this address and port alone.
    pub fn at(address: IpAddr, port: u16) -> Self {
        Self::speaking(None, address, port)
    }

    /// The same with TLS.
    pub fn tls_at(tls: &Arc<ServerConfig>, address: IpAddr, port: u16) -> Self {
        Self::speaking(Some(tls), address, port)
    }

    fn speaking(tls: Option<&Arc<ServerConfig>>, address: IpAddr, port: u16) -> Self {
        let listener = TcpListener::bind((address, port)).expect("a free port");
        let reply = json(200, "", r#"{"ok":true}"#);
        Self::listening(vec![listener], tls, move |_, stream| {
            stream.write_all(reply.as_bytes()).is_ok()
        })
    }

    fn listening(
        listeners: Vec<TcpListener>,
        tls: Option<&Arc<ServerConfig>>,
        answer: impl Fn(&Request, &mut dyn Stream) -> bool + Send + Sync + 'static,
    ) -> Self {
        let address = |listener: &TcpListener| listener.local_addr().expect("an address");
        let addresses: Vec<SocketAddr> = listeners.iter().map(address).collect();
        let shared = Arc::new(Shared {
            requests: Mutex::default(),
            arrived: Condvar::new(),
            received: AtomicUsize::new(0),
            handshakes: Mutex::default(),
            stop: AtomicBool::new(false),
            answer: Box::new(answer),
        });
        let connections = Arc::new(Mutex::new(0));
        for listener in listeners {
            let (shared, tls) = (Arc::clone(&shared), tls.cloned());
            let connections = Arc::clone(&connections);
            thread::spawn(move || accept(&listener, &shared, tls.as_ref(), &connections));
        }
        Self { port: addresses[0].port(), addresses, shared }
    }

    /// Ends the stand-in and all of its connections before it returns.
    pub fn close(self) {
        let shared = Arc::clone(&self.shared);
        drop(self);
        while Arc::strong_count(&shared) > 1 {
            thread::sleep(Duration::from_millis(2));
        }
    }

    pub fn requests(&self) -> Vec<Request> {
        self.shared.requests.lock().unwrap().clone()
    }

    /// Forgets the requests so far, which would fill the memory.
    pub fn forget(&self) {
        self.shared.requests.lock().unwrap().clear();
    }

    /// Waits for the first `count` requests.
    pub fn wait_for(&self, count: usize) -> Vec<Request> {
        let requests = self.shared.requests.lock().unwrap();
        let (requests, timeout) = self
            .shared
            .arrived
            .wait_timeout_while(requests, PATIENCE, |requests| requests.len() < count)
            .unwrap();
        assert!(!timeout.timed_out(), "{count} requests expected, got {:#?}", *requests);
        requests.clone()
    }

    /// How many bytes have arrived, of whole requests and others.
    pub fn received(&self) -> usize {
        self.shared.received.load(Ordering::Relaxed)
    }

    /// The TLS handshakes that came to their end, in order.
    pub fn handshakes(&self) -> Vec<(ProtocolVersion, HandshakeKind)> {
        self.shared.handshakes.lock().unwrap().clone()
    }

    /// The only request so far.
    pub fn only(&self) -> Request {
        let requests = self.wait_for(1);
        assert_eq!(requests.len(), 1, "{requests:#?}");
        requests[0].clone()
    }
}

impl Drop for Fapi {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        for address in &self.addresses {
            // Wakes the listener up.
            let _ = TcpStream::connect(address);
        }
    }
}

/// A whole reply with a JSON body; `headers` are lines with their ends.
pub fn json(status: u16, headers: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status} Whatever\r\nContent-Type: application/json\r\n{headers}Content-Length: {}\
         \r\n\r\n{body}",
        body.len()
    )
}

/// Answers 200 with `{"ok":true}`; whether that could be written.
pub fn answer_well(stream: &mut dyn Stream) -> bool {
    stream.write_all(json(200, "", r#"{"ok":true}"#).as_bytes()).is_ok()
}

fn accept(
    listener: &TcpListener,
    shared: &Arc<Shared>,
    tls: Option<&Arc<ServerConfig>>,
    connections: &Arc<Mutex<usize>>,
) {
    for stream in listener.incoming().map_while(Result::ok) {
        if shared.stop.load(Ordering::Relaxed) {
            return;
        }
        // Wakes up now and then to see whether the test is over.
        stream.set_read_timeout(Some(Duration::from_millis(50))).expect("a time-out");
        let (shared, tls) = (Arc::clone(shared), tls.cloned());
        let connections = Arc::clone(connections);
        thread::spawn(move || match tls {
            None => serve(stream, &shared, None, &connections),
            Some(config) => {
                let Ok(connection) = ServerConnection::new(config) else { return };
                let mut stream = StreamOwned::new(connection, stream);
                let start = Instant::now();
                while stream.conn.is_handshaking() && start.elapsed() < PATIENCE {
                    match stream.conn.complete_io(&mut stream.sock) {
                        Err(error) if !is_timeout(&error) => return,
                        _ if shared.stop.load(Ordering::Relaxed) => return,
                        _ => {}
                    }
                }
                if let Some(done) = stream.conn.protocol_version().zip(stream.conn.handshake_kind())
                {
                    shared.handshakes.lock().unwrap().push(done);
                }
                let sni = stream.conn.server_name().map(str::to_owned);
                serve(stream, &shared, sni.as_deref(), &connections);
            }
        });
    }
}

/// Whether nothing has come yet, as opposed to nothing will.
pub fn is_timeout(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

fn serve(mut stream: impl Stream, shared: &Shared, sni: Option<&str>, connections: &Mutex<usize>) {
    let mut number = None;
    let mut buffer = Vec::new();
    while let Some(mut request) = read_request(&mut stream, &mut buffer, shared) {
        // Connections count when they carry a request: the harness itself connects to see who listens.
        request.connection = *number.get_or_insert_with(|| {
            let mut next = connections.lock().unwrap();
            *next += 1;
            *next - 1
        });
        request.sni = sni.map(str::to_owned);
        let complete = request.complete;
        shared.requests.lock().unwrap().push(request.clone());
        shared.arrived.notify_all();
        if !complete || !(shared.answer)(&request, &mut stream) {
            return;
        }
        let _ = stream.flush();
    }
}

/// Reads one request; `None` at the end of the connection.
fn read_request(
    stream: &mut impl Stream,
    buffer: &mut Vec<u8>,
    shared: &Shared,
) -> Option<Request> {
    let (head, start) = loop {
        if let Some((head, rest)) = split_head(buffer) {
            break (head, buffer.len() - rest.len());
        }
        if !read_more(stream, buffer, shared) {
            return None;
        }
    };
    let mut lines = head.split("\r\n").map(str::to_owned);
    let line = lines.next()?;
    let headers: Vec<String> = lines.collect();
    let has = |name: &str, value: &str| values(&headers, name).contains(&value);
    if has("Expect", "100-continue") {
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").ok()?;
    }
    let mut complete = true;
    let body = if has("Transfer-Encoding", "chunked") {
        loop {
            let (body, done) = dechunk(&buffer[start..]);
            if done {
                let end = buffer.windows(5).rposition(|window| window == b"0\r\n\r\n");
                buffer.drain(..end.map_or(buffer.len(), |end| end + 5));
                break body;
            }
            if !read_more(stream, buffer, shared) {
                complete = false;
                break body;
            }
        }
    } else {
        let length = values(&headers, "Content-Length").first().map_or("0", |length| *length);
        let end = start + length.parse::<usize>().expect("a length");
        while buffer.len() < end && complete {
            complete = read_more(stream, buffer, shared);
        }
        let end = end.min(buffer.len());
        let body = buffer[start..end].to_vec();
        buffer.drain(..end);
        body
    };
    Some(Request { connection: 0, sni: None, line, headers, body, complete })
}

fn read_more(stream: &mut impl Stream, buffer: &mut Vec<u8>, shared: &Shared) -> bool {
    let mut bytes = [0; 16384];
    loop {
        match stream.read(&mut bytes) {
            Ok(0) => return false,
            Ok(count) => {
                shared.received.fetch_add(count, Ordering::Relaxed);
                buffer.extend(&bytes[..count]);
                return true;
            }
            Err(error) if is_timeout(&error) => {
                if shared.stop.load(Ordering::Relaxed) {
                    return false;
                }
            }
            Err(_) => return false,
        }
    }
}
