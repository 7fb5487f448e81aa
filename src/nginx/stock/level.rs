//! One block of the configuration: `http`, a `server` or a `location`.

use std::ffi::c_void;
use std::ptr::{self, NonNull};

use crate::failure::Failure;
use crate::nginx::base::ffi::{
    ngx_conf_t, ngx_http_conf_ctx_t, ngx_http_core_loc_conf_t, ngx_http_core_srv_conf_t,
    ngx_http_handler_pt, ngx_http_request_t,
};
use crate::nginx::base::module::{at, context, Conf, Core, HasConfs, HttpModule, Reach};

/// The configurations of all modules for one block: `http`, a `server` or a `location`.
#[derive(Clone, Copy, PartialEq)]
pub struct Level(NonNull<*mut c_void>);

impl Level {
    /// The block that a request is in.
    pub fn of(holder: &impl HasConfs) -> Option<Self> {
        NonNull::new(holder.confs(Reach::Location)).map(Self)
    }

    /// The block that is parsed or merged now.
    pub fn read(cf: &ngx_conf_t) -> Result<Self, Failure> {
        Self::of(cf).ok_or_else(|| Failure::Internal("no block".to_owned()))
    }

    /// The core module's configuration of this block.
    pub fn core(self) -> &'static mut ngx_http_core_loc_conf_t {
        // SAFETY: every block has a configuration of the core module, which lives as long as the cycle.
        // nginx configures in one thread, and no caller keeps the reference over a call to nginx.
        unsafe { &mut *self.conf(Core::index()).cast() }
    }

    /// A number that identifies the block.
    pub fn address(self) -> usize {
        self.0.addr().get()
    }

    /// The block that is a location.
    pub fn of_location(core: &ngx_http_core_loc_conf_t) -> Option<Self> {
        NonNull::new(core.loc_conf).map(Self)
    }

    /// A module's configuration of this block.
    pub fn conf(self, ctx_index: usize) -> *mut c_void {
        at(self.0, ctx_index)
    }
}

impl HasConfs for Level {
    fn confs(&self, reach: Reach) -> *mut *mut c_void {
        match reach {
            Reach::Location => self.0.as_ptr(),
            Reach::Main | Reach::Server => ptr::null_mut(),
        }
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

/// The settings of a location that nginx finds by a path.
#[cfg(not(nginx_angie))]
pub fn settings(found: &'static ngx_http_core_loc_conf_t) -> &'static ngx_http_core_loc_conf_t {
    found
}

/// Angie finds a place, of which several can lead to the same settings.
#[cfg(nginx_angie)]
pub fn settings(
    found: &'static crate::nginx::base::ffi::ngx_http_core_loc_t,
) -> &'static ngx_http_core_loc_conf_t {
    // SAFETY: each place has settings, which live as long as the configuration.
    unsafe { &*found.conf }
}
