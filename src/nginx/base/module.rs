//! nginx's http modules and the Rust types of their configurations, which are cast here alone.

use std::ffi::c_void;
use std::ptr::{self, NonNull};

use crate::failure::Failure;
use crate::nginx::base::ffi::{
    ngx_conf_t, ngx_cycle_t, ngx_http_conf_ctx_t, ngx_http_core_main_conf_t, ngx_http_core_module,
    ngx_http_core_srv_conf_t, ngx_http_module, ngx_http_request_t, ngx_http_upstream_main_conf_t,
    ngx_http_upstream_module, ngx_http_upstream_srv_conf_t, ngx_module_t,
};

/// An http module.
pub trait HttpModule {
    /// Its entry in nginx's tables.
    fn module() -> *const ngx_module_t;

    /// The place of its configurations among those of all http modules.
    fn index() -> usize {
        // SAFETY: nginx writes to an entry before it calls any of the module's callbacks, and never again.
        unsafe { (*Self::module()).ctx_index }
    }
}

/// The module with the directives, `ngx_http_clerk_proxy_module`.
pub struct Module;

/// The module with the variables and the filters, `ngx_http_clerk_proxy_filter_module`.
pub struct Filter;

/// nginx's own, with the `server` and `location` blocks.
pub struct Core;

/// nginx's own, with the `upstream` blocks.
pub struct Upstream;

impl HttpModule for Core {
    fn module() -> *const ngx_module_t {
        ptr::addr_of!(ngx_http_core_module)
    }
}

impl HttpModule for Upstream {
    fn module() -> *const ngx_module_t {
        ptr::addr_of!(ngx_http_upstream_module)
    }
}

/// What a configuration belongs to.
#[derive(Clone, Copy)]
pub enum Reach {
    /// All of `http`.
    Main,
    /// A `server` or `upstream` block.
    Server,
    /// A `location`, or a block that locations inherit from.
    Location,
}

/// What a module keeps of a configuration.
///
/// # Safety
///
/// nginx has the module create a value of this type for all that it reaches.
pub unsafe trait Conf: Sized + 'static {
    /// The module.
    type Of: HttpModule;
    /// What it is for.
    const REACH: Reach;

    /// What the module keeps for the block, the request or the upstream.
    fn of(holder: &impl HasConfs) -> Option<&'static Self> {
        let conf = at(NonNull::new(holder.confs(Self::REACH))?, Self::Of::index());
        // SAFETY: it is null or of the type that the trait promises, and lives as long as nginx uses the configuration.
        unsafe { conf.cast::<Self>().as_ref() }
    }

    /// The same for the block that is parsed or merged now.
    fn read(cf: &ngx_conf_t) -> Result<&'static Self, Failure> {
        Self::of(cf).ok_or_else(|| Failure::Internal("no configuration of the module".to_owned()))
    }
}

// SAFETY: see `ngx_http_core_create_main_conf`.
unsafe impl Conf for ngx_http_core_main_conf_t {
    type Of = Core;
    const REACH: Reach = Reach::Main;
}

// SAFETY: see `ngx_http_core_create_srv_conf`.
unsafe impl Conf for ngx_http_core_srv_conf_t {
    type Of = Core;
    const REACH: Reach = Reach::Server;
}

// SAFETY: see `ngx_http_upstream_create_main_conf`.
unsafe impl Conf for ngx_http_upstream_main_conf_t {
    type Of = Upstream;
    const REACH: Reach = Reach::Main;
}

/// What a module keeps, of an array of what all http modules keep.
pub fn at(confs: NonNull<*mut c_void>, index: usize) -> *mut c_void {
    // SAFETY: such an array has an element for each http module.
    unsafe { *confs.as_ptr().add(index) }
}

/// Where the parser is inside of `http {}`.
pub fn context(cf: &ngx_conf_t) -> Option<&ngx_http_conf_ctx_t> {
    // SAFETY: there nginx keeps this structure in `ctx`.
    unsafe { cf.ctx.cast::<ngx_http_conf_ctx_t>().as_ref() }
}

/// Something that leads to configurations of modules.
pub trait HasConfs {
    /// Those of all http modules, or null.
    fn confs(&self, reach: Reach) -> *mut *mut c_void;
}

impl HasConfs for ngx_http_conf_ctx_t {
    fn confs(&self, reach: Reach) -> *mut *mut c_void {
        match reach {
            Reach::Main => self.main_conf,
            Reach::Server => self.srv_conf,
            Reach::Location => self.loc_conf,
        }
    }
}

impl HasConfs for ngx_conf_t {
    fn confs(&self, reach: Reach) -> *mut *mut c_void {
        context(self).map_or(ptr::null_mut(), |context| context.confs(reach))
    }
}

impl HasConfs for ngx_cycle_t {
    fn confs(&self, reach: Reach) -> *mut *mut c_void {
        // SAFETY: a cycle that was read has a place for each core module; that of `http`, where there is such a block,
        // leads to an `ngx_http_conf_ctx_t`.
        let ctx = unsafe {
            (*self.conf_ctx.add(ngx_http_module.index)).cast::<ngx_http_conf_ctx_t>().as_ref()
        };
        ctx.map_or(ptr::null_mut(), |ctx| ctx.confs(reach))
    }
}

impl HasConfs for ngx_http_request_t {
    fn confs(&self, reach: Reach) -> *mut *mut c_void {
        match reach {
            Reach::Main => self.main_conf,
            Reach::Server => self.srv_conf,
            Reach::Location => self.loc_conf,
        }
    }
}

impl HasConfs for ngx_http_upstream_srv_conf_t {
    fn confs(&self, reach: Reach) -> *mut *mut c_void {
        match reach {
            Reach::Server => self.srv_conf,
            Reach::Main | Reach::Location => ptr::null_mut(),
        }
    }
}
