//! The lines of the rewrite module in a block that are not part of an `if`, read from nginx's codes.

use crate::nginx::base::ffi::{
    ngx_conf_t, ngx_http_script_if_code, ngx_http_script_if_code_t, ngx_http_script_return_code,
};
use crate::nginx::base::links::array;
use crate::nginx::base::plain::Plain;
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
    let codes = Codes::of(cf, level).and_then(|codes| codes.0);
    codes.map(|codes| read(array(codes))).unwrap_or_default()
}

/// Codes are structs of words, one behind the other, each with a function of nginx's at its front, by which it is known.
/// Nothing else in them has the address of one of these functions.
fn read(mut codes: &[u8]) -> Vec<Line> {
    let mut found = Vec::new();
    while let Some(function) = usize::read(codes) {
        let mut len = size_of::<usize>();
        if function == ngx_http_script_if_code as *const () as usize {
            len = ngx_http_script_if_code_t::read(codes).map_or(len, |code| code.next.max(len));
        } else if function == ngx_http_script_return_code as *const () as usize {
            found.push(Line::Return);
        } else {
            found.extend(Regex::of_rewrite(function, codes).map(Line::Rewrite));
        }
        codes = codes.get(len..).unwrap_or_default();
    }
    found
}
