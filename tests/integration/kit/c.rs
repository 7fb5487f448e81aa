//! Libraries in C that tests put into nginx, made with the headers of the nginx under test.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Makes a library of a file beside this one.
pub fn library(source: &str) -> PathBuf {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let folder = |name| PathBuf::from(env::var_os(name).expect("cargo sets it"));
    let makefile = fs::read_to_string(folder("NGINX_BUILD_DIR").join("Makefile"));
    let makefile = makefile.expect("what `configure` made");
    let includes = makefile.split_once("ALL_INCS = ").expect("folders of headers").1;
    let includes = includes.split("\n\n").next().expect("an end").replace('\\', "");
    let library = Path::new(env!("CARGO_TARGET_TMPDIR")).join(source).with_extension("so");
    // Another test may make it at the same time, or nginx have it open.
    let new = library.with_extension(NEXT.fetch_add(1, Ordering::Relaxed).to_string());
    let status = Command::new("cc")
        .current_dir(folder("NGINX_SOURCE_DIR"))
        .args(includes.split_whitespace())
        .args(["-O2", "-w", "-shared", "-fPIC", "-o"])
        .arg(&new)
        .arg(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/integration/kit")).join(source))
        .status();
    assert!(status.expect("cc runs").success());
    fs::rename(new, &library).expect("a file of ours");
    library
}
