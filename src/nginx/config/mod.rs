//! From the lines that a user writes to a location that works. Imports all folders before it: `base`, `stock`,
//! `request` and `upstream`.

pub mod advice;
pub mod apply;
pub mod ca_bundle;
pub mod cache_rules;
pub mod citation;
pub mod common;
pub mod counting;
pub mod earlier;
pub mod exposure;
pub mod headers;
pub mod key;
pub mod lines;
pub mod locations;
pub mod merge;
pub mod named;
pub mod recipe_lines;
pub mod state;
pub mod status;
pub mod values;
pub mod way;
