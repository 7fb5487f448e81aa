//! Tests of who imports whom: a file of the glue only what stands in its own folder or in those before it, the core
//! nothing of the glue, and no file one that leads back to it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// The folders of the glue, each of which imports only those before it.
const LAYERS: [&str; 5] = ["base", "stock", "request", "upstream", "config"];

/// The lines of a file that can be read in one go; `clippy.toml` has those of a function.
const LONGEST: usize = 300;

/// The files below a folder of the repository, and their texts.
pub fn sources(folder: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    for entry in fs::read_dir(path).expect("a folder") {
        let entry = entry.expect("a file");
        let name = format!("{folder}/{}", entry.file_name().to_string_lossy());
        if entry.path().is_dir() {
            found.extend(sources(&name));
        } else {
            found.push((name, fs::read_to_string(entry.path()).expect("its text")));
        }
    }
    found
}

/// The texts of the product by the names of modules, such as `nginx::base::log`.
fn modules() -> BTreeMap<String, String> {
    let named = sources("src").into_iter().map(|(name, text)| {
        let name = name.trim_start_matches("src/").trim_end_matches(".rs").replace('/', "::");
        (name.trim_end_matches("::mod").to_owned(), text)
    });
    named.filter(|(name, _)| name != "lib").collect()
}

/// Reads a path of Rust's at the front of a text, opens its lists, and returns what stands behind it.
fn open<'a>(mut text: &'a str, before: &str, paths: &mut BTreeSet<String>) -> &'a str {
    text = text.trim_start();
    if let Some(mut list) = text.strip_prefix('{') {
        loop {
            list = open(list, before, paths).trim_start();
            match list.strip_prefix(',') {
                Some(more) if !more.trim_start().starts_with('}') => list = more,
                more => return more.unwrap_or(list).trim_start().trim_start_matches('}'),
            }
        }
    }
    let end = text.find(|c: char| c != '_' && !c.is_ascii_alphanumeric()).unwrap_or(text.len());
    let (word, rest) = text.split_at(end);
    let path = if word == "self" { before.to_owned() } else { format!("{before}::{word}") };
    if let Some(rest) = rest.strip_prefix("::") {
        return open(rest, &path, paths);
    }
    paths.insert(path.trim_start_matches("::").to_owned());
    rest
}

/// The modules that a text names.
fn named(text: &str, modules: &BTreeMap<String, String>) -> BTreeSet<String> {
    let code: Vec<_> = text.lines().map(|line| line.split("//").next().unwrap_or(line)).collect();
    let mut paths = BTreeSet::new();
    for rest in code.join("\n").split("crate::").skip(1) {
        open(rest, "", &mut paths);
    }
    let module = |path: &String| {
        let mut name = path.as_str();
        while !modules.contains_key(name) {
            name = name.rsplit_once("::").unwrap_or_else(|| panic!("what is {path}?")).0;
        }
        name.to_owned()
    };
    paths.iter().map(module).collect()
}

/// How far up a module stands: the core, the folders of the glue, its tables.
fn height(module: &str) -> usize {
    let Some(rest) = module.strip_prefix("nginx") else { return 0 };
    let folder = rest.trim_start_matches("::").split("::").next();
    folder.and_then(|folder| LAYERS.iter().position(|layer| *layer == folder)).unwrap_or(5) + 1
}

/// What is wrong with the imports of these modules.
fn faults(modules: &BTreeMap<String, String>) -> Vec<String> {
    let imports = |(name, text): (&String, &String)| (name.clone(), named(text, modules));
    let mut imports: BTreeMap<_, _> = modules.iter().map(imports).collect();
    let mut faults = Vec::new();
    for (name, imported) in &mut imports {
        imported.remove(name);
        let up = imported.iter().filter(|other| height(other) > height(name));
        faults.extend(up.map(|other| format!("{name} imports {other}, which stands above it")));
        if *name != "nginx" && modules[name].lines().any(|line| line.starts_with("use super")) {
            faults.push(format!("{name} names what it imports from itself and not from the crate"));
        }
    }
    // What imports nothing that is left is in no circle.
    loop {
        let free = |(name, imported): (&String, &BTreeSet<String>)| {
            imported.iter().all(|other| !imports.contains_key(other)).then(|| name.clone())
        };
        let Some(free) = imports.iter().find_map(free) else { break };
        imports.remove(&free);
    }
    faults.extend(imports.keys().map(|name| format!("{name} is in a circle, or leads to one")));
    faults
}

