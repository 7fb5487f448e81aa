//! nginx's own types and functions as bindgen reads them from its headers: the one path that the glue takes them from.

pub use nginx_sys::*;
