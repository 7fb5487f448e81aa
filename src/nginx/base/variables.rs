//! Whether a variable is defined, as nginx asks it when all of the configuration is read.

use crate::nginx::base::ffi::{
    ngx_conf_t, ngx_hash_key_t, ngx_http_conf_ctx_t, ngx_http_core_main_conf_t,
    ngx_http_core_module, ngx_http_variable_t,
};

/// Whether anything has defined the variable, which has an index; the name is in small letters. See
/// `ngx_http_variables_init_vars`, which says that there is no such variable, but not where it is named.
pub fn is_defined(cf: &ngx_conf_t, name: &str) -> bool {
    let name = name.as_bytes();
    // SAFETY: inside `http {}` nginx keeps an `ngx_http_conf_ctx_t` in `ctx`, and the core module has its place in it.
    // Until the variables are complete their keys are there. All three arrays have elements of these types.
    let (keys, prefixes, indexed) = unsafe {
        let main = (*cf.ctx.cast::<ngx_http_conf_ctx_t>()).main_conf;
        let core =
            &*(*main.add(ngx_http_core_module.ctx_index)).cast::<ngx_http_core_main_conf_t>();
        let keys = (*core.variables_keys).keys.as_slice::<ngx_hash_key_t>();
        let prefixes = core.prefix_variables.as_slice::<ngx_http_variable_t>();
        (keys, prefixes, core.variables.as_slice::<ngx_http_variable_t>())
    };
    keys.iter().any(|key| key.key.as_bytes() == name)
        || prefixes.iter().any(|prefix| name.starts_with(prefix.name.as_bytes()))
        || indexed.iter().any(|one| one.get_handler.is_some() && one.name.as_bytes() == name)
}
