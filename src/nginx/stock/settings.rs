//! Finds what the user wrote: compares the configurations of a block, before nginx merges them, with unchanged ones.

use std::ffi::c_void;
use std::ptr;
use std::slice;

use crate::buffer_sizes::UserSizes;
use crate::nginx::base::ffi::{
    ngx_array_t, ngx_command_t, ngx_conf_set_bufs_slot, ngx_conf_set_keyval_slot,
    ngx_conf_set_str_slot, ngx_http_complex_value_t, ngx_http_set_complex_value_slot,
    ngx_http_upstream_bind_set_slot, ngx_http_upstream_local_t, ngx_keyval_t, ngx_str_t,
};
use crate::nginx::stock::connection_settings::{is_of_connection, is_of_tls, Content};
use crate::nginx::stock::directives::{Directive, Stock, TEMP_FILE_WRITE_SIZE};
use crate::nginx::stock::level::Level;

/// The value of a field; the second word is only for a directive with two.
pub type Words = [usize; 2];

/// What the user wrote in one block or around it, in the order of [`Stock::directives`].
#[derive(Clone, PartialEq)]
pub struct UserSettings(Vec<Option<Words>>);

impl UserSettings {
    /// The effective settings of a block: its own, and for the rest those of the blocks around it.
    pub fn within(&self, outer: Option<&Self>) -> Self {
        let outer = outer.map_or(&[][..], |outer| &outer.0);
        let own = self.0.iter().enumerate();
        Self(own.map(|(i, words)| words.or(outer.get(i).copied().flatten())).collect())
    }
}

/// How a directive keeps its value.
#[derive(PartialEq)]
enum Slot {
    /// A number, a flag, or something that is compared by its address.
    Word,
    Text,
    /// A number of buffers and their size.
    Buffers,
    /// A text with variables.
    Value,
    /// A list of names and values.
    Pairs,
    /// The address that connections come from.
    Local,
}

impl Slot {
    fn of(command: &ngx_command_t) -> Self {
        let set = command.set.map_or(ptr::null(), |set| set as *const ());
        let slots = [
            (ngx_conf_set_str_slot as *const (), Self::Text),
            (ngx_conf_set_bufs_slot as *const (), Self::Buffers),
            (ngx_http_set_complex_value_slot as *const (), Self::Value),
            #[cfg(nginx_zero_slot)]
            (
                crate::nginx::base::ffi::ngx_http_set_complex_value_zero_slot as *const (),
                Self::Value,
            ),
            (ngx_conf_set_keyval_slot as *const (), Self::Pairs),
            (ngx_http_upstream_bind_set_slot as *const (), Self::Local),
        ];
        let found = slots.into_iter().find(|(setter, _)| *setter == set);
        found.map_or(Self::Word, |(_, slot)| slot)
    }
}

impl Directive {
    fn written_in(&self, level: Level) -> Option<Words> {
        let (offset, slot) = (self.command.offset, Slot::of(self.command));
        // A directive with a special setter may have no field.
        if offset == 0 && slot == Slot::Word {
            return None;
        }
        // SAFETY: the offset, where it is not 0 or the setter is one that has a field, is that of a field of the
        // module's configuration which is at least a word wide and aligned to it; two words are read only where the
        // directive's setter has a field of two.
        let field = |conf: *mut c_void, len| unsafe {
            slice::from_raw_parts(conf.byte_add(offset).cast::<usize>(), len)
        };
        // Without buffers, nginx does not set their size.
        let compared = if slot == Slot::Text { 2 } else { 1 };
        let (own, pristine) = (level.conf(self.ctx_index), self.pristine);
        if field(own, compared) == field(pristine, compared) {
            return None;
        }
        let own = field(own, if slot == Slot::Buffers { 2 } else { compared });
        Some([own[0], own.get(1).copied().unwrap_or_default()])
    }