#[test]
fn arrows_point_down() {
    let mut modules = modules();
    assert_eq!(faults(&modules), Vec::<String>::new());
    let mut adds = |module: &str, line: &str| {
        let text = modules.get_mut(module).expect(module);
        let before = text.clone();
        *text += line;
        let found = faults(&modules);
        modules.insert(module.to_owned(), before);
        found
    };
    let upward = adds("nginx::base::log", "use crate::nginx::{base::guard, stock::level::Level};");
    assert!(upward[0].starts_with("nginx::base::log imports nginx::stock::level,"), "{upward:?}");
    let tables = adds("nginx::config::merge", "fn f() { crate::nginx::merge_loc_conf(); }");
    assert!(tables[0].starts_with("nginx::config::merge imports nginx,"), "{tables:?}");
    let core = adds("directive", "use crate::{error, nginx::base::{log::{self, error}}};");
    assert!(core[0].starts_with("directive imports nginx::base::log,"), "{core:?}");
    let circle = adds("nginx::base::log", "use crate::nginx::base::guard;");
    assert!(circle.contains(&"nginx::base::log is in a circle, or leads to one".to_owned()));
    assert!(!adds("nginx::base::log", "use super::guard;").is_empty());
    assert!(adds("nginx::base::guard", "use crate::nginx::base::{log, clock as time};").is_empty());
}

#[test]
fn a_folder_says_what_it_is_for() {
    for layer in LAYERS {
        let text = &modules()[&format!("nginx::{layer}")];
        assert!(text.starts_with("//! "), "{layer}");
        let code = text.lines().filter(|line| !line.is_empty() && !line.starts_with("//! "));
        let others: Vec<_> = code
            .filter(|line| !line.starts_with("pub mod ") && !line.starts_with("#[cfg"))
            .collect();
        assert!(others.is_empty(), "{layer}: {others:?}");
    }
}

/// The modules of the core in the order of the map in `lib.rs`, the highest first.
fn map() -> Vec<String> {
    let sources = sources("src");
    let (_, text) = sources.iter().find(|(name, _)| name == "src/lib.rs").expect("a map");
    let core = text.lines().skip_while(|line| !line.contains("pure core")).skip(1);
    let lines = core.take_while(|line| !line.contains("```"));
    let names = lines.filter_map(|line| line.trim_start_matches("//!").split_whitespace().next());
    names.map(str::to_owned).collect()
}

#[test]
fn the_map_of_the_core_is_that_of_its_imports() {
    let (map, modules) = (map(), modules());
    let core = modules.keys().filter(|name| height(name) == 0 && !name.contains("::"));
    let mut sorted = map.clone();
    sorted.sort();
    assert_eq!(sorted, core.cloned().collect::<Vec<_>>());
    for (at, name) in map.iter().enumerate() {
        let imported = named(&modules[name], &modules);
        let up: Vec<_> = map[..at].iter().filter(|above| imported.contains(*above)).collect();
        assert!(up.is_empty(), "{name} imports {up:?}, which the map has above it");
    }
}

#[test]
fn the_fuzz_targets_have_what_they_import() {
    let modules = modules();
    let sources = sources("fuzz/src");
    let lines = sources[0].1.lines();
    let given: BTreeSet<_> = lines.filter_map(|line| line.strip_prefix("pub mod ")).collect();
    for name in given.iter().map(|name| name.trim_end_matches(';')) {
        let text = modules[name].split("#[cfg(test)]").next().expect("code");
        let imported = named(text, &modules);
        let missing = imported.iter().find(|other| !given.contains(format!("{other};").as_str()));
        assert_eq!(missing, None, "{name} imports it, and fuzz/src/lib.rs lacks it");
    }
}

#[test]
fn files_are_short() {
    for (name, text) in sources("src") {
        let lines = text.lines().count();
        assert!(lines <= LONGEST, "{name} has {lines} lines");
    }
}
