//! nginx's header lists, and dropping the headers that a `Connection` header names.

use std::cell::Cell;
use std::ptr::{self, NonNull};

use crate::hop_by_hop::{names_nothing, Dropped};
use crate::nginx::base::ffi::{
    ngx_http_request_t, ngx_list_part_t, ngx_list_push, ngx_list_t, ngx_str_t, ngx_table_elt_t,
};
use crate::nginx::base::links::list;
use crate::nginx::base::plain::Plain;
use crate::nginx::base::pool::Pool;
use crate::nginx::base::variables;

const CONNECTION: &[u8; 10] = b"Connection";

/// The headers of a list, in order, as the parts that nginx keeps them in. Their texts live as long as the request.
fn parts(headers: &ngx_list_t) -> impl Iterator<Item = &[Cell<ngx_table_elt_t>]> {
    list(headers)
}

fn all(headers: &ngx_list_t) -> impl Iterator<Item = &Cell<ngx_table_elt_t>> {
    parts(headers).flatten()
}

/// The headers that the `Connection` headers of a list remove.
fn dropped_by(list: &ngx_list_t) -> Dropped<'static> {
    let mut named = Vec::new();
    for part in parts(list) {
        for header in part.iter().map(Cell::get) {
            // The length is compared first, for speed; "User-Agent" and "Set-Cookie" have the same.
            if header.key.len != CONNECTION.len() {
                continue;
            }
            let (key, value): (&[u8], &[u8]) = (header.key.into(), header.value.into());
            let is_connection = key == CONNECTION
                || (matches!(key[0], b'C' | b'c') && key.eq_ignore_ascii_case(CONNECTION));
            if is_connection && !names_nothing(value) {
                named.push(value);
            }
        }
    }
    if named.is_empty() {
        return Dropped::default();
    }
    Dropped::by(named.into_iter())
}

/// Drops the request headers that the client's `Connection` names, but those that stay. The stock proxy module reads
/// this list later, once it has the body or a connection; the names that it sets itself are not taken from here.
pub fn drop_named_in_request(
    r: &mut ngx_http_request_t,
    stays: impl Fn(&[u8]) -> bool,
) -> Option<()> {
    let dropped = dropped_by(&r.headers_in.headers).but(stays);
    if dropped.is_empty() {
        return Some(());
    }
    drop_from_request(r, |name, _| dropped.contains(name))
}

/// Drops request headers by name and value. The proxy module and `Vary` in the cache no longer see them; variables of the
/// configuration still do.
pub fn drop_from_request(
    r: &mut ngx_http_request_t,
    is_meant: impl Fn(&[u8], &[u8]) -> bool,
) -> Option<()> {
    if !pairs(&r.headers_in.headers).any(|(name, value)| is_meant(name, value)) {
        return Some(());
    }
    keep_in_request(r, |one| !is_meant(one.key.as_bytes(), one.value.as_bytes()))
}

/// Keeps some of the request headers, as they are or changed.
pub fn keep_in_request(
    r: &mut ngx_http_request_t,
    mut stays: impl FnMut(&mut ngx_table_elt_t) -> bool,
) -> Option<()> {
    // Logs, subrequests and lines such as "proxy_no_cache $http_x" read them later.
    variables::keep_headers(r)?;
    // There must be room: nginx and other modules add to the list.
    let room = all(&r.headers_in.headers).count().max(1);
    let all = all(&r.headers_in.headers).map(Cell::get);
    let kept = all.filter_map(|mut one| stays(&mut one).then_some(one));
    let kept = Pool::from(&*r).fill(room, kept)?;
    let (elts, nelts) = (kept.as_mut_ptr().cast(), kept.len());
    let list = &mut r.headers_in.headers;
    list.part = ngx_list_part_t { elts, nelts, next: ptr::null_mut() };
    (list.nalloc, list.last) = (room, &raw mut list.part);
    Some(())
}

