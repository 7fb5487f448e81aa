//! Finds what the user wrote: compares the configurations of a block, before nginx merges them, with unchanged ones.

use std::cell::Cell;
use std::ptr;

use crate::buffer_sizes::UserSizes;
use crate::connection_settings::{is_of_connection, is_of_tls, Content};
use crate::nginx::base::ffi::{
    ngx_array_t, ngx_conf_set_bufs_slot, ngx_conf_set_keyval_slot, ngx_conf_set_str_slot,
    ngx_conf_t, ngx_http_complex_value_t, ngx_http_set_complex_value_slot,
    ngx_http_upstream_bind_set_slot, ngx_http_upstream_local_t, ngx_keyval_t, ngx_str_t,
};
use crate::nginx::base::links::array;
use crate::nginx::base::links::configuration::bound_to;
use crate::nginx::base::parser::{Stop, NO_MEMORY};
use crate::nginx::base::plain::Plain;
use crate::nginx::base::pool::Pool;
use crate::nginx::stock::directives::{Directive, Stock, ADDED, TEMP_FILE_WRITE_SIZE};
use crate::nginx::stock::field::Settings;
use crate::nginx::stock::level::Level;

/// The directive of the headers of requests.
pub const SET_HEADER: &str = "proxy_set_header";

/// The value of a field; the second word is only for a directive with two.
pub type Words = [usize; 2];

/// What the user wrote in one block or around it: places in [`Stock::directives`], in order, and what is in their fields.
#[derive(Clone, PartialEq)]
pub struct UserSettings(Vec<(usize, Words)>);

impl UserSettings {
    /// The effective settings of a block: its own, and for the rest those of the blocks around it.
    pub fn within(&self, outer: Option<&Self>) -> Self {
        let outer = outer.map_or(&[][..], |outer| &outer.0);
        let around = outer.iter().filter(|(at, _)| self.at(*at).is_none());
        let mut all: Vec<_> = self.0.iter().chain(around).copied().collect();
        all.sort_unstable_by_key(|(at, _)| *at);
        Self(all)
    }

