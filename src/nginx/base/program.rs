//! What the file of the running nginx says of it.

use std::env;
use std::fs;

/// The name and version that `nginx -v` prints.
pub fn name() -> Option<String> {
    const MARK: &[u8] = b" version: ";
    let program = program()?;
    let found = program.windows(MARK.len()).enumerate().filter(|(_, bytes)| *bytes == MARK);
    found.map(|(at, _)| &program[at + MARK.len()..]).find_map(|text| {
        let end = text.iter().position(|byte| !byte.is_ascii_graphic())?;
        let name = std::str::from_utf8(&text[..end]).ok()?;
        let (_, version) = name.split_once('/')?;
        version.starts_with(|c: char| c.is_ascii_digit()).then(|| name.to_owned())
    })
}

/// Whether nginx was built with debugging, which need not be so where the module was.
pub fn writes_debug_logs() -> bool {
    // Every other build says so of "debug_connection".
    const MARK: &[u8] = b"using --with-debug option to enable it";
    let other = |program: Vec<u8>| program.windows(MARK.len()).any(|bytes| bytes == MARK);
    cfg!(nginx_debug) || program().is_some_and(|program| !other(program))
}

fn program() -> Option<Vec<u8>> {
    fs::read(env::current_exe().ok()?).ok()
}
