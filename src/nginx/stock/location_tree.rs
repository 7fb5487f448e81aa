//! The tree in which nginx looks for the location of a request, by prefix.

use std::collections::{HashMap, HashSet};
use std::mem::offset_of;

use crate::nginx::base::ffi::{
    ngx_conf_t, ngx_http_core_loc_conf_t, ngx_http_location_tree_node_t, ngx_palloc, u_char,
};
use crate::nginx::base::parser::{Stop, NO_MEMORY};
use crate::nginx::stock::level::Level;

/// The locations of a block.
pub struct Tree {
    /// The node of each prefix, by its location.
    nodes: HashMap<usize, *mut ngx_http_location_tree_node_t>,
    names: HashSet<Vec<u8>>,
}

impl Tree {
    /// The tree of a block, once nginx has made it.
    pub fn of(around: Level) -> Self {
        let mut tree = Self { nodes: HashMap::new(), names: HashSet::new() };
        tree.read(around.core().static_locations);
        tree
    }

    fn read(&mut self, node: *mut ngx_http_location_tree_node_t) {
        // SAFETY: null or a node, which has one location or two, and more nodes or none; all live as long as the
        // configuration.
        unsafe {
            let Some(this) = node.as_ref() else { return };
            for core in [this.exact, this.inclusive].into_iter().filter_map(|core| core.as_ref()) {
                self.names.insert(core.name.as_bytes().to_vec());
            }
            self.nodes.insert(this.inclusive.addr(), node);
            for next in [this.left, this.right, this.tree] {
                self.read(next);
            }
        }
    }

    /// Lets a location whose name ends in a slash answer for its name without it, where no other location does. nginx
    /// would redirect such a request, with the scheme and the port that it sees itself.
    pub fn add_bare_name(
        &mut self,
        cf: &ngx_conf_t,
        core: *mut ngx_http_core_loc_conf_t,
    ) -> Result<(), Stop> {
        // SAFETY: the location's name lives as long as the configuration.
        let name = unsafe { (*core).name };
        let Some((b'/', bare)) = name.as_bytes().split_last() else { return Ok(()) };
        let Some(&node) = self.nodes.get(&core.addr()) else { return Ok(()) };
        // SAFETY: as in `read`; a node has room for its name.
        let len = unsafe { usize::from((*node).len) } - 1;
        if len == 0 || bare.is_empty() || self.names.contains(bare) {
            return Ok(());
        }
        // SAFETY: `pool` is the configuration's; the result is null or has room for a node with this name. Zero is a valid
        // value for each of its fields. What comes before the name with the slash is found to the left of it, and so is
        // the name without it; what differs from that goes on as if the new node were not there.
        unsafe {
            let size = offset_of!(ngx_http_location_tree_node_t, name) + len;
            let size = size.max(size_of::<ngx_http_location_tree_node_t>());
            let new = ngx_palloc(cf.pool, size).cast::<ngx_http_location_tree_node_t>();
            if new.is_null() {
                return Err(NO_MEMORY);
            }
            new.cast::<u8>().write_bytes(0, size);
            ((*new).left, (*new).right) = ((*node).left, (*node).left);
            (*new).exact = core;
            (*new).len = (*node).len - 1;
            let name = (&raw mut (*new).name).cast::<u_char>();
            name.copy_from_nonoverlapping((&raw const (*node).name).cast(), len);
            (*node).left = new;
        }
        self.names.insert(bare.to_vec());
        Ok(())
    }
}
