//! The glue: what nginx loads, calls and is called by; the only place for `unsafe`.
//!
//! There are two modules in one file. `ngx_http_clerk_proxy_module` has the directive and comes before every
//! stock http module, so that it meets their configurations as the user wrote them.
//! `ngx_http_clerk_proxy_filter_module` comes after the core module, whose tables its variable needs, and
//! right before `ngx_http_copy_filter_module`, where filters of modules have their place.

mod advice;
mod apply;
mod attempt;
mod cache;
mod cf;
mod conf;
mod expression;
#[cfg(feature = "fault-injection")]
mod faults;
mod filter;
mod guard;
mod handler;
mod headers;
mod key;
mod lookup;
mod peer_list;
mod peers;
mod request_line;
mod reserve;
mod resolver;
mod settings;
mod shared;
mod stock;
mod timer;
mod tls;
mod tls_client;
mod upstream;
mod variables;
mod warm;

use std::ffi::{c_char, c_void};
use std::ptr::{self, addr_of, addr_of_mut};

use ngx::ffi::{
    ngx_command_t, ngx_conf_t, ngx_cycle_t, ngx_http_module_t, ngx_int_t, ngx_module_t,
    ngx_process, ngx_str_t, ngx_uint_t, NGX_CONF_TAKE1, NGX_CONF_TAKE2, NGX_CONF_TAKE3,
    NGX_CONF_TAKE4, NGX_HTTP_LOC_CONF, NGX_HTTP_LOC_CONF_OFFSET, NGX_HTTP_MAIN_CONF,
    NGX_HTTP_MODULE, NGX_HTTP_SRV_CONF, NGX_PROCESS_SINGLE, NGX_PROCESS_WORKER,
};
use ngx::http::{HttpModule, HttpModuleLocationConf, HttpModuleMainConf, HttpModuleServerConf};

use conf::{LocConf, MainConf};
use peers::SrvConf;

/// The module with the directive, as the `ngx` crate wants to know it.
struct Module;

impl HttpModule for Module {
    fn module() -> &'static ngx_module_t {
        // SAFETY: nginx writes to the module's index fields before it calls any of its callbacks.
        unsafe { &*addr_of!(ngx_http_clerk_proxy_module) }
    }
}

// SAFETY: `create_main_conf` below makes a `MainConf`.
unsafe impl HttpModuleMainConf for Module {
    type MainConf = MainConf;
}

// SAFETY: `create_srv_conf` below makes a `SrvConf`.
unsafe impl HttpModuleServerConf for Module {
    type ServerConf = SrvConf;
}

// SAFETY: `create_loc_conf` below makes a `LocConf`.
unsafe impl HttpModuleLocationConf for Module {
    type LocationConf = LocConf;
}

const EVERYWHERE: u32 = NGX_HTTP_MAIN_CONF | NGX_HTTP_SRV_CONF | NGX_HTTP_LOC_CONF;

static mut COMMANDS: [ngx_command_t; 6] = [
    ngx_command_t {
        name: ngx::ngx_string!("clerk_proxy"),
        type_: (NGX_HTTP_LOC_CONF
            | NGX_CONF_TAKE1
            | NGX_CONF_TAKE2
            | NGX_CONF_TAKE3
            | NGX_CONF_TAKE4) as ngx_uint_t,
        set: Some(clerk_proxy),
        conf: NGX_HTTP_LOC_CONF_OFFSET,
        offset: 0,
        post: ptr::null_mut(),
    },
    inherited(ngx::ngx_string!("clerk_proxy_secret_key"), clerk_proxy_secret_key),
    inherited(ngx::ngx_string!("clerk_proxy_upstream"), clerk_proxy_upstream),
    inherited(ngx::ngx_string!("clerk_proxy_client_ip"), clerk_proxy_client_ip),
    inherited(ngx::ngx_string!("clerk_proxy_warm"), clerk_proxy_warm),
    ngx_command_t::empty(),
];

type Set = unsafe extern "C" fn(*mut ngx_conf_t, *mut ngx_command_t, *mut c_void) -> *mut c_char;

