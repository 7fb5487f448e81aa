//! The head of a reply: its plain header lines are read here, several times as fast as by nginx, and with the same
//! result; the status line, the head's end and all that is odd are left to the stock proxy module.

use std::cell::RefCell;
use std::ffi::c_void;
use std::mem;
use std::ptr;
use std::slice;
use std::sync::OnceLock;

use crate::nginx::base::ffi::{
    ngx_hash_find, ngx_http_request_t, ngx_http_upstream_header_t, ngx_http_upstream_main_conf_t,
    ngx_int_t, ngx_list_push, ngx_pnalloc, ngx_table_elt_t, NGX_AGAIN, NGX_LOG_DEBUG_HTTP,
};
use crate::nginx::base::guard;
use crate::nginx::base::module::{Conf, Filter, Reach};
use crate::nginx::base::status::{ERROR, OK};
use crate::nginx::request::proxy::Proxy;
use crate::reply_head::{line_len, Names};

const AGAIN: ngx_int_t = NGX_AGAIN as ngx_int_t;

/// What nginx calls with each part of a head.
type Process = unsafe extern "C" fn(*mut ngx_http_request_t) -> ngx_int_t;

/// The proxy module's functions of HTTP/1, which have no names outside of it: for a status line and what follows it,
/// for what follows alone, and what it does before a request is tried again.
static STATUS_LINE: OnceLock<Process> = OnceLock::new();
static LINES: OnceLock<Process> = OnceLock::new();
static REINIT: OnceLock<Process> = OnceLock::new();

/// What a configuration remembers of the replies that came in.
#[derive(Default)]
pub struct LastHead(RefCell<Names<*const ngx_http_upstream_header_t>>);

// SAFETY: `create_last_head` of `mod.rs` makes a `LastHead`.
unsafe impl Conf for LastHead {
    type Of = Filter;
    const REACH: Reach = Reach::Main;
}

/// Has nginx read the head of this request's reply by way of this module. Nothing happens where another module is in
/// the way, whose functions do not lie in the file of the proxy module's, nor for a reply over HTTP/2.
///
/// # Safety
///
/// The request has an upstream, which the proxy module has prepared as the location says.
pub unsafe fn install(r: *mut ngx_http_request_t, proxy: &Proxy) {
    let stock = proxy.cache.as_ref().map_or(proxy.delegate, |cache| cache.next);
    let (Some(stock), Some(_)) = (stock, &proxy.base) else { return };
    // SAFETY: promised by the caller.
    let u = unsafe { &mut *(*r).upstream };
    if is_stock(&STATUS_LINE, u.process_header, stock) {
        u.process_header = Some(status_line);
    }
    if is_stock(&REINIT, u.reinit_request, stock) {
        u.reinit_request = Some(reinit);
    }
}

/// Whether it is the known function. The first that lies in the proxy module's file gets known.
fn is_stock(known: &OnceLock<Process>, found: Option<Process>, handler: Process) -> bool {
    let Some(found) = found else { return false };
    if known.get().is_none() && file(found).is_some_and(|base| Some(base) == file(handler)) {
        let _ = known.set(found);
    }
    known.get().is_some_and(|known| *known as usize == found as usize)
}

/// Where the file that holds the function begins in memory.
fn file(function: Process) -> Option<*mut c_void> {
    // SAFETY: zero is a valid value for every field; the function only looks for the address.
    unsafe {
        let mut found: libc::Dl_info = mem::zeroed();
        (libc::dladdr(function as *const c_void, &raw mut found) != 0).then_some(found.dli_fbase)
    }
}

unsafe extern "C" fn reinit(r: *mut ngx_http_request_t) -> ngx_int_t {
    let Some(&stock) = REINIT.get() else { return ERROR };
    guard::request(r, "another try", ERROR, |r| {
        let r = ptr::from_mut(r);
        // SAFETY: what nginx would have called without us; then the request's upstream is as it was at first.
        unsafe {
            let status = stock(r);
            let u = (*r).upstream;
            if is_stock(&STATUS_LINE, (*u).process_header, stock) {
                (*u).process_header = Some(status_line);
            }
            status
        }
    })
}

unsafe extern "C" fn status_line(r: *mut ngx_http_request_t) -> ngx_int_t {
    let Some(&stock) = STATUS_LINE.get() else { return ERROR };
    guard::request(r, "status line", ERROR, |r| {
        let r = ptr::from_mut(r);
        // SAFETY: nginx calls this with what has come of the head in the upstream's buffer.
        unsafe {
            let u = (*r).upstream;
            (*u).process_header = Some(stock);
            let (whole, last) = (is_plain(r), (*u).buffer.last);
            // Replies before the last one (1xx) stand here, with the status line in front; nginx knows what they are.
            // The stock function goes on with what follows a status line at once, if it sees it.
            if let Some(len) = line_len(bytes(r)).filter(|_| whole) {
                (*u).buffer.last = (*u).buffer.pos.add(len);
            }
            let status = stock(r);
            (*u).buffer.last = last;
            let next = (*u).process_header.filter(|next| *next as usize != stock as usize);
            match next {
                None if status == AGAIN => (*u).process_header = Some(status_line),
                // A reply before the last one is nginx's own affair.
                Some(next) if whole && status == AGAIN && (*u).headers_in.status_n >= 200 => {
                    LINES.get_or_init(|| next);
                    return lines_of(r, next);
                }
                Some(next) if whole && status == AGAIN => return next(r),
                _ => {}
            }
            status
        }
    })
}

