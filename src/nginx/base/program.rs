//! The file of the running nginx.

use std::env;
use std::fs;

use crate::product;

/// The name and version that `nginx -v` prints.
pub fn name() -> Option<String> {
    product::name(&program()?).map(str::to_owned)
}

/// Whether nginx was built with debugging, which need not be so where the module was.
pub fn writes_debug_logs() -> bool {
    cfg!(nginx_debug) || program().is_some_and(|program| product::writes_debug_logs(&program))
}

fn program() -> Option<Vec<u8>> {
    fs::read(env::current_exe().ok()?).ok()
}
