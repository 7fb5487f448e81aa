//! Tests of the module in a real nginx, against a stand-in of the Frontend API.

mod blocks;
mod bodies;
mod config;
mod connections;
mod dns;
mod dns_failures;
mod dns_server;
mod docs;
mod errors;
mod failures;
mod fapi;
mod forwarding;
mod harness;
mod panics;
mod parity;
mod raw;
mod replies;
mod requests;
mod sharing;
mod tls;
mod tls_apart;
mod upstream;