    fn content(&self, words: Words) -> Vec<u8> {
        match Slot::of(self.command) {
            Slot::Text => {
                let text = ngx_str_t { len: words[0], data: words[1] as *mut u8 };
                text.as_bytes().into()
            }
            Slot::Value => {
                // SAFETY: such a slot, when set, points to a complex value of the configuration.
                let value = unsafe { (*(words[0] as *const ngx_http_complex_value_t)).value };
                value.as_bytes().into()
            }
            Slot::Pairs => {
                let pairs = pairs(words).iter().flat_map(|pair| [&pair.key, &pair.value]);
                pairs.flat_map(|text| [&text.len.to_ne_bytes(), text.as_bytes()].concat()).collect()
            }
            Slot::Local => {
                // SAFETY: such a slot, when set, is null or points to these settings, which live as long as the
                // configuration, as do the address and the complex value in them where they are not null.
                let (text, transparent) = unsafe {
                    let Some(local) = (words[0] as *const ngx_http_upstream_local_t).as_ref()
                    else {
                        return Vec::new();
                    };
                    let value = local.value.as_ref().map(|value| value.value);
                    (local.addr.as_ref().map(|addr| addr.name).or(value), local.transparent)
                };
                let text = text.map(|text| text.as_bytes().to_vec()).unwrap_or_default();
                [&text[..], &transparent.to_ne_bytes()].concat()
            }
            Slot::Word | Slot::Buffers => words.map(usize::to_ne_bytes).concat(),
        }
    }
}

fn pairs<'a>(words: Words) -> &'a [ngx_keyval_t] {
    // SAFETY: the slot of such a directive, when set, points to an array of `ngx_keyval_t`
    // (ngx_conf_set_keyval_slot), which lives as long as the configuration.
    unsafe { (*(words[0] as *const ngx_array_t)).as_slice() }
}

impl Stock {
    /// What the user wrote in this block itself. This is read before the recipe is applied.
    pub fn written_in(&self, level: Level) -> UserSettings {
        UserSettings(self.directives.iter().map(|directive| directive.written_in(level)).collect())
    }

    /// Whether the settings contain the directive.
    pub fn is_set(&self, settings: &UserSettings, name: &str) -> bool {
        self.words(settings, name).is_some()
    }

    /// Whether the settings contain the flag directive with `off`.
    pub fn is_off(&self, settings: &UserSettings, name: &str) -> bool {
        self.words(settings, name).is_some_and(|words| words[0] == 0)
    }

    /// Whether the directive, whose words nginx keeps as bits, has any of these bits.
    pub fn has_bits(&self, settings: &UserSettings, name: &str, bits: usize) -> bool {
        self.words(settings, name).is_some_and(|words| words[0] & bits != 0)
    }

    /// What a directive's field holds.
    pub fn words(&self, settings: &UserSettings, name: &str) -> Option<Words> {
        let at = self.directives.iter().position(|directive| directive.name == name)?;
        settings.0.get(at).copied().flatten()
    }

    /// The effective `proxy_set_header` lines.
    pub fn headers(&self, settings: &UserSettings) -> Vec<(String, Vec<u8>)> {
        let Some(words) = self.words(settings, "proxy_set_header") else { return Vec::new() };
        let name = |pair: &ngx_keyval_t| String::from_utf8_lossy(pair.key.as_bytes()).into_owned();
        pairs(words).iter().map(|pair| (name(pair), pair.value.as_bytes().to_vec())).collect()
    }

    /// The settings of connections.
    pub fn connection(&self, settings: &UserSettings, tls: bool) -> Content {
        let both = self.directives.iter().zip(&settings.0);
        both.filter(|(directive, _)| is_of_connection(directive.name))
            .filter(|(directive, _)| tls || !is_of_tls(directive.name))
            .filter_map(|(directive, words)| Some((directive.name, directive.content((*words)?))))
            .collect()
    }

    /// The sizes that nginx checks against each other.
    pub fn sizes(&self, settings: &UserSettings) -> UserSizes {
        let word = |name| self.words(settings, name).map(|words| words[0]);
        UserSizes {
            buffer_size: word("proxy_buffer_size"),
            buffers: self.words(settings, "proxy_buffers").map(|[number, size]| (number, size)),
            busy_buffers_size: word("proxy_busy_buffers_size"),
            temp_file_write_size: word(TEMP_FILE_WRITE_SIZE),
            max_temp_file_size: word("proxy_max_temp_file_size"),
        }
    }
}