unsafe extern "C" fn lines(r: *mut ngx_http_request_t) -> ngx_int_t {
    let Some(&stock) = LINES.get() else { return ERROR };
    // SAFETY: as above.
    guard::request(r, "header lines", ERROR, |r| unsafe { lines_of(r, stock) })
}

/// Reads plain lines, and leaves the rest to the stock function.
///
/// # Safety
///
/// The request has an upstream whose buffer holds a part of the reply's head, behind its status line.
unsafe fn lines_of(r: *mut ngx_http_request_t, stock: Process) -> ngx_int_t {
    // SAFETY: promised by the caller. The stock function is called as nginx would have called it, after the lines that
    // it would have read first.
    unsafe {
        let u = (*r).upstream;
        (*u).process_header = Some(stock);
        if is_plain(r) {
            let status = take_lines(r);
            if status != OK {
                return status;
            }
        }
        let status = stock(r);
        if status == AGAIN {
            (*u).process_header = Some(lines);
        }
        status
    }
}

/// Whether nginx is between two lines of a head that comes from a server, and writes no debug log of each line.
///
/// # Safety
///
/// As in `lines_of`.
unsafe fn is_plain(r: *mut ngx_http_request_t) -> bool {
    // SAFETY: promised by the caller; a request has a connection with a log. A cached head stays in the cache's buffer.
    unsafe {
        let cache = (*r).cache;
        let cached = !cache.is_null()
            && !(*cache).buf.is_null()
            && ptr::eq((*(*cache).buf).start, (*(*r).upstream).buffer.start);
        let debug = (*(*(*r).connection).log).log_level & NGX_LOG_DEBUG_HTTP as usize != 0;
        (*r).state == 0 && !cached && !debug
    }
}

/// What has come of the head and is not read yet.
///
/// # Safety
///
/// As in `lines_of`; the buffer is not written to meanwhile.
unsafe fn bytes<'a>(r: *mut ngx_http_request_t) -> &'a [u8] {
    // SAFETY: promised by the caller.
    unsafe {
        let b = &(*(*r).upstream).buffer;
        slice::from_raw_parts(b.pos, b.last.offset_from(b.pos).unsigned_abs())
    }
}

/// Takes whole plain lines as the stock function would: into the list of headers and to their handlers.
///
/// # Safety
///
/// As in `lines_of`; nginx is between two lines.
unsafe fn take_lines(r: *mut ngx_http_request_t) -> ngx_int_t {
    // SAFETY: promised by the caller. The list and the pool are the request's; the memory that both give is null or has
    // room for what is written. What is remembered of names is of the configuration that the request is served by.
    unsafe {
        let u = (*r).upstream;
        let (Some(upstreams), Some(last)) =
            (ngx_http_upstream_main_conf_t::of(&*r), LastHead::of(&*r))
        else {
            return ERROR;
        };
        let known = ptr::from_ref(&upstreams.headers_in_hash).cast_mut();
        let find = |hash, lower: &[u8]| {
            ngx_hash_find(known, hash, lower.as_ptr().cast_mut(), lower.len())
                .cast::<ngx_http_upstream_header_t>()
                .cast_const()
        };
        let mut place = 0;
        let mut last = last.0.borrow_mut();
        while let Some(line) = last.line(place, bytes(r), find) {
            place += 1;
            (*u).buffer.pos = (*u).buffer.pos.add(line.len);
            let h = ngx_list_push(&raw mut (*u).headers_in.headers).cast::<ngx_table_elt_t>();
            if h.is_null() {
                return ERROR;
            }
            let (name, value) = (line.name, line.value);
            let data = ngx_pnalloc((*r).pool, 2 * name.len() + value.len() + 2).cast::<u8>();
            if data.is_null() {
                (*h).hash = 0;
                return ERROR;
            }
            (*h).hash = line.hash;
            (*h).key.len = name.len();
            (*h).key.data = data;
            (*h).value.len = value.len();
            (*h).value.data = data.add(name.len() + 1);
            (*h).lowcase_key = (*h).value.data.add(value.len() + 1);
            data.copy_from_nonoverlapping(name.as_ptr(), name.len());
            *data.add(name.len()) = 0;
            (*h).value.data.copy_from_nonoverlapping(value.as_ptr(), value.len());
            *(*h).value.data.add(value.len()) = 0;
            (*h).lowcase_key.copy_from_nonoverlapping(line.lower.as_ptr(), name.len());
            // Null, or what the upstream module knows of the header.
            if let Some(found) = line.found.as_ref() {
                let status = found.handler.map_or(OK, |handler| handler(r, h, found.offset));
                if status != OK {
                    return status;
                }
            }
        }
    }
    OK
}
