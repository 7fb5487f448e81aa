//! What the packages of distributions say of themselves, and the man page that they make from a chapter.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::kit::documents::{page, ROOT};

const SPEC: &str = "packaging/rpm/nginx-mod-http-clerk-proxy.spec";

fn text(path: &str) -> String {
    fs::read_to_string(Path::new(ROOT).join(path)).unwrap_or_else(|why| panic!("{path}: {why}"))
}

/// What a program prints in the folder of the repository.
fn printed(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).current_dir(ROOT).output();
    let output = output.unwrap_or_else(|why| panic!("{program}: {why}"));
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("a text")
}

#[test]
fn fedora_is_told_of_the_crates_that_are_linked_in() {
    let format = ["--format", "{p}|{l}", "--prefix", "none", "--edges", "normal,no-proc-macro"];
    let tree = printed(
        env!("CARGO"),
        &[&["tree", "--locked", "--offline", "--no-dedupe"], &format[..]].concat(),
    );
    let (mut crates, mut licences) = (BTreeSet::new(), BTreeSet::new());
    for line in tree.lines() {
        let (package, licence) = line.split_once('|').expect("a licence");
        let mut words = package.split(' ');
        let (name, version) = (words.next().expect("a name"), words.next().expect("a version"));
        if name != env!("CARGO_PKG_NAME") {
            crates.insert(format!("bundled(crate({name})) = {}", &version[1..]));
        }
        // `OR` has no order, and crates may write it as a slash.
        let choice = licence.split(['/', ' ']).filter(|word| !["", "OR"].contains(word));
        licences.insert(choice.collect::<BTreeSet<_>>());
    }
    let spec = text(SPEC);
    let field = |name| spec.lines().filter_map(move |line| line.strip_prefix(name)).map(str::trim);
    assert_eq!(field("Provides:").map(str::to_owned).collect::<BTreeSet<_>>(), crates);
    for said in [
        field("License:").next().expect("a licence"),
        text("packaging/alpine/APKBUILD")
            .split("license=\"")
            .nth(1)
            .and_then(|rest| rest.split('"').next())
            .expect("a licence"),
    ] {
        let parts = said.split(" AND ").map(|part| part.trim_matches(['(', ')']).split(" OR "));
        assert_eq!(parts.map(Iterator::collect).collect::<BTreeSet<_>>(), licences, "{said}");
    }
}

#[test]
fn what_is_not_known_stands_nowhere() {
    let control = text("packaging/debian/control");
    let (_, maintainer) = control.split_once("Maintainer: ").expect("a maintainer");
    let (_, address) = maintainer.lines().next().expect("a line").split_once('<').expect("one");
    let (_, domain) = address.trim_end_matches('>').split_once('@').expect("a domain");
    // One place is enough for who takes the project over.
    let found = printed("grep", &["-rlI", domain, "packaging", "scripts", "docs", "README.md"]);
    assert_eq!(found, "packaging/debian/control\n");
    for path in [
        "packaging/debian/control",
        SPEC,
        "packaging/alpine/APKBUILD",
        "packaging/docker/Dockerfile",
        "tools/clerk-proxy-check.1",
    ] {
        assert!(text(path).contains("not affiliated with Clerk"), "{path}");
    }
}

#[test]
fn the_man_page_is_the_chapter() {
    let folder = "/usr/share/doc/package";
    let man = printed("scripts/manual", &[folder]);
    assert!(man.contains(folder) && man.contains("not affiliated with Clerk"), "{man}");
    // Without marks of roff or Markdown: words alone.
    let plain = |text: &str| -> String {
        let text = ["\\fB", "\\fI", "\\fR", "\\&", "**", "`"]
            .iter()
            .fold(text.to_owned(), |text, mark| text.replace(mark, ""));
        let text = text.replace("\\-", "-");
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let words = plain(&man);
    let chapter = page("docs/directives.md");
    let mut count = 0;
    for line in chapter.text.lines().skip(2).filter(|line| !line.starts_with("```")) {
        // Tables and links are written in another way.
        if line.starts_with('|') || line.contains("](") {
            continue;
        }
        let line = line.trim_start_matches(['#', '-']).trim_start();
        // Italics are names in capitals.
        let line = line.replace(" *", " ").replace("* ", " ").replace('*', "");
        assert!(words.replace('*', "").contains(&plain(&line)), "{line}\n{man}");
        count += 1;
    }
    assert!(count > 100, "{count}");
    for name in ["clerk_proxy_warm", "Variables", "Errors", "SEE ALSO"] {
        assert!(man.contains(&format!("\n.SH {name}\n")), "{name}");
    }
    // Those of the head of the table of errors are left out.
    let rows = chapter.text.lines().filter(|line| line.starts_with("| ") && line.len() > 5);
    let rows = rows.filter(|line| !line.starts_with("| status"));
    for cell in rows.flat_map(|line| line.split('|')) {
        let cell = plain(&cell.replace('*', ""));
        assert!(words.replace('*', "").contains(&cell), "{cell}");
    }
    for line in man.lines() {
        assert!(!line.contains('`') && !line.contains("](") && !line.contains("**"), "{line}");
    }
}
