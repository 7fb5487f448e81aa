//! The head of a reply: its plain header lines are read here, several times as fast as by nginx, and with the same
//! result; the status line, the head's end and all that is odd are left to the stock proxy module.

use std::cell::RefCell;
use std::ffi::c_void;
use std::ptr;
use std::sync::OnceLock;

use crate::interim::{interim, Interim};
use crate::nginx::base::ffi::{
    ngx_hash_find, ngx_http_request_t, ngx_http_upstream_header_t as Header,
    ngx_http_upstream_main_conf_t, ngx_http_upstream_t, ngx_int_t, ngx_str_t, ngx_table_elt_t,
    NGX_AGAIN,
};
use crate::nginx::base::links::request::{self, bytes, bytes_mut};
use crate::nginx::base::links::HasLog;
use crate::nginx::base::module::{Conf, Filter, Reach};
use crate::nginx::base::plain::Plain;
use crate::nginx::base::pool::Pool;
use crate::nginx::base::status::{ERROR, OK};
use crate::nginx::base::symbols::file_of;
use crate::nginx::base::{cached, guard, headers, log};
use crate::nginx::request::proxy::Proxy;
#[cfg(nginx_early_hints)]
use crate::nginx::stock::level::Level;
use crate::reply_head::{line_len, Names};

