//! The file of the running nginx.

use std::env;
use std::fs::File;
use std::io;

use crate::product;

/// The name and version that `nginx -v` prints.
pub fn name() -> Option<String> {
    search(|piece| product::name(piece).map(str::to_owned)).ok()?
}

/// Whether nginx was built with debugging, which need not be so where the module was.
pub fn writes_debug_logs() -> bool {
    cfg!(nginx_debug) || search(product::lacks_debug_logs).is_ok_and(|found| found.is_none())
}

fn search<T>(find: impl Fn(&[u8]) -> Option<T>) -> io::Result<Option<T>> {
    product::search(File::open(env::current_exe()?)?, find)
}
