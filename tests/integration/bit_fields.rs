//! Bit fields of nginx that the module may not touch, because their places are not the same everywhere.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The text of a header of the nginx that the module is built for.
fn header(name: &str) -> String {
    let sources = std::env::var("NGINX_SOURCE_DIR").expect("cargo sets it");
    fs::read_to_string(Path::new(&sources).join("src").join(name)).expect("a header of nginx")
}

/// The bit fields of a structure, in their order.
fn bit_fields(header: &str, structure: &str) -> Vec<String> {
    let start = header.find(&format!("struct {structure} {{")).expect("the structure");
    let body = &header[start..];
    let body = &body[..body.find("\n};").expect("its end")];
    let declared = body.lines().filter_map(|line| line.trim().strip_prefix("unsigned"));
    declared.filter_map(|line| Some(line.split_once(':')?.0.trim().to_owned())).collect()
}

/// All names that the glue calls as methods, as the accessors that bindgen makes for bit fields are.
fn called() -> BTreeSet<String> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/nginx");
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(folder).expect("the glue") {
        let mut text = fs::read_to_string(entry.expect("a file").path()).expect("its text");
        for of_others in ["(*u).set_keepalive(", "(*u).peer.set_log_error("] {
            text = text.replace(of_others, "");
        }
        for (at, _) in text.match_indices('.') {
            let rest = &text[at + 1..];
            let end = rest.find(|c: char| c != '_' && !c.is_ascii_alphanumeric());
            let (name, rest) = rest.split_at(end.unwrap_or(rest.len()));
            if rest.starts_with('(') {
                names.insert(name.strip_prefix("set_").unwrap_or(name).to_owned());
            }
        }
    }
    names
}

/// Debian's nginx 1.22.1 has one bit more in a connection than nginx's own, with the same signature: a module built
/// for one and loaded into the other would set a bit that means something else.
#[test]
fn no_bit_field_of_a_connection_is_touched() {
    let fields = bit_fields(&header("core/ngx_connection.h"), "ngx_connection_s");
    assert!(fields.iter().any(|name| name == "tcp_nodelay"), "{fields:?}");
    let called = called();
    let touched: Vec<_> = fields.iter().filter(|name| called.contains(*name)).collect();
    assert!(touched.is_empty(), "{touched:?}");
}

/// On nginx 1.31 the bit fields of a request begin inside of a word, and bindgen looks for those that lie in the
/// second word in the wrong place.
#[test]
fn only_the_first_bit_fields_of_a_request_are_touched() {
    let fields = bit_fields(&header("http/ngx_http_request.h"), "ngx_http_request_s");
    let place = |wanted: &str| fields.iter().position(|name| name == wanted);
    let last = place("uri_changed").expect("a bit field of all versions");
    let mut called = called();
    // These two have a word of their own.
    called.retain(|name| name != "http_major" && name != "http_minor");
    let touched: Vec<_> = fields.iter().filter(|name| called.contains(*name)).collect();
    assert!(touched.iter().any(|name| *name == "valid_unparsed_uri"), "{touched:?}");
    assert!(touched.iter().all(|name| place(name) < Some(last)), "{touched:?}");
}
