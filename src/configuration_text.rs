//! Finds a directive in the text of a configuration, so that a message can cite where it stands.
//!
//! nginx forgets the places of directives that it has read.

use std::mem;

/// The file that an `include` names: its path and its text.
pub type Included = (String, String);

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

/// Where a directive stands: the included file, if it is in one, and the line.
pub type Found = (Option<String>, usize);

/// Finds one of `these`, a directive or a directive and one of its arguments, in the block of the `clerk_proxy`
/// that ends in line `near` of the text or, where `around` says so, in a block around it. `read` opens included
/// files.
pub fn find(
    text: &str,
    near: usize,
    these: &[String],
    around: bool,
    read: &mut dyn FnMut(&str) -> Option<Included>,
) -> Option<Found> {
    let (directives, parents) = directives(text);
    let own = directives.iter().find(|one| one.line == near && one.is("clerk_proxy"))?;
    let mut block = Some(own.block);
    while let Some(number) = block {
        if let Some(found) = search(&directives, number, these, read, DEPTH) {
            return Some(found);
        }
        block = parents[number].filter(|_| around);
    }
    None
}

fn search(
    directives: &[Directive],
    block: usize,
    these: &[String],
    read: &mut dyn FnMut(&str) -> Option<Included>,
    depth: usize,
) -> Option<Found> {
    directives.iter().filter(|one| one.block == block).find_map(|one| {
        if these.iter().any(|what| one.is(what)) {
            return Some((None, one.line));
        }
        let name = one.words.get(1).filter(|_| one.is("include") && depth > 0)?;
        let (path, text) = read(name)?;
        let (file, line) = search(&self::directives(&text).0, 0, these, read, depth - 1)?;
        Some((file.or(Some(path)), line))
    })
}

/// The directives of a text, and the block around each block, of which the first is the text itself.
fn directives(text: &str) -> (Vec<Directive>, Vec<Option<usize>>) {
    let (mut directives, mut parents, mut words) = (Vec::new(), vec![None], Vec::new());
    let (mut block, mut line, mut rest) = (0, 1, text);
    while let Some(first) = rest.chars().next() {
        let len = match first {
            '#' => rest.find('\n').unwrap_or(rest.len()),
            ';' | '{' => {
                directives.push(Directive { words: mem::take(&mut words), line, block });
                if first == '{' {
                    parents.push(Some(block));
                    block = parents.len() - 1;
                }
                1
            }
            '}' => {
                block = parents[block].unwrap_or(0);
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
    (directives, parents)
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
        word.push(match this {
            '\\' => rest.next().map_or('\\', |(_, escaped)| escaped),
            _ => this,
        });
        before = Some(this);
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
            include one.conf; proxy_cache_valid any 1h;
        }
    }
    include one.conf;
}"#;

    fn found(what: &str, around: bool) -> Option<Found> {
        let mut read = |name: &str| {
            let text = match name {
                "one.conf" => "proxy_set_header Cookie x;\n\ninclude two.conf;\ninclude one.conf;",
                "two.conf" => "expires 1h;\n#\nproxy_ignore_headers X vary Y;",
                _ => return None,
            };
            Some((format!("/etc/{name}"), text.to_owned()))
        };
        find(TEXT, 10, &[what.to_owned()], around, &mut read)
    }

    #[test]
    fn places() {
        let in_file = |file: &str, line| Some((Some(file.to_owned()), line));
        assert_eq!(found("proxy_set_header X-Forwarded-For", false), Some((None, 8)));
        assert_eq!(found("proxy_cache_valid", false), Some((None, 12)));
        assert_eq!(found("proxy_set_header Cookie", false), in_file("/etc/one.conf", 1));
        assert_eq!(found("proxy_ignore_headers Vary", false), in_file("/etc/two.conf", 3));
        assert_eq!(found("proxy_method", true), Some((None, 3)));
        for what in ["proxy_method", "proxy_set_header X-Real-IP", "proxy_set_header Y", "PUT", ""]
        {
            assert_eq!(found(what, false), None, "{what}");
        }
        assert_eq!(find(TEXT, 9, &["proxy_cache_valid".to_owned()], true, &mut |_| None), None);
    }

    proptest! {
        #[test]
        fn never_panics(text in "([{};#\"'\\\\ \n$a]|\\PC|clerk_proxy;)*", near in 0..9usize) {
            let around = near % 2 == 0;
            find(&text, near, &["a".to_owned()], around, &mut |_| Some(("x".into(), text.clone())));
        }
    }
}
