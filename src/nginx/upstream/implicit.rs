//! The implicit upstream: an `upstream {}` block of nginx's own that the user need not write, one for all
//! locations that make their connections in the same way.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::CStr;
use std::num::NonZeroU16;
use std::rc::Rc;

use crate::conflict::Conflict;
use crate::directive::Effective;
use crate::failure::Failure;
use crate::frontend_api::Origin;
use crate::nginx::base::ffi::ngx_conf_t;
use crate::nginx::base::parser::{ConfExt, Place, Stop};
use crate::nginx::stock::connection_settings::{is_verified, Content};
use crate::nginx::stock::directives;
use crate::nginx::upstream::blocks::{self, Block};
use crate::nginx::upstream::names::Names;
use crate::nginx::upstream::servers::{Followed, Owner, Peers};
use crate::recipe::{self, KEEPALIVE, ONLY_SERVER, SERVERS};
use crate::warning::Warning;

/// An address that is never connected to: it holds the place of those of a name.
const PLACEHOLDER: &str = "127.0.0.1:9";

const KEEPALIVE_MODULE: &CStr = c"ngx_http_upstream_keepalive_module";

/// Whether nginx was built with the module that keeps connections.
pub fn keeps_connections(cf: &ngx_conf_t) -> bool {
    directives::exists(cf, KEEPALIVE_MODULE, "keepalive")
}

/// The upstreams of one configuration.
#[derive(Default)]
pub struct Upstreams {
    /// The names that implicit ones follow.
    pub names: Rc<RefCell<Names>>,
    /// The names of the implicit ones.
    implicit: HashMap<Key, String>,
    /// How many of them connect to the same address.
    named: HashMap<String, usize>,
    /// How connections are made to the user's own.
    blocks: HashMap<String, Key>,
}

/// What an upstream is shared by.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    scheme: &'static str,
    server: String,
    keepalive: String,
    connection: Content,
}

impl Key {
    /// What differs first, as a user would call it.
    fn difference(&self, other: &Self) -> Option<String> {
        if self.scheme != other.scheme {
            return Some("scheme".to_owned());
        }
        let only = |one: &Self, other: &Self| {
            let mut settings = one.connection.iter();
            settings.find(|setting| !other.connection.contains(setting)).map(|(name, _)| *name)
        };
        only(self, other).or_else(|| only(other, self)).map(str::to_owned)
    }
}

impl Upstreams {
    /// Whether `clerk_proxy` verifies the servers of a block of the user's.
    pub fn verifies(&self, block: &str) -> bool {
        // nginx reads names of upstreams without case.
        let own = self.blocks.iter().find(|(name, _)| name.eq_ignore_ascii_case(block));
        own.is_some_and(|(_, key)| is_verified(&key.connection))
    }

    /// The name of the upstream for a line: the user's own block, or the implicit one, made where there is
    /// none yet.
    pub fn name(
        &mut self,
        cf: &mut ngx_conf_t,
        line: &Effective,
        connection: Content,
        place: Place,
    ) -> Result<String, Stop> {
        let origin = &line.origin;
        let keepalive = line.keepalive.map_or(KEEPALIVE, NonZeroU16::get).to_string();
        let key = Key { scheme: origin.scheme(), server: origin.server(), keepalive, connection };
        if let Some(name) = origin.block_name().filter(|_| blocks::is_block(cf, origin)) {
            if line.keepalive.is_some() {
                return Err(Conflict::KeepaliveOfBlock { name: name.to_owned() }.into());
            }
            // nginx keeps connections and TLS sessions by upstream: one that was not verified would serve
            // the other location.
            let first = self.blocks.entry(name.to_owned()).or_insert_with(|| key.clone());
            if let Some(differs) = first.difference(&key) {
                return Err(Conflict::DividedBlock { name: name.to_owned(), differs }.into());
            }
            blocks::guard_user_block(cf, name, origin.tls && is_verified(&key.connection));
            return Ok(name.to_owned());
        }
        if let Some(name) = self.implicit.get(&key) {
            return Ok(name.clone());
        }
        // A user has no reason to write a blank: his own proxy_pass does not lead here, and ours never to a
        // block of his; see also `Peers::admits`. A colon would be read as a port, a slash as a path.
        let label = key.server.strip_suffix(":443").unwrap_or(&key.server).replace([':', '/'], "|");
        let first = format!("clerk_proxy {label}");
        let number = self.named.entry(first.clone()).or_default();
        *number += 1;
        let name = if *number == 1 { first } else { format!("{first} {number}") };
        self.make(cf, origin, &key, &name, place)?;
        self.implicit.insert(key, name.clone());
        Ok(name)
    }

    fn make(
        &self,
        cf: &mut ngx_conf_t,
        origin: &Origin,
        key: &Key,
        name: &str,
        place: Place,
    ) -> Result<(), Stop> {
        // nginx knows numeric addresses and sockets for good; a name is followed, and its place held meanwhile.
        let mut text = String::new();
        let followed = origin.name_and_port();
        if followed.is_some() {
            for parameters in SERVERS {
                text.extend(["server ", PLACEHOLDER, " ", parameters, " down; "]);
            }
        } else {
            text.extend(["server ", &key.server, " ", ONLY_SERVER, "; "]);
        }
        for (directive, argument) in recipe::upstream(&key.keepalive) {
            if directives::exists(cf, KEEPALIVE_MODULE, directive) {
                text.extend([directive, " ", argument, "; "]);
            }
        }
        if !keeps_connections(cf) {
            cf.warn(&Warning::NoKeepalive);
        }
        text.push('}');
        cf.at(place, &text, |cf| {
            directives::block(cf, c"ngx_http_upstream_module", "upstream", &[name.as_bytes()])
        })?;
        let followed = followed.map(|(host, port)| {
            // A word without a dot and a port looks like the name of a block.
            let block = origin.block_name().filter(|name| !name.contains('.')).map(str::to_owned);
            let warning = Warning::HostNotFound { server: key.server.clone(), block };
            let host = self.names.borrow_mut().follow(host, warning, place);
            Followed { names: Rc::clone(&self.names), host, port }
        });
        // The last one is the one that was just made.
        let conf = blocks::all(cf).next_back().and_then(Block::conf);
        let conf = conf.ok_or_else(|| Failure::Internal("no upstream".to_owned()))?;
        *conf.peers.borrow_mut() = Some(Peers::new(Owner::Module(followed)));
        Ok(())
    }

    /// Has the implicit upstreams follow their names, once nginx has set up all upstreams.
    pub fn install(&self, cf: &mut ngx_conf_t) -> Result<(), Stop> {
        for block in blocks::all(cf) {
            let Some(conf) = block.conf() else { continue };
            conf.peers.borrow_mut().iter_mut().for_each(|peers| peers.install(block.get()));
        }
        Names::share(&self.names, cf)
    }
}
