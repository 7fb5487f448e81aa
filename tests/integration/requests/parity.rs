//! `nginx/by-hand.conf`, the best equivalent by stock directives, and the one line send the same bytes.

use crate::kit::fapi::{json, Fapi, Request, CA};
use crate::kit::harness::{Config, Reply};
use crate::kit::location::{by_hand, location};

#[test]
fn the_same_bytes_upstream_and_down() {
    let reply = json(
        200,
        "Set-Cookie: a=b\r\nSet-Cookie: c=d\r\nX-Country: DE\r\nAlt-Svc: h3=\":443\"\r\n\
         X-Accel-Redirect: /x\r\nServer: theirs\r\nLocation: /v1/x\r\n",
        "{\"body\":1}",
    );
    let fapi = Fapi::answering(Some(CA.server(&["localhost"])), reply);
    let ours = Config::server(&location(&fapi, "")).start();
    let theirs = by_hand(&fapi, "https");
    for request in [
        "GET /__clerk/v1/environment?__clerk_api_version=5&x=%2F HTTP/1.1\r\nHost: app.dev\r\n",
        "HEAD /__clerk/v1 HTTP/1.1\r\nHost: app.dev\r\n",
        "GET /__clerk/v1/client HTTP/1.0\r\nHost: app.dev\r\n",
        "POST /__clerk/v1/client/sign_ins?_method=PATCH HTTP/1.1\r\nHost: app.dev\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 7\r\n\
         Cookie: a=b; c=d\r\nOrigin: https://app.dev\r\nAccept-Encoding: gzip, br\r\nX-Dup: 1\r\n\
         X-Dup: 2\r\nX-Empty:\r\nClerk-Secret-Key: sk_live_forged\r\nProxy-Authorization: Basic x\r\n\
         TE: trailers\r\nKeep-Alive: timeout=5\r\nUpgrade: h2c\r\n",
        "POST /__clerk/v1/x HTTP/1.1\r\nHost: app.dev\r\nTransfer-Encoding: chunked\r\n",
        "DELETE /__clerk/v1/me HTTP/1.1\r\nHost: app.dev\r\nContent-Length: 7\r\n",
    ] {
        let body = if request.contains("chunked") {
            "3\r\na=b\r\n4\r\n&c=d\r\n0\r\n\r\n"
        } else if request.contains("Content-Length") {
            "a=b&c=d"
        } else {
            ""
        };
        let sent = format!("{request}Connection: close\r\n\r\n{body}");
        let [(our_reply, our_requests), (their_reply, their_requests)] =
            [&ours, &theirs].map(|nginx| {
                let before = fapi.requests().len();
                let mut reply = nginx.send(&sent);
                reply.headers.retain(|line| !line.starts_with("Date: "));
                (reply, fapi.wait_for(before + 1).split_off(before))
            });
        assert_same(&sent, &our_requests, &their_requests);
        assert_same_reply(&sent, &our_reply, &their_reply);
    }
}

fn assert_same(sent: &str, ours: &[Request], theirs: &[Request]) {
    let comparable = |requests: &[Request]| -> Vec<_> {
        let one = |r: &Request| (r.sni.clone(), r.line.clone(), r.headers.clone(), r.body.clone());
        requests.iter().map(one).collect()
    };
    assert_eq!(comparable(ours), comparable(theirs), "for {sent}");
}

fn assert_same_reply(sent: &str, ours: &Reply, theirs: &Reply) {
    assert_eq!(ours.status, theirs.status, "for {sent}");
    assert_eq!(ours.headers, theirs.headers, "for {sent}");
    assert_eq!(ours.body, theirs.body, "for {sent}");
}
