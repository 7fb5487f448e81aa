//! One block of the configuration: `http`, a `server` or a `location`.

use std::cell::Cell;
use std::ffi::c_void;

use crate::failure::Failure;
use crate::nginx::base::ffi::{
    ngx_conf_t, ngx_http_conf_ctx_t, ngx_http_core_loc_conf_t, ngx_http_core_srv_conf_t,
    ngx_http_handler_pt, ngx_http_request_t,
};
use crate::nginx::base::module::{context, Conf, Confs, HasConfs, Reach, StockConf};
use crate::nginx::stock::field::{Field, Settings};

/// The configurations of all modules for one block: `http`, a `server` or a `location`.
#[derive(Clone, Copy, PartialEq)]
pub struct Level(Confs);

impl Level {
    /// The block that a request is in, that is parsed or merged now, or that these settings are of.
    pub fn of(holder: &impl HasConfs) -> Option<Self> {
        holder.confs(Reach::Location).map(Self)
    }

    /// The block that is parsed or merged now.
    pub fn read(cf: &ngx_conf_t) -> Result<Self, Failure> {
        Self::of(cf).ok_or_else(|| Failure::Internal("no block".to_owned()))
    }

    /// The core module's configuration of this block.
    pub fn core(self) -> &'static mut ngx_http_core_loc_conf_t {
        let core = ngx_http_core_loc_conf_t::of_mut(&self);
        core.expect("every block has a configuration of the core module")
    }

    /// A number that identifies the block.
    pub fn address(self) -> usize {
        self.0.address()
    }

    /// A module's settings of this block.
    pub fn settings(self, ctx_index: usize) -> Option<Settings> {
        Settings::of(self.0, ctx_index)
    }

    /// The field of a directive in this block, where nginx keeps a word.
    pub fn word(self, field: Field) -> Option<&'static Cell<usize>> {
        field.word(self.0)
    }

    /// A module's configuration of this block.
    pub fn conf(self, ctx_index: usize) -> *mut c_void {
        self.0.at(ctx_index)
    }
}

impl HasConfs for Level {
    fn confs(&self, reach: Reach) -> Option<Confs> {
        matches!(reach, Reach::Location).then_some(self.0)
    }
}

/// The first name of the server that is merged now.
pub fn server_name(cf: &ngx_conf_t) -> Result<String, Failure> {
    let name = ngx_http_core_srv_conf_t::read(cf)?.server_name;
    Ok(String::from_utf8_lossy(name.as_bytes()).into_owned())
}

/// A block together with the server and the `http` block around it.
#[derive(Clone, Copy)]
pub struct Context(ngx_http_conf_ctx_t);

impl Context {
    /// That of the block that is parsed or merged now.
    pub fn read(cf: &ngx_conf_t) -> Result<Self, Failure> {
        context(cf).copied().map(Self).ok_or_else(|| Failure::Internal("no block".to_owned()))
    }

    /// Puts a request into the block.
    pub fn enter(&self, r: &mut ngx_http_request_t) {
        (r.main_conf, r.srv_conf, r.loc_conf) =
            (self.0.main_conf, self.0.srv_conf, self.0.loc_conf);
    }

    /// As nginx has it.
    pub fn as_ptr(&mut self) -> *mut ngx_http_conf_ctx_t {
        &raw mut self.0
    }
}

/// The name as written behind `location`.
pub fn location_name(core: &ngx_http_core_loc_conf_t) -> String {
    String::from_utf8_lossy(core.name.as_bytes()).into_owned()
}

/// Whether two handlers are one function; a function has one address in the process that loaded it.
pub fn is_same(one: ngx_http_handler_pt, other: ngx_http_handler_pt) -> bool {
    one.map(|handler| handler as usize) == other.map(|handler| handler as usize)
}

/// Whether the location has a regular expression, for which nginx needs PCRE.
#[cfg(nginx_pcre)]
pub fn has_expression(core: &ngx_http_core_loc_conf_t) -> bool {
    !core.regex.is_null()
}

#[cfg(not(nginx_pcre))]
pub fn has_expression(_core: &ngx_http_core_loc_conf_t) -> bool {
    false
}
