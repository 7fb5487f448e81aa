//! The life of a configuration: `clerk_proxy` is read where it stands and applied when all is read.
//!
//! Our `merge_loc_conf` runs before that of every stock module (see the module order in `mod.rs`). The stock
//! configurations of all blocks are then still as the user wrote them, so that the order of his lines does
//! not matter and the stock modules merge, check and compile what we add as if he had written it.

use std::env;
use std::ffi::c_void;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::rc::Rc;

use ngx::ffi::{
    ngx_array_create, ngx_conf_full_name, ngx_conf_t, ngx_http_core_loc_conf_t,
    ngx_http_err_page_t, ngx_http_handler_pt,
};
use ngx::http::{HttpModuleLocationConf, HttpModuleMainConf};
use zeroize::Zeroizing;

use super::cf::{ConfExt, Place, Stop, NO_MEMORY};
use super::stock::{Answer, Level, Stock, UserSettings};
use super::{handler, upstream, Module};
use crate::directive::ClerkProxy;
use crate::error::Error;
use crate::recipe::{self, Class, Sizes, Values, CANNOT_BE_INHERITED, CA_BUNDLES, RECIPE};
use crate::secret_key::{KeyFault, SecretKey, Source, DEFAULT_VARIABLE};

/// What is known once per configuration.
#[derive(Default)]
pub struct MainConf {
    /// The `http` block itself.
    http: Option<Level>,
    /// Whether there is any `clerk_proxy`; without one nothing below happens.
    pub used: bool,
    stock: Option<Rc<Stock>>,
    /// How many implicit upstreams there are.
    pub upstreams: usize,
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

struct Written {
    line: ClerkProxy,
    key: SecretKey,
    place: Place,
}

/// A `clerk_proxy` in force.
pub struct Proxy {
    /// The path to cut off requests.
    pub prefix: Box<[u8]>,
    /// The stock proxy module's handler.
    pub delegate: ngx_http_handler_pt,
    /// The location's name, for messages.
    location: String,
    place: Place,
}

/// Notes the `http` block, which no later callback can tell from a server's.
pub fn preconfiguration(cf: &mut ngx_conf_t) -> Result<(), Stop> {
    let http = Level::current(cf);
    Module::main_conf_mut(cf).ok_or(NO_MEMORY)?.http = http;
    Ok(())
}

/// `clerk_proxy URL [secret_key=SOURCE] [upstream=ORIGIN];`
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

fn location_name(core: &ngx_http_core_loc_conf_t) -> String {
    String::from_utf8_lossy(core.name.as_bytes()).into_owned()
}

/// Reads the key as the process that reads the configuration, which is the master.
fn read_key(cf: &mut ngx_conf_t, source: &Source) -> Result<SecretKey, Stop> {
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
            let error = Error::NestedProxyPass { location }.to_string();
            cf.at(around.place, "", |cf| cf.emerg(&error));
            return Err(Stop::Logged);
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
    let applied = cf.at(place, "", |cf| match block.apply(cf, outer_settings) {
        Err(Stop::Error(error)) => {
            cf.emerg(&error.to_string());
            Err(Stop::Logged)
        }
        other => other,
    });
    let proxy = Rc::new(applied.ok_or(NO_MEMORY)??);
    own.inside = Some(Rc::clone(&proxy));
    own.proxy = Some(proxy);
    Ok(())
}

fn stock(cf: &mut ngx_conf_t) -> Result<Option<Rc<Stock>>, Stop> {
    let main = Module::main_conf_mut(cf).ok_or(NO_MEMORY)?;
    if main.used && main.stock.is_none() {
        main.stock = Some(Rc::new(Stock::find(cf)?));
    }
    Ok(main.stock.clone())
}

/// One location with its `clerk_proxy` line, as the recipe meets it.
struct Block<'a> {
    stock: &'a Stock,
    level: Level,
    written: &'a Written,
    /// What the user wrote in the location itself.
    written_here: &'a UserSettings,
}

