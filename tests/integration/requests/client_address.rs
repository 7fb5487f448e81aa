//! The client's address, which Clerk gets as `X-Forwarded-For`.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;

use crate::kit::domains::ask;
use crate::kit::fapi::Fapi;
use crate::kit::harness::{Config, Nginx, Reply, PATIENCE};

/// nginx with the line in `location /__clerk/`, and its stand-in.
struct Site {
    fapi: Fapi,
    nginx: Nginx,
}

/// A forged header goes with every request.
const REQUEST: &str = "GET /__clerk/v1 HTTP/1.1\r\nHost: app.dev\r\nConnection: close\r\n\
                       X-Forwarded-For: 6.6.6.6, 7.7.7.7\r\nx-forwarded-for: 8.8.8.8\r\n";

impl Site {
    /// Lines of `http {}`, parameters of `listen` and lines of the location.
    fn new(http: &str, listen: &str, location: &str) -> Self {
        let fapi = Fapi::plain();
        let nginx = Config::new(&format!(
            "log_format ip '[$clerk_proxy_client_ip]'; {http}\n\
             server {{ listen 127.0.0.1:%PORT% {listen}; listen unix:%DIR%/socket {listen};\n\
             listen [::1]:%PORT2% {listen}; access_log logs/ip.log ip;\n\
             location = /other {{ return 204; }}\n\
             location /__clerk/ {{ clerk_proxy https://app.dev/__clerk secret_key=%KEY% \
             upstream=http://127.0.0.1:{}; {location} }} }}",
            fapi.port
        ))
        .start();
        Self { fapi, nginx }
    }

    /// What arrives when nginx gets these header lines over this connection, behind these bytes.
    fn over(&self, mut stream: impl Read + Write, front: &str, headers: &str) -> Vec<String> {
        let before = self.fapi.requests().len();
        let end = if headers.is_empty() { "" } else { "\r\n" };
        let lines = headers.replace('\n', "\r\n") + end;
        stream.write_all(format!("{front}{REQUEST}{lines}\r\n").as_bytes()).expect("nginx reads");
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).expect("a reply");
        assert_eq!(Reply::parse(&bytes).status, 200, "{headers}");
        let requests = self.fapi.wait_for(before + 1);
        let request = &requests[before];
        assert!(request.headers.iter().all(|line| !line.contains("6.6.6.6")), "{request:#?}");
        request.all("X-Forwarded-For").into_iter().map(str::to_owned).collect()
    }

    fn tcp(&self, headers: &str) -> Vec<String> {
        self.over(self.nginx.connect(), "", headers)
    }

    fn v6(&self, headers: &str) -> Vec<String> {
        let stream = TcpStream::connect(("::1", self.nginx.config.port2)).expect("a listener");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        self.over(stream, "", headers)
    }

    fn unix(&self, headers: &str) -> Vec<String> {
        let socket = self.nginx.config.folder.path().join("socket");
        let stream = UnixStream::connect(socket).expect("a listener");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        self.over(stream, "", headers)
    }
}

#[test]
fn the_address_of_the_connection() {
    let site = Site::new("", "", "");
    let headers = "X-Real-IP: 192.0.2.1\nCF-Connecting-IP: 192.0.2.2\nForwarded: for=192.0.2.3";
    assert_eq!(site.tcp(headers), ["127.0.0.1"]);
    assert_eq!(site.v6(headers), ["::1"]);
    let nothing: [&str; 0] = [];
    assert_eq!(site.unix(headers), nothing);
}

