//! The fields of modules' settings that directives name, without the structs that these are in.

use std::cell::Cell;
use std::ffi::c_void;
use std::ptr::NonNull;
use std::slice;

use crate::nginx::base::ffi::{ngx_command_t, ngx_conf_t, ngx_http_module_t, ngx_module_t};
use crate::nginx::base::module::Confs;

/// The field of a directive.
#[derive(Clone, Copy)]
pub struct Field {
    /// The place of the module's settings in those of a block.
    pub ctx_index: usize,
    /// The place of the field in them; 0 also for a directive without a field.
    pub offset: usize,
}

impl Field {
    /// That of a directive of this module.
    pub fn of(module: &ngx_module_t, command: &ngx_command_t) -> Self {
        Self { ctx_index: module.ctx_index, offset: command.offset }
    }

    /// The field of a block, where nginx keeps a word.
    pub fn word(self, confs: Confs) -> Option<&'static Cell<usize>> {
        Settings::of(confs, self.ctx_index)?.words(self, 1)?.first()
    }
}

/// What a module keeps of a block, or would keep of an empty one.
#[derive(Clone, Copy)]
pub struct Settings {
    ctx_index: usize,
    first: NonNull<c_void>,
}

impl Settings {
    /// Those of a block.
    pub fn of(confs: Confs, ctx_index: usize) -> Option<Self> {
        NonNull::new(confs.at(ctx_index)).map(|first| Self { ctx_index, first })
    }

    /// Those of a block without a line of the module. `None` without memory.
    pub fn pristine(cf: &mut ngx_conf_t, module: &ngx_module_t) -> Option<Self> {
        // SAFETY: the context of an http module is an `ngx_http_module_t`; its `create_loc_conf` takes the parser state and
        // returns fresh settings or null.
        let first = unsafe { (*module.ctx.cast::<ngx_http_module_t>()).create_loc_conf?(cf) };
        NonNull::new(first).map(|first| Self { ctx_index: module.ctx_index, first })
    }

    /// The words of a field that has so many.
    pub fn words(self, field: Field, len: usize) -> Option<&'static [Cell<usize>]> {
        let words = self.first.as_ptr().wrapping_byte_add(field.offset).cast::<Cell<usize>>();
        // SAFETY: a directive names a field of its module's settings, and callers know by its setter that it is so wide.
        // Settings live as long as the configuration, and nginx changes them in this thread.
        let all = || unsafe { slice::from_raw_parts(words, len) };
        (field.ctx_index == self.ctx_index && words.is_aligned()).then(all)
    }
}
