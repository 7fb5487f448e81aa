//! The lines of the rewrite module in a block that are not part of an `if`, read from nginx's codes.

use std::ffi::c_void;

use crate::nginx::base::ffi::{
    ngx_array_t, ngx_conf_t, ngx_http_script_if_code, ngx_http_script_if_code_t,
    ngx_http_script_return_code,
};
use crate::nginx::stock::first_field::{Codes, FirstField};
use crate::nginx::stock::level::Level;
use crate::nginx::stock::regex::Regex;

/// A line.
pub enum Line {
    /// `return`.
    Return,
    /// `rewrite` with this expression.
    Rewrite(Regex),
}

/// The lines of a block that are not part of an `if`, in order.
pub fn lines(cf: &ngx_conf_t, level: Level) -> Vec<Line> {
    // An array of bytes whose length is that of words.
    let codes = Codes::of(cf, level).and_then(|codes| codes.0).filter(|codes| codes.size == 1);
    codes.map(read).unwrap_or_default()
}

fn read(codes: &ngx_array_t) -> Vec<Line> {
    const WORD: usize = size_of::<usize>();
    let mut found = Vec::new();
    let mut at = 0;
    while at + WORD <= codes.nelts {
        // SAFETY: codes are structs of words, one behind the other, each with a function of nginx's at its front, by
        // which it is known. Nothing else in them has the address of one of these functions.
        unsafe {
            let code: *const c_void = codes.elts.byte_add(at);
            let function = code.cast::<usize>().read();
            if function == ngx_http_script_if_code as *const () as usize {
                at += (*code.cast::<ngx_http_script_if_code_t>()).next.max(WORD);
                continue;
            }
            if function == ngx_http_script_return_code as *const () as usize {
                found.push(Line::Return);
            }
            found.extend(Regex::of_rewrite(code).map(Line::Rewrite));
        }
        at += WORD;
    }
    found
}
