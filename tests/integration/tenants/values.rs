//! Values of variables that cannot be sent to Clerk: 500, one line in the error log, and nothing is sent.

use crate::kit::assert::assert_json;
use crate::kit::domains::{ask, tenant, KEYS};
use crate::kit::fapi::Fapi;
use crate::kit::harness::{refuses_odd_hosts, Config, Nginx};

/// A server whose `clerk_proxy` line is line 6 of the file, and its stand-in.
struct Site {
    fapi: Fapi,
    nginx: Nginx,
}

impl Site {
    /// `http` is one line.
    fn new(http: &str, line: &str) -> Self {
        let fapi = Fapi::plain();
        let nginx = Config::new(&format!(
            "{KEYS} {http}\n\
             server {{ listen 127.0.0.1:%PORT%; listen 127.0.0.1:%PORT2% http2; server_name '';\n\
             clerk_proxy_upstream http://127.0.0.1:{};\n\
             location / {{\n{line}\n}}\n}}",
            fapi.port
        ))
        .start();
        Self { fapi, nginx }
    }

    /// Sends a request whose value must not get through. The log says `what` is wrong, which names the value
    /// by its variable, and the line.
    fn refuses(&self, what: &str, request: &[u8]) {
        let before = self.nginx.errors().len();
        let shown = request.escape_ascii();
        let reply = self.nginx.send(request);
        assert_eq!(reply.status, 500, "{shown}");
        assert_json(&reply, 500, "proxy_configuration_error");
        let lines = self.nginx.errors();
        assert_eq!(lines.len(), before + 1, "{shown}: {lines:#?}");
        self.assert_line(&lines[before], what);
    }

    fn assert_line(&self, line: &str, what: &str) {
        // What follows is nginx's own and has the request in it, whatever that is.
        let (own, _) = line.split_once(", client: ").expect("the client");
        let file = self.nginx.config.folder.path().join("nginx.conf");
        let expected = format!("no valid {what} in \"clerk_proxy\" in {}:6", file.display());
        let (_, told) = own.split_once('*').expect("the connection");
        let (_, told) = told.split_once(' ').expect("a message");
        assert_eq!(told, expected);
        assert!(self.fapi.requests().is_empty(), "{told} and sent");
        assert_eq!(self.fapi.received(), 0);
    }

    /// Sends one that is good, so that what was refused was not refused for another reason.
    fn takes(&self, url: &str, key: &str, request: impl AsRef<[u8]>) {
        let before = self.fapi.requests().len();
        let reply = self.nginx.send(request);
        assert_eq!(reply.status, 200, "{}", self.nginx.error_log());
        let request = &self.fapi.wait_for(before + 1)[before];
        assert_eq!(tenant(request)[..2], [url, key]);
    }
}

/// `GET /` with this query and these header lines.
fn get(target: &[u8], headers: &[u8]) -> Vec<u8> {
    let end = b" HTTP/1.1\r\nConnection: close\r\n";
    let host: &[u8] = if headers.starts_with(b"Host:") { b"" } else { b"Host: app.dev\r\n" };
    [b"GET ", target, end, host, headers, b"\r\n\r\n"].concat()
}

/// No hosts, though nginx lets most of them through in arguments, headers and cookies.
const NO_HOSTS: &[&[u8]] = &[
    b"",
    b"a\"b",
    b"a'b",
    b"a/b",
    b"/",
    b"a.dev/",
    b"a.dev//",
    b"a\\b",
    b"a?b",
    b"a@b",
    b"u:p@h.dev",
    b"a,b",
    b"a*b",
    b"a%20b",
    b"a%0d%0aX:y",
    b"\xc3\xbcber.dev",
    b"\xff",
    b"a:b",
    b"a:",
    b"a:0",
    b"a:65536",
    b"a:1:2",
    b".",
    b"..",
    b".a",
    b"a..b",
    b"a..",
    b".:443",
    b":443",
    b"1",
    b"127.1",
    b"0x7f000001",
    b"[::1",
    b"[x]",
    b"::1",
    b"$host",
    b"${host}",
    b"<a>",
    b"a=b",
    b"a+b",
    b"a~b",
];

