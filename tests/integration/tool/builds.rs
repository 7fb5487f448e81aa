//! What is said of sources that the module is not built from, before anything is made.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::kit::harness::Folder;

/// A folder with these files, and with what a header defines.
fn sources(files: &[&str], header: &str) -> Folder {
    let folder = Folder::new();
    for file in files {
        let path = folder.path().join(file);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, header).expect("a file");
    }
    folder
}

#[test]
fn sources_that_are_none_incomplete_or_too_old() {
    const WHOLE: [&str; 9] = [
        "src/core/nginx.h",
        "configure",
        "auto/options",
        "auto/lib/conf",
        "auto/os/linux",
        "src/event/ngx_event.h",
        "src/http/ngx_http.h",
        "src/http/modules/ngx_http_ssl_module.h",
        "src/os/unix/ngx_process.h",
    ];
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let header = |version: &str| {
        format!("#define NGINX_VERSION \"{version}\"\n#define NGINX_VER \"nginx/\" NGINX_VERSION\n")
    };
    let mut cases = vec![
        (sources(&[], ""), "contains no sources of nginx, DIR/src/core/nginx.h is missing"),
        (sources(&WHOLE[..1], ""), "contains no configure, take the whole sources"),
        (sources(&WHOLE[..6], ""), "contains no src/http/ngx_http.h, take the whole sources"),
    ];
    let old = sources(&WHOLE, &header("1.17.9"));
    let folder = sources(&WHOLE, &header("1.30.0"));
    fs::write(folder.path().join("src/core/angie.h"), "#define ANGIE_VERSION \"1.10.2\"\n")
        .expect("a file");
    cases.push((old, "nginx 1.17.9 in DIR is too old, the module needs nginx 1.18.0 or newer"));
    cases.push((folder, "Angie 1.10.2 in DIR is too old, the module needs Angie 1.11.0 or newer"));
    for (folder, text) in cases {
        let output = Command::new(root.join("scripts/build"))
            .arg("--nginx-source")
            .arg(folder.path())
            .output()
            .expect("the script");
        let shown = folder.path().display().to_string();
        let text = if text.starts_with("contains") { format!("DIR {text}") } else { text.into() };
        let expected = format!("build: {}\n", text.replace("DIR", &shown));
        assert_eq!(String::from_utf8_lossy(&output.stderr), expected);
        assert!(output.stdout.is_empty() && !output.status.success());
    }
}

#[test]
fn arguments_that_are_none() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/build");
    for (arguments, text) in [
        (
            &["../nginx"][..],
            "unknown argument \"../nginx\", write --nginx-source DIR for other sources",
        ),
        (&["--nginx-source"], "--nginx-source needs the folder of nginx's sources"),
        (&["--nginx-source", "/nowhere"], "--nginx-source needs the folder of nginx's sources"),
    ] {
        let output = Command::new(&script).args(arguments).output().expect("the script");
        assert_eq!(String::from_utf8_lossy(&output.stderr), format!("build: {text}\n"));
        assert!(!output.status.success());
    }
}
