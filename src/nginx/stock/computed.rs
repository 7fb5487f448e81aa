//! The variables that nginx works out from others: those of `map` and its kind.

use std::ffi::CStr;

use crate::nginx::base::ffi::ngx_conf_t;
use crate::nginx::base::parser::{ConfExt, Place, Stop};
use crate::nginx::base::variables::Getter;
use crate::nginx::stock::directives;

const KINDS: [(&CStr, &str); 3] = [
    (c"ngx_http_map_module", "map"),
    (c"ngx_http_geo_module", "geo"),
    (c"ngx_http_split_clients_module", "split_clients"),
];

/// What works their values out. These functions have no names outside of nginx, so one variable of each kind is
/// defined, which has them.
pub fn getters(cf: &mut ngx_conf_t, place: Place) -> Result<Vec<Getter>, Stop> {
    let mut getters = Vec::new();
    for (module, directive) in KINDS {
        if !directives::exists(cf, module, directive) {
            continue;
        }
        let name = format!("clerk_proxy_{directive}");
        let arguments = ["$request_method", &format!("${name}")];
        cf.at(place, "}", |cf| {
            directives::block(cf, module, directive, &arguments.map(str::as_bytes))
        })?;
        getters.extend(Getter::of(cf, &name));
    }
    Ok(getters)
}
