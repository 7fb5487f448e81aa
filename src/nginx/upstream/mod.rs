//! Names, addresses, servers and connections. Imports `base`, `stock` and `request`.

pub mod address_list;
pub mod attempt;
pub mod blocks;
pub mod implicit;
pub mod liveness;
pub mod lookup;
pub mod names;
pub mod servers;
pub mod shared_names;
pub mod tls_client;
pub mod wanted;
pub mod warm;
