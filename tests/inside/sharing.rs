//! Tests of what must agree before locations share a connection, which needs no nginx.

#[path = "../../src/nginx/stock/connection_settings.rs"]
#[allow(dead_code)]
mod connection_settings;

use connection_settings::{can_wait, is_of_connection};

#[test]
fn directives_of_newer_nginx_and_of_forks_count() {
    for name in [
        "proxy_bind",
        "proxy_enable_ntls",
        "proxy_http3_hq",
        "proxy_http_version",
        "proxy_quic_gso",
        "proxy_socket_keepalive",
        "proxy_socket_rcvbuf",
        "proxy_socket_sndbuf",
        "proxy_ssl_keylog_file",
        "proxy_ssl_of_tomorrow",
    ] {
        assert!(is_of_connection(name), "{name}");
    }
    for name in ["proxy_buffers", "proxy_hide_header", "proxy_pass", "proxy_read_timeout"] {
        assert!(!is_of_connection(name), "{name}");
    }
}

#[test]
fn connections_that_are_made_in_an_unknown_way_are_not_kept_ready() {
    let one = |name, content: &[u8]| can_wait(&vec![(name, content.to_vec())]);
    assert!(one("proxy_http_version", &1001_usize.to_ne_bytes()));
    assert!(!one("proxy_http_version", &2000_usize.to_ne_bytes()));
    assert!(one("proxy_socket_keepalive", &[1]) && one("proxy_ssl_name", b"localhost"));
    assert!(one("proxy_bind", b"") && !one("proxy_bind", b"127.0.0.1"));
    for name in ["proxy_socket_rcvbuf", "proxy_http3_hq", "proxy_quic_gso", "proxy_enable_ntls"] {
        assert!(!one(name, &[1]), "{name}");
    }
    assert!(!one("proxy_ssl_name", b"$name"));
}
