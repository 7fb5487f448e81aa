//! Counts a request that has ended. Only a configuration that shows the status has nginx call it.

use crate::counters::Counters;
use crate::metrics;
use crate::nginx::base::ffi::{
    ngx_conf_t, ngx_http_core_main_conf_t, ngx_http_handler_pt, ngx_http_phases_NGX_HTTP_LOG_PHASE,
    ngx_http_request_t, ngx_int_t, off_t,
};
use crate::nginx::base::links::{array, request};
use crate::nginx::base::module::StockConf;
use crate::nginx::base::parser::{Stop, NO_MEMORY};
use crate::nginx::base::pool::Pool;
use crate::nginx::base::status::OK;
use crate::nginx::base::{cached, guard};
use crate::nginx::request::notes::{noted, Note};
use crate::nginx::request::proxy::{self, Proxy};

/// Has nginx call the handler when it logs requests.
pub fn install(cf: &ngx_conf_t) -> Result<(), Stop> {
    let Some(core) = ngx_http_core_main_conf_t::of_mut(cf) else { return Ok(()) };
    let handlers = &mut core.phases[ngx_http_phases_NGX_HTTP_LOG_PHASE as usize].handlers;
    let ours: [ngx_http_handler_pt; 1] = [Some(handler)];
    let all = [array(handlers), &ours].concat();
    *handlers = *Pool::from(cf).array(&all).ok_or(NO_MEMORY)?;
    Ok(())
}

/// Counts a request of a location with `clerk_proxy`.
unsafe extern "C" fn handler(r: *mut ngx_http_request_t) -> ngx_int_t {
    guard::request(r, "count of a request", OK, |r| {
        let proxy = proxy::of(r);
        if let Some((proxy, counters)) = proxy.zip(proxy.and_then(|p| p.counted.counters())) {
            count(r, proxy, counters);
        }
        OK
    })
}

fn count(r: &ngx_http_request_t, proxy: &Proxy, counters: Counters) {
    let bytes = |number: off_t| usize::try_from(number).unwrap_or_default();
    counters.add(metrics::REQUEST, 1);
    counters.add(metrics::RECEIVED, bytes(r.request_length));
    counters.add(metrics::SENT, bytes(request::client(r).sent));
    let upstream = request::upstream(r);
    // As nginx logs it.
    let status = if r.err_status == 0 { r.headers_out.status } else { r.err_status };
    match &upstream {
        Some(upstream) if noted(r) == Note::Answered => {
            counters.add(metrics::reply(upstream.headers_in.status_n), 1);
        }
        _ if status >= 400 => counters.add(metrics::error(status), 1),
        _ => {}
    }
    if proxy.cache.is_some() {
        let state = upstream.and_then(|upstream| metrics::cache(cached::state(upstream)));
        if let Some(state) = state {
            counters.add(state, 1);
        }
    }
}
