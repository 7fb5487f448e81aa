//! `clerk_proxy_status;`: the directive, and the page that it answers with.

use crate::conflict::Conflict;
use crate::error::Error;
use crate::known_name::Known;
use crate::metrics::{BUILD, NAME};
use crate::nginx::base::ffi::{
    ngx_conf_t, ngx_http_discard_request_body, ngx_http_output_filter, ngx_http_request_t,
    ngx_http_send_header, ngx_int_t, NGX_HTTP_GET, NGX_HTTP_HEAD, NGX_HTTP_INTERNAL_SERVER_ERROR,
    NGX_HTTP_NOT_ALLOWED, NGX_HTTP_OK,
};
use crate::nginx::base::module::Conf;
use crate::nginx::base::parser::{ConfExt, Stop};
use crate::nginx::base::pool::Pool;
use crate::nginx::base::status::OK;
use crate::nginx::base::written::Written;
use crate::nginx::base::{guard, headers};
use crate::nginx::config::state::{LocConf, Location, MainConf};
use crate::nginx::stock::layout::BUILT_FOR;
use crate::nginx::stock::level::{is_same, location_name, Level};
use crate::status_text::{Form, Page, Subject};

/// The directive's name.
pub const STATUS: &str = "clerk_proxy_status";

const SERVER_ERROR: ngx_int_t = NGX_HTTP_INTERNAL_SERVER_ERROR as ngx_int_t;
const NOT_ALLOWED: ngx_int_t = NGX_HTTP_NOT_ALLOWED as ngx_int_t;

/// Reads the directive.
pub fn set(cf: &mut ngx_conf_t) -> Result<(), Stop> {
    let mut own = Location::read(cf)?.borrow_mut();
    if own.status.is_some() {
        return Err(Error::Duplicate(STATUS).into());
    }
    let core = Level::read(cf)?.core();
    if core.handler.is_some() {
        return Err(Conflict::StatusBeside { location: location_name(core) }.into());
    }
    core.handler = Some(handler);
    own.status = Some(cf.place());
    MainConf::read(cf)?.status.is_shown.set(true);
    Ok(())
}

/// Refuses a directive whose location a later line has taken.
pub fn check(cf: &mut ngx_conf_t, own: &LocConf) -> Result<(), Stop> {
    let Some(place) = own.status else { return Ok(()) };
    let core = Level::read(cf)?.core();
    if is_same(core.handler, Some(handler)) {
        return Ok(());
    }
    cf.at(place, "", |_| Err(Conflict::StatusBeside { location: location_name(core) }.into()))
}

/// Answers a request.
unsafe extern "C" fn handler(r: *mut ngx_http_request_t) -> ngx_int_t {
    guard::request(r, "status", SERVER_ERROR, |r| {
        let reads = r.method == NGX_HTTP_GET as usize || r.method == NGX_HTTP_HEAD as usize;
        if reads {
            answer(r).unwrap_or(SERVER_ERROR)
        } else {
            NOT_ALLOWED
        }
    })
}

/// The module.
#[derive(Clone)]
struct Build;

impl Subject for Build {
    fn label(&self, number: usize) -> Option<(&'static str, &str)> {
        let labels = [("version", env!("CARGO_PKG_VERSION")), ("nginx_version", BUILT_FOR)];
        labels.get(number).copied()
    }

    fn value(&self, place: usize) -> Option<usize> {
        (place == 0).then_some(1)
    }
}

impl Subject for Known<'_> {
    fn label(&self, number: usize) -> Option<(&'static str, &str)> {
        (number == 0).then_some(("name", self.name))
    }

    fn value(&self, place: usize) -> Option<usize> {
        [Some(self.addresses), Some(self.found.into()), self.looked_up].get(place).copied()?
    }
}

/// Sends the page. `None` without memory.
fn answer(r: &mut ngx_http_request_t) -> Option<ngx_int_t> {
    let main = MainConf::of(r)?;
    let accept = headers::only(r, |name| name.eq_ignore_ascii_case(b"Accept"));
    let form = Form::wanted(accept.unwrap_or_default());
    let mut page = Page::new(Written::new(Pool::from(&*r)), form);
    page.add(&BUILD, &[Build].into_iter()).ok()?;
    page.add(&NAME, &main.common.borrow().upstreams.names.borrow().known()).ok()?;
    main.status.write(&mut page).ok()?;
    let (chain, len) = page.end().ok()?.end()?;
    let kind = headers::fixed(form.content_type());
    let out = &mut r.headers_out;
    (out.status, out.content_length_n) = (NGX_HTTP_OK as usize, i64::try_from(len).ok()?);
    (out.content_type, out.content_type_len) = (kind, kind.len);
    let is_head = r.method == NGX_HTTP_HEAD as usize;
    // SAFETY: what nginx's own handlers call, in their order; the body lives as long as the request.
    Some(unsafe {
        let status = match ngx_http_discard_request_body(r) {
            OK => ngx_http_send_header(r),
            status => status,
        };
        if status != OK || is_head {
            return Some(status);
        }
        ngx_http_output_filter(r, chain)
    })
}
