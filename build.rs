//! How the module is linked, and what it must know of the nginx at hand.

fn main() {
    let features = std::env::var("DEP_NGINX_FEATURES").unwrap_or_default();
    for name in ["debug", "http_cache", "http_ssl", "pcre"] {
        know(name, features.split(',').any(|feature| feature == name));
    }
    // Since 1.21.5.
    know("zero_slot", headers_have("ngx_http_set_complex_value_zero_slot"));
    let version = std::env::var("DEP_NGINX_VERSION").unwrap_or_default();
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

/// Whether nginx's headers have the word.
fn headers_have(word: &str) -> bool {
    let folders = std::env::var_os("DEP_NGINX_INCLUDE").unwrap_or_default();
    let files = std::env::split_paths(&folders).filter_map(|folder| folder.read_dir().ok());
    let mut files = files.flatten().flatten().map(|file| file.path());
    files.any(|file| {
        file.extension().is_some_and(|extension| extension == "h")
            && std::fs::read_to_string(file).is_ok_and(|text| text.contains(word))
    })
}
