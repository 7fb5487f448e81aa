//! The filters of replies. nginx's own error pages become JSON. Replies of the Frontend API pass without their
//! hop-by-hop headers, and event streams pass unbuffered.

use std::cell::Cell;
use std::ptr::{self, NonNull};

use crate::error_body::{error_body, Cause};
use crate::nginx::base::ffi::{
    ngx_chain_t, ngx_http_output_body_filter_pt, ngx_http_output_header_filter_pt,
    ngx_http_request_t, ngx_http_top_body_filter, ngx_http_top_header_filter, ngx_http_upstream_t,
    ngx_int_t, ngx_str_t, NGX_HTTP_BAD_GATEWAY, NGX_HTTP_SWITCHING_PROTOCOLS,
};
use crate::nginx::base::links::request;
use crate::nginx::base::pool::Pool;
use crate::nginx::base::status::{ERROR, OK};
use crate::nginx::base::{cached, expression, guard, headers, log};
use crate::nginx::request::notes::{note, noted, Note};
use crate::nginx::request::proxy::{self, Proxy};
use crate::nginx::request::{cache, uri};

/// The filter after one of ours.
struct Next<T>(Cell<T>);

// SAFETY: nginx configures and serves in one thread.
unsafe impl<T> Sync for Next<T> {}

static NEXT_HEADER_FILTER: Next<ngx_http_output_header_filter_pt> = Next(Cell::new(None));
static NEXT_BODY_FILTER: Next<ngx_http_output_body_filter_pt> = Next(Cell::new(None));

/// Puts the filters before those that exist already.
pub fn install() {
    // SAFETY: nginx configures in one thread, and calls no filter meanwhile.
    unsafe {
        NEXT_HEADER_FILTER.0.set(ngx_http_top_header_filter);
        ngx_http_top_header_filter = Some(header_filter);
        NEXT_BODY_FILTER.0.set(ngx_http_top_body_filter);
        ngx_http_top_body_filter = Some(body_filter);
    }
}

unsafe extern "C" fn header_filter(r: *mut ngx_http_request_t) -> ngx_int_t {
    let next = Ok(NEXT_HEADER_FILTER.0.get());
    guard::handler(r, "header filter", next, |r| {
        let Some(proxy) = proxy::of(r) else { return next };
        if let Some(upstream) = answered_by(r) {
            note(r, Note::Nothing);
            filter_reply(r, upstream, proxy)?;
            note(r, Note::Answered);
            cache::note_reply(r, proxy);
        } else if r.err_status >= 400 && ptr::eq(r, r.main) {
            // The reply to a subrequest becomes a part of another reply.
            replace_error(r).ok_or(ERROR)?;
        }
        next
    })
}

/// The upstream, if this is its reply and not an error of nginx's own.
///
/// `err_status` alone does not tell, since an `error_page` can lead here with it set; nor do the flags of the
/// request, which bindgen looks for at the wrong place where a newer nginx has them begin inside of a word.
fn answered_by<'a>(r: &ngx_http_request_t) -> Option<&'a mut ngx_http_upstream_t> {
    let upstream = request::upstream(r)?;
    // nginx clears what was noted before a filter, such as that of ranges, has it answer in place of a reply.
    let meant = r.err_status == 0 || noted(r) == Note::ByErrorPage;
    // nginx takes the cleanup away before it makes an error of its own; a reply from the cache needs none.
    (meant && (cached::is_hit(upstream) || !upstream.cleanup.is_null())).then_some(upstream)
}

/// The error is a status from 300 that nginx answers with instead.
fn filter_reply(
    r: &mut ngx_http_request_t,
    upstream: &mut ngx_http_upstream_t,
    proxy: &Proxy,
) -> Result<(), ngx_int_t> {
    // Without a status line nginx takes any bytes for HTTP/0.9, and would speak that to the client as well.
    if upstream.headers_in.status_n == 0 {
        // HTTP/2 and HTTP/3 leave both numbers 0; the text is what nginx logs as the protocol.
        r.http_version = match r.http_protocol.as_bytes() {
            b"HTTP/2.0" => 2000,
            b"HTTP/3.0" => 3000,
            _ => (r.http_major() * 1000 + r.http_minor()) as usize,
        };
        return Err(NGX_HTTP_BAD_GATEWAY as ngx_int_t);
    }
    if r.headers_out.status == NGX_HTTP_SWITCHING_PROTOCOLS as usize {
        // nginx would open a tunnel for whatever this client sends.
        if !proxy.upgrades || r.headers_in.upgrade.is_null() {
            log::error(r, "upstream sent 101 although the request asked for no other protocol");
            return Err(NGX_HTTP_BAD_GATEWAY as ngx_int_t);
        }
    } else {
        headers::drop_named_in_reply(r, &upstream.headers_in.headers);
        if proxy.upgrades {
            headers::remove_from_reply(r, |name| name.eq_ignore_ascii_case(b"Upgrade"));
        }
    }
    follow_redirects(r, upstream, proxy).ok_or(ERROR)?;
    if proxy.cache.is_some() {
        cache::count_age(r, upstream).ok_or(ERROR)?;
    }
    let kind = r.headers_out.content_type.as_bytes();
    let event_stream = b"text/event-stream";
    // nginx looks at this flag after the header is sent.
    if kind.get(..event_stream.len()).is_some_and(|kind| kind.eq_ignore_ascii_case(event_stream)) {
        upstream.set_buffering(0);
    }
    Ok(())
}