/// A directive with one value that inner blocks inherit.
const fn inherited(name: ngx_str_t, set: Set) -> ngx_command_t {
    ngx_command_t {
        name,
        type_: (EVERYWHERE | NGX_CONF_TAKE1) as ngx_uint_t,
        set: Some(set),
        conf: NGX_HTTP_LOC_CONF_OFFSET,
        offset: 0,
        post: ptr::null_mut(),
    }
}

static MODULE_CONTEXT: ngx_http_module_t = ngx_http_module_t {
    preconfiguration: Some(preconfiguration),
    postconfiguration: None,
    create_main_conf: Some(create_main_conf),
    init_main_conf: None,
    create_srv_conf: Some(create_srv_conf),
    merge_srv_conf: None,
    create_loc_conf: Some(create_loc_conf),
    merge_loc_conf: Some(merge_loc_conf),
};

static FILTER_CONTEXT: ngx_http_module_t = ngx_http_module_t {
    preconfiguration: Some(filter_preconfiguration),
    postconfiguration: Some(filter_postconfiguration),
    create_main_conf: None,
    init_main_conf: None,
    create_srv_conf: None,
    merge_srv_conf: None,
    create_loc_conf: None,
    merge_loc_conf: Some(complete_loc_conf),
};

/// The module with the directive.
#[no_mangle]
pub static mut ngx_http_clerk_proxy_module: ngx_module_t = ngx_module_t {
    ctx: addr_of!(MODULE_CONTEXT) as *mut c_void,
    commands: addr_of_mut!(COMMANDS).cast(),
    type_: NGX_HTTP_MODULE as ngx_uint_t,
    init_module: Some(init_module),
    init_process: Some(init_process),
    exit_process: Some(exit_process),
    ..ngx_module_t::default()
};

/// The module with the variable and the filters.
#[no_mangle]
pub static mut ngx_http_clerk_proxy_filter_module: ngx_module_t = ngx_module_t {
    ctx: addr_of!(FILTER_CONTEXT) as *mut c_void,
    type_: NGX_HTTP_MODULE as ngx_uint_t,
    ..ngx_module_t::default()
};

/// The tables that nginx looks for in a file that `load_module` names. Where nginx's own build links the module,
/// it makes them itself, see nginx/config.
#[cfg(feature = "export-modules")]
mod export {
    #![allow(missing_docs)]

    use super::{
        addr_of_mut, c_char, ngx_http_clerk_proxy_filter_module, ngx_http_clerk_proxy_module,
        ngx_module_t, ptr,
    };

    #[no_mangle]
    pub static mut ngx_modules: [*mut ngx_module_t; 3] = [
        addr_of_mut!(ngx_http_clerk_proxy_module),
        addr_of_mut!(ngx_http_clerk_proxy_filter_module),
        ptr::null_mut(),
    ];

    #[no_mangle]
    pub static mut ngx_module_names: [*const c_char; 3] = [
        c"ngx_http_clerk_proxy_module".as_ptr(),
        c"ngx_http_clerk_proxy_filter_module".as_ptr(),
        ptr::null(),
    ];

    /// nginx puts a module before all those that are named after it.
    #[no_mangle]
    pub static mut ngx_module_order: [*const c_char; 5] = [
        c"ngx_http_clerk_proxy_module".as_ptr(),
        c"ngx_http_core_module".as_ptr(),
        c"ngx_http_clerk_proxy_filter_module".as_ptr(),
        c"ngx_http_copy_filter_module".as_ptr(),
        ptr::null(),
    ];
}

unsafe extern "C" fn clerk_proxy(
    cf: *mut ngx_conf_t,
    _command: *mut ngx_command_t,
    _conf: *mut c_void,
) -> *mut c_char {
    guard::directive(cf, conf::CLERK_PROXY, conf::clerk_proxy)
}

unsafe extern "C" fn clerk_proxy_secret_key(
    cf: *mut ngx_conf_t,
    _command: *mut ngx_command_t,
    _conf: *mut c_void,
) -> *mut c_char {
    guard::directive(cf, conf::SECRET_KEY, conf::clerk_proxy_secret_key)
}

