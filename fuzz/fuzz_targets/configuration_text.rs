//! Texts of configurations: a directive that is found stands in the line that is named, in the text or in what it
//! includes, and files that include each other come to an end.

#![no_main]

use std::rc::Rc;

use clerk_nginx_fuzz::configuration_text::{find, Near, Text};
use libfuzzer_sys::fuzz_target;

const WANTED: &str = "proxy_pass";

// The text before the first zero includes that behind it, as any other name does.
fuzz_target!(|text: &str| {
    let (text, other) = text.split_once('\0').unwrap_or((text, ""));
    let lines = |text: &str| text.matches('\n').count() + 1;
    let (searched, included) = (Text::new(text), Rc::new(Text::new(other)));
    let these = [WANTED.to_owned()];
    for line in 1..=lines(text).min(64) {
        for (near, around) in
            [(Near::Line(line), false), (Near::Line(line), true), (Near::Block(line), true)]
        {
            let mut reads = 0;
            let mut read = |name: &str| {
                reads += 1;
                // Each of them may include many.
                (reads < 1000).then(|| (name.to_owned(), Rc::clone(&included)))
            };
            let Some((file, line)) = find(&searched, near, &these, around, &mut read) else {
                continue;
            };
            let text = if file.is_some() { other } else { text };
            assert!((1..=lines(text)).contains(&line), "{line}");
            // A name may be quoted or escaped, and its directive ends in a later line.
            let so_far: Vec<&str> = text.split('\n').take(line).collect();
            assert!(text.contains('\\') || so_far.join("\n").contains(WANTED), "{line}");
        }
    }
});
