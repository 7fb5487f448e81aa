//! Tests of the module in a real nginx, against a stand-in of the Frontend API.

/// What tests are made of: nginx, stand-ins of the Frontend API and of what is around it, checks.
mod kit {
    pub mod dns_server;
    pub mod fapi;
    pub mod grammar;
    pub mod harness;
    pub mod hostile;
    pub mod http2;
    pub mod load;
    pub mod raw;
    pub mod stand_in;
    pub mod strict;
    pub mod vocabulary;
}

/// What a configuration may say, and what is said of its mistakes.
mod configuration {
    pub mod beside;
    pub mod blocks;
    pub mod config;
    pub mod config_beside;
    pub mod debug_logs;
    pub mod neighbours;
    pub mod random;
    pub mod smaller_directives;
    pub mod warnings;
}

/// What the Frontend API gets.
mod requests {
    pub mod bodies;
    pub mod client_address;
    pub mod forwarding;
    pub mod head;
    pub mod parity;
    pub mod subrequests;
    pub mod threats;
}

/// What the client gets.
mod replies {
    pub mod errors;
    pub mod failures;
    pub mod unchanged;
}

/// How nginx reaches the Frontend API, and what happens where it does not.
mod connections {
    pub mod dns;
    pub mod dns_failures;
    pub mod failing;
    pub mod other_ways;
    pub mod sharing;
    pub mod tls;
    pub mod tls_apart;
    pub mod upstream;
    pub mod warm;
}

/// Several domains in one location.
mod tenants {
    pub mod defaults;
    pub mod domains;
    pub mod values;
}

/// Where the secret key comes from, and where it never shows up.
mod key {
    pub mod rotation;
    pub mod secrets;
}

/// A cache beside the module.
mod cache {
    pub mod scripts;
}

/// nginx's processes: reloads, upgrades, workers that end or run short of something.
mod processes {
    pub mod loaded;
    pub mod panics;
    pub mod reload;
    pub mod resources;
    pub mod upgrade;
}

/// The tool `clerk-proxy-check` and the documents.
mod tool {
    pub mod check;
    pub mod docs;
}

/// What has a long form of its own, mostly in a script.
mod long {
    pub mod endurance;
    pub mod fuzz_server;
    pub mod memory;
    pub mod soak;
}
