//! What other users of this machine could put in place of the file of a key or of the Frontend API.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::answerer::{listener, Answerer, Listener};
use crate::nginx::base::ffi::ngx_conf_t;
use crate::nginx::base::parser::ConfExt;
use crate::nginx::config::apply::Block;
use crate::nginx::upstream::blocks;
use crate::warning::Warning;

const OTHERS_WRITE: u32 = 0o002;
const STICKY: u32 = 0o1000;

/// The folder in which others could put another file in place of this one.
pub fn open_folder(file: &Path) -> Option<PathBuf> {
    let real = fs::canonicalize(file).ok();
    let paths = [Some(file), real.as_deref()];
    let mut folders = paths.into_iter().flatten().flat_map(|path| path.ancestors().skip(1));
    // In a folder such as /tmp, nobody takes away what is another's.
    folders
        .find(|folder| mode(folder) & (OTHERS_WRITE | STICKY) == OTHERS_WRITE)
        .map(Path::to_owned)
}

/// Whether others could make this file.
fn can_be_made(file: &Path) -> bool {
    let folder = file.parent().unwrap_or(file);
    mode(folder) & OTHERS_WRITE != 0 || open_folder(file).is_some()
}

/// The permissions of a file; none if it cannot be looked at.
pub fn mode(file: &Path) -> u32 {
    fs::metadata(file).map_or(0, |data| data.permissions().mode())
}

impl Block<'_> {
    /// Warns of an answerer that may not be the Frontend API, where no TLS verifies it.
    pub fn warn_of_answerers(&self, cf: &mut ngx_conf_t, in_block: bool) {
        let origin = &self.line.origin;
        let name = origin.block_name().filter(|_| in_block);
        let servers = name.map_or_else(|| vec![origin.server()], |name| blocks::servers(cf, name));
        for server in servers {
            let answerer = match listener(&server) {
                Listener::Open(answerer) => answerer,
                Listener::Socket(path) if can_be_made(Path::new(path)) => Answerer::Socket,
                Listener::Socket(_) | Listener::Safe => continue,
            };
            return cf.warn(&Warning::PlainUpstream { server, answerer });
        }
    }
}
