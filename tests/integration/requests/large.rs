//! Headers and request lines that are larger than nginx takes by itself: cookies of several domains, handshakes.

use crate::kit::fapi::Fapi;
use crate::kit::harness::{Config, Nginx};
use crate::kit::printed::{warn, LINE};

const SIZE: usize = 12 * 1024;

fn line(fapi: &Fapi) -> String {
    LINE.replace("http://127.0.0.1:1", &format!("http://127.0.0.1:{}", fapi.port))
}

/// Two servers at one address, of which the second has the line.
fn nginx(fapi: &Fapi, http: &str, first: &str, second: &str) -> Nginx {
    let listen = "listen 127.0.0.1:%PORT%; listen 127.0.0.1:%PORT2% http2;";
    Config::new(&format!(
        "{http}\nserver {{ {listen} server_name other.example; {first} location / {{ return 200 other; }} }}\n\
         server {{ {listen} server_name app.dev; {second} location /__clerk/ {{ {} }} }}",
        line(fapi)
    ))
    .start()
}

fn statuses(nginx: &Nginx) -> [u16; 2] {
    let large = "x".repeat(SIZE);
    let request = |target: &str, cookie: &str| {
        nginx.send(format!(
            "GET {target} HTTP/1.1\r\nHost: app.dev\r\nCookie: {cookie}\r\nConnection: close\r\n\r\n"
        ))
    };
    let query = format!("/__clerk/v1/client/handshake?__session={large}");
    [request("/__clerk/v1/client", &large).status, request(&query, "a=b").status]
}

#[test]
fn cookies_and_queries_of_12_kb_pass() {
    let fapi = Fapi::plain();
    let nginx = nginx(&fapi, "", "", "");
    assert_eq!(statuses(&nginx), [200, 200]);
    let requests = fapi.wait_for(2);
    assert_eq!(requests[0].one("Cookie").len(), SIZE);
    assert!(requests[1].target().len() > SIZE);
    let cookie = format!("Cookie: {}", "x".repeat(SIZE));
    let reply = nginx.curl_h2("/__clerk/v1/client", &["-H", "Host: app.dev", "-H", &cookie]);
    assert_eq!(reply.status, 200);
    assert_eq!(fapi.wait_for(3)[2].one("Cookie").len(), SIZE);
}

#[test]
fn a_size_of_the_users_stays() {
    let fapi = Fapi::plain();
    let small = "large_client_header_buffers 4 8k;";
    // The first server at an address reads what stands before `Host`.
    for (http, first, cookie) in [(small, "", 400), ("", small, 200)] {
        assert_eq!(statuses(&nginx(&fapi, http, first, "")), [cookie, 414], "{http} {first}");
    }
    let own = "large_client_header_buffers 2 32k;";
    assert_eq!(statuses(&nginx(&fapi, own, "", "")), [200, 200]);
}

#[test]
fn a_size_that_is_too_small_is_named_once_for_a_server() {
    let text = |size: usize| {
        format!(
            "\"large_client_header_buffers\" for \"clerk_proxy\" has room for {size} bytes, and cookies and handshakes of \
             Clerk can need 16k, write \"large_client_header_buffers 4 16k\""
        )
    };
    let two = format!("location /__clerk/ {{\n{LINE}\n}}\nlocation /__clerk/v1/ {{\n{LINE}\n}}");
    let config = Config::server(&format!("large_client_header_buffers 4 8k;\n{two}"));
    warn(&config, &[(6, &text(8192))]);
    let config = Config::server(&two).http("large_client_header_buffers 8 4k;");
    warn(&config, &[(5, &text(4096))]);
    warn(&Config::server(&format!("large_client_header_buffers 2 16k;\n{two}")), &[]);
    warn(&Config::server(&two), &[]);
    // Without the line they are nobody's business.
    warn(&Config::server("large_client_header_buffers 4 1k;"), &[]);
}
