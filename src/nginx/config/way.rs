//! The way of a location's requests to the Frontend API: a stock proxy location, an upstream, a TLS context.

use std::num::NonZeroU16;

use crate::conflict::Conflict;
use crate::connection_settings::{can_wait, context_of, speaks_http_1, varying, Content};
use crate::failure::Failure;
use crate::nginx::base::ffi::{ngx_conf_t, ngx_http_handler_pt};
use crate::nginx::base::parser::Stop;
use crate::nginx::config::apply::Block;
use crate::nginx::config::common::Common;
use crate::nginx::request::{handler, variables};
use crate::nginx::stock::level::is_same;
use crate::nginx::stock::settings::UserSettings;
use crate::nginx::stock::tls_context::{self, Shared};
use crate::nginx::upstream::implicit::{keeps_connections, Upstreams};
use crate::recipe::KEEPALIVE;

/// The way of requests to the Frontend API.
pub struct Way {
    /// The stock proxy module's handler.
    pub handler: ngx_http_handler_pt,
    /// The TLS context, if connections are verified.
    pub context: Option<Shared>,
    /// Whether connections are verified.
    pub verified: bool,
    /// Whether requests have a request line.
    pub has_line: bool,
    /// The upstream whose connections can be kept ready, and how many.
    pub warm: Option<(String, usize)>,
    /// What is effective in the location, the recipe included. A location that borrows a context says later that it
    /// does not verify.
    pub settings: UserSettings,
}

impl Block<'_> {
    /// Has the stock proxy module take the location's requests to the upstream.
    pub fn way(
        &self,
        cf: &mut ngx_conf_t,
        outer: Option<&UserSettings>,
        in_block: bool,
        common: &mut Common,
    ) -> Result<Way, Stop> {
        let line = self.line;
        // The settings of connections, now that the recipe is part of them.
        let around = self.nested.as_ref().map_or(outer, |nested| Some(nested.around));
        let settings = self.stock.written_in(self.level).within(around);
        let connection = self.stock.connection(&settings, line.origin.tls);
        let verified = line.origin.tls && !self.stock.is_off(&settings, "proxy_ssl_verify");
        if !line.origin.tls {
            // nginx assumes that any `proxy_pass` with variables may use TLS.
            tls_context::do_not_verify(self.stock, self.level);
        }
        let context = verified.then(|| self.share_context(common, context_of(&connection)));
        let can_wait = keeps_same(cf, &connection)? && !in_block && can_wait(&connection);
        let has_line = speaks_http_1(&connection);
        let (handler, upstream) = self.delegate(cf, &mut common.upstreams, connection, has_line)?;
        let keepalive = usize::from(line.keepalive.map_or(KEEPALIVE, NonZeroU16::get));
        let warm = can_wait.then(|| (upstream, keepalive.min(line.warm.into())));
        Ok(Way { handler, context, verified, has_line, warm, settings })
    }

    /// Shares the TLS context of an earlier location, or makes this location's the one to share.
    fn share_context(&self, common: &mut Common, made_of: Content) -> Shared {
        let own = Shared::lend(self.stock, self.level);
        let context = *common.contexts.entry(made_of).or_insert(own);
        if context.is_lent_by(self.level) {
            // The location around may have borrowed one.
            context.make(self.level);
        } else {
            context.borrow(self.level);
        }
        context
    }

    /// Makes this location a stock proxy location, whose handler ours calls. If requests have a request line, the URI
    /// is put there, see `request::line`.
    fn delegate(
        &self,
        cf: &mut ngx_conf_t,
        upstreams: &mut Upstreams,
        connection: Content,
        has_line: bool,
    ) -> Result<(ngx_http_handler_pt, String), Stop> {
        let origin = &self.line.origin;
        let name = upstreams.name(cf, self.line, connection, self.place)?;
        let (scheme, path) = (origin.scheme(), &origin.path);
        let url = if has_line {
            format!("{scheme}://{name}")
        } else {
            format!("{scheme}://{name}{path}${}", variables::URI)
        };
        self.stock.set(cf, self.level, "proxy_pass", &[url.as_bytes()])?;
        let core = self.level.core();
        let delegate = core.handler.replace(handler::content_handler);
        if is_same(delegate, Some(handler::content_handler)) {
            return Err(Failure::Internal("proxy_pass was not taken".to_owned()).into());
        }
        Ok((delegate, name))
    }
}

/// Whether nginx keeps connections with these settings, which must be the same for all requests then.
fn keeps_same(cf: &ngx_conf_t, connection: &Content) -> Result<bool, Conflict> {
    let keeps = keeps_connections(cf);
    match varying(connection).filter(|_| keeps) {
        Some(directive) => Err(Conflict::Varying { directive }),
        None => Ok(keeps),
    }
}
