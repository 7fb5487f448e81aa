//! The life of a configuration: `clerk_proxy` is read where it stands and applied when all is read.
//!
//! Our `merge_loc_conf` runs before that of every stock module (see the module order in `mod.rs`). The stock
//! configurations of all blocks are then still as the user wrote them, so that the order of his lines does
//! not matter and the stock modules merge, check and compile what we add as if he had written it.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::ffi::c_void;
use std::rc::Rc;

use ngx::ffi::{ngx_conf_t, ngx_http_core_loc_conf_t, ngx_http_handler_pt};
use ngx::http::{HttpModuleLocationConf, HttpModuleMainConf};

use super::apply::{is_same, Block};
use super::cache::Cache;
use super::cf::{ConfExt, Place, Stop, NO_MEMORY};
use super::expression::Expression;
use super::resolver::Resolver;
use super::settings::{Content, UserSettings};
use super::stock::{Level, Stock};
use super::tls::{self, Shared};
use super::upstream::{keep_warm, Upstreams};
use super::warm::{Running, Wanted};
use super::{advice, handler, key, Module};
use crate::client_ip::{is_one_variable, Form};
use crate::directive::{parse_origin, parse_warm, ClerkProxy, InForce};
use crate::error::Error;
use crate::frontend_api::Origin;
use crate::proxy_url::ProxyUrl;
use crate::secret_key::{Key, Source};
use crate::warning::Warning;

/// What is known once per configuration.
#[derive(Default)]
pub struct MainConf {
    /// The `http` block itself.
    http: Option<Level>,
    /// Whether there is any `clerk_proxy`; without one nothing below happens.
    pub used: bool,
    stock: Option<Rc<Stock>>,
    /// Where the first `clerk_proxy` stands.
    pub first: Option<Place>,
    /// Whether the log of any location has the headers of requests.
    pub logs_requests: bool,
    /// The upstreams in use.
    pub upstreams: Upstreams,
    /// The names that implicit upstreams follow.
    pub resolver: Resolver,
    /// The TLS contexts, by what they are made of.
    pub contexts: HashMap<Content, Shared>,
    /// The connections that this process keeps ready.
    pub warm: Vec<Running>,
}

/// What is known per block.
#[derive(Default)]
pub struct LocConf {
    /// The `clerk_proxy` line of this block, until it is applied; the key is wiped then.
    written: Option<Written>,
    /// What is said for lines that are silent about it, in this block and, once merged, around it.
    defaults: Defaults,
    /// What requests need.
    pub proxy: Option<Rc<Proxy>>,
    /// What the user wrote in this block and around it.
    in_force: Option<Rc<UserSettings>>,
    /// The nearest location around this block, or itself, that has a `clerk_proxy`.
    inside: Option<Rc<Proxy>>,
}

/// A `clerk_proxy` line as read.
struct Written {
    line: ClerkProxy,
    /// The key that its parameter names.
    key: Option<Key>,
    place: Place,
}

/// What the directives beside `clerk_proxy` say.
#[derive(Clone, Default)]
struct Defaults {
    key: Option<Rc<Key>>,
    origin: Option<Rc<Origin>>,
    client_ip: Option<Rc<str>>,
    warm: Option<u16>,
}

impl Defaults {
    fn inherit(&mut self, outer: &Self) {
        self.key = self.key.take().or_else(|| outer.key.clone());
        self.origin = self.origin.take().or_else(|| outer.origin.clone());
        self.client_ip = self.client_ip.take().or_else(|| outer.client_ip.clone());
        self.warm = self.warm.or(outer.warm);
    }
}

