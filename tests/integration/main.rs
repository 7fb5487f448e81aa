//! Tests of the module in a real nginx, against a stand-in of the Frontend API.

mod bodies;
mod config;
mod dns;
mod dns_failures;
mod dns_server;
mod docs;
mod errors;
mod fapi;
mod forwarding;
mod harness;
mod panics;
mod parity;
mod replies;
mod requests;
mod sharing;
mod upstream;
