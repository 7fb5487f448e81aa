//! Calls into nginx that fail when a test wants it: all that take memory, or anything else that can run out.
//!
//! The linker puts these functions in the place of nginx's own (`--wrap`, see `FAULTY_MODULE` of the integration
//! tests), so that no call of the module can be forgotten. Compiled for tests alone.

use std::env;
use std::ffi::c_void;
use std::fs::OpenOptions;
use std::os::fd::AsRawFd;
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::LazyLock;

use super::base::ffi::{
    ngx_chain_t, ngx_conf_t, ngx_cycle_t, ngx_event_t, ngx_http_compile_complex_value_t,
    ngx_http_complex_value_t, ngx_http_request_t, ngx_http_upstream_srv_conf_t,
    ngx_http_variable_t, ngx_http_variable_value_t, ngx_int_t, ngx_list_t, ngx_log_t,
    ngx_peer_connection_t, ngx_pool_cleanup_t, ngx_pool_t, ngx_process, ngx_shm_zone_t,
    ngx_slab_pool_t, ngx_str_t, ngx_uint_t, NGX_PROCESS_WORKER,
};

use super::base::status::{ERROR, OK};

/// What a test and all processes of its nginx share, in the file that `CLERK_PROXY_METER` names.
#[repr(C)]
struct Meter {
    /// Whose calls count: 1 those of the process that reads the configuration, 2 those of workers. Other
    /// numbers are for the allocations that tests/integration/kit/preload.c counts.
    who: AtomicU64,
    /// How many there were.
    count: AtomicU64,
    /// The first that fails, from 1, and the last.
    first: AtomicU64,
    last: AtomicU64,
}

fn fails() -> bool {
    static METER: LazyLock<Option<&Meter>> = LazyLock::new(|| {
        let path = env::var_os("CLERK_PROXY_METER")?;
        let file = OpenOptions::new().read(true).write(true).open(path).ok()?;
        let (protection, len) = (libc::PROT_READ | libc::PROT_WRITE, size_of::<Meter>());
        // SAFETY: a new mapping, which nobody unmaps, of a file that is as long.
        unsafe {
            let place =
                libc::mmap(ptr::null_mut(), len, protection, libc::MAP_SHARED, file.as_raw_fd(), 0);
            (place != libc::MAP_FAILED).then(|| &*place.cast::<Meter>())
        }
    });
    let Some(meter) = *METER else { return false };
    // SAFETY: nginx sets it before it starts a process of any kind.
    let worker = unsafe { ngx_process } == NGX_PROCESS_WORKER as usize;
    if meter.who.load(Relaxed) != 1 + u64::from(worker) {
        return false;
    }
    let number = meter.count.fetch_add(1, Relaxed) + 1;
    (meter.first.load(Relaxed)..=meter.last.load(Relaxed)).contains(&number)
}

macro_rules! failing {
    ($($wrap:ident = $real:ident($($name:ident: $type:ty),*) -> $result:ty, $failure:expr;)*) => {
        extern "C" {
            $(fn $real($($name: $type),*) -> $result;)*
        }
        $(
            #[no_mangle]
            unsafe extern "C" fn $wrap($($name: $type),*) -> $result {
                if fails() {
                    return $failure;
                }
                // SAFETY: promised by the caller, who means to call this.
                unsafe { $real($($name),*) }
            }
        )*
    };
}

type Compile = ngx_http_compile_complex_value_t;
type Value = ngx_http_complex_value_t;

