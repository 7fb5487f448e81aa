//! Tests of the module in a real nginx, against a stand-in of the Frontend API.

mod config;
mod docs;
mod fapi;
mod forwarding;
mod harness;
mod panics;
mod parity;
mod upstream;
