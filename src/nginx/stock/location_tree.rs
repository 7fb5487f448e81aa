//! The tree in which nginx finds the prefix location of a request.

use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::iter;
use std::mem::offset_of;
use std::ptr;

use crate::nginx::base::ffi::{
    ngx_conf_t, ngx_http_core_loc_conf_t, ngx_http_location_tree_node_t as Node, u_char,
};
use crate::nginx::base::links::configuration::{below, locations_of, root};
use crate::nginx::base::parser::{Stop, NO_MEMORY};
use crate::nginx::base::pool::Pool;
use crate::nginx::stock::level::Level;

/// The locations of a block.
#[derive(Default)]
pub struct Tree {
    /// The node of each prefix, by its location.
    nodes: HashMap<usize, &'static Cell<Node>>,
    names: HashSet<Vec<u8>>,
}

impl Tree {
    /// The tree of a block, once nginx has made it.
    pub fn of(around: Level) -> Self {
        let mut tree = Self::default();
        if let Some(root) = root(around.core()) {
            tree.read(root);
        }
        tree
    }

    fn read(&mut self, node: &'static Cell<Node>) {
        let [exact, inclusive] = locations_of(node);
        let names = exact.into_iter().chain(inclusive).map(|core| core.name.as_bytes().to_vec());
        self.names.extend(names);
        self.nodes.extend(inclusive.map(|core| (ptr::from_ref(core).addr(), node)));
        below(node).for_each(|node| self.read(node));
    }

    /// Makes a location whose name ends with a slash also answer for the name without it, unless another location does.
    /// nginx would redirect such a request, with its own scheme and port.
    pub fn add_bare_name(
        &mut self,
        cf: &ngx_conf_t,
        core: &mut ngx_http_core_loc_conf_t,
    ) -> Result<(), Stop> {
        let name = core.name;
        let Some((b'/', bare)) = name.as_bytes().split_last() else { return Ok(()) };
        let Some(&node) = self.nodes.get(&ptr::from_ref(core).addr()) else { return Ok(()) };
        let Node { left, inclusive, len, .. } = node.get();
        let len = len - 1;
        if len == 0 || bare.is_empty() || self.names.contains(bare) {
            return Ok(());
        }
        let size = offset_of!(Node, name) + usize::from(len);
        let size = size.max(size_of::<Node>()).div_ceil(size_of::<usize>());
        let memory = Pool::from(cf).fill(size, iter::repeat_n(0_usize, size)).ok_or(NO_MEMORY)?;
        let (new, old) = (memory.as_mut_ptr().cast::<Node>(), node.as_ptr());
        // SAFETY: there is room for a node with this name, and zero is a valid value for each of its fields; the
        // other node has room for its name, too. What comes before the name with the slash is found to the left of
        // it, and so is the name without it; what differs from that goes on as if the new node were not there.
        unsafe {
            ((*new).left, (*new).right, (*new).exact, (*new).len) = (left, left, inclusive, len);
            let name = (&raw mut (*new).name).cast::<u_char>();
            name.copy_from_nonoverlapping((&raw const (*old).name).cast(), len.into());
            (*old).left = new;
        }
        self.names.insert(bare.to_vec());
        Ok(())
    }
}