failing! {
    __wrap_ngx_palloc = __real_ngx_palloc(pool: *mut ngx_pool_t, size: usize) -> *mut c_void, ptr::null_mut();
    __wrap_ngx_pnalloc = __real_ngx_pnalloc(pool: *mut ngx_pool_t, size: usize) -> *mut c_void, ptr::null_mut();
    __wrap_ngx_pcalloc = __real_ngx_pcalloc(pool: *mut ngx_pool_t, size: usize) -> *mut c_void, ptr::null_mut();
    __wrap_ngx_pool_cleanup_add = __real_ngx_pool_cleanup_add(pool: *mut ngx_pool_t, size: usize)
        -> *mut ngx_pool_cleanup_t, ptr::null_mut();
    __wrap_ngx_list_push = __real_ngx_list_push(list: *mut ngx_list_t) -> *mut c_void, ptr::null_mut();
    __wrap_ngx_create_pool = __real_ngx_create_pool(size: usize, log: *mut ngx_log_t) -> *mut ngx_pool_t,
        ptr::null_mut();
    __wrap_ngx_http_add_variable = __real_ngx_http_add_variable(
        cf: *mut ngx_conf_t, name: *mut ngx_str_t, flags: ngx_uint_t
    ) -> *mut ngx_http_variable_t, ptr::null_mut();
    __wrap_ngx_shared_memory_add = __real_ngx_shared_memory_add(
        cf: *mut ngx_conf_t, name: *mut ngx_str_t, size: usize, tag: *mut c_void
    ) -> *mut ngx_shm_zone_t, ptr::null_mut();
    __wrap_ngx_slab_calloc = __real_ngx_slab_calloc(pool: *mut ngx_slab_pool_t, size: usize) -> *mut c_void,
        ptr::null_mut();
    __wrap_ngx_conf_full_name = __real_ngx_conf_full_name(
        cycle: *mut ngx_cycle_t, name: *mut ngx_str_t, conf_prefix: ngx_uint_t
    ) -> ngx_int_t, ERROR;
    __wrap_ngx_http_compile_complex_value = __real_ngx_http_compile_complex_value(compile: *mut Compile)
        -> ngx_int_t, ERROR;
    __wrap_ngx_http_complex_value = __real_ngx_http_complex_value(
        r: *mut ngx_http_request_t, value: *mut Value, text: *mut ngx_str_t
    ) -> ngx_int_t, ERROR;
    __wrap_ngx_http_get_indexed_variable = __real_ngx_http_get_indexed_variable(
        r: *mut ngx_http_request_t, index: ngx_uint_t
    ) -> *mut ngx_http_variable_value_t, ptr::null_mut();
    __wrap_ngx_http_discard_request_body = __real_ngx_http_discard_request_body(r: *mut ngx_http_request_t)
        -> ngx_int_t, ERROR;
    __wrap_ngx_http_send_header = __real_ngx_http_send_header(r: *mut ngx_http_request_t) -> ngx_int_t, ERROR;
    __wrap_ngx_http_output_filter = __real_ngx_http_output_filter(
        r: *mut ngx_http_request_t, chain: *mut ngx_chain_t
    ) -> ngx_int_t, ERROR;
    __wrap_ngx_http_upstream_init_round_robin = __real_ngx_http_upstream_init_round_robin(
        cf: *mut ngx_conf_t, upstream: *mut ngx_http_upstream_srv_conf_t
    ) -> ngx_int_t, ERROR;
    __wrap_ngx_event_connect_peer = __real_ngx_event_connect_peer(peer: *mut ngx_peer_connection_t)
        -> ngx_int_t, ERROR;
    __wrap_ngx_handle_read_event = __real_ngx_handle_read_event(event: *mut ngx_event_t, flags: ngx_uint_t)
        -> ngx_int_t, ERROR;
}

#[cfg(nginx_peer_close)]
failing! {
    __wrap_ngx_event_connect = __real_ngx_event_connect(peer: *mut ngx_peer_connection_t, data: *mut c_void)
        -> ngx_int_t, ERROR;
}

extern "C" {
    fn __real_ngx_http_upstream_create(r: *mut ngx_http_request_t) -> ngx_int_t;
}

/// Makes an upstream as another nginx would: `CLERK_PROXY_DISPLACED` says what is elsewhere.
#[no_mangle]
unsafe extern "C" fn __wrap_ngx_http_upstream_create(r: *mut ngx_http_request_t) -> ngx_int_t {
    if fails() {
        return ERROR;
    }
    // SAFETY: promised by the caller, who means to call this; the request then has an upstream.
    unsafe {
        let status = __real_ngx_http_upstream_create(r);
        let Some(u) = (*r).upstream.as_mut().filter(|_| status == OK) else { return status };
        match env::var("CLERK_PROXY_DISPLACED").as_deref() {
            Ok("end") if __real_ngx_pnalloc((*r).pool, 8).is_null() => return ERROR,
            Ok("content_length_n") => u.headers_in.content_length_n = 0,
            Ok("last_modified_time") => u.headers_in.last_modified_time = 0,
            Ok("log") => u.peer.log = ptr::null_mut(),
            _ => {}
        }
        status
    }
}
