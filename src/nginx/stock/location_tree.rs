//! The tree in which nginx finds the prefix location of a request.

use std::collections::{HashMap, HashSet};
use std::iter;
use std::mem::offset_of;
use std::ptr;

use crate::nginx::base::ffi::{
    ngx_conf_t, ngx_http_core_loc_conf_t, ngx_http_location_tree_node_t as Node, u_char,
};
use crate::nginx::base::parser::{Stop, NO_MEMORY};
use crate::nginx::base::pool::Pool;
use crate::nginx::stock::level::{settings, Level};

/// The locations of a block.
pub struct Tree {
    /// The node of each prefix, by its location.
    nodes: HashMap<usize, *mut Node>,
    names: HashSet<Vec<u8>>,
}

impl Tree {
    /// The tree of a block, once nginx has made it.
    pub fn of(around: Level) -> Self {
        let mut tree = Self { nodes: HashMap::new(), names: HashSet::new() };
        tree.read(around.core().static_locations);
        tree
    }

    fn read(&mut self, node: *mut Node) {
        // SAFETY: null or a node, which has one location or two, and more nodes or none; all live as long as the
        // configuration.
        unsafe {
            let Some(this) = node.as_ref() else { return };
            for core in [this.exact, this.inclusive].into_iter().filter_map(|core| core.as_ref()) {
                self.names.insert(core.name.as_bytes().to_vec());
            }
            if let Some(inclusive) = this.inclusive.as_ref() {
                self.nodes.insert(ptr::from_ref(settings(inclusive)).addr(), node);
            }
            for next in [this.left, this.right, this.tree] {
                self.read(next);
            }
        }
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
        // SAFETY: as in `read`.
        let len = unsafe { (*node).len } - 1;
        if len == 0 || bare.is_empty() || self.names.contains(bare) {
            return Ok(());
        }
        let size = offset_of!(Node, name) + usize::from(len);
        let size = size.max(size_of::<Node>()).div_ceil(size_of::<usize>());
        let memory = Pool::from(cf).fill(size, iter::repeat_n(0_usize, size)).ok_or(NO_MEMORY)?;
        // SAFETY: there is room for a node with this name, and zero is a valid value for each of its fields; the
        // other node has room for its name, too. What comes before the name with the slash is found to the left of
        // it, and so is the name without it; what differs from that goes on as if the new node were not there.
        unsafe {
            let new = memory.as_mut_ptr().cast::<Node>();
            ((*new).left, (*new).right) = ((*node).left, (*node).left);
            ((*new).exact, (*new).len) = ((*node).inclusive, len);
            let name = (&raw mut (*new).name).cast::<u_char>();
            name.copy_from_nonoverlapping((&raw const (*node).name).cast(), len.into());
            (*node).left = new;
        }
        self.names.insert(bare.to_vec());
        Ok(())
    }
}
