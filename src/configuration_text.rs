//! Finds a directive in the text of a configuration, so that a message can cite where it stands.
//!
//! nginx forgets the places of directives that it has read.

use std::mem;
use std::ops::Range;
use std::rc::Rc;

/// The file that an `include` names: its path and its text.
pub type Included = (String, Rc<Text>);

/// How deep files may include each other.
const DEPTH: usize = 8;

/// A directive as nginx reads it.
struct Directive {
    words: Vec<String>,
    /// The line with its `;`, which nginx cites.
    line: usize,
    /// The block that it stands in.
    block: usize,
}

impl Directive {
    /// Whether it is `what`: the name of a directive, or the name and one of its arguments.
    fn is(&self, what: &str) -> bool {
        let (name, argument) = what.split_once(' ').map_or((what, None), |(n, a)| (n, Some(a)));
        let has =
            |argument: &str| self.words.iter().any(|word| word.eq_ignore_ascii_case(argument));
        self.words.first().is_some_and(|word| word == name) && argument.is_none_or(has)
    }
}

/// A block between braces.
struct Block {
    /// The line with its `{`.
    line: usize,
    around: Option<usize>,
    /// Its directives, and those of the blocks inside.
    inside: Range<usize>,
}

/// The text of a file. A configuration with many warnings is searched as often.
pub struct Text {
    /// In order.
    directives: Vec<Directive>,
    /// The first is the text itself.
    blocks: Vec<Block>,
}

/// The block to search, by a line that nginx knows.
#[derive(Clone, Copy)]
pub enum Near {
    /// The block with the `clerk_proxy` that ends in this line.
    Line(usize),
    /// The block that begins in this line.
    Block(usize),
}

/// Where a directive stands: the included file, if it is in one, and the line.
pub type Found = (Option<String>, usize);

/// Finds one of `these`, a directive or a directive and one of its arguments, in a block of the text or, if `around` is
/// set, in a block around it. `read` opens included files.
pub fn find(
    text: &Text,
    near: Near,
    these: &[String],
    around: bool,
    read: &mut dyn FnMut(&str) -> Option<Included>,
) -> Option<Found> {
    let Text { directives, blocks } = text;
    let mut block = match near {
        Near::Line(line) => {
            let from = directives.partition_point(|one| one.line < line);
            let mut in_line = directives[from..].iter().take_while(|one| one.line == line);
            Some(in_line.find(|one| one.is("clerk_proxy"))?.block)
        }
        Near::Block(line) => blocks.iter().rposition(|block| block.line == line),
    };
    while let Some(number) = block {
        if let Some(found) = search(text, number, these, read, DEPTH) {
            return Some(found);
        }
        block = blocks[number].around.filter(|_| around);
    }
    None
}

fn search(
    text: &Text,
    block: usize,
    these: &[String],
    read: &mut dyn FnMut(&str) -> Option<Included>,
    depth: usize,
) -> Option<Found> {
    let inside = &text.directives[text.blocks[block].inside.clone()];
    inside.iter().filter(|one| one.block == block).find_map(|one| {
        if these.iter().any(|what| one.is(what)) {
            return Some((None, one.line));
        }
        let name = one.words.get(1).filter(|_| one.is("include") && depth > 0)?;
        let (path, text) = read(name)?;
        let (file, line) = search(&text, 0, these, read, depth - 1)?;
        Some((file.or(Some(path)), line))
    })
}

impl Text {
    /// Reads a text.
    pub fn new(text: &str) -> Self {
        let mut blocks = vec![Block { line: 0, around: None, inside: 0..0 }];
        let (mut directives, mut words) = (Vec::new(), Vec::new());
        let (mut block, mut line, mut rest) = (0, 1, text);
        while let Some(first) = rest.chars().next() {
            let len = match first {
                '#' => rest.find('\n').unwrap_or(rest.len()),
                ';' | '{' => {
                    directives.push(Directive { words: mem::take(&mut words), line, block });
                    if first == '{' {
                        let inside = directives.len()..0;
                        blocks.push(Block { line, around: Some(block), inside });
                        block = blocks.len() - 1;
                    }
                    1
                }
                '}' => {
                    blocks[block].inside.end = directives.len();
                    block = blocks[block].around.unwrap_or(0);
                    1
                }
                _ if first.is_ascii_whitespace() => 1,
                _ => {
                    let (word, len) = word(rest);
                    words.push(word);
                    len
                }
            };
            line += rest[..len].matches('\n').count();
            rest = &rest[len..];
        }
        // Blocks without an end end with the text.
        let mut open = Some(block);
        while let Some(number) = open {
            blocks[number].inside.end = directives.len();
            open = blocks[number].around;
        }
        Self { directives, blocks }
    }
}