/// Has redirects to the Frontend API lead to the proxy. `None` without memory.
fn follow_redirects(
    r: &mut ngx_http_request_t,
    upstream: &ngx_http_upstream_t,
    proxy: &Proxy,
) -> Option<()> {
    let Some(redirects) = &proxy.redirects else { return Some(()) };
    if !headers::may_lead_elsewhere(&upstream.headers_in.headers) {
        return Some(());
    }
    let url = match &proxy.url {
        Some((_, expression)) => expression::as_text(expression.value(r)).to_owned(),
        None => redirects.proxy_url.clone(),
    };
    let mut asked = Vec::new();
    if let Some(uri) = uri::of(r, proxy) {
        asked.resize(uri.len(), 0);
        uri.write(&mut asked);
    }
    // What a `proxy_redirect` of the user's has changed leads where he wants it.
    let is_unchanged = |value: &[u8]| {
        headers::pairs(&upstream.headers_in.headers).any(|(_, original)| original == value)
    };
    headers::replace_in_reply(r, |name, value| {
        redirects.header(name, value, &asked, &url).filter(|_| is_unchanged(value))
    })
}

/// Prepares the body that replaces nginx's error page and sets the headers that go with it.
fn replace_error(r: &mut ngx_http_request_t) -> Option<()> {
    const TYPE: &str = "application/json";
    let mismatch = noted(r) == Note::PathMismatch;
    let cause = if mismatch { Cause::PathMismatch } else { Cause::Status };
    // nginx has put the status that is sent, which differs from `err_status` for its private ones.
    let status = u16::try_from(r.headers_out.status).unwrap_or(500);
    let body = error_body(status, cause);
    let (chain, buffer) = Pool::from(&*r).chain(body.len(), body.bytes())?;
    buffer.set_last_buf(1);
    buffer.set_last_in_chain(1);
    note(r, Note::Body(NonNull::from(chain)));
    let out = &mut r.headers_out;
    out.content_type = ngx_str_t { len: TYPE.len(), data: TYPE.as_ptr().cast_mut() };
    out.content_type_len = TYPE.len();
    out.content_type_lowcase = ptr::null_mut();
    out.charset = ngx_str_t::empty();
    out.content_length_n = i64::try_from(body.len()).ok()?;
    (out.content_length, out.content_encoding) = (ptr::null_mut(), ptr::null_mut());
    // Of a page that is replaced, or of a reply from the cache that could not be sent.
    headers::remove_from_reply(r, |name| {
        let names = ["Cache-Control", "Content-Encoding", "Content-Length", "Expires"];
        names.iter().any(|other| name.eq_ignore_ascii_case(other.as_bytes()))
    });
    headers::add_to_reply(r, "Cache-Control", headers::fixed("no-store"))
}

unsafe extern "C" fn body_filter(
    r: *mut ngx_http_request_t,
    mut chain: *mut ngx_chain_t,
) -> ngx_int_t {
    guard::request(r, "body filter", OK, |r| {
        // A null chain only asks to send on what is held back.
        if !chain.is_null() {
            if let Note::Body(_) | Note::BodySent = noted(r) {
                consume(chain);
                chain = ptr::null_mut();
            }
            if let Note::Body(body) = noted(r) {
                chain = body.as_ptr();
                note(r, Note::BodySent);
            }
        }
        OK
    });
    match NEXT_BODY_FILTER.0.get() {
        // SAFETY: the next filter takes the request that this one was given and a chain of buffers or null.
        Some(next) => unsafe { next(r, chain) },
        None => ERROR,
    }
}

/// Marks the page that is replaced as sent, so that nobody waits for it.
fn consume(mut chain: *mut ngx_chain_t) {
    // SAFETY: a chain ends with null and each link has a buffer.
    unsafe {
        while let Some(link) = chain.as_ref() {
            let buffer = &mut *link.buf;
            (buffer.pos, buffer.file_pos) = (buffer.last, buffer.file_last);
            chain = link.next;
        }
    }
}
