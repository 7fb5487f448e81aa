//! What the documents promise about themselves: links lead somewhere, files and tests that they name exist, samples of
//! output are those of a run, and the README is short.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::kit::documents::{assert_is_sample, messages, page, Page, PAGES, ROOT};
use crate::kit::fapi::Fapi;
use crate::kit::harness::{Config, KEY, MODULE, PROGRAM};

/// The file that a link of the page leads to, and its anchor. Links to other places are not looked at.
fn target<'a>(page: &Page, link: &'a str) -> Option<(String, &'a str)> {
    if link.contains("://") {
        return None;
    }
    let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
    let path = match file {
        "" => page.path.clone(),
        _ => page.path.parent().expect("a folder").join(file),
    };
    // No page lies deeper than one folder.
    let parts: Vec<&str> = path.to_str().expect("a name").split('/').collect();
    let path = match parts.as_slice() {
        [_, "..", rest @ ..] => rest.join("/"),
        parts => parts.join("/"),
    };
    Some((path, anchor))
}

#[test]
fn links() {
    let mut linked = vec!["README.md".to_owned()];
    for page in PAGES.iter() {
        let shown = page.path.display();
        for link in page.links() {
            let Some((path, anchor)) = target(page, link) else { continue };
            assert!(Path::new(ROOT).join(&path).exists(), "{shown}: no file for {link}");
            if !anchor.is_empty() {
                let anchors = crate::kit::documents::page(&path).anchors();
                let has = anchors.iter().any(|other| other == anchor);
                assert!(has, "{shown}: no heading for {link} among {anchors:?}");
            }
            if page.path == Path::new("README.md") {
                linked.push(path);
            }
        }
    }
    assert!(linked.len() > 10, "{linked:?}");
    for page in PAGES.iter().filter(|page| !page.path.starts_with("findings")) {
        let is_linked = linked.iter().any(|path| page.path == Path::new(path));
        assert!(is_linked, "the README has no link to {}", page.path.display());
    }
}

#[test]
fn lengths() {
    for (path, most) in [("README.md", 200), ("CONTRIBUTING.md", 80)] {
        let count = page(path).text.lines().count();
        assert!(count <= most, "{path} has {count} lines of {most}");
    }
}

/// What stands as code between the words, or begins a command.
#[test]
fn files_that_the_documents_name() {
    const FOLDERS: [&str; 11] = [
        ".github/",
        "tests/",
        "bench/",
        "docs/",
        "findings/",
        "fuzz/",
        "nginx/",
        "packaging/",
        "scripts/",
        "src/",
        "tools/",
    ];
    let mut found = 0;
    for page in PAGES.iter() {
        let code = page.prose().flat_map(|line| line.split('`').skip(1).step_by(2));
        let commands = page.blocks("sh").into_iter().flat_map(str::lines);
        for word in code.chain(commands).flat_map(str::split_whitespace) {
            let word = word.strip_prefix("./").unwrap_or(word);
            let is_name = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
            if FOLDERS.iter().any(|folder| word.starts_with(folder)) && word.chars().all(is_name) {
                assert!(Path::new(ROOT).join(word).exists(), "{}: {word}", page.path.display());
                found += 1;
            }
        }
    }
    assert!(found > 25, "{found}");
}

/// Expects the tests that stand between backticks to exist. Returns how many the page names.
fn assert_names_tests(path: &str) -> usize {
    let folder = Path::new(ROOT).join("tests/integration");
    let words = page(path).prose().flat_map(|line| line.split('`').skip(1).step_by(2));
    let mut found = 0;
    for (file, test) in words.filter_map(|word| word.rsplit_once("::")) {
        let text = fs::read_to_string(folder.join(file.replace("::", "/")).with_extension("rs"));
        let text = text.unwrap_or_else(|error| panic!("{file}: {error}"));
        assert!(text.contains(&format!("#[test]\nfn {test}() {{")), "{file}::{test} is no test");
        found += 1;
    }
    found
}

/// Of each threat it says by which test it can be seen to be stopped.
#[test]
fn tests_that_the_security_policy_names() {
    let found = assert_names_tests("SECURITY.md");
    let rows = page("SECURITY.md").text.lines().filter(|line| line.starts_with("| ")).count();
    assert!(found > rows && rows > 20, "{found} tests for {rows} threats");
}

/// Each table has a row for each proxy, and tests for the row of the module.
#[test]
fn proxies_that_are_compared() {
    assert!(assert_names_tests("docs/compared.md") > 15);
    let mut sections = page("docs/compared.md").text.split("\n## ");
    let names = |section: &str| -> Vec<String> {
        let rows = section.lines().filter(|line| line.starts_with("| ")).skip(1);
        let cells = rows.filter_map(|row| row.split(" | ").next());
        let names = cells.flat_map(|cell| cell.trim_start_matches("| ").split(", "));
        names.filter_map(|name| name.split(' ').next()).map(str::to_owned).collect()
    };
    let versions = names(sections.next().expect("the versions"));
    assert_eq!(versions.len(), 22, "{versions:?}");
    for section in sections {
        let rows = names(section);
        for name in &versions {
            // The failures of two were not measured.
            let known = name == "c-fastify" && section.starts_with("Errors");
            assert!(known || rows.contains(name), "{name} is not in {rows:?}");
        }
        assert!(section.starts_with("What to set") || rows.contains(&"clerk_proxy".to_owned()));
    }
}

