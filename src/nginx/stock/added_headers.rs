//! Lines of `add_header` and `add_trailer`, which nginx keeps in a list for each block.

use std::ptr;

use crate::nginx::base::ffi::{ngx_conf_t, ngx_http_complex_value_t, ngx_str_t};
use crate::nginx::base::parser::{Stop, NO_MEMORY};
use crate::nginx::base::plain::Plain;
use crate::nginx::base::pool::Pool;
use crate::nginx::stock::directives::Stock;
use crate::nginx::stock::first_field::{Expires, FirstField};
use crate::nginx::stock::level::Level;
use crate::nginx::stock::settings::UserSettings;

/// One line, as `ngx_http_header_val_t` has it in the headers filter module's source.
#[derive(Clone, Copy)]
#[repr(C)]
struct Added {
    value: ngx_http_complex_value_t,
    name: ngx_str_t,
    handler: usize,
    offset: usize,
    always: usize,
}

/// Words of `add_header_inherit`, since nginx 1.29.3.
const OFF: usize = 0;
const ON: usize = 1;
const MERGE: usize = 2;

// SAFETY: its fields are texts, numbers and pointers.
unsafe impl Plain for Added {}

impl Stock {
    /// Names and values of the lines of a directive.
    pub fn added(&self, settings: &UserSettings, directive: &str) -> Vec<[String; 2]> {
        let text = |text: &ngx_str_t| String::from_utf8_lossy(text.as_bytes()).into_owned();
        let lines = self.list::<Added>(settings, directive).iter();
        lines.map(|line| [text(&line.name), text(&line.value.value)]).collect()
    }

    /// Makes a block inherit only the outer lines whose names `is_meant` accepts. If the block has lines of its own,
    /// nginx inherits none.
    pub fn take_added(
        &self,
        cf: &mut ngx_conf_t,
        level: Level,
        directives: [&str; 2],
        [own, outer]: [&UserSettings; 2],
        is_meant: impl Fn(&[u8]) -> bool,
    ) -> Result<(), Stop> {
        let [name, inherit] = directives;
        let effective = own.within(Some(outer));
        let inherits = self.words(&effective, inherit).map_or(ON, |words| words[0]);
        let [mine, from] = [own, outer].map(|settings| self.list::<Added>(settings, name));
        if !self.is_set(outer, name)
            || inherits == OFF
            || self.is_set(own, name) && (inherits != MERGE || mine.is_empty())
        {
            return Ok(());
        }
        let meant = from.iter().filter(|line| is_meant(line.name.as_bytes()));
        let all: Vec<_> = mine.iter().chain(meant).copied().collect();
        let to = Pool::from(&*cf).array(&all).ok_or(NO_MEMORY)?;
        self.put(level, name, ptr::from_mut(to) as usize);
        if inherits == MERGE {
            // Not `off`, which blocks inside would inherit: they inherit this list.
            self.put(level, inherit, ON);
        }
        Ok(())
    }

    /// Writes the field of a directive.
    pub fn put(&self, level: Level, directive: &str, word: usize) {
        // That of a list of `add_header` or `proxy_set_header`, or the number that an `_inherit` sets.
        if let Some(place) = self.get(directive).and_then(|found| level.word(found.field)) {
            place.set(word);
        }
    }
}

/// Whether an `expires` in the block lets caches keep replies; `off` and `epoch` do not.
pub fn keeps_replies(cf: &ngx_conf_t, level: Level) -> bool {
    const EPOCH: u32 = 1;
    Expires::of(cf, level).is_some_and(|expires| expires.0 > EPOCH)
}
