//! Connections as TCP has them, for stand-ins that break the rules of the protocols above it.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::thread;

use crate::kit::fapi::json;
use crate::kit::harness::PATIENCE;

/// A listener on a port of 127.0.0.1 whose connections are what the test makes of them.
pub struct Raw {
    pub port: u16,
    stop: Arc<AtomicBool>,
}

impl Raw {
    pub fn start(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> Self {
        Self::listen(TcpListener::bind("127.0.0.1:0").expect("a free port"), serve)
    }

    /// Takes the connections of a listener that the test already has.
    pub fn listen(
        listener: TcpListener,
        serve: impl Fn(TcpStream) + Send + Sync + 'static,
    ) -> Self {
        let port = listener.local_addr().expect("an address").port();
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, serve) = (Arc::clone(&stop), Arc::new(serve));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
                let serve = Arc::clone(&serve);
                thread::spawn(move || serve(stream));
            }
        });
        Self { port, stop }
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Wakes the listener up.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

/// Reads to this end, and whether it came; what follows it stays unread.
pub fn read_until(stream: &mut TcpStream, end: &str) -> bool {
    let (mut bytes, mut byte) = (Vec::new(), [0]);
    while !bytes.ends_with(end.as_bytes()) {
        if !stream.read(&mut byte).is_ok_and(|count| count == 1) {
            return false;
        }
        bytes.push(byte[0]);
    }
    true
}

/// Answers all requests of a connection, which have no body, with 200.
pub fn serve_well(mut stream: TcpStream) {
    let reply = json(200, "", r#"{"ok":true}"#);
    while read_until(&mut stream, "\r\n\r\n") && stream.write_all(reply.as_bytes()).is_ok() {}
}

/// Passes the bytes of a connection on to a server on this port of 127.0.0.1, and what that sends to `send`, which
/// writes it to the client.
pub fn relay(
    mut client: TcpStream,
    port: u16,
    mut send: impl FnMut(&mut TcpStream, &[u8]) -> std::io::Result<()>,
) {
    let Ok(mut server) = TcpStream::connect(("127.0.0.1", port)) else { return };
    let mut from = client.try_clone().expect("a stream");
    let mut to = server.try_clone().expect("a stream");
    thread::spawn(move || {
        let _ = std::io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Both);
    });
    let mut buffer = [0; 16_384];
    while let Ok(read @ 1..) = server.read(&mut buffer) {
        if send(&mut client, &buffer[..read]).is_err() {
            break;
        }
    }
    let _ = client.shutdown(Shutdown::Both);
}

/// Closes with bytes unread, which resets the connection.
pub fn reset(stream: TcpStream) {
    let _ = stream.peek(&mut [0]);
    drop(stream);
}