    fn at(&self, at: usize) -> Option<Words> {
        let found = self.0.binary_search_by_key(&at, |(at, _)| *at).ok()?;
        Some(self.0[found].1)
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
    /// A list.
    List,
    /// The address that connections come from.
    Local,
}

impl Slot {
    fn of(directive: &Directive) -> Self {
        if ADDED.iter().any(|[name, _]| *name == directive.name) {
            return Self::List;
        }
        let set = directive.command.set.map_or(ptr::null(), |set| set as *const ());
        let slots = [
            (ngx_conf_set_str_slot as *const (), Self::Text),
            (ngx_conf_set_bufs_slot as *const (), Self::Buffers),
            (ngx_http_set_complex_value_slot as *const (), Self::Value),
            #[cfg(nginx_zero_slot)]
            (
                crate::nginx::base::ffi::ngx_http_set_complex_value_zero_slot as *const (),
                Self::Value,
            ),
            (ngx_conf_set_keyval_slot as *const (), Self::List),
            (ngx_http_upstream_bind_set_slot as *const (), Self::Local),
        ];
        let found = slots.into_iter().find(|(setter, _)| *setter == set);
        found.map_or(Self::Word, |(_, slot)| slot)
    }
}

/// What a field leads to, as long as the configuration lives.
enum Kept {
    Words,
    Text(ngx_str_t),
    Value(&'static ngx_http_complex_value_t),
    List(&'static ngx_array_t),
    Local(&'static ngx_http_upstream_local_t),
    Nothing,
}

impl Directive {
    fn written_in(&self, level: Level) -> Option<Words> {
        let slot = Slot::of(self);
        // A directive with a special setter may have no field. Any other field is at least a word wide.
        if self.field.offset == 0 && slot == Slot::Word {
            return None;
        }
        // Without buffers, nginx does not set their size.
        let compared = if slot == Slot::Text { 2 } else { 1 };
        let settings = level.settings(self.field.ctx_index)?;
        let field = |settings: Settings| settings.words(self.field, compared);
        if field(settings)? == field(self.pristine)? {
            return None;
        }
        let own = settings.words(self.field, if slot == Slot::Buffers { 2 } else { compared })?;
        Some([own[0].get(), own.get(1).map(Cell::get).unwrap_or_default()])
    }

    /// Where words lead that `written_in` has read.
    fn kept(&self, words: Words) -> Kept {
        let slot = Slot::of(self);
        // SAFETY: the setter of the directive, by which its slot is known, has written null or a pointer of this type.
        let pointer = unsafe {
            match slot {
                Slot::Word | Slot::Buffers => Some(Kept::Words),
                Slot::Text => {
                    Some(Kept::Text(ngx_str_t { len: words[0], data: words[1] as *mut u8 }))
                }
                Slot::Value => {
                    (words[0] as *const ngx_http_complex_value_t).as_ref().map(Kept::Value)
                }
                Slot::List => (words[0] as *const ngx_array_t).as_ref().map(Kept::List),
                Slot::Local => {
                    (words[0] as *const ngx_http_upstream_local_t).as_ref().map(Kept::Local)
                }
            }
        };
        pointer.unwrap_or(Kept::Nothing)
    }

    fn content(&self, words: Words) -> Vec<u8> {
        match self.kept(words) {
            Kept::Nothing => Vec::new(),
            Kept::Words => words.map(usize::to_ne_bytes).concat(),
            Kept::Text(text) => text.as_bytes().into(),
            Kept::Value(value) => value.value.as_bytes().into(),
            Kept::List(list) => {
                let pairs = array::<ngx_keyval_t>(list).iter();
                let texts = pairs.flat_map(|pair| [&pair.key, &pair.value]);
                texts.flat_map(|text| [&text.len.to_ne_bytes(), text.as_bytes()].concat()).collect()
            }
            Kept::Local(local) => {
                let (addr, value) = bound_to(local);
                let text = addr.map(|addr| addr.name).or(value.map(|value| value.value));
                let text = text.map(|text| text.as_bytes().to_vec()).unwrap_or_default();
                [&text[..], &local.transparent.to_ne_bytes()].concat()
            }
        }
    }
}

impl Stock {
    /// What the user wrote in this block itself. This is read before the recipe is applied.
    pub fn written_in(&self, level: Level) -> UserSettings {
        let all = self.directives.iter().enumerate();
        UserSettings(all.filter_map(|(at, one)| Some((at, one.written_in(level)?))).collect())
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
        settings.at(self.position(name)?)
    }

    /// The list that a directive's field leads to; none if this nginx keeps it in another form.
    pub fn list<T: Plain>(&self, settings: &UserSettings, name: &str) -> &'static [T] {
        let words = self.words(settings, name);
        match self.get(name).zip(words).map(|(directive, words)| directive.kept(words)) {
            Some(Kept::List(list)) => array(list),
            _ => &[],
        }
    }

    /// The effective `proxy_set_header` lines.
    pub fn headers(&self, settings: &UserSettings) -> Vec<(String, Vec<u8>)> {
        let pairs = self.list::<ngx_keyval_t>(settings, SET_HEADER).iter();
        let name = |pair: &ngx_keyval_t| String::from_utf8_lossy(pair.key.as_bytes()).into_owned();
        pairs.map(|pair| (name(pair), pair.value.as_bytes().to_vec())).collect()
    }

    /// Replaces the `proxy_set_header` lines of a block.
    pub fn put_headers(
        &self,
        cf: &ngx_conf_t,
        level: Level,
        all: &[ngx_keyval_t],
    ) -> Result<(), Stop> {
        let list = Pool::from(cf).array(all).ok_or(NO_MEMORY)?;
        self.put(level, SET_HEADER, ptr::from_mut(list) as usize);
        Ok(())
    }

    /// The settings of connections.
    pub fn connection(&self, settings: &UserSettings, tls: bool) -> Content {
        let all = settings.0.iter().map(|(at, words)| (&self.directives[*at], *words));
        all.filter(|(directive, _)| is_of_connection(directive.name))
            .filter(|(directive, _)| tls || !is_of_tls(directive.name))
            .map(|(directive, words)| (directive.name, directive.content(words)))
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
