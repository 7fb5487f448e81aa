//! Tests of the module in a real nginx, against a stand-in of the Frontend API.

// Tables and stories are read from top to bottom; the limit is for the product.
#![allow(clippy::too_many_lines)]

/// What tests are made of: nginx, stand-ins of the Frontend API and of what is around it, checks.
mod kit {
    pub mod assert;
    pub mod c;
    pub mod connect_proxy;
    pub mod container;
    pub mod dns_server;
    pub mod documents;
    pub mod domains;
    pub mod fapi;
    pub mod grammar;
    pub mod harness;
    pub mod hostile;
    pub mod http2;
    pub mod json_schema;
    pub mod load;
    pub mod location;
    pub mod meter;
    pub mod network;
    pub mod printed;
    pub mod process;
    pub mod raw;
    pub mod stand_in;
    pub mod status;
    pub mod strict;
    pub mod tls;
    pub mod vocabulary;
}

/// What a configuration may say, and what is said of its mistakes.
mod configuration {
    mod around;
    mod beside;
    mod blocks;
    mod config;
    mod config_beside;
    mod debug_logs;
    mod neighbours;
    mod random;
    mod smaller_directives;
    mod warnings;
}

/// What the Frontend API gets.
mod requests {
    mod around;
    mod bodies;
    mod client_address;
    mod early_data;
    mod forwarding;
    mod head;
    mod large;
    mod parity;
    mod subrequests;
    mod threats;
    mod uploads;
}

/// What the client gets.
mod replies {
    mod around;
    mod errors;
    mod failures;
    mod head;
    mod unchanged;
}

/// How nginx reaches the Frontend API, and what happens where it does not.
mod connections {
    mod dns;
    mod dns_failures;
    mod failing;
    mod forgotten;
    mod other_ways;
    mod sharing;
    mod tls;
    mod tls_apart;
    mod upstream;
    mod warm;
}

/// Several domains in one location.
mod tenants {
    mod defaults;
    mod domains;
    mod ownership;
    mod values;
}

/// Where the secret key comes from, and where it never shows up.
mod key {
    mod rotation;
    mod secrets;
}

/// A cache beside the module.
mod cache {
    mod scripts;
}

/// nginx's processes: reloads, upgrades, workers that end or run short of something.
mod processes {
    mod beside;
    mod loaded;
    mod modules;
    mod other_nginx;
    mod panics;
    mod reload;
    mod resources;
    mod upgrade;
}

/// What `clerk_proxy_status` shows, and who reads it.
mod status {
    mod counters;
    mod monitoring;
    mod page;
}

/// The tool `clerk-proxy-check` and the documents.
mod tool {
    mod builds;
    mod check;
    mod containers;
    mod docs;
    mod folders;
    mod packages;
    mod pages;
    mod release;
}

/// What has a long form of its own, mostly in a script.
mod long {
    mod endurance;
    mod fuzz_owners;
    mod fuzz_server;
    mod memory;
    mod slow_readers;
    mod soak;
}