/// What stands in the troubleshooting as a message of nginx is one.
#[test]
fn headings_of_the_troubleshooting() {
    let page = page("docs/troubleshooting.md");
    let (section, _) = page.text.split_once("\n## In the error log\n").expect("its second part");
    let line = "clerk_proxy https://app.dev/__clerk";
    for (lines, said) in [
        (
            format!("location /__clerk/ {{ {line} upstream=http://127.0.0.1:1; }}"),
            "environment variable \"CLERK_SECRET_KEY\" in \"clerk_proxy\": it is not set",
        ),
        (
            format!("location /clerk/ {{ {line} secret_key=%KEY%; }}"),
            "does not fit location \"/clerk/\"",
        ),
        (
            format!(
                "location /__clerk/ {{ {line} secret_key=%KEY%; proxy_pass http://127.0.0.1:1; }}"
            ),
            "conflicts with another content handler in location \"/__clerk/\"",
        ),
        (
            format!(
                "location /__clerk/ {{ {line} secret_key=%KEY% upstream=http://x.invalid:443; }}"
            ),
            "host not found in upstream \"x.invalid:443\" of \"clerk_proxy\"",
        ),
    ] {
        let (_, printed) = Config::server(&lines).check();
        assert!(printed.contains(said), "{printed}");
        let heading = said.replace("x.invalid", "frontend-api.clerk.dev");
        let heading = heading.replace("\"/clerk/\"", "\"…\"").replace("\"/__clerk/\"", "\"…\"");
        assert!(section.contains(&format!("**`{heading}`**")), "it lacks {heading}");
    }
    let (_, printed) = Config::server("location / { clerk_proxie x; }").check();
    assert!(printed.contains("unknown directive \"clerk_proxie\""), "{printed}");
}

/// A module that only differs by this number of nginx's version or by this signature.
fn other_module(version: Option<usize>, signature: bool) -> Vec<u8> {
    let mut bytes = fs::read(&*MODULE).expect("the module");
    let replace = |bytes: &mut Vec<u8>, old: &[u8], at: usize, new: &[u8]| {
        let places = bytes.windows(old.len()).enumerate();
        let places: Vec<usize> =
            places.filter(|(_, there)| *there == old).map(|(place, _)| place).collect();
        assert!(!places.is_empty(), "no {old:?} in the module");
        for place in places {
            bytes[place + at..place + at + new.len()].copy_from_slice(new);
        }
    };
    if let Some(version) = version {
        // ngx_module_t begins with two indexes of -1, a name and two spare words; Angie signs the second.
        const TWO: usize = 2 * size_of::<usize>();
        let sign = "Angie".bytes().map(usize::from).sum::<usize>();
        let heads = [0, sign].map(|word| {
            [[0xff; TWO].as_slice(), &[0; TWO], word.to_le_bytes().as_slice()].concat()
        });
        let head = heads.iter().find(|head| bytes.windows(head.len()).any(|there| there == *head));
        let head = head.expect("a module of nginx's");
        replace(&mut bytes, head, head.len(), &version.to_le_bytes());
    }
    if signature {
        replace(&mut bytes, b"8,4,8,", 0, b"4");
    }
    bytes
}

/// The one about structures is made in `processes::other_nginx`.
#[test]
fn samples_of_messages() {
    assert_eq!(messages().len(), 4, "{:#?}", messages());
    assert_is_sample(&a_reload_without_the_key_file());
    // It may be built into nginx.
    if MODULE.as_os_str().is_empty() {
        return;
    }
    for module in [other_module(Some(1_001_001), false), other_module(None, true)] {
        let config = Config::new("").file("module.so", module);
        let file = config.folder.path().join("module.so");
        let (ok, printed) = config.module(&file).check();
        assert!(!ok, "{printed}");
        assert_is_sample(&printed);
    }
    let twice = format!("{0}; load_module {0}", MODULE.display());
    let (_, printed) = Config::new("").module(Path::new(&twice)).check();
    let heading = "module \"ngx_http_clerk_proxy_module\" is already loaded";
    assert!(printed.contains(heading), "{printed}");
    assert!(page("docs/troubleshooting.md").text.contains(heading));
}