impl Block<'_> {
    fn apply(&self, cf: &mut ngx_conf_t, outer: Option<&UserSettings>) -> Result<Proxy, Stop> {
        let core = self.level.core();
        let line = &self.written.line;
        // A handler that was set after ours would win silently.
        if !is_same(core.handler, Some(handler::content_handler)) {
            return Err(Error::OtherHandler { location: location_name(core) }.into());
        }
        if line.origin.tls && !self.stock.has("proxy_ssl_verify") {
            return Err(Error::MissingModule("ngx_http_ssl_module").into());
        }
        let in_force = self.written_here.within(outer);
        for &directive in CANNOT_BE_INHERITED {
            let here = self.stock.is_set(self.written_here, directive);
            if !here && self.stock.is_set(&in_force, directive) {
                return Err(Error::Inherited { directive }.into());
            }
        }
        let in_block = upstream::is_block(cf, &line.origin);
        let ca_bundle =
            if self.needs_ca_bundle() { find_ca_bundle(line, in_block)? } else { String::new() };
        let values = Values {
            line,
            key: &self.written.key,
            in_block,
            ca_bundle: &ca_bundle,
            buffers: Sizes::beside(self.stock.sizes(&in_force)),
        };
        self.set_headers(cf, &values, &in_force)?;
        for entry in RECIPE.iter().filter(|entry| entry.directive != "proxy_set_header") {
            let user = match entry.class {
                Class::Contract => self.written_here,
                Class::Tuning => &in_force,
            };
            // Lists (redirects, hidden headers) grow by our entries; the user's come first.
            let list = matches!(entry.directive, "proxy_hide_header");
            let skip = (entry.tls && !line.origin.tls)
                || (entry.directive == "proxy_ssl_trusted_certificate" && ca_bundle.is_empty())
                || (!list && self.stock.is_set(user, entry.directive));
            if !skip {
                self.set(cf, entry.directive, entry.arguments, &values)?;
            }
        }
        let delegate = self.delegate(cf, in_block)?;
        // An inherited error_page, which most distributions have, must not answer clerk-js; one of the
        // location's own does. An empty list of our own is inherited by nobody's.
        let core = self.level.core();
        if core.error_pages.is_null() {
            // SAFETY: `pool` is the configuration's.
            core.error_pages =
                unsafe { ngx_array_create(cf.pool, 1, size_of::<ngx_http_err_page_t>()) };
            if core.error_pages.is_null() {
                return Err(NO_MEMORY);
            }
        }
        Ok(Proxy {
            prefix: line.url.prefix().as_bytes().into(),
            delegate,
            location: location_name(core),
            place: self.written.place,
        })
    }

    /// The user's own headers and those of the contract.
    fn set_headers(
        &self,
        cf: &mut ngx_conf_t,
        values: &Values,
        in_force: &UserSettings,
    ) -> Result<(), Stop> {
        let own = self.stock.is_set(self.written_here, "proxy_set_header");
        let user = self.stock.headers(in_force);
        if own {
            for (name, _) in &user {
                if let Some(instead) = recipe::instead_of_header(name) {
                    return Err(Error::OwnedHeader { name: name.clone(), instead }.into());
                }
            }
        } else {
            // As soon as a location has a header of its own, nginx inherits none: carry them over.
            for (name, value) in user.iter().filter(|(name, _)| !recipe::owns_header(name)) {
                self.stock.set(cf, self.level, "proxy_set_header", &[name, value])?;
            }
        }
        let has =
            |name: &str| own && user.iter().any(|(other, _)| other.eq_ignore_ascii_case(name));
        for entry in recipe::headers().filter(|entry| !has(entry.arguments[0])) {
            self.set(cf, entry.directive, entry.arguments, values)?;
        }
        Ok(())
    }

    fn set(
        &self,
        cf: &mut ngx_conf_t,
        directive: &'static str,
        arguments: &[&str],
        values: &Values,
    ) -> Result<Answer, Stop> {
        let filled: Vec<_> = arguments.iter().map(|argument| values.fill(argument)).collect();
        let filled: Vec<&str> = filled.iter().map(|argument| argument.as_str()).collect();
        self.stock.set(cf, self.level, directive, &filled)
    }

    /// Makes this location a stock proxy location whose handler is called by ours.
    fn delegate(&self, cf: &mut ngx_conf_t, in_block: bool) -> Result<ngx_http_handler_pt, Stop> {
        let origin = &self.written.line.origin;
        let name = match origin.block_name() {
            Some(name) if in_block => name.to_owned(),
            _ => upstream::make(cf, origin, self.written.place)?,
        };
        let (scheme, path) = (origin.scheme(), &origin.path);
        let url = format!("{scheme}://{name}{path}${}", handler::URI_VARIABLE);
        self.stock.set(cf, self.level, "proxy_pass", &[&url])?;
        let core = self.level.core();
        Ok(core.handler.replace(handler::content_handler))
    }

    fn needs_ca_bundle(&self) -> bool {
        let set = |name| self.stock.is_set(self.written_here, name);
        let unverified = self.stock.is_off(self.written_here, "proxy_ssl_verify");
        self.written.line.origin.tls && !unverified && !set("proxy_ssl_trusted_certificate")
    }
}

/// Whether two handlers are one function; a function has one address in the process that loaded it.
fn is_same(one: ngx_http_handler_pt, other: ngx_http_handler_pt) -> bool {
    one.map(|handler| handler as usize) == other.map(|handler| handler as usize)
}

fn find_ca_bundle(line: &ClerkProxy, in_block: bool) -> Result<String, Error> {
    // As with OpenSSL itself, the variable stands for all other places.
    let named = env::var("SSL_CERT_FILE").ok();
    let places = match &named {
        Some(path) => &[path.as_str()][..],
        None => CA_BUNDLES,
    };
    let found = places.iter().find(|path| Path::new(path).is_file());
    let host = || line.origin.tls_name(in_block).to_owned();
    found.map(|&path| path.to_owned()).ok_or_else(|| Error::NoCaBundle { host: host() })
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
