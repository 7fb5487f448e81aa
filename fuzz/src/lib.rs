//! The pure core as a library, for the targets: the module itself is a cdylib, which nothing can depend on.

#[path = "../../src/buffer_sizes.rs"]
pub mod buffer_sizes;
#[path = "../../src/client_ip.rs"]
pub mod client_ip;
#[path = "../../src/configuration_text.rs"]
pub mod configuration_text;
#[path = "../../src/conflict.rs"]
pub mod conflict;
#[path = "../../src/directive.rs"]
pub mod directive;
#[path = "../../src/error.rs"]
pub mod error;
#[path = "../../src/failure.rs"]
pub mod failure;
#[path = "../../src/frontend_api.rs"]
pub mod frontend_api;
#[path = "../../src/hop_by_hop.rs"]
pub mod hop_by_hop;
#[path = "../../src/http_url.rs"]
pub mod http_url;
#[path = "../../src/interim.rs"]
pub mod interim;
#[path = "../../src/key_source.rs"]
pub mod key_source;
#[path = "../../src/location.rs"]
pub mod location;
#[path = "../../src/proxy_url.rs"]
pub mod proxy_url;
#[path = "../../src/recipe.rs"]
pub mod recipe;
#[path = "../../src/recipe_values.rs"]
pub mod recipe_values;
#[path = "../../src/redirects.rs"]
pub mod redirects;
#[path = "../../src/request_headers.rs"]
pub mod request_headers;
#[path = "../../src/secret_key.rs"]
pub mod secret_key;
#[path = "../../src/shown.rs"]
pub mod shown;
#[path = "../../src/upstream_uri.rs"]
pub mod upstream_uri;
#[path = "../../src/variable_names.rs"]
pub mod variable_names;

use std::net::Ipv6Addr;

/// Checks what an accepted URL says against two other readers of URLs, `http` and `url`, and std's of
/// addresses.
pub fn assert_read_alike(text: &str, scheme: &str, host: &str, port: Option<u16>, path: &str) {
    let uri: http::Uri = text.parse().expect(text);
    assert_eq!(uri.scheme_str(), Some(scheme), "{text}");
    let ip = |host: &str| host.trim_matches(['[', ']']).parse::<Ipv6Addr>();
    let read = uri.host().expect(text);
    assert!(
        read.eq_ignore_ascii_case(host) || ip(read).is_ok_and(|read| Ok(read) == ip(host)),
        "{text}"
    );
    assert_eq!(uri.port_u16(), port, "{text}");
    assert_eq!((uri.path().trim_end_matches('/'), uri.query()), (path, None), "{text}");
    assert!(!uri.authority().is_some_and(|authority| authority.as_str().contains('@')), "{text}");

    let url = url::Url::parse(text).expect(text);
    let default = if scheme == "https" { 443 } else { 80 };
    assert_eq!(url.scheme(), scheme, "{text}");
    assert_eq!(url.port_or_known_default(), Some(port.unwrap_or(default)), "{text}");
    assert_eq!(url.path().trim_end_matches('/'), path, "{text}");
    match url.host().expect(text) {
        url::Host::Domain(name) => assert!(name.eq_ignore_ascii_case(host), "{text}"),
        url::Host::Ipv4(ip) => assert_eq!(host.parse(), Ok(ip), "{text}"),
        url::Host::Ipv6(read) => assert_eq!(ip(host), Ok(read), "{text}"),
    }
}
