//! The glue: what nginx loads, calls and is called by; the only place for `unsafe`.
//!
//! There are two modules in one file. `ngx_http_clerk_proxy_module` has the directives. It comes before every stock
//! http module, so that it finds their configurations as the user wrote them. `ngx_http_clerk_proxy_filter_module`
//! has the variables and the filters. It comes after the core module, whose tables the variables need, and right
//! before `ngx_http_copy_filter_module`, as filters of modules must.

mod base;
mod config;
mod request;
mod stock;
mod upstream;

#[cfg(feature = "fault-injection")]
#[path = "../../tests/inside/faults.rs"]
mod faults;

use std::ffi::{c_char, c_void, CStr};
use std::ptr::{self, addr_of, addr_of_mut};

use base::ffi::{
    ngx_command_t, ngx_conf_t, ngx_cycle_t, ngx_http_module_t, ngx_int_t, ngx_module_t, ngx_str_t,
    ngx_uint_t, NGX_CONF_NOARGS, NGX_CONF_TAKE1, NGX_CONF_TAKE2, NGX_CONF_TAKE3, NGX_CONF_TAKE4,
    NGX_HTTP_LOC_CONF, NGX_HTTP_LOC_CONF_OFFSET, NGX_HTTP_MAIN_CONF, NGX_HTTP_MODULE,
    NGX_HTTP_SRV_CONF,
};
use base::module::{Conf, Filter, Module, NginxModule};
use base::status::OK;
use base::{callback, guard, process};
use config::state::{beginning, MainConf};
use config::{advice, lines, merge};
use request::head::LastHead;
use request::proxy::RequestConf;
use request::variables;
use stock::layout;
use upstream::names::Names;
use upstream::servers::SrvConf;
use upstream::warm;

// SAFETY: it stands below.
unsafe impl NginxModule for Module {
    fn entry() -> *const ngx_module_t {
        addr_of!(ngx_http_clerk_proxy_module)
    }
}

// SAFETY: as above.
unsafe impl NginxModule for Filter {
    fn entry() -> *const ngx_module_t {
        addr_of!(ngx_http_clerk_proxy_filter_module)
    }
}

const UP_TO_FOUR: u32 = NGX_CONF_TAKE1 | NGX_CONF_TAKE2 | NGX_CONF_TAKE3 | NGX_CONF_TAKE4;
/// A directive with one value that inner blocks inherit.
const INHERITED: u32 = NGX_HTTP_MAIN_CONF | NGX_HTTP_SRV_CONF | NGX_HTTP_LOC_CONF | NGX_CONF_TAKE1;

static mut COMMANDS: [ngx_command_t; 7] = [
    directive(c"clerk_proxy", NGX_HTTP_LOC_CONF | UP_TO_FOUR),
    directive(c"clerk_proxy_secret_key", INHERITED),
    directive(c"clerk_proxy_upstream", INHERITED),
    directive(c"clerk_proxy_client_ip", INHERITED),
    directive(c"clerk_proxy_warm", INHERITED),
    directive(c"clerk_proxy_status", NGX_HTTP_LOC_CONF | NGX_CONF_NOARGS),
    ngx_command_t::empty(),
];

