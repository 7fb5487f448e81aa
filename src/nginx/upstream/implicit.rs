//! The implicit upstream: an `upstream {}` block that the user need not write. All locations with the same connection
//! settings share one.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::CStr;
use std::num::NonZeroU16;
use std::rc::Rc;

use zeroize::Zeroizing;

use crate::conflict::Conflict;
use crate::connection_settings::{is_verified, Content, Key};
use crate::directive::Effective;
use crate::egress;
use crate::failure::Failure;
use crate::frontend_api::Origin;
use crate::nginx::base::environment;
use crate::nginx::base::ffi::ngx_conf_t;
use crate::nginx::base::parser::{ConfExt, Place, Stop};
use crate::nginx::stock::directives;
use crate::nginx::upstream::blocks::{self, Block};
use crate::nginx::upstream::names::Names;
use crate::nginx::upstream::servers::{Followed, Owner, Peers};
use crate::recipe::{self, KEEPALIVE, ONLY_SERVER, SERVERS};
use crate::warning::Warning;

/// A placeholder for the addresses of a name; nothing connects to it.
const PLACEHOLDER: &str = "127.0.0.1:9";

const KEEPALIVE_MODULE: &CStr = c"ngx_http_upstream_keepalive_module";

/// Whether nginx was built with the module that keeps connections.
pub fn keeps_connections(cf: &ngx_conf_t) -> bool {
    directives::exists(cf, KEEPALIVE_MODULE, "keepalive")
}

/// The variable of the environment that names a proxy for connections to this origin.
fn ignored_proxy(origin: &Origin) -> Option<&'static str> {
    let host = origin.tls.then(|| origin.remote_host()).flatten()?;
    let text = |value: Zeroizing<Vec<u8>>| String::from_utf8(value.to_vec()).ok();
    egress::ignored_proxy(host, |name| environment::get(name).and_then(text))
}

/// The upstreams of one configuration.
#[derive(Default)]
pub struct Upstreams {
    /// The names that implicit upstreams follow.
    pub names: Rc<RefCell<Names>>,
    /// The names of the implicit upstreams.
    implicit: HashMap<Key, String>,
    /// How many implicit upstreams connect to the same address.
    named: HashMap<String, usize>,
    /// The connection settings of the user's blocks.
    blocks: HashMap<String, Key>,
}

impl Upstreams {
    /// Whether `clerk_proxy` verifies the servers of a block of the user's.
    pub fn verifies(&self, block: &str) -> bool {
        // nginx ignores the case of upstreams' names.
        let own = self.blocks.iter().find(|(name, _)| name.eq_ignore_ascii_case(block));
        own.is_some_and(|(_, key)| is_verified(&key.connection))
    }

    /// The name of the upstream for a line: the user's block, or the implicit upstream, which is made if it does not
    /// exist yet.
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
            // nginx keeps connections and TLS sessions by upstream: an unverified one would serve the other location.
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
        // See also `Peers::admits`.
        let first = key.name();
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
        // Numeric addresses and sockets never change. A name is followed, and a placeholder stands for its addresses.
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
        if let Some(variable) = ignored_proxy(origin) {
            cf.warn(&Warning::IgnoredProxy { server: key.server.clone(), variable });
        }
        text.push('}');
        cf.at(place, &text, |cf| {
            directives::block(cf, c"ngx_http_upstream_module", "upstream", &[name.as_bytes()])
        })?;
        let followed = followed.map(|(host, port)| {
            // A word without a dot or port looks like the name of a block.
            let block = origin.block_name().filter(|name| !name.contains('.')).map(str::to_owned);
            let warning = Warning::HostNotFound { server: key.server.clone(), block };
            let host = self.names.borrow_mut().follow(host, warning, place);
            Followed { names: Rc::clone(&self.names), host, port }
        });
        // The last block is the one that was just made.
        let conf = blocks::all(cf).next_back().and_then(Block::conf);
        let conf = conf.ok_or_else(|| Failure::Internal("no upstream".to_owned()))?;
        *conf.peers.borrow_mut() = Some(Peers::new(Owner::Module(followed)));
        Ok(())
    }

    /// Makes the implicit upstreams follow their names, once nginx has set up all upstreams.
    pub fn install(&self, cf: &mut ngx_conf_t) -> Result<(), Stop> {
        for block in blocks::all(cf) {
            let Some(conf) = block.conf() else { continue };
            conf.peers.borrow_mut().iter_mut().for_each(|peers| peers.install(block.get()));
        }
        Names::share(&self.names, cf)
    }
}