#[cfg(feature = "compare-heads")]
#[path = "../../../tests/inside/heads.rs"]
mod heads;

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
pub struct LastHead(RefCell<Names<Option<&'static Header>>>);

// SAFETY: `create_last_head` of `mod.rs` makes a `LastHead`.
unsafe impl Conf for LastHead {
    type Of = Filter;
    const REACH: Reach = Reach::Main;
}

/// Has nginx read the head of this request's reply by way of this module, once the proxy module has prepared the
/// request's upstream. Nothing happens where another module is in the way, whose functions do not lie in the file of the
/// proxy module's, nor for a reply over HTTP/2.
pub fn install(r: &ngx_http_request_t, proxy: &Proxy) {
    let stock = proxy.cache.as_ref().map_or(proxy.delegate, |cache| cache.next);
    let (Some(stock), Some(_), Some(u)) = (stock, &proxy.base, request::upstream(r)) else {
        return;
    };
    if is_stock(&STATUS_LINE, u.process_header, stock) {
        #[cfg(feature = "compare-heads")]
        u.process_header.iter().for_each(|stock| heads::compare(r, *stock));
        u.process_header = Some(status_line);
    }
    if is_stock(&REINIT, u.reinit_request, stock) {
        u.reinit_request = Some(reinit);
    }
}

/// Whether it is the known function. The first that lies in the proxy module's file gets known.
fn is_stock(known: &OnceLock<Process>, found: Option<Process>, handler: Process) -> bool {
    let Some(found) = found else { return false };
    let file = |function: Process| file_of(function as *const c_void).map(|(base, _)| base);
    if known.get().is_none() && file(found).is_some_and(|base| Some(base) == file(handler)) {
        let _ = known.set(found);
    }
    known.get().is_some_and(|known| *known as usize == found as usize)
}

/// Calls a function of the proxy module's as nginx would have called it.
fn call(stock: Process, r: &mut ngx_http_request_t) -> ngx_int_t {
    // SAFETY: such a function takes a request with an upstream. No caller holds a reference to that meanwhile.
    unsafe { stock(r) }
}

unsafe extern "C" fn reinit(r: *mut ngx_http_request_t) -> ngx_int_t {
    let Some(&stock) = REINIT.get() else { return ERROR };
    guard::request(r, "another try", ERROR, |r| {
        let status = call(stock, r);
        // The upstream is as it was at first.
        let Some(u) = request::upstream(r) else { return ERROR };
        if is_stock(&STATUS_LINE, u.process_header, stock) {
            u.process_header = Some(status_line);
        }
        status
    })
}

unsafe extern "C" fn status_line(r: *mut ngx_http_request_t) -> ngx_int_t {
    let Some(&stock) = STATUS_LINE.get() else { return ERROR };
    guard::request(r, "status line", ERROR, |r| {
        let Some(u) = request::upstream(r) else { return ERROR };
        if !skip_interim(r, u) {
            return AGAIN;
        }
        u.process_header = Some(stock);
        let (whole, last) = (is_plain(r, u), u.buffer.last);
        // The stock function goes on with what follows a status line at once, if it sees it.
        if let Some(len) = line_len(bytes(&u.buffer)).filter(|_| whole) {
            u.buffer.last = u.buffer.pos.wrapping_add(len);
        }
        let status = call(stock, r);
        let Some(u) = request::upstream(r) else { return ERROR };
        u.buffer.last = last;
        match u.process_header.filter(|next| *next as usize != stock as usize) {
            Some(next) if whole && status == AGAIN && u.headers_in.status_n >= 200 => {
                LINES.get_or_init(|| next);
                return lines_of(r, next);
            }
            // Early hints, which are whole and followed by another status line.
            Some(next) if whole && status == AGAIN => {
                let status = call(next, r);
                expect_status_line(r, stock);
                return status;
            }
            _ => expect_status_line(r, stock),
        }
        status
    })
}

/// Has nginx come back here where the next thing is a status line.
fn expect_status_line(r: &ngx_http_request_t, stock: Process) {
    if let Some(u) = request::upstream(r) {
        if is_stock(&STATUS_LINE, u.process_header, stock) {
            u.process_header = Some(status_line);
        }
    }
}

/// Takes interim replies out of the buffer, except early hints that nginx passes on. False if one has not come to its
/// end.
fn skip_interim(r: &ngx_http_request_t, u: &mut ngx_http_upstream_t) -> bool {
    if r.state != 0 || cached::has_head(r, u) {
        return true;
    }
    loop {
        let len = match interim(bytes(&u.buffer)) {
            Interim::None => return true,
            Interim::Partial => return false,
            Interim::Whole([b'0', b'3'], _) if passes_early_hints(r) => return true,
            Interim::Whole(_, len) => len,
        };
        // The rest moves to where it would have been.
        let buffer = bytes_mut(&mut u.buffer);
        let rest = buffer.len() - len;
        buffer.copy_within(len.., 0);
        u.buffer.last = u.buffer.pos.wrapping_add(rest);
        if rest == 0 {
            return false;
        }
    }
}

/// Whether the location has an `early_hints`, which decides then.
#[cfg(nginx_early_hints)]
fn passes_early_hints(r: &ngx_http_request_t) -> bool {
    Level::of(r).is_some_and(|level| !level.core().early_hints.is_null())
}

#[cfg(not(nginx_early_hints))]
fn passes_early_hints(_r: &ngx_http_request_t) -> bool {
    false
}

unsafe extern "C" fn lines(r: *mut ngx_http_request_t) -> ngx_int_t {
    let Some(&stock) = LINES.get() else { return ERROR };
    guard::request(r, "header lines", ERROR, |r| lines_of(r, stock))
}

/// Reads plain lines of the head behind its status line, and leaves the rest to the stock function, which nginx would
/// have called for all of them.
fn lines_of(r: &mut ngx_http_request_t, stock: Process) -> ngx_int_t {
    let Some(u) = request::upstream(r) else { return ERROR };
    u.process_header = Some(stock);
    if is_plain(r, u) {
        let status = take_lines(r);
        if status != OK {
            return status;
        }
    }
    let status = call(stock, r);
    if let Some(u) = request::upstream(r).filter(|_| status == AGAIN) {
        u.process_header = Some(lines);
    }
    status
}

/// Whether nginx is between two lines of a head that comes from a server, and writes no debug log of each line.
fn is_plain(r: &ngx_http_request_t, u: &ngx_http_upstream_t) -> bool {
    r.state == 0 && !cached::has_head(r, u) && !log::is_debugged(request::client(r).logs_to())
}

/// Takes whole plain lines as the stock function would: into the list of headers and to their handlers.
fn take_lines(r: &mut ngx_http_request_t) -> ngx_int_t {
    let (Some(upstreams), Some(last)) = (ngx_http_upstream_main_conf_t::of(r), LastHead::of(r))
    else {
        return ERROR;
    };
    let known = ptr::from_ref(&upstreams.headers_in_hash).cast_mut();
    // SAFETY: the hash is complete, and holds these headers for as long as the configuration is in use.
    let find = |hash, lower: &[u8]| unsafe {
        ngx_hash_find(known, hash, lower.as_ptr().cast_mut(), lower.len()).cast::<Header>().as_ref()
    };
    let mut last = last.0.borrow_mut();
    for place in 0.. {
        let Some(u) = request::upstream(r) else { return ERROR };
        let Some(line) = last.line(place, bytes(&u.buffer), find) else { break };
        u.buffer.pos = u.buffer.pos.wrapping_add(line.len);
        let (name, value) = (line.name, line.value);
        let texts = Pool::from(&*r).concat([name, b"\0", value, b"\0", line.lower]);
        let Some(data) = texts.map(<[u8]>::as_mut_ptr) else { return ERROR };
        let mut header = ngx_table_elt_t::zeroed();
        header.hash = line.hash;
        header.key = ngx_str_t { len: name.len(), data };
        header.value = ngx_str_t { len: value.len(), data: data.wrapping_add(name.len() + 1) };
        header.lowcase_key = header.value.data.wrapping_add(value.len() + 1);
        let Some(header) = headers::push(&mut u.headers_in.headers, header) else { return ERROR };
        // What the upstream module knows of the header.
        let Some(Header { handler: Some(handler), offset, .. }) = line.found else { continue };
        // SAFETY: as nginx calls it.
        let status = unsafe { handler(r, header, *offset) };
        if status != OK {
            return status;
        }
    }
    OK
}
