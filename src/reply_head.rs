//! Complete, plain header lines of a reply, read as nginx's own parser reads them. Nearly all lines are such.

use std::io::BufRead;

/// The longest name of a plain line.
const LONGEST_NAME: usize = 64;
/// How many lines of a head have their names remembered.
const PLACES: usize = 64;

/// A header line.
#[derive(Debug, PartialEq)]
pub struct Line<'a, T> {
    /// Its name as it was sent.
    pub name: &'a [u8],
    /// The name in small letters.
    pub lower: &'a [u8],
    /// What nginx finds the name by.
    pub hash: usize,
    /// What was found by it.
    pub found: T,
    /// Its value without the spaces around it.
    pub value: &'a [u8],
    /// Its length, with the line's end.
    pub len: usize,
}

/// The names of the lines of the last head. Most heads have the same names in the same places.
pub struct Names<T>(Vec<Name<T>>);

struct Name<T> {
    /// As it was sent, with the colon.
    sent: Vec<u8>,
    lower: Vec<u8>,
    hash: usize,
    found: T,
}

impl<T> Default for Names<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Copy> Names<T> {
    /// Reads the first line of `head`, which is line number `place` of the whole head. `find` looks up a name that is new
    /// in this place. `None` leaves the line to nginx: it is incomplete, it ends the head, or it contains something that
    /// nginx treats specially.
    pub fn line<'a>(
        &'a mut self,
        place: usize,
        head: &'a [u8],
        find: impl FnOnce(usize, &[u8]) -> T,
    ) -> Option<Line<'a, T>> {
        // The names of further lines are looked up each time.
        let place = place.min(PLACES);
        if !self.0.get(place).is_some_and(|name| head.starts_with(&name.sent)) {
            let name = Name::read(head, find)?;
            match self.0.get_mut(place) {
                Some(known) => *known = name,
                None => self.0.push(name),
            }
        }
        let name = self.0.get(place)?;
        let colon = name.lower.len();
        let text = head.get(colon + 1..)?;
        let (value, end) = text.split_at_checked(text_len(text))?;
        let len = colon + 1 + value.len() + 2;
        end.starts_with(b"\r\n").then(|| Line {
            name: &head[..colon],
            lower: &name.lower,
            hash: name.hash,
            found: name.found,
            value: trimmed(value),
            len,
        })
    }
}

impl<T> Name<T> {
    /// Reads the name at the front of a line.
    fn read(head: &[u8], find: impl FnOnce(usize, &[u8]) -> T) -> Option<Self> {
        let small = |byte: &u8| LOWER[usize::from(*byte)];
        let lower: Vec<u8> =
            head.iter().take(LONGEST_NAME).map(small).take_while(|&small| small != 0).collect();
        let sent =
            head.get(..=lower.len()).filter(|sent| sent.len() > 1 && sent.ends_with(b":"))?;
        let add = |hash: usize, &small: &u8| hash.wrapping_mul(31).wrapping_add(small.into());
        let hash = lower.iter().fold(0, add);
        Some(Self { sent: sent.to_vec(), hash, found: find(hash, &lower), lower })
    }
}

/// The length of the first line with its end, if it is complete.
pub fn line_len(head: &[u8]) -> Option<usize> {
    let mut rest = head;
    let len = rest.skip_until(b'\n').ok()?;
    head[..len].ends_with(b"\n").then_some(len)
}

/// The length of the text before the first character that may end it: CR, LF or zero.
fn text_len(text: &[u8]) -> usize {
    // So many that the compiler compares all of them at once. CR, LF and zero are among the smallest characters.
    let pieces = text.chunks_exact(16);
    let odd = |piece: &[u8]| piece.iter().fold(0, |odd, &byte| odd | u8::from(byte <= b'\r'));
    let plain = pieces.take_while(|piece| odd(piece) == 0);
    let len = plain.count() * 16;
    len + text[len..].iter().take_while(|byte| !matches!(byte, b'\r' | b'\n' | 0)).count()
}

/// The text without the spaces around it. nginx strips no other characters.
fn trimmed(mut text: &[u8]) -> &[u8] {
    while let [b' ', rest @ ..] | [rest @ .., b' '] = text {
        text = rest;
    }
    text
}

