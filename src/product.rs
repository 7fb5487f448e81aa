//! What the file of a program of nginx says of it.

use std::io::{self, Read};

/// How much of a program is looked at in one piece. A master would keep the memory of a whole one, which has many
/// megabytes where it is not stripped.
const PIECE: usize = 64 * 1024;

/// No text that is looked for is longer, with what ends it.
const LONGEST: usize = 256;

/// What is found first in a program, if it is found at all.
pub fn search<T>(
    mut program: impl Read,
    find: impl Fn(&[u8]) -> Option<T>,
) -> io::Result<Option<T>> {
    let mut piece = Vec::with_capacity(PIECE);
    loop {
        let free = (PIECE - piece.len()) as u64;
        let read = program.by_ref().take(free).read_to_end(&mut piece)?;
        let found = find(&piece);
        if found.is_some() || read == 0 {
            return Ok(found);
        }
        // A text may go on in the next piece.
        piece.drain(..piece.len().saturating_sub(LONGEST));
    }
}

/// The name and version that `nginx -v` prints.
pub fn name(program: &[u8]) -> Option<&str> {
    const MARK: &[u8] = b" version: ";
    let found = program.windows(MARK.len()).enumerate().filter(|(_, bytes)| *bytes == MARK);
    found.map(|(at, _)| &program[at + MARK.len()..]).find_map(|text| {
        let end = text.iter().position(|byte| !byte.is_ascii_graphic())?;
        let name = std::str::from_utf8(&text[..end]).ok()?;
        let (_, version) = name.split_once('/')?;
        version.starts_with(|c: char| c.is_ascii_digit()).then_some(name)
    })
}

/// Says that it was built without debugging, as such a program does of `debug_connection`.
pub fn lacks_debug_logs(program: &[u8]) -> Option<()> {
    const MARK: &[u8] = b"using --with-debug option to enable it";
    program.windows(MARK.len()).any(|bytes| bytes == MARK).then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_has_a_version() {
        let program = b"TLS version: %s\0nginx version: nginx/1.22.1\0more";
        assert_eq!(name(program), Some("nginx/1.22.1"));
        assert_eq!(name(b"Angie version: Angie/1.10.0\n"), Some("Angie/1.10.0"));
        assert_eq!(name(b" version: nginx/1.22.1"), None, "a text has an end");
        assert_eq!(name(b"nothing"), None);
    }

    #[test]
    fn a_program_without_debugging_says_so() {
        let program = b"need nginx built using --with-debug option to enable it\0";
        assert_eq!(lacks_debug_logs(program), Some(()));
        assert_eq!(lacks_debug_logs(b"nginx"), None);
    }

    #[test]
    fn texts_on_the_edge_of_a_piece() {
        let text = b"nginx version: nginx/1.22.1\0";
        for before in PIECE - 40..PIECE + 10 {
            let program = [&vec![1; before], &text[..], &[1; 100]].concat();
            let found = search(&program[..], |piece| {
                assert!(piece.len() <= PIECE);
                name(piece).map(str::to_owned)
            });
            assert_eq!(found.unwrap().as_deref(), Some("nginx/1.22.1"), "{before}");
        }
        let program = vec![1; 3 * PIECE];
        assert_eq!(search(&program[..], lacks_debug_logs).unwrap(), None);
    }
}