#[test]
fn hosts_of_arguments() {
    let site = Site::new("", "clerk_proxy https://$arg_x/ secret_key=sk_live_x;");
    for &value in NO_HOSTS {
        let request = get(&[b"/?x=", value].concat(), b"");
        site.refuses("host in URL \"https://$arg_x\"", &request);
    }
    site.takes("https://a.dev:81", "sk_live_x", get(b"/?x=a.dev:81", b""));
    site.takes("https://[::1]:81", "sk_live_x", get(b"/?x=[::1]:81", b""));
    site.takes("https://a_b-c.dev", "sk_live_x", get(b"/?x=a_b-c.dev", b""));
}

#[test]
fn hosts_of_headers_and_cookies() {
    for (name, header) in [("http_x", &b"X: "[..]), ("cookie_x", b"Cookie: x=")] {
        let line = format!("clerk_proxy https://${name}.dev secret_key=sk_live_x;");
        let site = Site::new("", &line);
        let what = format!("host in URL \"https://${name}.dev\"");
        let more: &[&[u8]] = &[b"a b", b"a\tb", b"a\x01b", b"a\x7fb", b"a#b", b"a/b?", b"a."];
        let fits = |value: &&[u8]| ![&b"1"[..], b"127.1", b"0x7f000001"].contains(value);
        for value in NO_HOSTS.iter().chain(more).copied().filter(fits) {
            site.refuses(&what, &get(b"/", &[header, value].concat()));
        }
        site.takes("https://a.dev", "sk_live_x", get(b"/", &[header, b"a"].concat()));
    }
}

#[test]
fn hosts_of_decoded_paths() {
    let map = "map $uri $x { ~^/(?<part>[\\s\\S]*)$ $part; }";
    let site = Site::new(map, "clerk_proxy https://a$x.dev secret_key=sk_live_x;");
    for sent in [
        &b"%0d%0aX:%20y"[..],
        b"%0a",
        b"%0d",
        b"%09",
        b"%20",
        b"b%2fc",
        b"%3fb",
        b"%23b",
        b"%40b",
        b"%22",
        b"%7f",
        b"%80",
    ] {
        site.refuses("host in URL \"https://a$x.dev\"", &get(&[b"/", sent].concat(), b""));
    }
    site.takes("https://ab.dev", "sk_live_x", get(b"/b", b""));
}

#[test]
fn hosts_that_nginx_itself_lets_through() {
    if refuses_odd_hosts() {
        let site = Site::new("", "clerk_proxy https://$http_host/ secret_key=sk_live_x;");
        for value in ["a?b", "u@h.dev", "a\"b", "a\\b", "[::1", "a:b", "a:99999"] {
            let request = get(b"/", &[b"Host: ", value.as_bytes()].concat());
            assert_eq!(site.nginx.send(&request).status, 400, "{value}");
        }
        return assert_eq!(site.fapi.received(), 0);
    }
    for name in ["host", "http_host"] {
        let line = format!("clerk_proxy https://${name}/ secret_key=sk_live_x;");
        let site = Site::new("", &line);
        let what = format!("host in URL \"https://${name}\"");
        for value in [
            "a?b", "a#b", "u@h.dev", "a\"b", "a,b", "a%00b", "a\\b", "\u{fc}", "a=b", "127.1", "1",
            "[::1", "$host", "*",
        ] {
            let request = get(b"/", &[b"Host: ", value.as_bytes()].concat());
            site.refuses(&what, &request);
        }
        // No host at all: HTTP/1.0, and a server without a name.
        site.refuses(&what, b"GET / HTTP/1.0\r\n\r\n");
        let before = site.nginx.errors().len();
        let reply = site.nginx.curl_h2("/", &["-H", "Host: u@h.dev"]);
        assert_json(&reply, 500, "proxy_configuration_error");
        site.assert_line(&site.nginx.errors()[before], &what);
        site.takes("https://a.dev", "sk_live_x", get(b"/", b"Host: a.dev"));
    }
    let site = Site::new("", "clerk_proxy https://$http_host/ secret_key=sk_live_x;");
    for value in ["a:b", "a:0", "a:99999", "a:", "u:p@h.dev"] {
        let request = get(b"/", &[b"Host: ", value.as_bytes()].concat());
        site.refuses("host in URL \"https://$http_host\"", &request);
    }
    // Of the request line and the header the first is the host.
    let site = Site::new("", "clerk_proxy https://$host/ secret_key=sk_live_x;");
    let target = b"http://shop.example:81/";
    site.takes("https://shop.example", "sk_live_x", get(target, b"Host: app.dev"));
}

