//! What the file of a program of nginx says of it.

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

/// Whether it was built with debugging.
pub fn writes_debug_logs(program: &[u8]) -> bool {
    // Every other build says so of "debug_connection".
    const MARK: &[u8] = b"using --with-debug option to enable it";
    !program.windows(MARK.len()).any(|bytes| bytes == MARK)
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
        assert!(!writes_debug_logs(b"need nginx built using --with-debug option to enable it\0"));
        assert!(writes_debug_logs(b"nginx"));
    }
}
