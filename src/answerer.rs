//! Who else than the Frontend API could answer at an address to which requests go without TLS.

use std::net::{IpAddr, SocketAddr};

/// Who could answer, or read what is sent there.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Answerer {
    /// Whoever is on the way to another machine.
    Network,
    /// A user of this machine who listens at the port while nobody else does.
    Port,
    /// A user of this machine who makes the socket while nobody else has.
    Socket,
}

impl Answerer {
    /// What is wrong and what to do, as a part of a sentence.
    pub fn advice(self) -> &'static str {
        match self {
            Self::Network => "write \"https://\"",
            Self::Port => {
                "and any user of this machine can listen there, write \"https://\" or a port below 1024"
            }
            Self::Socket => {
                "and any user of this machine can make this socket, move it to a folder that others cannot write to"
            }
        }
    }
}

/// What an address is, as nginx's `server` takes it.
#[derive(Debug, PartialEq)]
pub enum Listener<'a> {
    /// Such an answerer is possible.
    Open(Answerer),
    /// The folder of a socket decides.
    Socket(&'a str),
    /// Only root can listen there.
    Safe,
}

/// What an address with a port, or a socket, is.
pub fn listener(server: &str) -> Listener<'_> {
    if let Some(socket) = server.strip_prefix("unix:") {
        return Listener::Socket(socket);
    }
    let (host, port) = server.rsplit_once(':').unwrap_or((server, ""));
    let ip = server.parse::<SocketAddr>().map(|address| address.ip());
    let is_local = ip.map_or(host == "localhost", |ip: IpAddr| ip.to_canonical().is_loopback());
    let is_roots = port.parse::<u16>().is_ok_and(|port| port < 1024);
    match (is_local, is_roots) {
        (false, _) => Listener::Open(Answerer::Network),
        (true, false) => Listener::Open(Answerer::Port),
        (true, true) => Listener::Safe,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners() {
        let open = Listener::Open;
        for (server, expected) in [
            ("192.0.2.1:80", open(Answerer::Network)),
            ("fapi.test:80", open(Answerer::Network)),
            ("[2001:db8::1]:80", open(Answerer::Network)),
            ("[::ffff:192.0.2.1]:80", open(Answerer::Network)),
            ("127.0.0.1:1024", open(Answerer::Port)),
            ("127.9.8.7:65535", open(Answerer::Port)),
            ("localhost:8080", open(Answerer::Port)),
            ("[::1]:8080", open(Answerer::Port)),
            ("[::ffff:127.0.0.1]:8080", open(Answerer::Port)),
            ("127.0.0.1:1023", Listener::Safe),
            ("localhost:80", Listener::Safe),
            ("unix:/run/f:1", Listener::Socket("/run/f:1")),
        ] {
            assert_eq!(listener(server), expected, "{server}");
        }
    }
}