#[test]
fn a_domain_without_a_key() {
    let line = "clerk_proxy https://$host/ secret_key=$clerk_key;";
    let site = Site::new("", line);
    let request = get(b"/", b"Host: other.example");
    site.refuses("key \"$clerk_key\"", &request);
    let reply = site.nginx.curl_h2("/", &["-H", "Host: other.example"]);
    assert_json(&reply, 500, "proxy_configuration_error");
    let head = "HEAD / HTTP/1.1\r\nHost: other.example\r\nConnection: close\r\n\r\n";
    let reply = site.nginx.send(head);
    assert_eq!((reply.status, reply.body.len()), (500, 0));
    assert_eq!(site.nginx.errors().len(), 3);
    assert!(site.fapi.requests().is_empty());
    assert_eq!(ask(&site.nginx, "app.dev", "/").status, 200);
    assert_eq!(tenant(&site.fapi.only())[1], "sk_live_one");
}

#[test]
fn keys_that_are_none() {
    // As nginx reads them: "\n" is a new line there.
    for typed in [
        "\"sk_live_a b\"",
        "\" sk_live_a\"",
        "\"sk_live_a\\n\"",
        "\"sk_live_a\\r\\n\"",
        "\"sk_live_a\\r\\nX: y\"",
        "\"sk_live_a\\tb\"",
        "pk_live_a",
        "sk_live_",
        "sk_live_***",
        "'sk_live_a\"b'",
        "sk_live_\u{e4}",
        "whatever",
        "file:/k",
        "env:K",
        "''",
    ] {
        let map = format!("map $host $key {{ default {typed}; }}");
        let site = Site::new(&map, "clerk_proxy https://a.dev secret_key=$key;");
        site.refuses("key \"$key\"", &get(b"/", b""));
    }
}

#[test]
fn keys_of_requests() {
    for (name, before, header) in [
        ("arg_k", &b"/?k="[..], &b""[..]),
        ("http_k", b"/", b"K: "),
        ("cookie_k", b"/", b"Cookie: k="),
    ] {
        let site = Site::new("", &format!("clerk_proxy https://a.dev secret_key=${name};"));
        let request = |value: &[u8]| match header {
            b"" => get(&[before, value].concat(), b""),
            header => get(before, &[header, value].concat()),
        };
        for value in
            ["", "pk_live_x", "sk_live_x\"y", "sk_live_x/y", "$clerk_key", "sk_live_\u{fc}"]
        {
            let what = format!("key \"${name}\"");
            site.refuses(&what, &request(value.as_bytes()));
        }
        site.takes("https://a.dev", "sk_live_x", request(b"sk_live_x"));
    }
}

#[test]
fn a_part_of_a_key_in_the_configuration() {
    let line = "clerk_proxy https://a.dev; clerk_proxy_secret_key ${arg_form}live_$arg_k;";
    let site = Site::new("", line);
    site.refuses("key \"${arg_form}live_$arg_k\"", &get(b"/?form=sk_&k=*", b""));
    site.refuses("key \"${arg_form}live_$arg_k\"", &get(b"/?form=sk_", b""));
    site.takes("https://a.dev", "sk_live_x", get(b"/?form=sk_&k=x", b""));
}

/// The tenants by a header, with a value for requests without it.
const BY_HEADER: &str =
    "map $http_x_tenant $key { default sk_live_default; one sk_live_one; two sk_live_two; }";

#[test]
fn connection_cannot_take_away_what_a_value_reads() {
    for volatile in ["", "volatile;"] {
        let map = BY_HEADER.replace("{ ", &format!("{{ {volatile} "));
        let hosts = format!("map $http_x_tenant $name {{ {volatile} default other; one one; }}");
        let line = "clerk_proxy https://$name.dev secret_key=$key; access_log off;";
        let site = Site::new(&format!("{map} {hosts}"), line);
        for connection in ["", "Connection: X-Tenant\r\n", "Connection: close, x-tenant, X-Own\r\n"]
        {
            let request =
                [b"GET / HTTP/1.1\r\nHost: a\r\nX-Tenant: one\r\n", connection.as_bytes()];
            let request = [&request.concat()[..], b"Connection: close\r\n\r\n"].concat();
            site.takes("https://one.dev", "sk_live_one", request);
        }
        site.takes("https://other.dev", "sk_live_default", get(b"/", b"X-Own: one"));
    }
}
