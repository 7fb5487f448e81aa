//! The life of a configuration: `clerk_proxy` is read where it stands and applied when all is read.
//!
//! Our `merge_loc_conf` runs before that of every stock module (see the module order in `mod.rs`). The stock
//! configurations of all blocks are then still as the user wrote them, so that the order of his lines does
//! not matter and the stock modules merge, check and compile what we add as if he had written it.

use std::collections::HashMap;
use std::env;
use std::ffi::c_void;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::rc::Rc;

use ngx::ffi::{ngx_conf_full_name, ngx_conf_t, ngx_http_core_loc_conf_t, ngx_http_handler_pt};
use ngx::http::{HttpModuleLocationConf, HttpModuleMainConf};
use zeroize::Zeroizing;

use super::apply::{is_same, Block};
use super::cf::{ConfExt, Place, Stop, NO_MEMORY};
use super::resolver::Resolver;
use super::settings::{Content, UserSettings};
use super::stock::{Level, Stock};
use super::tls::Shared;
use super::upstream::Upstreams;
use super::{handler, Module};
use crate::directive::ClerkProxy;
use crate::error::Error;
use crate::secret_key::{KeyFault, SecretKey, Source, DEFAULT_VARIABLE};

/// What is known once per configuration.
#[derive(Default)]
pub struct MainConf {
    /// The `http` block itself.
    http: Option<Level>,
    /// Whether there is any `clerk_proxy`; without one nothing below happens.
    pub used: bool,
    stock: Option<Rc<Stock>>,
    /// The upstreams in use.
    pub upstreams: Upstreams,
    /// The names that implicit upstreams follow.
    pub resolver: Resolver,
    /// The TLS contexts, by what they are made of.
    pub contexts: HashMap<Content, Shared>,
    /// Where requests keep the value of `$clerk_proxy_uri`.
    pub uri_index: Option<usize>,
}

/// What is known per block.
#[derive(Default)]
pub struct LocConf {
    /// The `clerk_proxy` line of this block, until it is applied; the key is wiped then.
    written: Option<Written>,
    /// What requests need.
    pub proxy: Option<Rc<Proxy>>,
    /// What the user wrote in this block and around it.
    in_force: Option<Rc<UserSettings>>,
    /// The nearest location around this block, or itself, that has a `clerk_proxy`.
    inside: Option<Rc<Proxy>>,
}

/// A `clerk_proxy` line as read.
pub struct Written {
    /// Its words.
    pub line: ClerkProxy,
    /// The key.
    pub key: SecretKey,
    /// Where it stands.
    pub place: Place,
}

/// A `clerk_proxy` in force.
pub struct Proxy {
    /// The path to cut off requests.
    pub prefix: Box<[u8]>,
    /// The stock proxy module's handler.
    pub delegate: ngx_http_handler_pt,
    /// The location's name, for messages.
    pub location: String,
    /// Where the line stands.
    pub place: Place,
    /// The TLS context, where connections are verified.
    pub context: Option<Shared>,
}

/// Notes the `http` block, which no later callback can tell from a server's.
pub fn preconfiguration(cf: &mut ngx_conf_t) -> Result<(), Stop> {
    let http = Level::current(cf);
    Module::main_conf_mut(cf).ok_or(NO_MEMORY)?.http = http;
    Ok(())
}

/// `clerk_proxy URL [secret_key=SOURCE] [upstream=ORIGIN] [keepalive=NUMBER];`
pub fn clerk_proxy(cf: &mut ngx_conf_t) -> Result<(), Stop> {
    let line = ClerkProxy::parse(&cf.words()[1..])?;
    let core = Level::current(cf).ok_or(NO_MEMORY)?.core();
    check_location(core, &line)?;
    if core.handler.is_some() {
        return Err(Error::OtherHandler { location: location_name(core) }.into());
    }
    core.handler = Some(handler::content_handler);
    let key = read_key(cf, &line.key)?;
    let place = cf.place();
    Module::location_conf_mut(cf).ok_or(NO_MEMORY)?.written = Some(Written { line, key, place });
    Module::main_conf_mut(cf).ok_or(NO_MEMORY)?.used = true;
    Ok(())
}

/// Whether the block has a `clerk_proxy` line already.
pub fn is_duplicate(cf: &ngx_conf_t) -> bool {
    Module::location_conf(cf).is_some_and(|conf| conf.written.is_some())
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

/// Reads the key as the process that reads the configuration, which is the master.
fn read_key(cf: &mut ngx_conf_t, source: &Source) -> Result<SecretKey, Stop> {
    // The environment of "nginx -s" is its own and has no key.
    if cf.only_signals() {
        return Ok(SecretKey::placeholder());
    }
    if let Source::File(name) | Source::Env(name) = source {
        if SecretKey::parse(name.as_bytes()).is_ok() {
            let fault = KeyFault::NotAName;
            return Err(Error::SecretKey { source: source.to_string(), fault }.into());
        }
    }
    let from_environment = |name: &str, missing| {
        env::var_os(name).map(|value| Zeroizing::new(value.into_vec())).ok_or(missing)
    };
    let bytes = match source {
        Source::Literal(key) => Ok(Zeroizing::new(key.as_bytes().to_vec())),
        Source::Env(name) => from_environment(name, KeyFault::NotSet),
        Source::Default => from_environment(DEFAULT_VARIABLE, KeyFault::Missing),
        Source::File(path) => {
            // A relative path starts where the configuration file is, as that of a certificate does.
            let mut name = cf.copy(path)?;
            // SAFETY: the name ends with a zero byte; the cycle has its prefixes set.
            if unsafe { ngx_conf_full_name(cf.cycle, &raw mut name, 1) } != super::cf::OK {
                return Err(NO_MEMORY);
            }
            fs::read(String::from_utf8_lossy(name.as_bytes()).as_ref())
                .map(Zeroizing::new)
                .map_err(|why| KeyFault::Unreadable(why.to_string()))
        }
    };
    bytes
        .and_then(|bytes| SecretKey::parse(&bytes))
        .map_err(|fault| Error::SecretKey { source: source.to_string(), fault }.into())
}

/// Applies the recipe to one block; blocks around it come first.
pub fn merge(cf: &mut ngx_conf_t, outer: &mut LocConf, own: &mut LocConf) -> Result<(), Stop> {
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
        if is_same(core.handler, around.delegate) {
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
    let block = Block { stock: &stock, level, written: &written, written_here: &written_here };
    let outer_settings = outer.in_force.as_deref();
    let proxy = Rc::new(citing(cf, place, |cf| block.apply(cf, outer_settings))?);
    own.inside = Some(Rc::clone(&proxy));
    own.proxy = Some(proxy);
    Ok(())
}

/// Finishes one block, once the proxy module has merged it.
pub fn complete(cf: &mut ngx_conf_t) -> Result<(), Stop> {
    let proxy = Module::location_conf(cf).and_then(|conf| conf.proxy.as_ref());
    match proxy.and_then(|proxy| proxy.context) {
        Some(context) => context.complete(Level::current(cf).ok_or(NO_MEMORY)?),
        None => Ok(()),
    }
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
