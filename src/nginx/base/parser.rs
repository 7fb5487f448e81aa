//! Safe access to nginx's configuration parser, `ngx_conf_t`: words, memory, messages, places.

use std::ffi::{c_char, OsStr};
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;

use crate::error::Error;
use crate::nginx::base::ffi::{
    ngx_buf_t, ngx_conf_file_t, ngx_conf_full_name, ngx_conf_log_error, ngx_conf_t, ngx_str_t,
    ngx_uint_t, NGX_HTTP_MODULE, NGX_LOG_EMERG, NGX_LOG_WARN,
};
use crate::nginx::base::links::configuration;
use crate::nginx::base::plain::Plain;
use crate::nginx::base::pool::Pool;
use crate::nginx::base::status::OK;

/// Why a configuration callback stops.
#[derive(Debug)]
pub enum Stop {
    /// A sentence to be logged.
    Error(Error),
    /// nginx has logged the reason already.
    Logged,
}

impl<E: Into<Error>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Error(error.into())
    }
}

/// There is no memory, as nginx has logged.
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
    /// The same, if a file is read at all.
    fn place_if_any(&self) -> Option<Place>;
    /// Runs `body` so that its messages, nginx's and its error, which is logged, cite `place`; nginx itself cites the
    /// end of `http {}` once all is parsed. `text` is what a block directive finds between its braces.
    fn at<T>(
        &mut self,
        place: Place,
        text: &str,
        body: impl FnOnce(&mut Self) -> Result<T, Stop>,
    ) -> Result<T, Stop>;
    /// Copies a text into the configuration's memory, with the zero byte behind it that nginx relies on.
    fn copy(&mut self, text: impl AsRef<[u8]>) -> Result<ngx_str_t, Stop>;
    /// The full path of a file; a relative one starts at the folder of the configuration file.
    fn full_name(&mut self, path: &str) -> Result<String, Stop>;
    /// Moves a value into the configuration's memory; it is dropped with the configuration.
    fn keep<T>(&mut self, value: T) -> Result<&'static mut T, Stop>;
    /// Logs a mistake as `[emerg]`.
    fn emerg(&mut self, message: &str);
    /// Logs a warning.
    fn warn(&mut self, warning: &dyn fmt::Display);
}

impl ConfExt for ngx_conf_t {
    fn words(&self) -> Vec<String> {
        let words = configuration::words(self).iter();
        words.map(|word| String::from_utf8_lossy(word.as_bytes()).into_owned()).collect()
    }

    fn place(&self) -> Place {
        self.place_if_any().unwrap_or(Place { file: ngx_str_t::empty(), line: 0 })
    }

    fn place_if_any(&self) -> Option<Place> {
        configuration::file(self).map(|file| Place { file: file.file.name, line: file.line })
    }

    fn at<T>(
        &mut self,
        place: Place,
        text: &str,
        body: impl FnOnce(&mut Self) -> Result<T, Stop>,
    ) -> Result<T, Stop> {
        let (mut file, mut buffer) = (ngx_conf_file_t::zeroed(), ngx_buf_t::zeroed());
        let text = self.copy(text)?;
        let end = text.data.wrapping_add(text.len);
        (buffer.start, buffer.pos, buffer.last, buffer.end) = (text.data, text.data, end, end);
        // A descriptor that is not NGX_INVALID_FILE (-1) makes nginx cite the file and allow blocks; with
        // size 0 it never reads from it.
        file.file.fd = 0;
        file.file.name = place.file;
        file.line = place.line;
        file.buffer = &raw mut buffer;
        let saved = *self;
        self.conf_file = &raw mut file;
        // Angie is done with that when it merges.
        self.module_type = NGX_HTTP_MODULE as ngx_uint_t;
        let result = panic::catch_unwind(AssertUnwindSafe(|| {
            body(self).map_err(|stop| {
                if let Stop::Error(error) = stop {
                    self.emerg(&error.to_string());
                }
                Stop::Logged
            })
        }));
        // Also after a panic, whose message is logged by way of this state.
        *self = saved;
        result.unwrap_or_else(|payload| panic::resume_unwind(payload))
    }

    fn copy(&mut self, text: impl AsRef<[u8]>) -> Result<ngx_str_t, Stop> {
        Pool::from(&*self).text(text).ok_or(NO_MEMORY)
    }

    fn full_name(&mut self, path: &str) -> Result<String, Stop> {
        let mut name = self.copy(path)?;
        // SAFETY: the name ends with a zero byte; the cycle has its prefixes set.
        if unsafe { ngx_conf_full_name(self.cycle, &raw mut name, 1) } != OK {
            return Err(NO_MEMORY);
        }
        Ok(String::from_utf8_lossy(name.as_bytes()).into_owned())
    }

    fn keep<T>(&mut self, value: T) -> Result<&'static mut T, Stop> {
        Pool::from(&*self).keep(value).ok_or(NO_MEMORY)
    }

    fn emerg(&mut self, message: &str) {
        log(self, NGX_LOG_EMERG, message);
    }

    fn warn(&mut self, warning: &dyn fmt::Display) {
        log(self, NGX_LOG_WARN, &warning.to_string());
    }
}

fn log(cf: &mut ngx_conf_t, level: u32, message: &str) {
    let (len, data) = (message.len(), message.as_ptr().cast::<c_char>());
    // SAFETY: "%*s" takes a size_t and a pointer to that many bytes (ngx_vslprintf).
    unsafe { ngx_conf_log_error(level as ngx_uint_t, cf, 0, c"%*s".as_ptr(), len, data) };
}
