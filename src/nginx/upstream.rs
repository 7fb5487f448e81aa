//! The implicit upstream: an `upstream {}` block of nginx's own that the user need not write.

use std::mem;

use ngx::ffi::{
    ngx_conf_t, ngx_http_upstream_server_t, ngx_http_upstream_srv_conf_t, ngx_parse_url, ngx_str_t,
    ngx_url_t, NGX_HTTP_UPSTREAM_CREATE,
};
use ngx::http::{HttpModuleMainConf, NgxHttpUpstreamModule};

use super::cf::{ConfExt, Place, Stop, NO_MEMORY, OK};
use super::{stock, Module};
use crate::directive::ClerkProxy;
use crate::error::Error;
use crate::frontend_api::Origin;
use crate::recipe::{SERVER_PARAMETERS, UPSTREAM};

/// An address that is never connected to: it holds the place of a server until its own are known.
const PLACEHOLDER: &str = "127.0.0.1:9";

/// Whether ORIGIN is the name of an `upstream {}` block of the user.
pub fn is_block(cf: &ngx_conf_t, origin: &Origin) -> bool {
    let Some(name) = origin.block_name() else { return false };
    blocks(cf).iter().any(|&block| {
        // SAFETY: the list holds the upstreams of this configuration, which live as long as it.
        let block = unsafe { &*block };
        block.flags & NGX_HTTP_UPSTREAM_CREATE as usize != 0
            && block.host.as_bytes().eq_ignore_ascii_case(name.as_bytes())
    })
}

fn blocks(cf: &ngx_conf_t) -> &[*mut ngx_http_upstream_srv_conf_t] {
    NgxHttpUpstreamModule::main_conf(cf).map_or(&[], |main| {
        // SAFETY: `upstreams` is an array of pointers (ngx_http_upstream_create_main_conf).
        unsafe { main.upstreams.as_slice() }
    })
}

/// Makes the upstream of a `clerk_proxy` line and returns its name.
pub fn make(cf: &mut ngx_conf_t, line: &ClerkProxy, place: Place) -> Result<String, Stop> {
    let origin = &line.origin;
    // A blank cannot come from a Host header and a user has no reason to write one: nobody's own proxy_pass
    // leads here, and ours never to a block of the user. A colon would be read as a port, a slash as a path.
    // The proxy URL is in the name because the name is in cache keys, where it must outlast a reload and
    // tell the users of the shared Frontend API apart.
    let plain = |text: &str| text.replace([':', '/'], "|");
    let url = plain(line.url.as_str().split_once("://").map_or("", |(_, rest)| rest));
    let first = format!("clerk_proxy {url} {}", plain(origin.tls_name(false)));
    let used = &mut Module::main_conf_mut(cf).ok_or(NO_MEMORY)?.upstreams;
    let number = used.entry(first.clone()).or_default();
    *number += 1;
    let name = if *number == 1 { first } else { format!("{first} {number}") };
    let server = origin.server();
    let addresses = resolve(cf, &server)?;
    let down = if addresses.is_some() { "" } else { " down" };
    let mut text = format!("server {PLACEHOLDER} {SERVER_PARAMETERS}{down};");
    for (directive, argument) in UPSTREAM {
        if stock::exists(cf, c"ngx_http_upstream_keepalive_module", directive) {
            text.extend([" ", directive, " ", argument, ";"]);
        }
    }
    text.push('}');
    cf.at(place, &text, |cf| {
        stock::block(cf, c"ngx_http_upstream_module", "upstream", &[name.as_bytes()])
    })
    .ok_or(NO_MEMORY)??;
    if let Some(url) = addresses {
        let name = cf.copy(&server)?;
        set_addresses(cf, &url, name).ok_or_else(|| Error::Internal("no upstream".to_owned()))?;
    }
    Ok(name)
}

/// Looks the server up as nginx does for a `server` line, but a failure is a warning: nginx must start, and
/// serve everything else, while a name cannot be resolved.
fn resolve(cf: &mut ngx_conf_t, server: &str) -> Result<Option<ngx_url_t>, Stop> {
    // SAFETY: zero is a valid value for every field of this plain C struct.
    let mut url: ngx_url_t = unsafe { mem::zeroed() };
    url.url = cf.copy(server)?;
    // SAFETY: `pool` is the configuration's; the URL holds an address or a name and a port.
    if unsafe { ngx_parse_url(cf.pool, &raw mut url) } == OK && url.naddrs > 0 {
        return Ok(Some(url));
    }
    cf.warn(&format!(
        "host not found for \"clerk_proxy\", requests for \"{server}\" get 502 until the name can be \
         resolved and nginx is reloaded"
    ));
    Ok(None)
}

fn set_addresses(cf: &ngx_conf_t, url: &ngx_url_t, name: ngx_str_t) -> Option<()> {
    let block = *blocks(cf).last()?;
    // SAFETY: the last upstream is the one that was just made; an `upstream {}` block has an array of
    // servers, and this one has the placeholder. `addrs` lives in the configuration's pool.
    let servers = unsafe { (*(*block).servers).as_slice_mut::<ngx_http_upstream_server_t>() };
    let server = servers.first_mut()?;
    (server.addrs, server.naddrs, server.name) = (url.addrs, url.naddrs, name);
    Some(())
}
