//! `ngx_http_clerk_proxy_module`: one line in a location makes nginx a proxy for Clerk's Frontend API.
//!
//! ```text
//!   nginx.conf ──► src/nginx/      the glue: nginx's callbacks, the only place for `unsafe`
//!                     │              mod.rs    the tables of the two modules and their callbacks
//!                     │              config    from the lines that a user writes to a location that works
//!                     │              upstream  names, addresses, servers and connections
//!                     │              request   what happens to one request
//!                     │              stock     nginx's own directives: found, read and set
//!                     │              base      nginx's basics made safe
//!                     ▼
//!                  pure core, each line importing only from lines below it
//!
//!                  recipe_values       the recipe filled in for one location
//!                  defaults            values for what a line does not say
//!                  directive           the words of a `clerk_proxy` line
//!                  recipe              the stock directives that the line stands for
//!                  error               what `nginx -t` fails for: mistakes in the words of our directives
//!                  conflict            and around a `clerk_proxy` line
//!                  failure             and what this system or this nginx lacks
//!                  warning             what works and will cause trouble
//!                  neighbour           and what stands around a `clerk_proxy` line and works against it
//!                  location            whether a location is that of the public URL
//!                  proxy_url           the public URL
//!                  redirects           redirects that come back to the proxy
//!                  answerer            who else could answer there without TLS
//!                  frontend_api        where the Frontend API is
//!                  http_url            what both URLs have in common
//!                  key_source          where the key comes from
//!                  key_risk            who else can read or change a key
//!                  secret_key          the form of a key
//!                  shown               values as they may be printed
//!                  variable_names      the variables in a text
//!                  status_text         the status as text and as JSON
//!                  metrics             what the status shows
//!                  counters            counters in memory that processes share
//!                  configuration_text  where a directive stands in a file
//!                  buffer_sizes        sizes that go with those of the user
//!                  request_headers     request headers that are not passed, or that the user should not set
//!                  reply_headers       headers of outer blocks that may stand in replies
//!                  client_ip           the client's address in what a CDN sends
//!                  known_name          what all workers know of a name
//!                  known_paths         paths that clerk-js and Clerk ask for
//!                  upstream_uri        request URI ─► upstream URI
//!                  egress              the proxy of the environment, which nginx does not use
//!                  hop_by_hop          headers that Connection names
//!                  public_script       what a cache may keep
//!                  passing             what it could not keep
//!                  script_request      what of a request a cache asks with
//!                  connection_settings what must agree before locations share a connection
//!                  reply_head          header lines of a reply
//!                  interim             replies before the reply (1xx)
//!                  stream_number       a request over HTTP/2 that is sent again
//!                  error_body          JSON for errors that nginx makes itself
//!                  pace                when connections that are kept ready are made
//!                  traffic             how many requests use an upstream
//!                  monotonic           times that may wrap
//!                  product             what a program of nginx says of itself
//!                  pieces              pieces of the memory for when there is none
//! ```
//!
//! Dependencies point down only, and a test fails for one that does not. A file of the core knows no nginx type, logs
//! nothing, reads neither file nor environment, and has its tests beside it.

// The glue is left out of unit tests, which run without an nginx to link to; what only the glue calls
// looks dead there.
#![cfg_attr(test, allow(dead_code))]

mod answerer;
mod buffer_sizes;
mod client_ip;
mod configuration_text;
mod conflict;
mod connection_settings;
mod counters;
mod defaults;
mod directive;
mod egress;
mod error;
mod error_body;
mod failure;
mod frontend_api;
mod hop_by_hop;
mod http_url;
mod interim;
mod key_risk;
mod key_source;
mod known_name;
mod known_paths;
mod location;
mod metrics;
mod monotonic;
mod neighbour;
mod pace;
mod passing;
mod pieces;
mod product;
mod proxy_url;
mod public_script;
mod recipe;
mod recipe_values;
mod redirects;
mod reply_head;
mod reply_headers;
mod request_headers;
mod script_request;
mod secret_key;
mod shown;
mod status_text;
mod stream_number;
mod traffic;
mod upstream_uri;
mod variable_names;
mod warning;

#[cfg(not(test))]
#[allow(unsafe_code)]
mod nginx;

#[cfg(test)]
#[allow(unsafe_code)]
#[path = "../tests/inside"]
mod inside {
    mod bit_fields;
    mod layers;
    #[path = "../../src/nginx/base/reserve.rs"]
    mod reserve;
}