/// A `clerk_proxy` in force.
pub struct Proxy {
    /// The path to cut off requests.
    pub prefix: Box<[u8]>,
    /// The path of ORIGIN, where the URI is put into the request once nginx has written it, and not by a variable.
    pub base: Option<Box<[u8]>>,
    /// What handles requests then: the stock proxy module, or what comes before it where there is a cache.
    pub delegate: ngx_http_handler_pt,
    /// Where the location has a `proxy_cache`.
    pub cache: Option<Cache>,
    /// The location's name, for messages.
    pub location: String,
    /// Where the line stands.
    pub place: Place,
    /// The TLS context, where connections are verified.
    pub context: Option<Shared>,
    /// The directives in force that answer with 401, each told of once.
    pub unauthorized: RefCell<HashSet<&'static str>>,
    /// The proxy URL, where its host holds variables.
    pub url: Option<(ProxyUrl, Expression)>,
    /// The key, where it holds variables.
    pub key: Option<Expression>,
    /// The client's address, where it is not that of the connection.
    pub client_ip: Option<(Form, Expression)>,
    /// The implicit upstream whose connections can be kept ready, and how many.
    pub warm: Option<(String, usize)>,
    /// Whether TLS is spoken with the Frontend API.
    pub tls: bool,
}

/// Notes the `http` block, which no later callback can tell from a server's.
pub fn preconfiguration(cf: &mut ngx_conf_t) -> Result<(), Stop> {
    let http = Level::current(cf);
    Module::main_conf_mut(cf).ok_or(NO_MEMORY)?.http = http;
    Ok(())
}

/// The directives' names.
pub const CLERK_PROXY: &str = "clerk_proxy";
/// As above.
pub const SECRET_KEY: &str = "clerk_proxy_secret_key";
/// As above.
pub const UPSTREAM: &str = "clerk_proxy_upstream";
/// As above.
pub const CLIENT_IP: &str = "clerk_proxy_client_ip";
/// As above.
pub const WARM: &str = "clerk_proxy_warm";

/// `clerk_proxy URL [secret_key=SOURCE] [upstream=ORIGIN] [keepalive=NUMBER];`
pub fn clerk_proxy(cf: &mut ngx_conf_t) -> Result<(), Stop> {
    let own = Module::location_conf_mut(cf).ok_or(NO_MEMORY)?;
    if own.written.is_some() {
        return Err(Error::Duplicate(CLERK_PROXY).into());
    }
    let line = ClerkProxy::parse(&cf.words()[1..])?;
    let core = Level::current(cf).ok_or(NO_MEMORY)?.core();
    check_location(core, &line)?;
    if core.handler.is_some() {
        return Err(Error::OtherHandler { location: location_name(core) }.into());
    }
    core.handler = Some(handler::content_handler);
    if line.url.scheme() == "http" {
        cf.warn(&Warning::PlainUrl { url: line.url.as_str().to_owned() });
    }
    if line.url.has_variables() {
        // What is wrong with them is said here, where they stand.
        Expression::compile(cf, line.url.as_str())?;
    }
    let read = |source| key::read(cf, CLERK_PROXY, source);
    let key = line.key.as_ref().map(read).transpose()?;
    own.written = Some(Written { line, key, place: cf.place() });
    let main = Module::main_conf_mut(cf).ok_or(NO_MEMORY)?;
    main.used = true;
    main.first.get_or_insert(cf.place());
    Ok(())
}

/// `clerk_proxy_secret_key SOURCE;`
pub fn clerk_proxy_secret_key(cf: &mut ngx_conf_t) -> Result<(), Stop> {
    let source = Source::parse(&value(cf));
    let read = |cf: &mut ngx_conf_t| key::read(cf, SECRET_KEY, &source);
    set_default(cf, SECRET_KEY, |defaults| &mut defaults.key, |cf| read(cf).map(Rc::new))
}

/// `clerk_proxy_upstream ORIGIN;`
pub fn clerk_proxy_upstream(cf: &mut ngx_conf_t) -> Result<(), Stop> {
    let read = |cf: &mut ngx_conf_t| Ok(parse_origin(&value(cf), Some(UPSTREAM))?);
    set_default(cf, UPSTREAM, |defaults| &mut defaults.origin, |cf| read(cf).map(Rc::new))
}

/// `clerk_proxy_client_ip VALUE;`
pub fn clerk_proxy_client_ip(cf: &mut ngx_conf_t) -> Result<(), Stop> {
    let read = |cf: &mut ngx_conf_t| {
        let text = value(cf);
        if !is_one_variable(&text) {
            return Err(Error::ClientIp(text).into());
        }
        Ok(text.into())
    };
    set_default(cf, CLIENT_IP, |defaults| &mut defaults.client_ip, read)
}

