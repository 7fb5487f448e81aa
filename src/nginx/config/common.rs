//! What the locations of a configuration share.

use std::collections::HashMap;
use std::rc::Rc;

use crate::connection_settings::Content;
use crate::nginx::base::expression::Expression;
use crate::nginx::base::ffi::ngx_keyval_t;
use crate::nginx::base::variables::Getter;
use crate::nginx::stock::tls_context::Shared;
use crate::nginx::upstream::implicit::Upstreams;

/// What locations share.
#[derive(Default)]
pub struct Common {
    /// The upstreams in use.
    pub upstreams: Upstreams,
    /// The TLS contexts, by what they are made of.
    pub contexts: HashMap<Content, Shared>,
    /// The system's CA certificates, once they were found.
    pub ca_bundle: Option<Rc<str>>,
    /// The request headers of the recipe as nginx keeps them, with `{names}` in place of values.
    pub headers: Vec<ngx_keyval_t>,
    /// Whether a request comes as early data, where any server takes it.
    pub early_data: Option<Rc<Expression>>,
    /// Whether any server takes odd names of headers.
    pub folds: bool,
    /// What works out variables, once a line needs it.
    pub computed: Option<Rc<[Getter]>>,
}
