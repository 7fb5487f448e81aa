//! nginx's basics made safe. Knows no directive; imports the pure core alone.

pub mod address;
pub mod cached;
pub mod callback;
pub mod clock;
pub mod connection;
pub mod counted;
pub mod environment;
pub mod expression;
pub mod ffi;
pub mod guard;
pub mod headers;
pub mod heap;
pub mod links;
pub mod log;
pub mod module;
pub mod parser;
pub mod plain;
pub mod pool;
pub mod process;
pub mod program;
pub mod reserve;
pub mod shared_memory;
pub mod status;
#[cfg_attr(not(nginx_http_ssl), allow(dead_code))]
pub mod symbols;
pub mod timer;
pub mod variables;
pub mod written;
