//! An HTTP proxy of the kind that networks without a way out have: it opens tunnels (CONNECT) and nothing else.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

/// A running one.
pub struct ConnectProxy {
    pub port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    /// The port that all tunnels lead to, whatever name is asked for. Without it all are refused.
    to: Option<u16>,
    asked: Mutex<Vec<String>>,
    stop: AtomicBool,
}

impl ConnectProxy {
    pub fn start(to: Option<u16>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let shared = Arc::new(Shared { to, asked: Mutex::default(), stop: AtomicBool::new(false) });
        let own = Arc::clone(&shared);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if own.stop.load(Ordering::Relaxed) {
                    return;
                }
                let own = Arc::clone(&own);
                // A client that leaves ends its tunnel.
                thread::spawn(move || own.serve(client).is_ok());
            }
        });
        Self { port, shared }
    }

    /// The first lines of all requests.
    pub fn asked(&self) -> Vec<String> {
        self.shared.asked.lock().unwrap().clone()
    }
}

impl Drop for ConnectProxy {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        // Wakes the listener up.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

impl Shared {
    fn serve(&self, mut client: TcpStream) -> io::Result<()> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            client.read_exact(&mut byte)?;
            head.push(byte[0]);
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        self.asked.lock().unwrap().push(head.lines().next().unwrap_or_default().to_owned());
        let Some(to) = self.to else { return client.write_all(b"HTTP/1.1 403 Forbidden\r\n\r\n") };
        let mut server = TcpStream::connect(("127.0.0.1", to))?;
        client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
        let (mut from_client, mut to_server) = (client.try_clone()?, server.try_clone()?);
        thread::spawn(move || {
            let _ = io::copy(&mut from_client, &mut to_server);
            to_server.shutdown(std::net::Shutdown::Both)
        });
        io::copy(&mut server, &mut client)?;
        client.shutdown(std::net::Shutdown::Both)
    }
}
