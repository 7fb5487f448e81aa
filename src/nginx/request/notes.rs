//! What the module remembers of a request, in its context's place.

use std::cell::Cell;
use std::ptr::{self, NonNull};

use crate::nginx::base::ffi::{ngx_chain_t, ngx_http_request_t};
use crate::nginx::base::module::{HttpModule, Module};

/// One thing at a time.
#[derive(Clone, Copy, PartialEq)]
pub enum Note {
    /// Nothing, as nginx leaves it.
    Nothing,
    /// The path lies beside the proxy URL's, for the error that follows.
    PathMismatch,
    /// The request comes by the `error_page` of another location, with a status that the reply will get.
    ByErrorPage,
    /// The request is one for a public script, which has lost what is personal in it.
    PublicScript,
    /// The body that takes the place of nginx's is sent.
    BodySent,
    /// It is to be sent.
    Body(NonNull<ngx_chain_t>),
}

/// Numbers that are no addresses, for all that needs none.
const NUMBERED: [Note; 5] =
    [Note::Nothing, Note::PathMismatch, Note::ByErrorPage, Note::PublicScript, Note::BodySent];

/// Notes it instead of what was noted before.
pub fn note(r: &ngx_http_request_t, note: Note) {
    let number = || NUMBERED.iter().position(|other| *other == note).unwrap_or_default();
    place(r).set(match note {
        Note::Body(chain) => chain.as_ptr(),
        _ => ptr::without_provenance_mut(number()),
    });
}

/// What is noted; a reply that came clears it.
pub fn noted(r: &ngx_http_request_t) -> Note {
    let word = place(r).get();
    match (NUMBERED.get(word.addr()), NonNull::new(word)) {
        (Some(note), _) => *note,
        (None, Some(chain)) => Note::Body(chain),
        (None, None) => Note::Nothing,
    }
}

fn place(r: &ngx_http_request_t) -> &Cell<*mut ngx_chain_t> {
    // SAFETY: `ctx` has an element for every http module, which nobody but nginx and this module writes to, in one
    // thread.
    unsafe { &*r.ctx.add(Module::index()).cast() }
}
