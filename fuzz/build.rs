//! The targets are about an nginx with PCRE, as nearly all are.

fn main() {
    println!("cargo::rustc-check-cfg=cfg(nginx_pcre)");
    println!("cargo::rustc-cfg=nginx_pcre");
}