/// The characters of plain names in small letters, and 0 for all others.
const LOWER: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0u8;
    while byte < 128 {
        if byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_' {
            table[byte as usize] = byte.to_ascii_lowercase();
        }
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn read(head: &[u8]) -> Option<(Vec<u8>, Vec<u8>, usize)> {
        let mut names = Names::default();
        let line = names.line(0, head, |_, _| ())?;
        Some((line.name.to_vec(), line.value.to_vec(), line.len))
    }

    #[test]
    fn plain_lines() {
        let long = [b'n'; LONGEST_NAME];
        let long = [&long[..], b": v\r\n"].concat();
        for (head, name, value) in [
            (&b"Server: nginx\r\nDate: x\r\n"[..], &b"Server"[..], &b"nginx"[..]),
            (b"a:b\r\n", b"a", b"b"),
            (b"X_Y-1:  two  words \r\n\r\n", b"X_Y-1", b"two  words"),
            (b"Empty:\r\n", b"Empty", b""),
            (b"Spaces:   \r\n", b"Spaces", b""),
            (b"Tab:\t\x01\xff\t\r\n", b"Tab", b"\t\x01\xff\t"),
            (b"Colon: a:b: c\r\n", b"Colon", b"a:b: c"),
            (&long, &long[..LONGEST_NAME], b"v"),
        ] {
            let len = head.iter().position(|&byte| byte == b'\n').unwrap() + 1;
            assert_eq!(read(head), Some((name.to_vec(), value.to_vec(), len)));
        }
    }

    #[test]
    fn all_else_is_left_to_nginx() {
        let too_long = [b'n'; LONGEST_NAME + 1];
        let too_long = [&too_long[..], b": v\r\n"].concat();
        for head in [
            &b""[..],
            b"\r\n",
            b"\n",
            b"Server",
            b"Server: nginx",
            b"Server: nginx\r",
            b"Server: nginx\n",
            b"Server: ng\rinx\r\n",
            b"Server: nginx\r\r\n",
            b"Server: ng\0inx\r\n",
            b"Server : nginx\r\n",
            b" Server: nginx\r\n",
            b": nginx\r\n",
            b"Server\r\n",
            b"Ser/ver: nginx\r\n",
            b"Ser\0ver: nginx\r\n",
            b"S\xc3\xa4: nginx\r\n",
            b"HTTP/1.1 200 OK\r\n",
            &too_long,
        ] {
            assert_eq!(read(head), None, "{}", head.escape_ascii());
        }
    }

    #[test]
    fn names_are_found_as_nginx_does() {
        let mut names = Names::default();
        let line = names.line(0, b"SeRver_1: x\r\n", |hash, lower| (hash, lower.to_vec().len()));
        let add = |hash: usize, &byte: &u8| hash.wrapping_mul(31).wrapping_add(byte.into());
        let hash = b"server_1".iter().fold(0, add);
        let line = line.unwrap();
        assert_eq!((line.hash, line.lower, line.found), (hash, &b"server_1"[..], (hash, 8)));
    }

    #[test]
    fn names_are_remembered_by_place() {
        let mut names = Names::default();
        let mut looked_for = |place, head: &[u8]| {
            let mut asked = false;
            let line = names.line(place, head, |_, _| asked = true).map(|line| line.lower.to_vec());
            (asked, line)
        };
        let server = Some(b"server".to_vec());
        assert_eq!(looked_for(0, b"Server: a\r\n"), (true, server.clone()));
        assert_eq!(looked_for(0, b"Server: b\r\n"), (false, server.clone()));
        assert_eq!(looked_for(0, b"server: c\r\n"), (true, server.clone()));
        assert_eq!(looked_for(0, b"Server-: c\r\n"), (true, Some(b"server-".to_vec())));
        assert_eq!(looked_for(0, b"Server-"), (false, None));
        assert_eq!(looked_for(1, b"Server: a\r\n"), (true, server.clone()));
        for place in 2..PLACES {
            assert_eq!(looked_for(place, b"Server: a\r\n"), (true, server.clone()));
        }
        // All that follow share one place.
        assert_eq!(looked_for(PLACES, b"Server: a\r\n"), (true, server.clone()));
        assert_eq!(looked_for(PLACES + 9, b"Server: a\r\n"), (false, server));
    }

    proptest! {
        #[test]
        fn what_is_remembered_changes_no_line(heads in vec("[A-Ca-c_:/-]{0,3}[:]?[ -~\r\n\0]{0,40}\r?\n", 1..9)) {
            let mut names = Names::default();
            for head in heads {
                let head = head.as_bytes();
                let fresh = read(head);
                let line = names.line(0, head, |hash, _| hash);
                prop_assert_eq!(line.as_ref().map(|line| (line.name.to_vec(), line.value.to_vec(), line.len)), fresh);
                if let Some(line) = line {
                    prop_assert_eq!(line.lower, line.name.to_ascii_lowercase());
                    prop_assert_eq!(line.hash, line.found);
                }
            }
        }

        #[test]
        fn what_comes_later_changes_no_line(head in "[ -~]{0,9}:[ -~\r\n\0]{0,20}\r\n", more in ".*") {
            if let Some(line) = read(head.as_bytes()) {
                prop_assert_eq!(read((head.clone() + &more).as_bytes()), Some(line.clone()));
                prop_assert_eq!(read(&head.as_bytes()[..line.2]), Some(line.clone()));
                prop_assert_eq!(read(&head.as_bytes()[..line.2 - 1]), None);
            }
        }
    }
}
