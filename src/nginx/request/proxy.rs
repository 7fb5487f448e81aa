//! The data of a location with `clerk_proxy` that requests need, kept by the filter module.

use std::cell::{OnceCell, RefCell};
use std::collections::HashSet;
use std::rc::Rc;

use crate::client_ip::{is_in_variable, Form};
use crate::failure::Failure;
use crate::nginx::base::counted::Counted;
use crate::nginx::base::expression::Expression;
use crate::nginx::base::ffi::{ngx_http_handler_pt, ngx_http_request_t};
use crate::nginx::base::headers;
use crate::nginx::base::module::{Conf, Filter, Reach};
use crate::nginx::base::parser::Place;
use crate::nginx::base::variables::Getter;
use crate::nginx::stock::tls_context::Shared;
use crate::passing::Passing;
use crate::proxy_url::ProxyUrl;
use crate::recipe::is_twin;
use crate::redirects::Redirects;

/// What is known per block once all is read: where it is, or is in, a location with `clerk_proxy`, what requests need.
#[derive(Default)]
pub struct RequestConf(OnceCell<Rc<Proxy>>);

// SAFETY: `create_request_conf` of `mod.rs` makes one.
unsafe impl Conf for RequestConf {
    type Of = Filter;
    const REACH: Reach = Reach::Location;
}

impl RequestConf {
    /// Makes the block one of those.
    pub fn set(&self, proxy: &Rc<Proxy>) -> Result<(), Failure> {
        let again = |_| Failure::Internal("a block was merged twice".to_owned());
        self.0.set(Rc::clone(proxy)).map_err(again)
    }
}

/// What requests of the location need, if it has a `clerk_proxy`.
pub fn of(r: &ngx_http_request_t) -> Option<&'static Proxy> {
    RequestConf::of(r)?.0.get().map(|proxy| &**proxy)
}

/// What requests need of a location with `clerk_proxy`.
pub struct Proxy {
    /// The path to cut off requests.
    pub prefix: Box<[u8]>,
    /// The path of ORIGIN, if the URI is put into the written request and not passed as a variable.
    pub base: Option<Box<[u8]>>,
    /// The next handler: the stock proxy module's, or ours for a cache or for bodies.
    pub delegate: ngx_http_handler_pt,
    /// Whether bodies go out as they come, and the user has not asked for it.
    pub streams: bool,
    /// The cache, if the location has a `proxy_cache`.
    pub cache: Option<Cache>,
    /// The location's name, for messages.
    pub location: String,
    /// Where the line stands.
    pub place: Place,
    /// The TLS context, if connections are verified.
    pub context: Option<Shared>,
    /// The effective directives that answer 401 and were warned about already.
    pub unauthorized: Rc<RefCell<HashSet<&'static str>>>,
    /// The proxy URL, if its host contains variables.
    pub url: Option<(ProxyUrl, Expression)>,
    /// The key, if it contains variables.
    pub key: Option<Expression>,
    /// The client's address, if it is not that of the connection.
    pub client_ip: Option<ClientIp>,
    /// What works out variables of which requests need values of their own, if they need any.
    pub computed: Option<Rc<[Getter]>>,
    /// Whether a request comes as early data, where any server takes it.
    pub early_data: Option<Rc<Expression>>,
    /// The implicit upstream whose connections can be kept ready, and how many.
    pub warm: Option<(String, usize)>,
    /// What redirects are held against, unless the user has switched their rewriting off.
    pub redirects: Option<Redirects>,
    /// Whether the location lets clients ask for another protocol.
    pub upgrades: bool,
    /// Whether a header is to be dropped because of its name, where any server takes such names.
    pub is_twin: Option<fn(&[u8]) -> bool>,
    /// Whether TLS is spoken with the Frontend API.
    pub tls: bool,
    /// What the status shows.
    pub counted: Rc<Counted>,
}

/// Where the client's address is said.
pub struct ClientIp {
    /// How it is written.
    pub form: Form,
    /// The name of the header, if it is that of one.
    pub header: Option<String>,
    /// What has it.
    pub expression: Expression,
}

impl ClientIp {
    /// Whether the header is that of the address.
    pub fn is_in(&self, name: &[u8]) -> bool {
        self.header.as_ref().is_some_and(|own| is_in_variable(name, own)) && !is_twin(name)
    }

    /// The value. Several headers of one name are a list, whatever this nginx makes of them.
    pub fn value<'a>(&self, r: &'a mut ngx_http_request_t) -> Option<&'a [u8]> {
        match self.header {
            Some(_) => headers::only(r, |name| self.is_in(name)),
            None => self.expression.value(r),
        }
    }
}

/// The data of a cache that requests need.
pub struct Cache {
    /// The user's argument of `proxy_cache`.
    pub zone: Expression,
    /// The beginning of scripts' URLs for browsers.
    pub scripts: Expression,
    /// The stock proxy module's handler.
    pub next: ngx_http_handler_pt,
    /// The scripts that could not be kept.
    pub passing: Passing,
}
