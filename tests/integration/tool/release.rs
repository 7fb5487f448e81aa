//! What a release is made of: files whose names GitHub keeps, one version, and the licences of others.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::kit::documents::{PAGES, ROOT};
use crate::kit::harness::Folder;

/// What a script says when it refuses.
fn refused(script: &str, arguments: &[&str]) -> Option<String> {
    let script = Path::new(ROOT).join("scripts").join(script);
    let output = Command::new(script).args(arguments).output().expect("a script runs");
    (!output.status.success()).then(|| String::from_utf8_lossy(&output.stderr).into_owned())
}

/// A folder with these files and their checksums.
fn release(names: &[&str]) -> Folder {
    let folder = Folder::new();
    for name in names {
        folder.write(name, name);
    }
    let sums = Command::new("sha256sum").args(names).current_dir(folder.path()).output();
    folder.write("SHA256SUMS", sums.expect("checksums").stdout);
    folder
}

#[test]
fn files_of_a_release_keep_their_names_and_bytes() {
    let check = |folder: &Folder| {
        let path = folder.path().to_str().expect("a path");
        refused("assets", &[path])
    };
    let package = "libnginx-mod-http-clerk-proxy_0.1.0-1.deb12_amd64.deb";
    assert_eq!(check(&release(&[package, "clerk-nginx-0.1.0.tar.xz"])), None);
    for name in ["a_1~deb12.deb", "a b", "a+b", "a..b", ".a", "a."] {
        let said = check(&release(&[package, name])).expect(name);
        assert!(said.contains("GitHub renames") && said.contains(name), "{said}");
    }
    let folder = release(&[package]);
    folder.write(package, "other bytes");
    assert!(check(&folder).is_some());
    let folder = release(&[package]);
    folder.write("more", "");
    assert!(check(&folder).is_some());
    let folder = release(&[package, "more"]);
    fs::remove_file(folder.path().join("more")).expect("a file");
    assert!(check(&folder).is_some());
    // Who follows the documents has the file by the name that a release gives it.
    let words = PAGES.iter().flat_map(|page| page.text.split_whitespace());
    let packages =
        words.filter(|word| word.contains("_amd64.deb")).map(|word| word.trim_start_matches("./"));
    let named: Vec<&str> = packages.collect();
    assert!(!named.is_empty());
    assert_eq!(check(&release(&named)), None);
}

#[test]
fn all_files_name_the_same_version() {
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(refused("versions", &[]), None);
    assert!(refused("versions", &["v99.0.0"]).expect("refused").contains("the tag is v99.0.0"));
    let unreleased = include_str!("../../../CHANGELOG.md").contains("(unreleased)");
    assert_eq!(refused("versions", &[&format!("v{version}")]).is_some(), unreleased);
}

#[test]
fn licences_are_those_of_the_crates() {
    assert_eq!(refused("licences", &["--check"]), None);
}
