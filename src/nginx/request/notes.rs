//! What the module remembers of a request, in the place of its context.

use std::cell::Cell;
use std::ptr::{self, NonNull};

use crate::nginx::base::ffi::{ngx_chain_t, ngx_http_request_t};
use crate::nginx::base::module::{Module, NginxModule};

/// A note. A request has one at a time.
#[derive(Clone, Copy, PartialEq)]
pub enum Note {
    /// No note, as nginx begins and clears it.
    Nothing,
    /// The path is not below the proxy URL's; the error that follows says so.
    PathMismatch,
    /// The request comes by the `error_page` of another location, with a status that the reply will get.
    ByErrorPage,
    /// The request is for a public script, and says nothing of its client.
    PublicScript,
    /// The reply is the Frontend API's, or one of the cache.
    Answered,
    /// Our error body was sent in place of nginx's.
    BodySent,
    /// Our error body is to be sent.
    Body(NonNull<ngx_chain_t>),
}

/// Numbers that are no addresses, for all that needs none.
const NUMBERED: [Note; 6] = [
    Note::Nothing,
    Note::PathMismatch,
    Note::ByErrorPage,
    Note::PublicScript,
    Note::Answered,
    Note::BodySent,
];

/// Replaces the note.
pub fn note(r: &ngx_http_request_t, note: Note) {
    let number = || NUMBERED.iter().position(|other| *other == note).unwrap_or_default();
    place(r).set(match note {
        Note::Body(chain) => chain.as_ptr(),
        _ => ptr::without_provenance_mut(number()),
    });
}

/// The note. nginx clears it when a reply arrives.
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
