//! What other users of this machine could put in place of the file of a key or of the Frontend API.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::answerer::{listener, Answerer, Listener};
use crate::key_risk::Others;
use crate::nginx::base::ffi::ngx_conf_t;
use crate::nginx::base::parser::ConfExt;
use crate::nginx::config::apply::Block;
use crate::nginx::upstream::blocks;
use crate::warning::Warning;

const OTHERS_READ: u32 = 0o004;
const OTHERS_WRITE: u32 = 0o002;
const GROUP_WRITES: u32 = 0o020;
const STICKY: u32 = 0o1000;

/// The folder in which others could put another file in place of this one, and who they are.
pub fn open_folder(file: &Path) -> Option<(PathBuf, Others)> {
    let real = fs::canonicalize(file).ok();
    let paths = [Some(file), real.as_deref()];
    let mut folders = paths.into_iter().flatten().flat_map(|path| path.ancestors().skip(1));
    folders.find_map(|folder| {
        // In a folder such as /tmp, nobody takes away what is another's.
        let open = fs::metadata(folder).ok().filter(|data| data.mode() & STICKY == 0);
        Some((folder.to_owned(), writers(&open?)?))
    })
}

/// Who can write to a file besides its owner and root. A group of the owner's own has his number, as most systems make it.
pub fn writers(data: &fs::Metadata) -> Option<Others> {
    let is_anothers = ![0, data.uid()].contains(&data.gid());
    match data.mode() {
        mode if mode & OTHERS_WRITE != 0 => Some(Others::All),
        mode if mode & GROUP_WRITES != 0 && is_anothers => Some(Others::Group),
        _ => None,
    }
}

/// Whether everybody can read a file.
pub fn is_open(data: &fs::Metadata) -> bool {
    data.mode() & OTHERS_READ != 0
}

/// Whether others could make this file.
fn can_be_made(file: &Path) -> bool {
    let folder = fs::metadata(file.parent().unwrap_or(file));
    folder.is_ok_and(|folder| writers(&folder).is_some()) || open_folder(file).is_some()
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