/// Whether the request has the header.
pub fn is_in_request(r: &ngx_http_request_t, name: &str) -> bool {
    pairs(&r.headers_in.headers).any(|(other, _)| other.eq_ignore_ascii_case(name.as_bytes()))
}

/// The value of the only header of the request whose name is meant.
pub fn only(r: &ngx_http_request_t, is_meant: impl Fn(&[u8]) -> bool) -> Option<&[u8]> {
    // Other modules take a header away by this number.
    let all = all(&r.headers_in.headers).map(Cell::get).filter(|element| element.hash != 0);
    let mut meant = all.filter(|element| is_meant(element.key.as_bytes()));
    let value = meant.next()?.value;
    meant.next().is_none().then(|| value.into())
}

/// The names and values of a list.
pub fn pairs<'a>(list: &ngx_list_t) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a, '_> {
    all(list).map(|element| (element.get().key.into(), element.get().value.into()))
}

/// Drops the reply headers that the upstream's `Connection` names.
pub fn drop_named_in_reply(r: &mut ngx_http_request_t, from_upstream: &ngx_list_t) {
    let dropped = dropped_by(from_upstream);
    if !dropped.is_empty() {
        remove_from_reply(r, |name| dropped.contains(name));
    }
}

/// Removes headers of the reply.
pub fn remove_from_reply(r: &mut ngx_http_request_t, is_meant: impl Fn(&[u8]) -> bool) {
    for element in all(&r.headers_out.headers).filter(|one| is_meant(one.get().key.as_bytes())) {
        // "Not sent".
        element.set(ngx_table_elt_t { hash: 0, ..element.get() });
    }
}

/// Whether a header of the upstream's may lead a browser to another URL.
pub fn may_lead_elsewhere(list: &ngx_list_t) -> bool {
    let names = [&b"Location"[..], b"Refresh"];
    // The length is compared first, for speed.
    let may = |key: ngx_str_t| {
        matches!(key.len, 7 | 8)
            && names.iter().any(|name| key.as_bytes().eq_ignore_ascii_case(name))
    };
    parts(list).any(|part| part.iter().any(|header| may(header.get().key)))
}

/// Replaces values of the reply's headers. `None` without memory.
pub fn replace_in_reply(
    r: &mut ngx_http_request_t,
    by: impl Fn(&[u8], &[u8]) -> Option<Vec<u8>>,
) -> Option<()> {
    let mut values = Vec::new();
    for (name, value) in pairs(&r.headers_out.headers) {
        values.push(by(name, value).map(|value| Pool::from(&*r).text(value)));
    }
    for (element, value) in all(&r.headers_out.headers).zip(values) {
        if let Some(value) = value {
            element.set(ngx_table_elt_t { value: value?, ..element.get() });
        }
    }
    Some(())
}

/// A text that nginx only reads.
pub fn fixed(text: &'static str) -> ngx_str_t {
    ngx_str_t { len: text.len(), data: text.as_ptr().cast_mut() }
}

/// Adds a header to the reply, whose value lives as long as the request.
pub fn add_to_reply(
    r: &mut ngx_http_request_t,
    name: &'static str,
    value: ngx_str_t,
) -> Option<()> {
    let key = fixed(name);
    let mut header = ngx_table_elt_t::zeroed();
    (header.hash, header.key, header.value) = (1, key, value);
    push(&mut r.headers_out.headers, header).map(|_| ())
}

/// Adds a header, whose texts live as long as the request, to one of the request's lists.
pub fn push(list: &mut ngx_list_t, header: ngx_table_elt_t) -> Option<&mut ngx_table_elt_t> {
    // SAFETY: the list holds headers; what is pushed is null or memory for one.
    unsafe {
        let element = NonNull::new(ngx_list_push(list).cast::<ngx_table_elt_t>())?;
        element.write(header);
        Some(&mut *element.as_ptr())
    }
}
