//! What a configuration callback needs of `ngx_conf_t`: words, memory, messages, places.

use std::ffi::{c_char, OsStr};
use std::fmt;
use std::mem;
use std::os::unix::ffi::OsStrExt;
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;
use std::ptr;

use crate::error::Error;
use crate::nginx::base::ffi::{
    ngx_buf_t, ngx_conf_file_t, ngx_conf_log_error, ngx_conf_t, ngx_pnalloc, ngx_process,
    ngx_str_t, ngx_uint_t, NGX_LOG_EMERG, NGX_LOG_WARN, NGX_PROCESS_SIGNALLER,
};
use crate::nginx::base::pool;
use crate::warning::Warning;

/// Why a configuration callback stops.
#[derive(Debug)]
pub enum Stop {
    /// A sentence to be logged.
    Error(Error),
    /// nginx logged it already.
    Logged,
}

impl<E: Into<Error>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Error(error.into())
    }
}

/// Running out of memory, which nginx itself reports.
pub const NO_MEMORY: Stop = Stop::Logged;

/// Where a directive stands; nginx keeps the file's name as long as the configuration.
#[derive(Clone, Copy)]
pub struct Place {
    file: ngx_str_t,
    line: ngx_uint_t,
}

impl Place {
    /// A line of a file whose name lives as long as the configuration.
    pub fn new(file: ngx_str_t, line: usize) -> Self {
        Self { file, line }
    }

    /// Another line of the file.
    pub fn in_line(self, line: usize) -> Self {
        Self { line, ..self }
    }

    /// The line with the end of the directive.
    pub fn line(&self) -> usize {
        self.line
    }

    /// The file.
    pub fn path(&self) -> &Path {
        Path::new(OsStr::from_bytes(self.file.as_bytes()))
    }
}

/// As nginx writes it behind "in".
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.path().display(), self.line)
    }
}

/// Safe access to the configuration parser.
pub trait ConfExt {
    /// The directive's words, its name first.
    fn words(&self) -> Vec<String>;
    /// Where the directive stands that is parsed now.
    fn place(&self) -> Place;
    /// Runs `body` so that messages of nginx and of this module cite `place`; nginx itself cites the end of
    /// `http {}` once all is parsed. `text` is what a block directive finds between its braces.
    fn at<T>(&mut self, place: Place, text: &str, body: impl FnOnce(&mut Self) -> T) -> Option<T>;
    /// Copies a text into the configuration's memory, with the zero byte behind it that nginx relies on.
    fn copy(&mut self, text: impl AsRef<[u8]>) -> Result<ngx_str_t, Stop>;
    /// Moves a value into the configuration's memory; it is dropped with the configuration.
    fn keep<T>(&mut self, value: T) -> Result<&'static mut T, Stop>;
    /// Whether the configuration is read by "nginx -s", which needs no more of it than the master's pid.
    fn only_signals(&self) -> bool;
    /// Logs a mistake as `[emerg]`.
    fn emerg(&mut self, message: &str);
    /// Logs a warning.
    fn warn(&mut self, warning: &Warning);
}

impl ConfExt for ngx_conf_t {
    fn words(&self) -> Vec<String> {
        // SAFETY: nginx calls a directive's handler with `args` set to an array of `ngx_str_t`.
        let words = unsafe { (*self.args).as_slice::<ngx_str_t>() };
        words.iter().map(|word| String::from_utf8_lossy(word.as_bytes()).into_owned()).collect()
    }

    fn place(&self) -> Place {
        // SAFETY: while nginx parses, `conf_file` is the file it reads; the name lives in the cycle's pool.
        let file = unsafe { &*self.conf_file };
        Place { file: file.file.name, line: file.line }
    }

    fn at<T>(&mut self, place: Place, text: &str, body: impl FnOnce(&mut Self) -> T) -> Option<T> {
        // SAFETY: zero is a valid value for every field of these plain C structs.
        let (mut file, mut buffer): (ngx_conf_file_t, ngx_buf_t) =
            unsafe { (mem::zeroed(), mem::zeroed()) };
        let text = self.copy(text).ok()?;
        // SAFETY: `text` has `len` bytes; the buffer spans just these.
        let end = unsafe { text.data.add(text.len) };
        (buffer.start, buffer.pos, buffer.last, buffer.end) = (text.data, text.data, end, end);
        // A descriptor that is not NGX_INVALID_FILE (-1) makes nginx cite the file and allow blocks; with
        // size 0 it never reads from it.
        file.file.fd = 0;
        file.file.name = place.file;
        file.line = place.line;
        file.buffer = &raw mut buffer;
        let saved = *self;
        self.conf_file = &raw mut file;
        let result = panic::catch_unwind(AssertUnwindSafe(|| body(self)));
        // Also after a panic, whose message is logged by way of this state.
        *self = saved;
        Some(result.unwrap_or_else(|payload| panic::resume_unwind(payload)))
    }

    fn copy(&mut self, text: impl AsRef<[u8]>) -> Result<ngx_str_t, Stop> {
        let text = text.as_ref();
        // SAFETY: `pool` is the configuration's; the result is null or has room for the text and a zero.
        let data = unsafe { ngx_pnalloc(self.pool, text.len() + 1) }.cast::<u8>();
        if data.is_null() {
            return Err(NO_MEMORY);
        }
        // SAFETY: as above, and fresh memory does not overlap `text`.
        unsafe {
            ptr::copy_nonoverlapping(text.as_ptr(), data, text.len());
            *data.add(text.len()) = 0;
        }
        Ok(ngx_str_t { len: text.len(), data })
    }

    fn keep<T>(&mut self, value: T) -> Result<&'static mut T, Stop> {
        // SAFETY: `pool` is the configuration's.
        unsafe { pool::keep(self.pool, value) }.ok_or(NO_MEMORY)
    }

    fn only_signals(&self) -> bool {
        // SAFETY: set when nginx starts.
        unsafe { ngx_process == NGX_PROCESS_SIGNALLER as usize }
    }

    fn emerg(&mut self, message: &str) {
        log(self, NGX_LOG_EMERG as ngx_uint_t, message);
    }

    fn warn(&mut self, warning: &Warning) {
        log(self, NGX_LOG_WARN as ngx_uint_t, &warning.to_string());
    }
}

fn log(cf: &mut ngx_conf_t, level: ngx_uint_t, message: &str) {
    // SAFETY: "%*s" takes a size_t and a pointer to that many bytes (ngx_vslprintf).
    unsafe {
        ngx_conf_log_error(
            level,
            cf,
            0,
            c"%*s".as_ptr(),
            message.len(),
            message.as_ptr().cast::<c_char>(),
        );
    }
}
