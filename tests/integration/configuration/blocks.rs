//! An `upstream {}` block of the user's own, which stays what it is in stock nginx.

use std::sync::mpsc;
use std::sync::Mutex;
use std::thread;

use crate::kit::assert::assert_json;
use crate::kit::fapi::{answer_well, Fapi};
use crate::kit::harness::{free_port, Config, Nginx, PATIENCE};

#[test]
fn a_block_of_the_user() {
    let fapi = Fapi::tls();
    let nginx = Config::new(&format!(
        "upstream clerk_fapi {{ server 127.0.0.1:{}; keepalive 2; }} server {{ listen 127.0.0.1:%PORT%;\n\
         location /__clerk/ {{ clerk_proxy https://app.dev/__clerk secret_key=%KEY% \
         upstream=https://clerk_fapi/base; proxy_ssl_verify off; }} }}",
        fapi.port
    ))
    .start();
    assert_eq!(nginx.get("/__clerk/v1").status, 200);
    let request = fapi.only();
    assert_eq!(request.target(), "/base/v1");
    assert_eq!(request.one("Host"), "frontend-api.clerk.dev");
    assert_eq!(request.sni.as_deref(), Some("frontend-api.clerk.dev"));
}

#[test]
fn a_block_that_follows_the_server_is_found_too() {
    let fapi = Fapi::plain();
    let nginx = Config::new(&format!(
        "server {{ listen 127.0.0.1:%PORT%; location /__clerk/ {{ clerk_proxy https://app.dev/__clerk \
         secret_key=%KEY% upstream=http://fapi.test; }} }} upstream fapi.test {{ server 127.0.0.1:{}; }}",
        fapi.port
    ))
    .start();
    assert_eq!(nginx.get("/__clerk/v1").status, 200);
    assert_eq!(fapi.only().one("Host"), "fapi.test");
}

/// nginx with these lines in the block.
fn with_block(lines: &str) -> Nginx {
    Config::new(&format!(
        "upstream clerk_fapi {{ {lines} }} server {{ listen 127.0.0.1:%PORT%;\n\
         location /__clerk/ {{ clerk_proxy https://app.dev/__clerk secret_key=%KEY% \
         upstream=http://clerk_fapi; }} }}"
    ))
    .start()
}

fn get(nginx: &Nginx, times: usize) {
    for _ in 0..times {
        assert_eq!(nginx.get("/__clerk/v1").status, 200);
    }
}

#[test]
fn a_server_that_fails_is_left_out_for_a_while() {
    let (one, two, dead) = (Fapi::plain(), Fapi::plain(), free_port());
    let nginx = with_block(&format!(
        "zone z 64k; server 127.0.0.1:{}; server 127.0.0.1:{dead}; server 127.0.0.1:{};",
        one.port, two.port
    ));
    get(&nginx, 12);
    assert_eq!((one.requests().len(), two.requests().len()), (6, 6));
    let errors = nginx.errors();
    assert!(errors.len() == 1 && errors[0].contains("Connection refused"), "{errors:#?}");
}

#[test]
fn a_server_is_tried_as_often_as_the_block_says() {
    let (one, dead) = (Fapi::plain(), free_port());
    let nginx =
        with_block(&format!("server 127.0.0.1:{}; server 127.0.0.1:{dead} max_fails=3;", one.port));
    get(&nginx, 12);
    assert_eq!(one.requests().len(), 12);
    assert_eq!(nginx.errors().len(), 3);
}

#[test]
fn a_backup_server() {
    let (one, backup, dead) = (Fapi::plain(), Fapi::plain(), free_port());
    let (port, backup_port) = (one.port, backup.port);
    let nginx =
        with_block(&format!("server 127.0.0.1:{port}; server 127.0.0.1:{backup_port} backup;"));
    get(&nginx, 4);
    assert!(one.requests().len() == 4 && backup.requests().is_empty());
    let nginx = with_block(&format!(
        "zone z 64k; server 127.0.0.1:{dead}; server 127.0.0.1:{backup_port} backup; keepalive 4;"
    ));
    get(&nginx, 4);
    assert_eq!(backup.requests().len(), 4);
    // Once it has failed the primary is not asked for 10 s.
    assert_eq!(nginx.errors().len(), 1);
}

#[test]
fn no_server_is_left() {
    let (dead, dead2) = (free_port(), free_port());
    let nginx = with_block(&format!("server 127.0.0.1:{dead}; server 127.0.0.1:{dead2};"));
    for _ in 0..2 {
        assert_json(&nginx.get("/__clerk/v1"), 502, "proxy_request_failed");
    }
    let errors = nginx.errors();
    let last = errors.last().expect("errors");
    assert!(errors.len() == 3 && last.contains("no live upstreams"), "{errors:#?}");
}

#[test]
fn the_server_with_the_fewest_connections() {
    let (go_on, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let busy = Fapi::start(None, move |request, stream| {
        if request.target() == "/slow" {
            let _ = wait.lock().unwrap().recv_timeout(PATIENCE);
        }
        answer_well(stream)
    });
    let idle = Fapi::plain();
    let nginx = with_block(&format!(
        "zone z 64k; least_conn; server 127.0.0.1:{}; server 127.0.0.1:{};",
        busy.port, idle.port
    ));
    thread::scope(|scope| {
        let slow = scope.spawn(|| nginx.get("/__clerk/slow"));
        busy.wait_for(1);
        get(&nginx, 6);
        assert_eq!((busy.requests().len(), idle.requests().len()), (1, 6));
        drop(go_on);
        assert_eq!(slow.join().unwrap().status, 200);
    });
}
