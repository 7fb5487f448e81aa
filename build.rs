//! How the module is linked, and what it must know of the nginx at hand.

fn main() {
    println!("cargo:rustc-check-cfg=cfg(nginx_debug)");
    let features = std::env::var("DEP_NGINX_FEATURES").unwrap_or_default();
    if features.split(',').any(|feature| feature == "debug") {
        println!("cargo:rustc-cfg=nginx_debug");
    }
    println!("cargo:rerun-if-changed=build.rs");
    wrap_faults();
    // A worker that ends unloads its modules; code of ours may still run, in the thread of a lookup.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
    // nginx loads modules with their names open to each other: after an upgrade of the file and a reload, the
    // new copy must not find its own names in the old one.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-Bsymbolic");
}

/// Has the linker put the functions of `faults.rs` in the place of those of nginx.
fn wrap_faults() {
    const FAULTS: &str = "tests/inside/faults.rs";
    println!("cargo:rerun-if-changed={FAULTS}");
    if std::env::var_os("CARGO_FEATURE_FAULT_INJECTION").is_none() {
        return;
    }
    let text = std::fs::read_to_string(FAULTS).expect(FAULTS);
    let names = text.split_whitespace().filter_map(|word| word.strip_prefix("__wrap_"));
    for name in names {
        println!("cargo:rustc-cdylib-link-arg=-Wl,--wrap={name}");
    }
}
