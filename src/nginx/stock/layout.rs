//! Checks that the structures of the running nginx are those of the headers that the module was built with. nginx
//! compares a version and a signature; forks have the same of both, but other structures.

use std::ffi::CStr;
use std::mem::{offset_of, MaybeUninit};

use crate::failure::Failure;
use crate::nginx::base::ffi::{
    ngx_conf_t, ngx_connection_t, ngx_core_conf_t, ngx_create_pool, ngx_destroy_pool,
    ngx_http_core_loc_conf_t, ngx_http_core_main_conf_t, ngx_http_core_srv_conf_t,
    ngx_http_request_t, ngx_http_upstream_conf_t, ngx_http_upstream_create, ngx_http_upstream_t,
};
use crate::nginx::base::parser::{Stop, NO_MEMORY};
use crate::nginx::base::status::OK;
use crate::nginx::base::{program, variables};
use crate::nginx::stock::directives;

/// The nginx of the headers, as it names itself.
pub const BUILT_FOR: &str = env!("CLERK_PROXY_BUILT_FOR");

/// A module's name, a directive or variable, and where its field is in the headers.
macro_rules! fields {
    ($($owner:literal $prefix:literal $structure:ident: $($field:ident)*;)*) => {
        [$($(($owner, concat!($prefix, stringify!($field)), offset_of!($structure, $field))),*),*]
    };
}

/// Directives whose fields are named like them and which all versions have.
const FIELDS: &[&[(&CStr, &str, usize)]] = &[
    &fields! {
        c"ngx_core_module" "" ngx_core_conf_t: timer_resolution debug_points working_directory;
        c"ngx_http_core_module" "" ngx_http_core_main_conf_t:
            server_names_hash_bucket_size variables_hash_bucket_size;
        c"ngx_http_core_module" "" ngx_http_core_srv_conf_t:
            request_pool_size large_client_header_buffers underscores_in_headers;
        c"ngx_http_core_module" "" ngx_http_core_loc_conf_t:
            client_max_body_size sendfile tcp_nodelay resolver_timeout log_not_found
            recursive_error_pages types_hash_bucket_size;
        c"ngx_http_proxy_module" "proxy_" ngx_http_upstream_conf_t:
            connect_timeout next_upstream_tries buffering pass_request_headers
            ignore_client_abort socket_keepalive;
    },
    #[cfg(nginx_http_cache)]
    &fields! {
        c"ngx_http_proxy_module" "proxy_" ngx_http_upstream_conf_t:
            cache_min_uses cache_lock cache_bypass no_cache;
    },
    #[cfg(nginx_http_ssl)]
    &fields! {
        c"ngx_http_proxy_module" "proxy_" ngx_http_upstream_conf_t:
            ssl_name ssl_server_name ssl_verify ssl_session_reuse;
    },
];

/// Compares the fields of directives, before any configuration is touched.
pub fn check_directives(cf: &ngx_conf_t) -> Result<(), Failure> {
    for &(module, name, expected) in FIELDS.iter().copied().flatten() {
        if let Some(found) = directives::field(cf, module, name) {
            compare(&format!("\"{name}\""), found.offset, expected)?;
        }
    }
    Ok(())
}

/// Variables whose data is the offset of their field in a request. Nobody can change these.
const VARIABLES: &[(&str, usize)] = &[
    ("request_uri", offset_of!(ngx_http_request_t, unparsed_uri)),
    ("uri", offset_of!(ngx_http_request_t, uri)),
    ("server_protocol", offset_of!(ngx_http_request_t, http_protocol)),
    ("http_host", offset_of!(ngx_http_request_t, headers_in.host)),
    ("http_user_agent", offset_of!(ngx_http_request_t, headers_in.user_agent)),
    ("content_type", offset_of!(ngx_http_request_t, headers_in.content_type)),
];

/// Compares the fields of requests and of their upstreams, once the core module has defined its variables.
pub fn check_requests(cf: &ngx_conf_t) -> Result<(), Stop> {
    for &(name, expected) in VARIABLES {
        if let Some(variable) = variables::find(cf, name) {
            compare(&format!("${name}"), variable.data, expected)?;
        }
    }
    check_upstream(cf)
}

/// Makes nginx create an upstream and checks its size and fields.
fn check_upstream(cf: &ngx_conf_t) -> Result<(), Stop> {
    let mut connection = MaybeUninit::<ngx_connection_t>::zeroed();
    // A request of a fork may be larger.
    let mut requests = MaybeUninit::<[ngx_http_request_t; 2]>::zeroed();
    let r = requests.as_mut_ptr().cast::<ngx_http_request_t>();
    // SAFETY: zero is a valid value for every field. The function allocates an upstream from the request's pool, sets
    // some of its fields, and looks at no more of the request than is set here. The pool is freed last.
    unsafe {
        let pool = ngx_create_pool(4096, cf.log);
        if pool.is_null() {
            return Err(NO_MEMORY);
        }
        (*connection.as_mut_ptr()).log = cf.log;
        ((*r).pool, (*r).connection) = (pool, connection.as_mut_ptr());
        let made = ngx_http_upstream_create(r) == OK;
        let u = (*r).upstream;
        let (start, end) = (u as usize, (*pool).d.last as usize);
        // With NGX_DEBUG_PALLOC it is outside of the pool's block.
        let found = end.checked_sub(start).filter(|_| start > pool as usize);
        let size = size_of::<ngx_http_upstream_t>();
        let alike = made
            && (*u).headers_in.content_length_n == -1
            && (*u).headers_in.last_modified_time == -1
            && (*u).peer.log == cf.log;
        ngx_destroy_pool(pool);
        if !made {
            return Err(NO_MEMORY);
        }
        if !alike || found.is_some_and(|found| found != size) {
            let found = found.unwrap_or_default();
            let difference = format!("an upstream has {found} bytes, not {size}, or other fields");
            return Err(other(difference).into());
        }
    }
    Ok(())
}

fn compare(what: &str, found: usize, expected: usize) -> Result<(), Failure> {
    if found == expected {
        return Ok(());
    }
    Err(other(format!("{what} is at {found} instead of {expected}")))
}

fn other(difference: String) -> Failure {
    let running = program::name().unwrap_or_else(|| "this nginx".to_owned());
    Failure::OtherNginx { built_for: BUILT_FOR, running, difference }
}