unsafe extern "C" fn clerk_proxy_upstream(
    cf: *mut ngx_conf_t,
    _command: *mut ngx_command_t,
    _conf: *mut c_void,
) -> *mut c_char {
    guard::directive(cf, conf::UPSTREAM, conf::clerk_proxy_upstream)
}

unsafe extern "C" fn clerk_proxy_client_ip(
    cf: *mut ngx_conf_t,
    _command: *mut ngx_command_t,
    _conf: *mut c_void,
) -> *mut c_char {
    guard::directive(cf, conf::CLIENT_IP, conf::clerk_proxy_client_ip)
}

unsafe extern "C" fn clerk_proxy_warm(
    cf: *mut ngx_conf_t,
    _command: *mut ngx_command_t,
    _conf: *mut c_void,
) -> *mut c_char {
    guard::directive(cf, conf::WARM, conf::clerk_proxy_warm)
}

unsafe extern "C" fn preconfiguration(cf: *mut ngx_conf_t) -> ngx_int_t {
    guard::configuration(cf, "preconfiguration", conf::preconfiguration)
}

unsafe extern "C" fn filter_preconfiguration(cf: *mut ngx_conf_t) -> ngx_int_t {
    guard::configuration(cf, "preconfiguration of variables", variables::add)
}

unsafe extern "C" fn filter_postconfiguration(cf: *mut ngx_conf_t) -> ngx_int_t {
    guard::configuration(cf, "postconfiguration", |cf| {
        filter::install(cf)?;
        upstream::install(cf)
    })
}

unsafe extern "C" fn init_module(cycle: *mut ngx_cycle_t) -> ngx_int_t {
    // SAFETY: nginx hands out the cycle that it has read.
    let cycle = unsafe { &*cycle };
    guard::process("init_module", (), || {
        if let Some(main) = Module::main_conf(cycle) {
            advice::warn_of_debug_logs(cycle, main);
        }
    });
    cf::OK
}

unsafe extern "C" fn init_process(cycle: *mut ngx_cycle_t) -> ngx_int_t {
    // SAFETY: nginx hands out the cycle that the process is to serve.
    let cycle = unsafe { &*cycle };
    // SAFETY: nginx sets it before it starts a process of any kind.
    let kind = unsafe { ngx_process };
    if kind == NGX_PROCESS_SINGLE as usize || kind == NGX_PROCESS_WORKER as usize {
        guard::process("init_process", (), || resolver::start(cycle));
        guard::process("start of warm connections", (), || warm::start(cycle));
    }
    // That names are not followed, or connections not kept ready, is no reason to have no worker.
    cf::OK
}

unsafe extern "C" fn exit_process(cycle: *mut ngx_cycle_t) {
    // SAFETY: nginx hands out the cycle that the process has served.
    let cycle = unsafe { &*cycle };
    guard::process("exit_process", (), || warm::stop(cycle));
}

unsafe extern "C" fn create_main_conf(cf: *mut ngx_conf_t) -> *mut c_void {
    guard::create(cf, "create_main_conf", MainConf::default)
}

unsafe extern "C" fn create_srv_conf(cf: *mut ngx_conf_t) -> *mut c_void {
    guard::create(cf, "create_srv_conf", SrvConf::default)
}

unsafe extern "C" fn create_loc_conf(cf: *mut ngx_conf_t) -> *mut c_void {
    guard::create(cf, "create_loc_conf", LocConf::default)
}

unsafe extern "C" fn merge_loc_conf(
    cf: *mut ngx_conf_t,
    outer: *mut c_void,
    own: *mut c_void,
) -> *mut c_char {
    guard::directive(cf, "merge_loc_conf", |cf| {
        // SAFETY: nginx hands a merge two different configurations that `create_loc_conf` made.
        let (outer, own) = unsafe { (conf::loc_conf(outer), conf::loc_conf(own)) };
        conf::merge(cf, outer, own)
    })
}

/// The filter module's merge, which comes after that of the proxy module.
unsafe extern "C" fn complete_loc_conf(
    cf: *mut ngx_conf_t,
    _outer: *mut c_void,
    _own: *mut c_void,
) -> *mut c_char {
    guard::directive(cf, "completion of merge_loc_conf", conf::complete)
}
