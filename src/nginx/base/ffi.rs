//! nginx's own types and functions as bindgen reads them from its headers.

pub use nginx_sys::*;
