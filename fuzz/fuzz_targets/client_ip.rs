//! Addresses of clients, against std's own readers: nothing but addresses comes out, and every address does.

#![no_main]

use std::net::{IpAddr, SocketAddr};

use clerk_nginx_fuzz::client_ip::{client_ip, is_one_variable, Form};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|value: &str| {
    let (usual, always) = (client_ip(value, Form::Usual), client_ip(value, Form::AlwaysPort));
    for ip in [usual, always].into_iter().flatten() {
        assert!(ip.parse::<IpAddr>().is_ok(), "{ip}");
    }
    // The usual form is what std takes for an address, alone or with a port, and `[IPv6]`.
    let alone = value.parse::<IpAddr>().ok();
    let with_port = value.parse::<SocketAddr>().ok().filter(|_| !value.contains('%'));
    let bracketed = value.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let bracketed = bracketed.and_then(|ip| ip.parse().ok()).map(IpAddr::V6);
    let expected = alone.or(with_port.map(|address| address.ip())).or(bracketed);
    assert_eq!(usual.map(|ip| ip.parse().unwrap()), expected, "{value}");
    // The other one differs only where a port can stand behind a bare IPv6 address.
    if usual != always {
        let (ip, port) = value.rsplit_once(':').expect("a port");
        assert!(ip.contains(':') && port.parse::<u16>().is_ok(), "{value}");
        assert_eq!(always, ip.parse::<IpAddr>().ok().map(|_| ip), "{value}");
    }
    if is_one_variable(value) {
        assert!(value.starts_with('$') && value.matches('$').count() == 1, "{value}");
        assert_eq!(Form::of(value), Form::of(&value.to_ascii_uppercase()), "{value}");
    }
});
