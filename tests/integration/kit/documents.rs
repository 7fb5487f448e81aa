//! The documents as a reader finds them: pages with their blocks, headings and links.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

/// The folder of the repository.
pub const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// A document in Markdown.
pub struct Page {
    /// From the folder of the repository.
    pub path: PathBuf,
    pub text: String,
}

/// All documents for users and developers.
pub static PAGES: LazyLock<Vec<Page>> = LazyLock::new(|| {
    let mut paths = Vec::new();
    for folder in ["", "docs", "findings"] {
        let Ok(entries) = fs::read_dir(Path::new(ROOT).join(folder)) else { continue };
        let names = entries.map(|entry| entry.expect("an entry").file_name());
        paths.extend(names.map(|name| Path::new(folder).join(name)));
    }
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    paths.sort();
    let read = |path: PathBuf| {
        let text = fs::read_to_string(Path::new(ROOT).join(&path)).expect("a page");
        Page { path, text }
    };
    paths.into_iter().map(read).collect()
});

/// The page with this path.
pub fn page(path: &str) -> &'static Page {
    PAGES.iter().find(|page| page.path == Path::new(path)).unwrap_or_else(|| panic!("no {path}"))
}

/// The fenced blocks of all pages in this language.
pub fn blocks(language: &str) -> Vec<&'static str> {
    PAGES.iter().flat_map(|page| page.blocks(language)).collect()
}

/// The only block in this language that contains this text.
pub fn block(language: &str, text: &str) -> &'static str {
    let found: Vec<_> = blocks(language).into_iter().filter(|block| block.contains(text)).collect();
    assert_eq!(found.len(), 1, "blocks of the documents with {text}");
    found[0]
}

/// The messages of nginx among the samples.
pub fn messages() -> Vec<&'static str> {
    let mut samples = blocks("text");
    samples.retain(|block| block.contains("[emerg]"));
    samples
}

/// Expects the only `[emerg]` of this output to be among the samples, but for paths, numbers and versions.
pub fn assert_is_sample(output: &str) {
    let words = |text: &str| -> Vec<String> {
        let (_, message) = text.split_once("[emerg]").expect("a message");
        let line = message.lines().next().expect("a line");
        let varies = |word: &str| word.contains(|c: char| c == '/' || c.is_ascii_digit());
        line.split(' ').map(|word| if varies(word) { "…" } else { word }.to_owned()).collect()
    };
    let printed = words(output);
    let is_sample = messages().into_iter().any(|sample| words(sample) == printed);
    assert!(is_sample, "no sample of the documents is {output}");
}

impl Page {
    /// The fenced blocks in this language.
    pub fn blocks(&self, language: &str) -> Vec<&str> {
        let fence = format!("```{language}\n");
        let fenced = self.text.split(fence.as_str()).skip(1);
        fenced.map(|rest| rest.split("```").next().expect("an end")).collect()
    }

    /// The lines outside of fenced blocks.
    pub fn prose(&self) -> impl Iterator<Item = &str> {
        let mut fenced = false;
        self.text.lines().filter(move |line| {
            let is_fence = line.trim_start().starts_with("```");
            fenced ^= is_fence;
            !fenced && !is_fence
        })
    }

    /// The anchors of its headings, as GitHub makes them.
    pub fn anchors(&self) -> Vec<String> {
        let mut seen = BTreeMap::new();
        let mut anchor = |heading: &str| {
            let kept = |c: &char| c.is_alphanumeric() || " -_".contains(*c);
            let slug: String = heading.trim().to_lowercase().chars().filter(kept).collect();
            let slug = slug.replace(' ', "-");
            let count = seen.entry(slug.clone()).or_insert(0);
            *count += 1;
            if *count == 1 {
                slug
            } else {
                format!("{slug}-{}", *count - 1)
            }
        };
        let headings = self.prose().filter(|line| line.starts_with('#'));
        headings.map(|line| anchor(line.trim_start_matches('#'))).collect()
    }

    /// What its links lead to.
    pub fn links(&self) -> Vec<&str> {
        let lines = self.prose().flat_map(|line| line.split("](").skip(1));
        lines.map(|rest| rest.split(')').next().expect("an end")).collect()
    }
}
