//! Interim replies (1xx) before the reply itself, which stock nginx takes for it; since 1.29 it knows 103.

/// What a head begins with.
#[derive(Debug, PartialEq)]
pub enum Interim {
    /// The reply, or something that is none.
    None,
    /// An interim reply, or what may be one, that has not come to its end.
    Partial,
    /// A whole interim reply: its last digits, and its length.
    Whole([u8; 2], usize),
}

/// Looks at the beginning of the bytes of a server. A 101 is no interim reply: another protocol follows it.
pub fn interim(head: &[u8]) -> Interim {
    // The form that HTTP/1 demands: the version, one space, the status, and a space or the end of the line.
    const FORM: &[u8] = b"HTTP/1.# 1## ";
    let meets = |(byte, form): (&u8, &u8)| match form {
        b'#' => byte.is_ascii_digit(),
        _ => byte == form,
    };
    let status = &FORM[..FORM.len() - 1];
    if !head.iter().zip(status).all(meets) || head.get(10..12) == Some(b"01") {
        return Interim::None;
    }
    let Some(end) = head.get(status.len()) else { return Interim::Partial };
    if !matches!(end, b' ' | b'\r' | b'\n') {
        return Interim::None;
    }
    let mut from = status.len();
    while let Some(line) = head[from..].iter().position(|&byte| byte == b'\n') {
        from += line + 1;
        let empty = [&b"\r\n"[..], b"\n"].into_iter().find(|end| head[from..].starts_with(end));
        if let Some(empty) = empty {
            return Interim::Whole([head[10], head[11]], from + empty.len());
        }
    }
    Interim::Partial
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn whole() {
        for (head, digits) in [
            ("HTTP/1.1 100 Continue\r\n\r\n", b"00"),
            ("HTTP/1.0 102\r\n\r\n", b"02"),
            ("HTTP/1.1 103 \nLink: </x>\n\n", b"03"),
            ("HTTP/1.1 199 A\r\nB: HTTP/1.1 200 OK\r\n\r\n", b"99"),
        ] {
            assert_eq!(interim(head.as_bytes()), Interim::Whole(*digits, head.len()), "{head}");
            let more = format!("{head}HTTP/1.1 200 OK\r\n\r\n");
            assert_eq!(interim(more.as_bytes()), Interim::Whole(*digits, head.len()), "{head}");
            for end in 0..head.len() {
                assert_eq!(interim(&head.as_bytes()[..end]), Interim::Partial, "{head} to {end}");
            }
        }
    }

    #[test]
    fn replies_and_all_else() {
        for head in [
            "HTTP/1.1 200 OK\r\n\r\n",
            "HTTP/1.1 101 Switching Protocols\r\n\r\n",
            "HTTP/1.1 10 OK\r\n\r\n",
            "HTTP/1.1 1000 OK\r\n\r\n",
            "HTTP/1.1  100 OK\r\n\r\n",
            "HTTP/2 100\r\n\r\n",
            "http/1.1 100 Continue\r\n\r\n",
            "100 Continue\r\n\r\n",
        ] {
            assert_eq!(interim(head.as_bytes()), Interim::None, "{head}");
        }
    }

    proptest! {
        /// What a server sends in parts is read as if it came at once.
        #[test]
        fn parts(head in "HTTP/1.[01] [12][0-9]{2}[ \r][A-Za-z: \r\n]{0,40}", at in 0usize..60) {
            let part = interim(&head.as_bytes()[..at.min(head.len())]);
            if part != Interim::Partial {
                prop_assert_eq!(part, interim(head.as_bytes()));
            }
        }
    }
}
