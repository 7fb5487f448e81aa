//! Requests that come as TLS 1.3 early data, which somebody may send again, carry `Early-Data: 1` (RFC 8470).

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::kit::fapi::{Fapi, Request, CA};
use crate::kit::harness::{Config, Nginx, PATIENCE};
use crate::kit::tls::localhost;

fn nginx(fapi: &Fapi, lines: &str, beside: &str) -> Nginx {
    let (certificate, key) = CA.sign(localhost());
    Config::new(&format!(
        "server {{ listen 127.0.0.1:%PORT%; listen 127.0.0.1:%PORT2% ssl;\n\
         ssl_certificate cert.pem; ssl_certificate_key cert.key; ssl_protocols TLSv1.3; {lines}\n\
         location / {{ return 200; }}\n\
         location /__clerk/ {{ clerk_proxy https://app.dev/__clerk secret_key=%KEY% \
         upstream=http://127.0.0.1:{}; {beside} }} }}",
        fapi.port
    ))
    .file("cert.pem", certificate.pem())
    .file("cert.key", key.serialize_pem())
    .start()
}

struct Client {
    early: Arc<ClientConfig>,
    usual: Arc<ClientConfig>,
}

impl Client {
    fn new() -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(CA.certificate().der().clone()).expect("an authority");
        let usual = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        // Both have the same tickets.
        let mut early = usual.clone();
        early.enable_early_data = true;
        Self { early: Arc::new(early), usual: Arc::new(usual) }
    }

    /// What arrives of a request that is sent as early data, with the end of the handshake held back, or, where the
    /// server takes none, as any.
    fn send(&self, nginx: &Nginx, fapi: &Fapi, early: bool, request: &str) -> Request {
        // For a ticket, which is good for one time.
        exchange(
            connection(&self.usual),
            nginx,
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        );
        let count = fapi.requests().len() + 1;
        let mut connection = connection(&self.early);
        if !early {
            assert!(connection.early_data().is_none());
            exchange(connection, nginx, request);
            return fapi.wait_for(count).swap_remove(count - 1);
        }
        connection.early_data().expect("a ticket").write_all(request.as_bytes()).expect("room");
        let mut tcp = tcp(nginx);
        while connection.wants_write() {
            connection.write_tls(&mut tcp).expect("nginx reads");
        }
        let arrived = fapi.wait_for(count).swap_remove(count - 1);
        let mut stream = StreamOwned::new(connection, tcp);
        read_reply(&mut stream);
        assert!(stream.conn.is_early_data_accepted());
        arrived
    }
}

fn connection(config: &Arc<ClientConfig>) -> ClientConnection {
    let name = "localhost".try_into().expect("a name");
    ClientConnection::new(Arc::clone(config), name).expect("a client")
}

fn tcp(nginx: &Nginx) -> TcpStream {
    let tcp = TcpStream::connect(("127.0.0.1", nginx.config.port2)).expect("a listener");
    tcp.set_read_timeout(Some(PATIENCE)).expect("a time-out");
    tcp
}

fn exchange(connection: ClientConnection, nginx: &Nginx, request: &str) {
    let mut stream = StreamOwned::new(connection, tcp(nginx));
    stream.write_all(request.as_bytes()).expect("nginx reads");
    read_reply(&mut stream);
}

fn read_reply(stream: &mut impl Read) {
    let mut reply = Vec::new();
    // nginx ends a connection without a word of TLS.
    let _ = stream.read_to_end(&mut reply);
    let text = String::from_utf8_lossy(&reply);
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
}

fn request(method: &str, headers: &str) -> String {
    let body = if method == "POST" { "Content-Length: 3\r\n\r\nabc" } else { "\r\n" };
    format!("{method} /__clerk/v1/client HTTP/1.1\r\nHost: app.dev\r\nConnection: close\r\n{headers}{body}")
}

#[test]
fn early_data_is_marked() {
    let fapi = Fapi::plain();
    let nginx = nginx(&fapi, "ssl_early_data on;", "");
    let client = Client::new();
    for method in ["GET", "POST"] {
        // A client cannot unsay it, and what an edge says stays.
        for header in ["", "Early-Data: 0\r\n", "Early-Data: 1\r\n", "Connection: Early-Data\r\n"] {
            let arrived = client.send(&nginx, &fapi, true, &request(method, header));
            assert_eq!(arrived.one("Early-Data"), "1", "{method} {header}");
        }
    }
    for (header, marks) in [("", &[][..]), ("Early-Data: 1\r\n", &["1"])] {
        assert_eq!(nginx.send(request("GET", header)).status, 200);
        assert_eq!(fapi.requests().last().expect("a request").all("Early-Data"), marks);
    }
}

#[test]
fn where_no_server_takes_it_the_mark_of_an_edge_passes() {
    let fapi = Fapi::plain();
    let nginx = nginx(&fapi, "", "");
    let client = Client::new();
    for header in ["Early-Data: 1\r\n", "Early-Data: 1\r\n"] {
        let arrived = client.send(&nginx, &fapi, false, &request("POST", header));
        assert_eq!(arrived.one("Early-Data"), "1");
    }
}

#[test]
fn it_may_be_that_of_another_server_or_of_all() {
    for (http, own) in [("ssl_early_data on;", ""), ("", "ssl_early_data on;")] {
        let fapi = Fapi::plain();
        let (certificate, key) = CA.sign(localhost());
        let tls = "ssl_certificate cert.pem; ssl_certificate_key cert.key; ssl_protocols TLSv1.3;";
        let nginx = Config::new(&format!(
            "{tls} {http}\nserver {{ listen 127.0.0.1:%PORT%; listen 127.0.0.1:%PORT2% ssl; {own} return 200; }}\n\
             server {{ listen 127.0.0.1:%PORT2% ssl; server_name app.dev; location /__clerk/ {{\n\
             clerk_proxy https://app.dev/__clerk secret_key=%KEY% upstream=http://127.0.0.1:{};\n\
             proxy_set_header X-Own 1; }} }}",
            fapi.port
        ))
        .file("cert.pem", certificate.pem())
        .file("cert.key", key.serialize_pem())
        .start();
        let arrived = Client::new().send(&nginx, &fapi, true, &request("GET", ""));
        assert_eq!(arrived.one("Early-Data"), "1");
    }
}
