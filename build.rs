//! How the module is linked, and what it must know of the nginx at hand.

fn main() {
    let features = std::env::var("DEP_NGINX_FEATURES").unwrap_or_default();
    let has = |name: &str| features.split(',').any(|feature| feature == name);
    for name in ["debug", "http_cache", "http_ssl", "http_v3", "pcre"] {
        know(name, has(name));
    }
    let headers = headers();
    let say = |word: &str| headers.iter().any(|text| text.contains(word));
    // Since 1.29.0.
    know("early_hints", say("ngx_http_send_early_hints"));
    know("zero_slot", say("ngx_http_set_complex_value_zero_slot"));
    let angie = say("angie_sign");
    know("angie", angie);
    // Angie since 1.8, 1.11 and 1.12.
    know("peer_close", say("ngx_event_close_peer_pt"));
    know("recover_at", say("recover_at"));
    know("log_names_source", say("ngx_src_file"));
    know("upstream_quic", angie && has("http_v3"));
    let version = std::env::var("DEP_NGINX_VERSION").unwrap_or_default();
    // Beside scripts/build and nginx/config, which say so sooner, cargo alone may have been told of any nginx.
    let number = std::env::var("DEP_NGINX_VERSION_NUMBER").unwrap_or_default();
    if number.trim().parse().is_ok_and(|number: u32| number < 1_018_000) {
        println!("cargo::error={version} is too old, the module needs nginx 1.18.0 or newer");
    }
    println!("cargo:rustc-env=CLERK_PROXY_BUILT_FOR={version}");
    println!("cargo:rerun-if-changed=build.rs");
    // A worker that ends unloads its modules; code of ours may still run, in the thread of a lookup.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
    // nginx loads modules with their names open to each other: after an upgrade of the file and a reload, the
    // new copy must not find its own names in the old one.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-Bsymbolic");
}

/// Defines `cfg(nginx_NAME)` where it holds.
fn know(name: &str, holds: bool) {
    println!("cargo:rustc-check-cfg=cfg(nginx_{name})");
    if holds {
        println!("cargo:rustc-cfg=nginx_{name}");
    }
}

/// The texts of nginx's headers.
fn headers() -> Vec<String> {
    let folders = std::env::var_os("DEP_NGINX_INCLUDE").unwrap_or_default();
    let files = std::env::split_paths(&folders).filter_map(|folder| folder.read_dir().ok());
    let files = files.flatten().flatten().map(|file| file.path());
    let headers = files.filter(|file| file.extension().is_some_and(|extension| extension == "h"));
    headers.filter_map(|file| std::fs::read_to_string(file).ok()).collect()
}
