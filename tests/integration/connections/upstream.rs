//! Where the Frontend API is: a name, an address or a socket.

use crate::kit::fapi::Fapi;
use crate::kit::harness::Config;
use crate::kit::location::location;

#[test]
fn a_socket() {
    let fapi = Fapi::plain();
    let nginx = Config::new(&format!(
        "server {{ listen unix:%DIR%/fapi.sock; location / {{ proxy_pass http://127.0.0.1:{}; }} }}\n\
         server {{ listen 127.0.0.1:%PORT%; location /__clerk/ {{ clerk_proxy https://app.dev/__clerk \
         secret_key=%KEY% upstream=http://unix:%DIR%/fapi.sock:/base; }} }}",
        fapi.port
    ))
    .start();
    assert_eq!(nginx.get("/__clerk/v1").status, 200);
    assert_eq!(fapi.only().target(), "/base/v1");
}

#[test]
fn the_users_own_proxy_pass_to_the_same_host_is_left_alone() {
    let fapi = Fapi::tls();
    let port = fapi.port;
    let own = format!("location /own/ {{ proxy_pass https://localhost:{port}/; }}");
    let nginx = Config::server(&format!("{}\n{own}", location(&fapi, ""))).start();
    assert_eq!(nginx.get("/__clerk/v1").status, 200);
    assert_eq!(nginx.get("/own/v1").status, 200);
    let requests = fapi.wait_for(2);
    assert!(requests[1].all("Clerk-Secret-Key").is_empty());
    assert_eq!(requests[1].one("Host"), format!("localhost:{port}"), "stock settings");
}
