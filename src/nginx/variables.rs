//! The module's variables: `$clerk_proxy_uri` and `$clerk_proxy_client_ip`.

use ngx::ffi::{
    ngx_conf_t, ngx_http_add_variable, ngx_http_get_variable_index, ngx_http_request_t,
    ngx_http_variable_value_t, ngx_int_t,
};
use ngx::http::HttpModuleMainConf;

use super::cf::{ConfExt, Stop, ERROR, NO_MEMORY, OK};
use super::{guard, Module};

/// The URI in the `proxy_pass` of the recipe.
pub const URI: &str = "clerk_proxy_uri";
/// The client's address in the recipe.
pub const CLIENT_IP: &str = "clerk_proxy_client_ip";

/// Where requests keep the values.
#[derive(Clone, Copy)]
pub struct Indexes {
    /// That of the URI.
    pub uri: usize,
    /// That of the client's address.
    pub client_ip: usize,
}

/// Defines the variables.
pub fn add(cf: &mut ngx_conf_t) -> Result<(), Stop> {
    let indexes = Indexes { uri: add_one(cf, URI)?, client_ip: add_one(cf, CLIENT_IP)? };
    Module::main_conf_mut(cf).ok_or(NO_MEMORY)?.variables = Some(indexes);
    Ok(())
}

fn add_one(cf: &mut ngx_conf_t, name: &str) -> Result<usize, Stop> {
    let mut name = cf.copy(name)?;
    // SAFETY: called from `preconfiguration`, after that of the core module; the name lives in the pool.
    let index = unsafe {
        let variable = ngx_http_add_variable(cf, &raw mut name, 0);
        if variable.is_null() {
            return Err(NO_MEMORY);
        }
        (*variable).get_handler = Some(unset);
        ngx_http_get_variable_index(cf, &raw mut name)
    };
    usize::try_from(index).map_err(|_| NO_MEMORY)
}

/// The value in requests that no `clerk_proxy` has handled.
unsafe extern "C" fn unset(
    r: *mut ngx_http_request_t,
    value: *mut ngx_http_variable_value_t,
    _data: usize,
) -> ngx_int_t {
    guard::request(r, "variable", ERROR, |_| {
        // SAFETY: nginx hands a getter the value to fill.
        unsafe { (*value).set_not_found(1) };
        OK
    })
}

/// Gives a variable its value at the place where nginx itself keeps values: no context, no getter, and nearly
/// never an allocation. nginx only reads what `data` points to, as long as the request lives.
pub fn set(r: &ngx_http_request_t, index: usize, data: *const u8, len: usize) -> Option<()> {
    let bits = ngx_http_variable_value_t::new_bitfield_1(u32::try_from(len).ok()?, 1, 0, 0, 0);
    // SAFETY: `variables` has an element for every index that was handed out at configuration time.
    unsafe {
        let value = r.variables.add(index);
        (*value)._bitfield_1 = bits;
        (*value).data = data.cast_mut();
    }
    Some(())
}
