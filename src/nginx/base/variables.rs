//! nginx's variables: which are defined, and the values that a request has of them.

use crate::nginx::base::ffi::{
    ngx_conf_t, ngx_http_core_main_conf_t, ngx_http_get_indexed_variable, ngx_http_get_variable_pt,
    ngx_http_request_t, ngx_http_variable_t, ngx_http_variable_value_t,
};
use crate::nginx::base::links::array;
use crate::nginx::base::links::configuration::{variable, variable_keys};
use crate::nginx::base::links::request::values;
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
    let keys = variable_keys(ngx_http_core_main_conf_t::of(cf)?);
    variable(keys.iter().find(|key| key.key.as_bytes() == name.as_bytes())?)
}

/// Variables of request headers that are defined one by one; nobody can define them otherwise.
const HEADERS: [&[u8]; 6] = [
    b"http_cookie",
    b"http_host",
    b"http_referer",
    b"http_user_agent",
    b"http_via",
    b"http_x_forwarded_for",
];

/// Has nginx keep the values of request headers that the configuration reads, before the headers are dropped. `None`
/// without memory.
pub fn keep_headers(r: &mut ngx_http_request_t) -> Option<()> {
    const PREFIX: &[u8] = b"http_";
    let main = ngx_http_core_main_conf_t::of(r)?;
    let prefixes: &[ngx_http_variable_t] = array(&main.prefix_variables);
    let of_headers = prefixes.iter().find(|one| one.name.as_bytes() == PREFIX)?.get_handler;
    let of_headers = Getter::new(of_headers);
    for (number, variable) in array::<ngx_http_variable_t>(&main.variables).iter().enumerate() {
        let name = variable.name.as_bytes();
        // A `map` or `set` may have made one of such a name, whose value may not be there yet, or not at all.
        let is_header = name.starts_with(PREFIX)
            && (HEADERS.contains(&name) || Getter::new(variable.get_handler) == of_headers);
        if is_header {
            // SAFETY: it is the index of a variable.
            let value = unsafe { ngx_http_get_indexed_variable(r, number) };
            if value.is_null() {
                return None;
            }
        }
    }
    Some(())
}

/// Gives a request values of its own. nginx has it share them with its subrequests, and keeps what one of them has
/// worked out. What `getters` work out is worked out again for this request. `None` without memory.
pub fn separate(r: &mut ngx_http_request_t, getters: &[Getter]) -> Option<()> {
    let main = ngx_http_core_main_conf_t::of(r)?;
    let defined: &[ngx_http_variable_t] = array(&main.variables);
    let values = defined.iter().zip(values(r, main)).map(|(variable, value)| {
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
    let Some(core) = ngx_http_core_main_conf_t::of(cf) else { return false };
    let [prefixes, indexed] =
        [&core.prefix_variables, &core.variables].map(array::<ngx_http_variable_t>);
    variable_keys(core).iter().any(|key| key.key.as_bytes() == name)
        || prefixes.iter().any(|prefix| name.starts_with(prefix.name.as_bytes()))
        || indexed.iter().any(|one| one.get_handler.is_some() && one.name.as_bytes() == name)
}