/// `clerk_proxy_warm NUMBER;`
pub fn clerk_proxy_warm(cf: &mut ngx_conf_t) -> Result<(), Stop> {
    let read = |cf: &mut ngx_conf_t| Ok(parse_warm(&value(cf))?);
    set_default(cf, WARM, |defaults| &mut defaults.warm, read)
}

/// The word behind a directive's name.
fn value(cf: &ngx_conf_t) -> String {
    cf.words().swap_remove(1)
}

fn set_default<T>(
    cf: &mut ngx_conf_t,
    directive: &'static str,
    slot: impl FnOnce(&mut Defaults) -> &mut Option<T>,
    read: impl FnOnce(&mut ngx_conf_t) -> Result<T, Stop>,
) -> Result<(), Stop> {
    let slot = slot(&mut Module::location_conf_mut(cf).ok_or(NO_MEMORY)?.defaults);
    if slot.is_some() {
        return Err(Error::Duplicate(directive).into());
    }
    *slot = Some(read(cf)?);
    Ok(())
}

fn check_location(core: &ngx_http_core_loc_conf_t, line: &ClerkProxy) -> Result<(), Error> {
    let by_prefix = core.named() == 0 && core.noname() == 0 && core.regex.is_null();
    let location = location_name(core);
    if by_prefix && !line.url.fits(&location) {
        let (url, prefix) = (line.url.as_str().to_owned(), line.url.prefix().to_owned());
        return Err(Error::Location { url, prefix, location });
    }
    Ok(())
}

/// The name as written behind `location`.
pub fn location_name(core: &ngx_http_core_loc_conf_t) -> String {
    String::from_utf8_lossy(core.name.as_bytes()).into_owned()
}

/// Applies the recipe to one block; blocks around it come first.
pub fn merge(cf: &mut ngx_conf_t, outer: &mut LocConf, own: &mut LocConf) -> Result<(), Stop> {
    own.defaults.inherit(&outer.defaults);
    let Some(stock) = stock(cf)? else { return Ok(()) };
    if outer.in_force.is_none() {
        // The `http` block is merged into servers and never on its own.
        let http = Module::main_conf(cf).and_then(|main| main.http).ok_or(NO_MEMORY)?;
        outer.in_force = Some(Rc::new(stock.written_in(http)));
    }
    let level = Level::current(cf).ok_or(NO_MEMORY)?;
    let written_here = stock.written_in(level);
    let in_force = written_here.within(outer.in_force.as_deref());
    // Most blocks add nothing: they share what they inherit.
    own.in_force = match &outer.in_force {
        Some(shared) if **shared == in_force => Some(Rc::clone(shared)),
        _ => Some(Rc::new(in_force)),
    };
    let core = level.core();
    let Some(written) = own.written.take() else {
        own.inside.clone_from(&outer.inside);
        let Some(around) = &own.inside else { return Ok(()) };
        let stock = around.cache.as_ref().map_or(around.delegate, |cache| cache.next);
        if is_same(core.handler, stock) {
            let location = around.location.clone();
            let error = Error::NestedProxyPass { location };
            return citing(cf, around.place, |_| Err(error.into()));
        }
        // `if` and `limit_except` are blocks of the same location.
        if core.noname() == 1 && core.handler.is_none() && outer.proxy.is_some() {
            own.proxy.clone_from(&outer.proxy);
            core.handler = Some(handler::content_handler);
        }
        return Ok(());
    };
    let place = written.place;
    let (outer_settings, defaults) = (outer.in_force.as_deref(), &own.defaults);
    let proxy = citing(cf, place, |cf| {
        let line = in_force_with(cf, written, defaults)?;
        let block = Block { stock: &stock, level, line: &line, place, written_here: &written_here };
        block.apply(cf, outer_settings)
    });
    let proxy = Rc::new(proxy?);
    own.inside = Some(Rc::clone(&proxy));
    own.proxy = Some(proxy);
    Ok(())
}

