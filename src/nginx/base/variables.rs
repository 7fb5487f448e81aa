//! nginx's variables: which are defined, and the values that a request has of them.

use std::slice;

use crate::nginx::base::ffi::{
    ngx_conf_t, ngx_hash_key_t, ngx_http_core_main_conf_t, ngx_http_get_indexed_variable,
    ngx_http_get_variable_pt, ngx_http_request_t, ngx_http_variable_t, ngx_http_variable_value_t,
};
use crate::nginx::base::module::Conf;
use crate::nginx::base::plain::Plain;
use crate::nginx::base::pool::Pool;

/// What works out the values of variables: a function of a module, by its address.
#[derive(Clone, Copy, PartialEq)]
pub struct Getter(usize);

impl Getter {
    fn new(get: ngx_http_get_variable_pt) -> Option<Self> {
        get.map(|get| Self(get as usize))
    }

    /// That of a variable, while the configuration is read; the name is in small letters.
    pub fn of(cf: &ngx_conf_t, name: &str) -> Option<Self> {
        Self::new(find(cf, name)?.get_handler)
    }
}

/// A variable that is defined, while the configuration is read; the name is in small letters.
pub fn find<'a>(cf: &'a ngx_conf_t, name: &str) -> Option<&'a ngx_http_variable_t> {
    let (keys, ..) = known(cf)?;
    let key = keys.iter().find(|key| key.key.as_bytes() == name.as_bytes())?;
    // SAFETY: the value of each of these keys is its variable.
    unsafe { key.value.cast::<ngx_http_variable_t>().as_ref() }
}

/// Has nginx keep the values of request headers that the configuration reads, before the headers are dropped. `None`
/// without memory.
pub fn keep_headers(r: &mut ngx_http_request_t) -> Option<()> {
    for (number, variable) in defined(r)?.iter().enumerate() {
        if variable.name.as_bytes().starts_with(b"http_") {
            // SAFETY: it is the index of a variable.
            let value = unsafe { ngx_http_get_indexed_variable(r, number) };
            if value.is_null() {
                return None;
            }
        }
    }
    Some(())
}

/// The variables with an index.
fn defined(r: &ngx_http_request_t) -> Option<&'static [ngx_http_variable_t]> {
    let main = ngx_http_core_main_conf_t::of(r)?;
    // SAFETY: the list has such elements.
    Some(unsafe { main.variables.as_slice() })
}

/// Gives a request values of its own. nginx has it share them with its subrequests, and keeps what one of them has
/// worked out. What `getters` work out is worked out again for this request. `None` without memory.
pub fn separate(r: &mut ngx_http_request_t, getters: &[Getter]) -> Option<()> {
    let defined = defined(r)?;
    // SAFETY: a request has a value for each of them.
    let shared = unsafe { slice::from_raw_parts(r.variables, defined.len()) };
    let values = defined.iter().zip(shared).map(|(variable, value)| {
        let getter = Getter::new(variable.get_handler);
        let again = getter.is_some_and(|getter| getters.contains(&getter));
        if again {
            ngx_http_variable_value_t::zeroed()
        } else {
            *value
        }
    });
    r.variables = Pool::from(&*r).fill(defined.len(), values)?.as_mut_ptr();
    Some(())
}

/// Whether anything has defined the variable, which has an index; the name is in small letters. See
/// `ngx_http_variables_init_vars`, which says that there is no such variable, but not where it is named.
pub fn is_defined(cf: &ngx_conf_t, name: &str) -> bool {
    let name = name.as_bytes();
    let Some((keys, prefixes, indexed)) = known(cf) else { return false };
    keys.iter().any(|key| key.key.as_bytes() == name)
        || prefixes.iter().any(|prefix| name.starts_with(prefix.name.as_bytes()))
        || indexed.iter().any(|one| one.get_handler.is_some() && one.name.as_bytes() == name)
}

type Known<'a> = (&'a [ngx_hash_key_t], &'a [ngx_http_variable_t], &'a [ngx_http_variable_t]);

/// The keys of defined variables, the prefixes, and the variables that have an index.
fn known(cf: &ngx_conf_t) -> Option<Known<'_>> {
    let core = ngx_http_core_main_conf_t::of(cf)?;
    // SAFETY: until the variables are complete their keys are there. All three arrays have elements of these types.
    unsafe {
        let keys = core.variables_keys.as_ref()?.keys.as_slice();
        Some((keys, core.prefix_variables.as_slice(), core.variables.as_slice()))
    }
}