/// `nginx -s reload` is content, the old configuration stays, and the error log says why.
fn a_reload_without_the_key_file() -> String {
    let fapi = Fapi::plain();
    let config = Config::server(&format!(
        "location ^~ /__clerk/ {{\nclerk_proxy https://app.dev/__clerk secret_key=file:clerk_secret_key\n\
         upstream=http://127.0.0.1:{}; }}",
        fapi.port
    ));
    let mut nginx = config.file("clerk_secret_key", KEY).allow("clerk_secret_key").start();
    let file = nginx.config.folder.path().join("clerk_secret_key");
    fs::remove_file(&file).expect("the file");
    let status = nginx.config.command().args(["-s", "reload"]).status().expect("nginx runs");
    assert!(status.success());
    nginx.until("nginx has read the configuration", |nginx| nginx.error_log().contains("[emerg]"));
    assert_eq!(nginx.get("/__clerk/v1").status, 200);
    assert_eq!(fapi.only().one("Clerk-Secret-Key"), KEY);
    nginx.error_log()
}

/// The words of nginx, of the module and of their libraries are in these files.
fn programs() -> Vec<String> {
    let libraries = Command::new("ldd").arg(&*PROGRAM).output().expect("ldd runs");
    let libraries = String::from_utf8_lossy(&libraries.stdout).into_owned();
    let libraries = libraries.split_whitespace().filter(|word| word.starts_with('/'));
    let paths = libraries.map(Path::new).chain([PROGRAM.as_path(), MODULE.as_path()]);
    let read = |path: &Path| fs::read(path).expect("a program");
    let text = |path| String::from_utf8_lossy(&read(path)).into_owned();
    paths.filter(|path| path.is_file()).map(text).collect()
}

/// What the table of failures quotes of the error log can be in one.
#[test]
fn messages_of_failures() {
    let (_, table) = page("docs/operations.md").text.split_once("\n## Failures\n").expect("it");
    let (table, _) = table.split_once("\n## ").expect("its end");
    let programs = programs();
    let known = |words: &str| programs.iter().any(|program| program.contains(words));
    let rows = table.lines().filter(|line| line.starts_with("| ")).skip(1);
    let logs = rows.filter_map(|row| row.split(" | ").nth(2));
    let quoted = logs.flat_map(|log| log.split('`').skip(1).step_by(2));
    let mut found = 0;
    for text in quoted {
        // nginx puts these together with addresses, numbers and what it was doing.
        let text = text.replace("[2001:db8::1]:443", "%V").replace("while ", "…");
        for words in text.split(['…', '(', ')']).map(|words| words.trim_matches([' ', '"', ',']))
        {
            let words =
                words.trim_start_matches(|c: char| c.is_ascii_digit()).trim_start_matches(": ");
            assert!(words.len() < 8 || known(words), "{words} in {text}");
            found += 1;
        }
    }
    assert!(found > 40, "{found}");
}

/// The table of findings in the script, with words in place of its variables.
#[test]
fn findings_of_clerk_proxy_check() {
    let script = fs::read_to_string(Path::new(ROOT).join("tools/clerk-proxy-check"));
    let script = script.expect("the script");
    let (_, table) = script.split_once("\nfindings() {\n    cat <<END\n").expect("the table");
    let (table, _) = table.split_once("\nEND\n").expect("its end");
    let words = [
        (r"$(tail -n 1 ", "\0"),
        ("\\$", "\u{1}"),
        (" ($status)", ""),
        ("$authority", "HOST:PORT"),
        ("$host", "HOST"),
        ("$url", "URL"),
        ("$timeout", "SECONDS"),
        ("$(header cache-control)", "CACHE-CONTROL"),
        ("$redirect", "another URL"),
        ("$domain_id", "ID"),
        ("$status", "STATUS"),
        ("${code-}", "CODE"),
        ("$curl_exit", "STATUS"),
        ("$api", "the Backend API"),
    ];
    let said = |text: &str| {
        let filled =
            words.iter().fold(text.trim().to_owned(), |text, (old, new)| text.replace(old, new));
        // What is worked out at run time.
        filled.split('\0').next().expect("a text").trim_end_matches(": ").replace('\u{1}', "$")
    };
    let lines: Vec<&str> = table.lines().collect();
    let mut rows = String::new();
    for pair in lines.chunks(2) {
        let (name, message) = pair[0].split_once(' ').expect("a name and a message");
        writeln!(rows, "| `{name}` | {} | {} |", said(message), said(pair[1])).expect("a text");
    }
    assert!(!rows.contains("$(") && rows.lines().count() > 30, "{rows}");
    let text = &page("docs/troubleshooting.md").text;
    assert!(text.contains(&rows), "docs/troubleshooting.md lacks these lines:\n{rows}");
}

/// The test that is there to be copied is one.
#[test]
fn the_test_of_ten_lines() {
    let blocks = page("docs/internals.md").blocks("rust");
    assert!(blocks.len() == 1 && include_str!("docs.rs").contains(blocks[0]), "{blocks:?}");
}

/// Commands can be pasted: a shell finds no fault with them.
#[test]
fn commands() {
    for page in PAGES.iter() {
        for block in page.blocks("sh") {
            let output = Command::new("dash").args(["-n", "-c", block]).output().expect("a shell");
            assert!(output.status.success(), "{}: {block}\n{output:?}", page.path.display());
        }
    }
}