const fn directive(name: &'static CStr, kind: u32) -> ngx_command_t {
    ngx_command_t {
        name: ngx_str_t { len: name.count_bytes(), data: name.as_ptr().cast::<u8>().cast_mut() },
        type_: kind as ngx_uint_t,
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
    create_main_conf: Some(create_last_head),
    init_main_conf: None,
    create_srv_conf: None,
    merge_srv_conf: None,
    create_loc_conf: Some(create_request_conf),
    merge_loc_conf: Some(complete_loc_conf),
};

/// A module for nginx, or for Angie, which looks at a sign and a version of its own.
#[cfg(not(nginx_angie))]
const EMPTY: ngx_module_t = ngx_module_t::default();
#[cfg(nginx_angie)]
const EMPTY: ngx_module_t = ngx_module_t {
    // The letters of its name, in sum.
    spare1: b'A' as ngx_uint_t + b'n' as usize + b'g' as usize + b'i' as usize + b'e' as usize,
    version: base::ffi::angie_version as ngx_uint_t,
    ..ngx_module_t::default()
};

/// The module with the directives.
#[no_mangle]
pub static mut ngx_http_clerk_proxy_module: ngx_module_t = ngx_module_t {
    ctx: addr_of!(MODULE_CONTEXT) as *mut c_void,
    commands: addr_of_mut!(COMMANDS).cast(),
    type_: NGX_HTTP_MODULE as ngx_uint_t,
    init_module: Some(init_module),
    init_process: Some(init_process),
    exit_process: Some(exit_process),
    ..EMPTY
};

/// The module with the variables and the filters.
#[no_mangle]
pub static mut ngx_http_clerk_proxy_filter_module: ngx_module_t = ngx_module_t {
    ctx: addr_of!(FILTER_CONTEXT) as *mut c_void,
    type_: NGX_HTTP_MODULE as ngx_uint_t,
    ..EMPTY
};

/// The tables that `load_module` looks for in the file. nginx's own build makes them itself, see nginx/config.
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

unsafe extern "C" fn set(
    cf: *mut ngx_conf_t,
    _command: *mut ngx_command_t,
    _conf: *mut c_void,
) -> *mut c_char {
    callback::directive(cf, lines::set)
}

unsafe extern "C" fn preconfiguration(cf: *mut ngx_conf_t) -> ngx_int_t {
    callback::configuration(cf, "preconfiguration", |cf| {
        layout::check_directives(cf)?;
        lines::preconfiguration(cf)
    })
}

unsafe extern "C" fn filter_preconfiguration(cf: *mut ngx_conf_t) -> ngx_int_t {
    callback::configuration(cf, "preconfiguration of variables", |cf| {
        layout::check_requests(cf)?;
        variables::add(cf)
    })
}

unsafe extern "C" fn filter_postconfiguration(cf: *mut ngx_conf_t) -> ngx_int_t {
    callback::configuration(cf, "postconfiguration", merge::finish)
}

unsafe extern "C" fn init_module(cycle: *mut ngx_cycle_t) -> ngx_int_t {
    guard::cycle(cycle, "init_module", |cycle| {
        if let Some(main) = MainConf::of(cycle) {
            advice::warn_of_debug_logs(cycle, main);
        }
    });
    OK
}

unsafe extern "C" fn init_process(cycle: *mut ngx_cycle_t) -> ngx_int_t {
    if process::is_worker() {
        guard::cycle(cycle, "init_process", |cycle| {
            if let Some(main) = MainConf::of(cycle) {
                Names::start(&main.common.borrow().upstreams.names);
            }
        });
        guard::cycle(cycle, "start of warm connections", |cycle| {
            if let Some(main) = MainConf::of(cycle) {
                *main.warm.borrow_mut() = warm::start(cycle);
            }
        });
    }
    // A worker is of use even if it cannot follow names or keep connections ready.
    OK
}

unsafe extern "C" fn exit_process(cycle: *mut ngx_cycle_t) {
    guard::cycle(cycle, "exit_process", |cycle| {
        if let Some(main) = MainConf::of(cycle) {
            main.warm.borrow_mut().clear();
        }
    });
}

unsafe extern "C" fn create_main_conf(cf: *mut ngx_conf_t) -> *mut c_void {
    callback::create::<MainConf>(cf, "create_main_conf")
}

unsafe extern "C" fn create_srv_conf(cf: *mut ngx_conf_t) -> *mut c_void {
    callback::create::<SrvConf>(cf, "create_srv_conf")
}

unsafe extern "C" fn create_loc_conf(cf: *mut ngx_conf_t) -> *mut c_void {
    callback::create_with(cf, "create_loc_conf", beginning)
}

unsafe extern "C" fn create_request_conf(cf: *mut ngx_conf_t) -> *mut c_void {
    callback::create::<RequestConf>(cf, "create_request_conf")
}

unsafe extern "C" fn create_last_head(cf: *mut ngx_conf_t) -> *mut c_void {
    callback::create::<LastHead>(cf, "create_last_head")
}

unsafe extern "C" fn merge_loc_conf(
    cf: *mut ngx_conf_t,
    _outer: *mut c_void,
    _own: *mut c_void,
) -> *mut c_char {
    callback::merge(cf, "merge_loc_conf", merge::merge)
}

/// The filter module's merge, which comes after that of the proxy module.
unsafe extern "C" fn complete_loc_conf(
    cf: *mut ngx_conf_t,
    _outer: *mut c_void,
    _own: *mut c_void,
) -> *mut c_char {
    callback::merge(cf, "completion of merge_loc_conf", merge::complete)
}
