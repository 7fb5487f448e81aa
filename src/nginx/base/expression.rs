//! Texts with variables, whose values each request brings.

use crate::nginx::base::ffi::{
    ngx_conf_t, ngx_http_compile_complex_value, ngx_http_compile_complex_value_t,
    ngx_http_complex_value, ngx_http_complex_value_t, ngx_http_request_t, ngx_str_t,
};
use crate::nginx::base::parser::{ConfExt, Stop};
use crate::nginx::base::plain::Plain;
use crate::nginx::base::status::OK;
use crate::shown::shown;

/// A compiled text with variables.
pub struct Expression {
    compiled: *mut ngx_http_complex_value_t,
    text: String,
}

impl Expression {
    /// Compiles a text. nginx reports unknown variables later.
    pub fn compile(cf: &mut ngx_conf_t, text: &str) -> Result<Self, Stop> {
        let mut value = cf.copy(text)?;
        let compiled = cf.keep(ngx_http_complex_value_t::zeroed())?;
        let mut compile = ngx_http_compile_complex_value_t::zeroed();
        compile.cf = cf;
        compile.value = &raw mut value;
        compile.complex_value = compiled;
        // SAFETY: all that it points to is valid; what it keeps lives in the configuration's pool.
        if unsafe { ngx_http_compile_complex_value(&raw mut compile) } != OK {
            return Err(Stop::Logged);
        }
        Ok(Self { compiled, text: text.to_owned() })
    }

    /// The value for a request.
    pub fn value<'a>(&self, r: &'a mut ngx_http_request_t) -> Option<&'a [u8]> {
        let mut value = ngx_str_t::empty();
        // SAFETY: compiled above for this configuration; the value lives as long as the request.
        let status = unsafe { ngx_http_complex_value(r, self.compiled, &raw mut value) };
        (status == OK).then(|| value.into())
    }

    /// The text as it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The text as it may be printed.
    pub fn shown(&self) -> String {
        shown(&self.text)
    }
}

/// The value as text; empty if it is not UTF-8.
pub fn as_text(value: Option<&[u8]>) -> &str {
    value.and_then(|value| std::str::from_utf8(value).ok()).unwrap_or_default()
}
