//! The memory for when there is none, which needs no nginx; its tests stand in it.

#[path = "../../src/nginx/base/reserve.rs"]
mod file;
