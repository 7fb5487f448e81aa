//! ORIGINs: what is accepted reads the same to others, is accepted again, and is one word of nginx's
//! configuration.

#![no_main]

use std::net::{IpAddr, Ipv4Addr};

use clerk_nginx_fuzz::assert_read_alike;
use clerk_nginx_fuzz::frontend_api::{Address, Origin};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|typed: &str| {
    let Ok(origin) = Origin::parse(typed) else { return };
    let (scheme, path) = (origin.scheme(), &origin.path);
    assert!(path.is_empty() || path.starts_with('/') && !path.ends_with('/'), "{path}");
    assert!(!path.split('/').any(|segment| segment == "." || segment == ".."), "{path}");
    let again = match &origin.address {
        Address::Unix(socket) => format!("{scheme}://unix:{socket}:{path}"),
        Address::Host { name, port } => {
            assert_read_alike(typed, scheme, name, *port, path);
            // nginx takes the name for an address, or for none, as the system does.
            let ip = name.trim_matches(['[', ']']).parse::<IpAddr>().ok();
            assert_eq!(origin.name_and_port().is_none(), ip.is_some(), "{name}");
            let is_loopback = ip.is_some_and(|ip| ip.is_loopback()) || name == "localhost";
            assert_eq!(origin.is_local(), is_loopback, "{name}");
            assert!(name.starts_with('[') || !name.contains(':'), "{name}");
            assert!(ip.is_none() || name.starts_with('[') || name.parse::<Ipv4Addr>().is_ok());
            let port = port.map(|port| format!(":{port}")).unwrap_or_default();
            format!("{scheme}://{name}{port}{path}")
        }
    };
    assert_eq!(Origin::parse(&again), Ok(origin.clone()), "{again}");
    for word in [origin.server(), origin.host_header(false), origin.host_header(true)] {
        assert!(word.bytes().all(|b| b.is_ascii_graphic() && !b";{}\"'\\$".contains(&b)), "{word}");
    }
});