/// One client is one to Clerk, whatever the listener, `realip` or the CDN makes of its address.
#[test]
fn one_client_has_one_spelling() {
    let fapi = Fapi::plain();
    let nginx = Config::new(&format!(
        "set_real_ip_from 127.0.0.0/8; set_real_ip_from ::1; real_ip_header X-Client;\n\
         server {{ listen 127.0.0.1:%PORT%; listen [::]:%PORT2% ipv6only=off;\n\
         location /__clerk/ {{ clerk_proxy https://app.dev/__clerk secret_key=%KEY% \
         upstream=http://127.0.0.1:{0}; }}\n\
         location /own/ {{ clerk_proxy https://app.dev/own secret_key=%KEY% \
         upstream=http://127.0.0.1:{0}; clerk_proxy_client_ip $http_x_own; }} }}",
        fapi.port
    ))
    .start();
    let mut count = 0;
    let mut arrives = |port: u16, path: &str, header: &str| {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("a listener");
        let request = format!(
            "GET {path}/v1 HTTP/1.1\r\nHost: app.dev\r\nConnection: close\r\n{header}\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).expect("nginx reads");
        stream.read_to_end(&mut Vec::new()).expect("a reply");
        count += 1;
        fapi.wait_for(count)[count - 1].one("X-Forwarded-For").to_owned()
    };
    // A listener for both kinds of addresses has IPv4 in IPv6.
    for port in [nginx.port(), nginx.config.port2] {
        assert_eq!(arrives(port, "/__clerk", "X-None: x"), "127.0.0.1");
    }
    for (path, name) in [("/__clerk", "X-Client"), ("/own", "X-Own")] {
        for (value, expected) in [
            ("192.0.2.1", "192.0.2.1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("[::FFFF:192.0.2.1]:443", "192.0.2.1"),
            ("2001:DB8::1", "2001:db8::1"),
            ("2001:0db8:0000:0000:0000:0000:0000:0001", "2001:db8::1"),
            ("2001:db8:0:0:1::1", "2001:db8::1:0:0:1"),
        ] {
            let got = arrives(nginx.port(), path, &format!("{name}: {value}"));
            assert_eq!(got, expected, "{name}: {value}");
        }
    }
}

#[test]
fn realip() {
    let site = Site::new("set_real_ip_from 127.0.0.1; real_ip_header X-Real-IP;", "", "");
    assert_eq!(site.tcp("X-Real-IP: 192.0.2.1"), ["192.0.2.1"]);
    assert_eq!(site.tcp("X-Real-IP: 2001:db8::1"), ["2001:db8::1"]);
    assert_eq!(site.tcp("X-Real-IP: [2001:db8::1]:443"), ["2001:db8::1"]);
    assert_eq!(site.tcp("X-Real-IP: 192.0.2.1:443"), ["192.0.2.1"]);
    assert_eq!(site.tcp("X-Real-IP: unknown"), ["127.0.0.1"]);
    assert_eq!(site.tcp(""), ["127.0.0.1"]);
    // Not trusted.
    assert_eq!(site.v6("X-Real-IP: 192.0.2.1"), ["::1"]);
}

#[test]
fn realip_in_the_location_itself() {
    let site = Site::new("", "", "set_real_ip_from 127.0.0.1; real_ip_header X-Real-IP;");
    assert_eq!(site.tcp("X-Real-IP: 192.0.2.1"), ["192.0.2.1"]);
}

#[test]
fn http2() {
    let trusted = "set_real_ip_from 127.0.0.1; real_ip_header X-Real-IP;";
    let own = "clerk_proxy_client_ip $http_x_client;";
    for (http, header, expected) in [
        ("", "X-Real-IP: 192.0.2.1", "127.0.0.1"),
        (trusted, "X-Real-IP: 192.0.2.1", "192.0.2.1"),
        (trusted, "X-Real-IP: [2001:db8::1]:443", "2001:db8::1"),
        (own, "X-Client: 192.0.2.1:443", "192.0.2.1"),
        (own, "X-Client: garbage", "127.0.0.1"),
    ] {
        let fapi = Fapi::plain();
        let nginx = Config::new(&format!(
            "{http} server {{ listen 127.0.0.1:%PORT%; listen 127.0.0.1:%PORT2% http2;\n\
             location /__clerk/ {{ clerk_proxy https://app.dev/__clerk secret_key=%KEY% \
             upstream=http://127.0.0.1:{}; }} }}",
            fapi.port
        ))
        .start();
        let forged = ["-H", "X-Forwarded-For: 6.6.6.6", "-H", header];
        assert_eq!(nginx.curl_h2("/__clerk/v1", &forged).status, 200);
        assert_eq!(fapi.only().one("X-Forwarded-For"), expected, "{header}");
    }
}

#[test]
fn realip_over_a_socket() {
    let site = Site::new("set_real_ip_from unix:; real_ip_header X-Real-IP;", "", "");
    assert_eq!(site.unix("X-Real-IP: 192.0.2.1"), ["192.0.2.1"]);
    assert_eq!(site.unix("X-Real-IP: 2001:db8::1"), ["2001:db8::1"]);
    let nothing: [&str; 0] = [];
    assert_eq!(site.unix("X-Real-IP: garbage"), nothing);
    assert_eq!(site.unix(""), nothing);
    assert_eq!(site.tcp("X-Real-IP: 192.0.2.1"), ["127.0.0.1"]);
}

#[test]
fn the_proxy_protocol() {
    let v4 = "PROXY TCP4 203.0.113.9 10.0.0.1 50000 443\r\n";
    let v6 = "PROXY TCP6 2001:db8::9 2001:db8::1 50000 443\r\n";
    let trusted =
        "set_real_ip_from 127.0.0.1; set_real_ip_from unix:; real_ip_header proxy_protocol;";
    for (http, location) in [(trusted, ""), ("", "clerk_proxy_client_ip $proxy_protocol_addr;")] {
        let site = Site::new(http, "proxy_protocol", location);
        for (front, expected) in
            [(v4, "203.0.113.9"), (v6, "2001:db8::9"), ("PROXY UNKNOWN\r\n", "127.0.0.1")]
        {
            assert_eq!(site.over(site.nginx.connect(), front, ""), [expected], "{front}{http}");
        }
        let socket = site.nginx.config.folder.path().join("socket");
        let stream = UnixStream::connect(socket).expect("a listener");
        assert_eq!(site.over(stream, v4, ""), ["203.0.113.9"]);
    }
    // That of the load balancer.
    let site = Site::new("", "proxy_protocol", "");
    assert_eq!(site.over(site.nginx.connect(), v4, ""), ["127.0.0.1"]);
}

/// What is an address in every header, and which.
const ADDRESSES: &[(&str, &str)] = &[
    ("192.0.2.1", "192.0.2.1"),
    ("192.0.2.1:50000", "192.0.2.1"),
    ("2001:db8::a", "2001:db8::a"),
    ("2001:DB8::A", "2001:db8::a"),
    ("[2001:db8::1]", "2001:db8::1"),
    ("[2001:db8::1]:50000", "2001:db8::1"),
    ("::ffff:192.0.2.1", "192.0.2.1"),
    ("[::ffff:192.0.2.1]:1", "192.0.2.1"),
    ("  192.0.2.1  ", "192.0.2.1"),
];

const NO_ADDRESSES: &[&str] = &[
    "",
    "unknown",
    "192.0.2.1, 192.0.2.2",
    "192.0.2.1,192.0.2.2",
    "192.0.2.1 192.0.2.2",
    "192.0.2.256",
    "192.0.2",
    "192.0.2.1:65536",
    "192.0.2.1:",
    "192.0.2.1:x",
    "[192.0.2.1]:1",
    "[2001:db8::1",
    "[2001:db8::1]x",
    "2001:db8::1, 2001:db8::2",
    "fe80::1%eth0",
    "unix:",
    "for=192.0.2.1",
    "\"192.0.2.1\"",
    "192.0.2.1\u{fc}",
    "192.0.2.1\t192.0.2.2",
];

#[test]
fn headers_of_cdns() {
    for (variable, header) in [
        ("$http_cf_connecting_ip", "CF-Connecting-IP"),
        ("$http_cloudfront_viewer_address", "CloudFront-Viewer-Address"),
        ("${http_true_client_ip}", "True-Client-IP"),
    ] {
        let site = Site::new("", "", &format!("clerk_proxy_client_ip {variable};"));
        for (value, expected) in ADDRESSES {
            assert_eq!(site.tcp(&format!("{header}: {value}")), [*expected], "{header}: {value}");
        }
        assert_eq!(site.unix(&format!("{header}: 192.0.2.1")), ["192.0.2.1"]);
        assert_eq!(site.v6(&format!("{header}: 192.0.2.1")), ["192.0.2.1"]);
        for value in NO_ADDRESSES {
            let line = format!("{header}: {value}");
            assert_eq!(site.tcp(&line), ["127.0.0.1"], "{line}");
        }
        assert_eq!(site.tcp(""), ["127.0.0.1"]);
        assert_eq!(site.v6(&format!("{header}: garbage")), ["::1"]);
        let nothing: [&str; 0] = [];
        assert_eq!(site.unix(&format!("{header}: garbage")), nothing);
        assert_eq!(site.unix(""), nothing);
    }
}

#[test]
fn a_bare_ipv6_address_with_a_port() {
    // The names of variables have no case.
    let [usual, cloudfront, capitals] =
        ["$http_x", "$http_cloudfront_viewer_address", "$HTTP_CloudFront_Viewer_Address"]
            .map(|variable| Site::new("", "", &format!("clerk_proxy_client_ip {variable};")));
    for (value, of_usual, of_cloudfront) in [
        // Which of the two it is cannot be seen.
        ("2001:db8::1:443", "2001:db8::1:443", "2001:db8::1"),
        ("2001:db8::1:50000", "127.0.0.1", "2001:db8::1"),
        ("2001:db8:0:0:0:0:0:1:443", "127.0.0.1", "2001:db8::1"),
        ("::1:443", "::1:443", "::1"),
        ("::ffff:192.0.2.1:443", "127.0.0.1", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::1", "127.0.0.1"),
        ("2001:db8::1:65536", "127.0.0.1", "127.0.0.1"),
        ("192.0.2.1:443:443", "127.0.0.1", "127.0.0.1"),
    ] {
        assert_eq!(usual.tcp(&format!("X: {value}")), [of_usual], "{value}");
        let header = format!("CloudFront-Viewer-Address: {value}");
        assert_eq!(cloudfront.tcp(&header), [of_cloudfront], "{value}");
        assert_eq!(capitals.tcp(&header), [of_cloudfront], "{value}");
    }
}

#[test]
fn realip_counts_where_the_header_is_missing() {
    let site = Site::new(
        "set_real_ip_from 127.0.0.1; set_real_ip_from unix:; real_ip_header X-Real-IP;",
        "",
        "clerk_proxy_client_ip $http_x_client;",
    );
    assert_eq!(site.tcp("X-Real-IP: 192.0.2.1\nX-Client: 192.0.2.2"), ["192.0.2.2"]);
    assert_eq!(site.tcp("X-Real-IP: 192.0.2.1"), ["192.0.2.1"]);
    assert_eq!(site.tcp("X-Real-IP: 192.0.2.1\nX-Client: garbage"), ["192.0.2.1"]);
    assert_eq!(site.unix("X-Real-IP: 192.0.2.1\nX-Client: garbage"), ["192.0.2.1"]);
}

#[test]
fn variables_of_maps_and_of_nginx() {
    let map = |value: &str| format!("map $http_list $own {{ ~^(?<ip>[^,]+) {value}; }}");
    for (value, expected) in [
        ("192.0.2.9", "192.0.2.9"),
        ("[2001:db8::9]:443", "2001:db8::9"),
        ("garbage", "127.0.0.1"),
        ("''", "127.0.0.1"),
        ("$remote_addr", "127.0.0.1"),
        ("$binary_remote_addr", "127.0.0.1"),
        ("192.0.2.$arg_none", "127.0.0.1"),
        ("$http_a.2.$http_b", "192.0.2.77"),
        ("$http_a.2.1:$http_b", "192.0.2.1"),
        ("$ip", "203.0.113.1"),
    ] {
        let site = Site::new(&map(value), "", "clerk_proxy_client_ip $own;");
        let arrived = site.tcp("a: 192.0\nb: 77\nlist: 203.0.113.1, 10.0.0.1");
        assert_eq!(arrived, [expected], "{value}");
    }
    for (variable, expected) in [("$http_a", "192.0.2.1"), ("$binary_remote_addr", "127.0.0.1")] {
        let site = Site::new("", "", &format!("clerk_proxy_client_ip {variable};"));
        assert_eq!(site.tcp("a: 192.0.2.1"), [expected], "{variable}");
    }
}

#[test]
fn the_inner_line_wins() {
    let fapi = Fapi::plain();
    let line = |path: &str| {
        let port = fapi.port;
        format!(
            "clerk_proxy https://app.dev{path} secret_key=%KEY% upstream=http://127.0.0.1:{port};"
        )
    };
    let [a, b, c, d] = ["/a", "/b", "/b/c", "/d"].map(line);
    let nginx = Config::new(&format!(
        "map '' $one {{ default 192.0.2.1; }} map '' $two {{ default 192.0.2.2; }}\n\
         map '' $three {{ default 192.0.2.3; }} clerk_proxy_client_ip $one;\n\
         server {{ listen 127.0.0.1:%PORT%; server_name of.http; location /a/ {{ {a} }} }}\n\
         server {{ listen 127.0.0.1:%PORT%; server_name of.server;\n\
         location /a/ {{ {a} }}\n\
         location /b/ {{ clerk_proxy_client_ip $three; {b} location /b/c/ {{ {c} }} }}\n\
         location /d/ {{ {d} clerk_proxy_client_ip $remote_addr; }}\n\
         clerk_proxy_client_ip $two; }}"
    ))
    .start();
    for (index, (host, target, expected)) in [
        ("of.http", "/a/", "192.0.2.1"),
        ("of.server", "/a/", "192.0.2.2"),
        ("of.server", "/b/", "192.0.2.3"),
        ("of.server", "/b/c/", "192.0.2.3"),
        ("of.server", "/d/", "127.0.0.1"),
    ]
    .into_iter()
    .enumerate()
    {
        assert_eq!(ask(&nginx, host, target).status, 200);
        let request = &fapi.wait_for(index + 1)[index];
        assert_eq!(request.one("X-Forwarded-For"), expected, "{host} {target}");
    }
}

#[test]
fn the_log_has_it() {
    let site = Site::new("", "", "clerk_proxy_client_ip $http_x_client;");
    site.tcp("X-Client: [2001:db8::9]:443");
    site.tcp("X-Client: garbage");
    site.v6("");
    site.unix("");
    site.nginx.get("/other");
    let log = site.nginx.config.folder.read("logs/ip.log");
    assert_eq!(log, "[2001:db8::9]\n[127.0.0.1]\n[::1]\n[]\n[-]\n");
}

#[test]
fn a_limit_by_the_address() {
    let site = Site::new(
        "limit_req_zone $clerk_proxy_client_ip zone=z:64k rate=1r/m;",
        "",
        "clerk_proxy_client_ip $http_x_client; limit_req zone=z;",
    );
    let status =
        |client: &str| site.nginx.send(format!("{REQUEST}X-Client: {client}\r\n\r\n")).status;
    let clients = ["192.0.2.1:1", "192.0.2.1:2", "192.0.2.2:1", "[192.0.2.1]", "192.0.2.1"];
    assert_eq!(clients.map(status), [200, 503, 200, 200, 503]);
    // It is there before the request gets to the handler, and for those that do not.
    let log = site.nginx.config.folder.read("logs/ip.log");
    assert_eq!(log, "[192.0.2.1]\n[192.0.2.1]\n[192.0.2.2]\n[127.0.0.1]\n[192.0.2.1]\n");
    assert_eq!(site.fapi.requests().len(), 3);
}

#[test]
fn what_a_client_adds_to_the_header_of_an_edge() {
    let lines = "underscores_in_headers on;";
    for variable in ["$http_cf_connecting_ip", "$own"] {
        let map = format!("{lines} map $http_cf_connecting_ip $own {{ volatile; default $http_cf_connecting_ip; }}");
        let site = Site::new(&map, "", &format!("clerk_proxy_client_ip {variable};"));
        let edge = "CF-Connecting-IP: 192.0.2.1";
        for connection in ["CF-Connecting-IP", "close, cf-connecting-ip", "CF_Connecting_IP"] {
            let arrived = site.tcp(&format!("{edge}\nConnection: {connection}"));
            assert_eq!(arrived, ["192.0.2.1"], "{variable} {connection}");
        }
    }
    let site = Site::new(lines, "", "clerk_proxy_client_ip $http_cf_connecting_ip;");
    for (others, expected) in
        [("cf-connecting-ip: 192.0.2.2", "127.0.0.1"), ("CF_Connecting_IP: 192.0.2.2", "192.0.2.1")]
    {
        for both in [
            format!("{others}\nCF-Connecting-IP: 192.0.2.1"),
            format!("CF-Connecting-IP: 192.0.2.1\n{others}"),
        ] {
            for connection in ["", "\nConnection: CF-Connecting-IP"] {
                assert_eq!(
                    site.tcp(&format!("{both}{connection}")),
                    [expected],
                    "{both}{connection}"
                );
            }
        }
    }
}
