//! The two modules, as the `ngx` crate wants to know them. What they keep of a configuration is declared beside
//! the type that it has.

pub use ngx::http::{
    HttpModule, HttpModuleLocationConf, HttpModuleMainConf, HttpModuleServerConf,
    NgxHttpUpstreamModule,
};

/// The module with the directives, `ngx_http_clerk_proxy_module`.
pub struct Module;

/// The module with the variables and the filters, `ngx_http_clerk_proxy_filter_module`.
pub struct Filter;
