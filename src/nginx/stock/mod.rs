//! Stock directives: found, read and set as nginx's own parser does. Imports `base`.

pub mod added_headers;
pub mod computed;
pub mod directives;
pub mod field;
pub mod first_field;
pub mod layout;
pub mod level;
pub mod location_tree;
pub mod regex;
pub mod rewrite;
pub mod server;
pub mod settings;
pub mod tls_context;
