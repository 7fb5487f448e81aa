//! Names, addresses, servers and connections. Imports `base`, `stock` and `request`.

pub mod address_list;
pub mod attempt;
pub mod blocks;
pub mod idle;
pub mod implicit;
pub mod liveness;
pub mod lookup;
pub mod names;
pub mod servers;
pub mod stand_in;
#[cfg_attr(not(nginx_http_ssl), path = "no_tls_client.rs")]
pub mod tls_client;
pub mod wanted;
pub mod warm;
