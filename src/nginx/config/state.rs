//! What the module with the directives keeps of a configuration.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::HashMap;
use std::path::PathBuf;
use std::rc::Rc;

use crate::configuration_text::Text;
use crate::defaults::Defaults;
use crate::directive::ClerkProxy;
use crate::failure::Failure;
use crate::frontend_api::Origin;
use crate::key_source::Key;
use crate::nginx::base::ffi::{ngx_conf_t, NGX_HTTP_MODULE};
use crate::nginx::base::module::{Conf, Module, Reach};
use crate::nginx::base::parser::{ConfExt, Place};
use crate::nginx::config::common::Common;
use crate::nginx::config::counting::Status;
use crate::nginx::request::proxy::Proxy;
use crate::nginx::stock::directives::Stock;
use crate::nginx::stock::level::Level;
use crate::nginx::stock::server::Server;
use crate::nginx::stock::settings::UserSettings;
use crate::nginx::upstream::warm::Running;

/// What is known once per configuration.
#[derive(Default)]
pub struct MainConf {
    /// The `http` block itself.
    pub http: Cell<Option<Level>>,
    /// What it says for all servers.
    pub servers: Cell<Option<Server>>,
    /// The servers whose large headers are too small, once that is said.
    pub sized: RefCell<Vec<Server>>,
    /// Where the first `clerk_proxy` stands; without one nothing below happens.
    pub first: Cell<Option<Place>>,
    /// The stock directives, once they were looked up.
    pub stock: OnceCell<Rc<Stock>>,
    /// The files that were searched for what messages are about, until all is read.
    pub texts: RefCell<HashMap<PathBuf, Option<Rc<Text>>>>,
    /// The variables that directives name.
    pub named: RefCell<Vec<Named>>,
    /// Whether any location logs the headers of requests.
    pub logs_requests: Cell<bool>,
    /// What locations share.
    pub common: RefCell<Common>,
    /// The locations with a `clerk_proxy`, in order.
    pub locations: RefCell<Vec<(Level, Rc<Proxy>)>>,
    /// What the status shows.
    pub status: Status,
    /// The connections that this process keeps ready.
    pub warm: RefCell<Vec<Running>>,
}

// SAFETY: `create_main_conf` of `mod.rs` makes one.
unsafe impl Conf for MainConf {
    type Of = Module;
    const REACH: Reach = Reach::Main;
}

impl MainConf {
    /// The stock directives, which are looked up once there is a `clerk_proxy`.
    pub fn stock(&self) -> Result<&Stock, Failure> {
        let stock = self.stock.get().map(|stock| &**stock);
        stock.ok_or_else(|| Failure::Internal("no stock directives".to_owned()))
    }

    /// What `http` says for all servers.
    pub fn servers(&self) -> Result<Server, Failure> {
        self.servers.get().ok_or_else(|| Failure::Internal("no \"http\" block".to_owned()))
    }
}

/// A variable that a directive names.
pub struct Named {
    /// The variable.
    pub name: String,
    /// The directive.
    pub directive: &'static str,
    /// Where it stands.
    pub place: Place,
}

/// What is known per block.
#[derive(Default)]
pub struct LocConf {
    /// The `clerk_proxy` line of this block, until it is applied.
    pub written: Option<Written>,
    /// That line or an outer location's, until all are applied; the key is wiped then.
    pub line: Option<Rc<Line>>,
    /// Whether the line is that of an outer location.
    pub nested: bool,
    /// The values for lines without parameters of their own: of this block and, once merged, of outer blocks.
    pub defaults: Defaults,
    /// What requests need.
    pub proxy: Option<Rc<Proxy>>,
    /// Where a `clerk_proxy_status` stands.
    pub status: Option<Place>,
    /// What the user wrote in this block and around it.
    pub effective: Option<Rc<UserSettings>>,
    /// The nearest location around this block, or itself, that has a `clerk_proxy`.
    pub inside: Option<Rc<Proxy>>,
    /// Where the block begins.
    pub place: Option<Place>,
    /// The block around this one.
    pub around: Option<Level>,
}

/// The form in which nginx keeps it.
pub type Location = RefCell<LocConf>;

/// The data of the block that begins where nginx reads.
pub fn beginning(cf: &ngx_conf_t) -> Location {
    // Outside `http` there is no such block.
    let is_inside = cf.module_type == NGX_HTTP_MODULE as usize;
    let (place, around) = (cf.place_if_any(), is_inside.then(|| Level::of(cf)).flatten());
    RefCell::new(LocConf { place, around, ..LocConf::default() })
}

// SAFETY: `create_loc_conf` of `mod.rs` makes one.
unsafe impl Conf for Location {
    type Of = Module;
    const REACH: Reach = Reach::Location;
}

/// A `clerk_proxy` line as read.
#[derive(Clone)]
pub struct Written {
    /// What it says.
    pub line: ClerkProxy,
    /// The key that its parameter names.
    pub key: Option<Key>,
    /// Where it stands.
    pub place: Place,
}

/// A line that was applied, for locations inside of its own.
pub struct Line {
    /// As it was read.
    pub written: Written,
    /// The key and the Frontend API that are effective with it.
    pub said: (Key, Origin),
    /// What the user wrote beside it.
    pub here: UserSettings,
    /// What is effective there, the recipe included.
    pub applied: UserSettings,
    /// The zone of a cache.
    pub zone: Option<String>,
}
