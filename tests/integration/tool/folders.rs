//! The tests as a tree: what they share is in `kit/`, and no file is forgotten.

use std::fs;
use std::path::Path;

const MAIN: &str = include_str!("../main.rs");

/// What this text imports beside the kit and other crates.
fn foreign(text: &str) -> Vec<&str> {
    // Split in two, lest the patterns are found.
    let rests = text.split(concat!("crate", "::")).skip(1);
    let others = rests.filter(|rest| !rest.starts_with("kit::"));
    others.chain(text.split(concat!("super", "::")).skip(1)).collect()
}

#[test]
fn files_share_the_kit_alone() {
    let mut count = 0;
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/integration");
    let folders = fs::read_dir(&root).expect("the tests").map(|entry| entry.expect("one").path());
    for folder in folders.filter(|path| path.is_dir()) {
        let name = folder.file_name().expect("a name").to_string_lossy().into_owned();
        let (_, listed) = MAIN.split_once(&format!("mod {name} {{")).expect(&name);
        let (listed, _) = listed.split_once('}').expect("an end");
        for file in fs::read_dir(&folder).expect("a folder") {
            let path = file.expect("a file").path();
            if path.extension().is_none_or(|extension| extension != "rs") {
                continue;
            }
            let (text, shown) = (fs::read_to_string(&path).expect("a test"), path.display());
            let module = path.file_stem().expect("a name").to_string_lossy();
            // What is not in the list is compiled by nobody, and its tests are lost.
            assert!(listed.contains(&format!(" mod {module};")), "main.rs does not list {shown}");
            if let Some(name) = foreign(&text).first().and_then(|rest| rest.lines().next()) {
                panic!("{shown} imports {name}: what tests share belongs into kit/");
            }
            let tests = text.lines().filter(|line| *line == "#[test]").count();
            assert_eq!(tests == 0, name == "kit", "{tests} tests in {shown}");
            count += tests;
        }
    }
    assert!(count > 300, "{count}");
}
