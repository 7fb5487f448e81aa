//! nginx's modules and the Rust types of their configurations, which are cast here alone.

use std::ffi::c_void;
use std::ptr::{self, NonNull};

use crate::failure::Failure;
use crate::nginx::base::ffi::{
    ngx_conf_t, ngx_cycle_t, ngx_event_core_module, ngx_events_module, ngx_http_conf_ctx_t,
    ngx_http_core_loc_conf_t, ngx_http_core_main_conf_t, ngx_http_core_module,
    ngx_http_core_srv_conf_t, ngx_http_module, ngx_http_request_t, ngx_http_upstream_main_conf_t,
    ngx_http_upstream_module, ngx_http_upstream_srv_conf_t, ngx_module_t,
};
use crate::nginx::base::links::configuration;

/// A module.
///
/// # Safety
///
/// The entry is that of a module that nginx was built with or has loaded.
pub unsafe trait NginxModule {
    /// Its entry in nginx's tables.
    fn entry() -> *const ngx_module_t;

    /// The place of its configurations among those of all modules, and among those of its kind.
    fn indices() -> (usize, usize) {
        // SAFETY: nginx writes to an entry before it calls any of the module's callbacks, and never again.
        let entry = unsafe { &*Self::entry() };
        (entry.index, entry.ctx_index)
    }

    /// The latter.
    fn index() -> usize {
        Self::indices().1
    }
}

/// The module with the directives, `ngx_http_clerk_proxy_module`.
pub struct Module;

/// The module with the variables and the filters, `ngx_http_clerk_proxy_filter_module`.
pub struct Filter;

/// nginx's own, with the `http` block.
struct Http;

/// nginx's own, with the `server` and `location` blocks.
pub struct Core;

/// nginx's own, with the `upstream` blocks.
pub struct Upstream;

/// nginx's own, with the `events` block.
pub struct Events;

/// nginx's own, with most directives in that.
pub struct EventCore;

macro_rules! modules {
    ($($name:ident $entry:ident)*) => {
        $(
            // SAFETY: every nginx has it.
            unsafe impl NginxModule for $name {
                fn entry() -> *const ngx_module_t {
                    ptr::addr_of!($entry)
                }
            }
        )*
    };
}

modules! {
    Http ngx_http_module
    Core ngx_http_core_module
    Upstream ngx_http_upstream_module
    Events ngx_events_module
    EventCore ngx_event_core_module
}

/// What a configuration belongs to, in the order of nginx's pointers to all three.
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
    type Of: NginxModule;
    /// What it is for.
    const REACH: Reach;

    /// What the module keeps for the block, the request or the upstream.
    fn of(holder: &impl HasConfs) -> Option<&'static Self> {
        let conf = holder.confs(Self::REACH)?.at(Self::Of::index()).cast::<Self>();
        // SAFETY: it is null or of the type that the trait promises, and lives as long as nginx uses the configuration.
        unsafe { conf.as_ref() }
    }

    /// The same for the block that is parsed or merged now.
    fn read(cf: &ngx_conf_t) -> Result<&'static Self, Failure> {
        Self::of(cf).ok_or_else(|| Failure::Internal("no configuration of the module".to_owned()))
    }
}

/// What one of nginx's own modules keeps, which this module changes while the configuration is read.
pub trait StockConf: Conf {
    /// The same as a reference that nobody keeps over a call to nginx, or over another call of this.
    fn of_mut(holder: &impl HasConfs) -> Option<&'static mut Self> {
        let conf = holder.confs(Self::REACH)?.at(Self::Of::index()).cast::<Self>();
        // SAFETY: as in `of`; nginx configures in one thread, and changes nothing once requests are served.
        unsafe { conf.as_mut() }
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

// SAFETY: see `ngx_http_core_create_loc_conf`.
unsafe impl Conf for ngx_http_core_loc_conf_t {
    type Of = Core;
    const REACH: Reach = Reach::Location;
}

impl StockConf for ngx_http_core_main_conf_t {}
impl StockConf for ngx_http_core_srv_conf_t {}
impl StockConf for ngx_http_core_loc_conf_t {}

// SAFETY: see `ngx_http_upstream_create_main_conf`.
unsafe impl Conf for ngx_http_upstream_main_conf_t {
    type Of = Upstream;
    const REACH: Reach = Reach::Main;
}

/// What all modules of a kind keep of a block, as nginx has it: an array with a place for each.
#[derive(Clone, Copy, PartialEq)]
pub struct Confs(NonNull<*mut c_void>);

impl Confs {
    fn new(confs: *mut *mut c_void) -> Option<Self> {
        NonNull::new(confs).map(Self)
    }

    /// What the module with this index keeps, or null.
    pub fn at(self, index: usize) -> *mut c_void {
        // SAFETY: such an array has a place for each index that nginx has given to a module of the kind.
        unsafe { *self.0.as_ptr().add(index) }
    }

    /// A number that identifies the block.
    pub fn address(self) -> usize {
        self.0.addr().get()
    }
}

/// Where the parser is inside of `http {}`.
pub fn context(cf: &ngx_conf_t) -> Option<&ngx_http_conf_ctx_t> {
    as_context(cf.ctx)
}

fn as_context<'a>(ctx: *mut c_void) -> Option<&'a ngx_http_conf_ctx_t> {
    // SAFETY: what `http {}` has made, or null without that block: nginx keeps this structure there, and in the state of
    // its parser inside of the block.
    unsafe { ctx.cast::<ngx_http_conf_ctx_t>().as_ref() }
}

/// Something that leads to configurations of modules.
pub trait HasConfs {
    /// Those of all http modules, if there are any.
    fn confs(&self, reach: Reach) -> Option<Confs>;
}

impl HasConfs for ngx_http_conf_ctx_t {
    fn confs(&self, reach: Reach) -> Option<Confs> {
        Confs::new([self.main_conf, self.srv_conf, self.loc_conf][reach as usize])
    }
}

impl HasConfs for ngx_conf_t {
    fn confs(&self, reach: Reach) -> Option<Confs> {
        context(self)?.confs(reach)
    }
}

/// Those of core modules, once the cycle was read.
pub fn of_core(cycle: &ngx_cycle_t) -> Option<Confs> {
    Confs::new(cycle.conf_ctx.cast())
}

impl HasConfs for ngx_cycle_t {
    fn confs(&self, reach: Reach) -> Option<Confs> {
        as_context(of_core(self)?.at(Http::indices().0))?.confs(reach)
    }
}

impl HasConfs for ngx_http_request_t {
    fn confs(&self, reach: Reach) -> Option<Confs> {
        Confs::new([self.main_conf, self.srv_conf, self.loc_conf][reach as usize])
    }
}

impl HasConfs for ngx_http_upstream_srv_conf_t {
    fn confs(&self, reach: Reach) -> Option<Confs> {
        matches!(reach, Reach::Server).then_some(self.srv_conf).and_then(Confs::new)
    }
}

/// What leads from the core module's settings of a server to those of all modules.
impl HasConfs for ngx_http_core_srv_conf_t {
    fn confs(&self, reach: Reach) -> Option<Confs> {
        configuration::context(self)?.confs(reach)
    }
}

/// The same of a location.
impl HasConfs for ngx_http_core_loc_conf_t {
    fn confs(&self, reach: Reach) -> Option<Confs> {
        matches!(reach, Reach::Location).then_some(self.loc_conf).and_then(Confs::new)
    }
}