/// A line together with what others say, and with the defaults.
fn in_force_with(
    cf: &mut ngx_conf_t,
    written: Written,
    defaults: &Defaults,
) -> Result<InForce, Stop> {
    let Written { line, key, .. } = written;
    let key = match (key, &defaults.key) {
        (Some(key), _) => key,
        (None, Some(key)) => Key::clone(key),
        (None, None) => key::read(cf, CLERK_PROXY, &Source::Default)?,
    };
    let origin = line.origin.or_else(|| defaults.origin.as_deref().cloned()).unwrap_or_default();
    let client_ip = defaults.client_ip.as_deref().map(str::to_owned);
    let (keepalive, warm) = (line.keepalive, defaults.warm.unwrap_or(1));
    Ok(InForce { url: line.url, key, origin, keepalive, client_ip, warm })
}

/// Finishes one block, once the proxy module has merged it.
pub fn complete(cf: &mut ngx_conf_t) -> Result<(), Stop> {
    let own = Module::location_conf(cf).ok_or(NO_MEMORY)?;
    let level = Level::current(cf).ok_or(NO_MEMORY)?;
    if advice::logs_requests(level.core().error_log) {
        Module::main_conf_mut(cf).ok_or(NO_MEMORY)?.logs_requests = true;
    }
    let Some(proxy) = own.proxy.as_deref() else {
        let main = Module::main_conf(cf).ok_or(NO_MEMORY)?;
        let name = main.stock.as_deref().and_then(|stock| tls::unverified_upstream(stock, level));
        return match name.filter(|name| main.upstreams.verifies(name)) {
            Some(name) => {
                let location = location_name(level.core());
                Err(Error::UnverifiedBlock { name, location }.into())
            }
            None => Ok(()),
        };
    };
    for directive in advice::unauthorized(cf, level) {
        // `if` and `limit_except` inherit what was said already.
        if proxy.unauthorized.borrow_mut().insert(directive) {
            citing(cf, proxy.place, |cf| {
                cf.warn(&Warning::Unauthorized { directive });
                Ok(())
            })?;
        }
    }
    proxy.context.map_or(Ok(()), |context| context.complete(level))?;
    if let Some((upstream, count)) = &proxy.warm {
        let main = Module::main_conf(cf).ok_or(NO_MEMORY)?;
        let lender = main.stock.as_deref().and_then(|stock| Shared::lend(stock, level));
        if let Some(conf) = lender.map(|lender| lender.conf()) {
            // TLS has no sendfile, see `Attempt::note_sendfile`.
            let possible = !proxy.tls || level.core().sendfile != 1;
            let wanted = Wanted { count: *count, level, conf, tls: proxy.tls, possible };
            keep_warm(cf, upstream, wanted, possible);
        }
    }
    Ok(())
}

/// Runs `body` so that its error, too, cites `place` and not the end of `http {}`.
fn citing<T>(
    cf: &mut ngx_conf_t,
    place: Place,
    body: impl FnOnce(&mut ngx_conf_t) -> Result<T, Stop>,
) -> Result<T, Stop> {
    let result = cf.at(place, "", |cf| {
        body(cf).map_err(|stop| {
            if let Stop::Error(error) = stop {
                cf.emerg(&error.to_string());
            }
            Stop::Logged
        })
    });
    result.ok_or(NO_MEMORY)?
}

fn stock(cf: &mut ngx_conf_t) -> Result<Option<Rc<Stock>>, Stop> {
    let main = Module::main_conf_mut(cf).ok_or(NO_MEMORY)?;
    if main.used && main.stock.is_none() {
        main.stock = Some(Rc::new(Stock::find(cf)?));
    }
    Ok(main.stock.clone())
}

/// Reads back a configuration that nginx hands to a merge.
///
/// # Safety
///
/// `conf` is what `create_loc_conf` of this module returned.
pub unsafe fn loc_conf<'a>(conf: *mut c_void) -> &'a mut LocConf {
    // SAFETY: promised by the caller; nginx merges in one thread and hands out two different blocks.
    unsafe { &mut *conf.cast() }
}