/// The word that the text begins with, and how much of the text it takes.
fn word(text: &str) -> (String, usize) {
    let quote = text.chars().next().filter(|first| ['"', '\''].contains(first));
    let (mut word, mut before) = (String::new(), None);
    let mut rest = text.char_indices().skip(usize::from(quote.is_some()));
    while let Some((at, this)) = rest.next() {
        let ends = match quote {
            Some(quote) => this == quote,
            None => this.is_ascii_whitespace() || this == ';' || this == '{' && before != Some('$'),
        };
        if ends {
            return (word, at + quote.map_or(0, char::len_utf8));
        }
        before = Some(this);
        let escaped = Some(this).filter(|this| *this == '\\').and_then(|_| rest.next());
        match escaped.map(|(_, escaped)| escaped) {
            Some(escaped @ ('"' | '\'' | '\\')) => word.push(escaped),
            Some('t') => word.push('\t'),
            Some('r') => word.push('\r'),
            Some('n') => word.push('\n'),
            // Any other is kept with its backslash.
            escaped => word.extend([Some(this), escaped].into_iter().flatten()),
        }
    }
    (word, text.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TEXT: &str = r#"
http { # proxy_method in a comment;
    proxy_method PUT;
    server {
        location / { proxy_set_header X-Forwarded-For $remote_addr; }
        location ~ "^/__clerk\"{2}" {
            proxy_set_header Host "a;b }"; proxy_set_header
                x-forwarded-for ${remote_addr};
            clerk_proxy https://app.dev/__clerk
                secret_key=file:key;
            if ($arg_x) { proxy_set_header X-Real-IP x; }
            include one.conf; proxy_cache_valid any 1h; rewrite "^/(.*\.\"js\")$" /$1;
        }
    }
    include one.conf;
}"#;

    fn found(near: Near, what: &str, around: bool) -> Option<Found> {
        let mut read = |name: &str| {
            let text = match name {
                "one.conf" => "proxy_set_header Cookie x;\n\ninclude two.conf;\ninclude one.conf;",
                "two.conf" => "expires 1h;\n#\nproxy_ignore_headers X vary Y;",
                _ => return None,
            };
            Some((format!("/etc/{name}"), Rc::new(Text::new(text))))
        };
        find(&Text::new(TEXT), near, &[what.to_owned()], around, &mut read)
    }

    #[test]
    fn places() {
        let found = |what: &str, around| found(Near::Line(10), what, around);
        let in_file = |file: &str, line| Some((Some(file.to_owned()), line));
        assert_eq!(found("proxy_set_header X-Forwarded-For", false), Some((None, 8)));
        assert_eq!(found("proxy_cache_valid", false), Some((None, 12)));
        assert_eq!(found(r#"rewrite ^/(.*\."js")$"#, false), Some((None, 12)));
        assert_eq!(found("proxy_set_header Cookie", false), in_file("/etc/one.conf", 1));
        assert_eq!(found("proxy_ignore_headers Vary", false), in_file("/etc/two.conf", 3));
        assert_eq!(found("proxy_method", true), Some((None, 3)));
        for what in ["proxy_method", "proxy_set_header X-Real-IP", "proxy_set_header Y", "PUT", ""]
        {
            assert_eq!(found(what, false), None, "{what}");
        }
        let text = Text::new(TEXT);
        assert_eq!(
            find(&text, Near::Line(9), &["proxy_cache_valid".to_owned()], true, &mut |_| None),
            None
        );
    }

    #[test]
    fn places_in_blocks() {
        let name = "proxy_set_header X-Real-IP";
        assert_eq!(found(Near::Block(11), name, false), Some((None, 11)));
        assert_eq!(found(Near::Block(6), name, false), None);
        assert_eq!(found(Near::Block(6), "proxy_cache_valid", false), Some((None, 12)));
        assert_eq!(found(Near::Block(11), "proxy_method", true), Some((None, 3)));
        assert_eq!(found(Near::Block(7), "proxy_method", true), None);
    }

    proptest! {
        #[test]
        fn never_panics(text in "([{};#\"'\\\\ \n$a]|\\PC|clerk_proxy;)*", near in 0..9usize) {
            let (around, text) = (near % 2 == 0, Rc::new(Text::new(&text)));
            for near in [Near::Line(near), Near::Block(near)] {
                find(&text, near, &["a".to_owned()], around, &mut |_| Some(("x".into(), Rc::clone(&text))));
            }
        }
    }
}
