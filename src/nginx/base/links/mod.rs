//! Where nginx's structures lead: the pointers in them that this module follows, each named here.
//!
//! A reference to a structure of nginx's means that nginx has filled it. Each pointer that is followed here is then null, or
//! leads to the type that is returned, and what it leads to lives as long as the structure, or as the request or the
//! configuration that the structure is of. nginx changes these structures in the thread that calls the module. Nobody keeps
//! what is returned as `&mut` over a call to nginx, or over another call for the same place.

pub mod configuration;
pub mod request;

use std::cell::Cell;
use std::iter;
use std::slice;

use crate::nginx::base::ffi::{
    ngx_array_t, ngx_connection_t, ngx_cycle_t, ngx_http_core_loc_conf_t, ngx_list_part_t,
    ngx_list_t, ngx_log_t,
};
use crate::nginx::base::plain::Plain;

/// A pointer in a structure of nginx's. It is made in this folder alone, of the fields that are named here.
struct Link<T>(*mut T);

impl<T> Link<T> {
    fn get<'a>(self) -> Option<&'a T> {
        // SAFETY: null or a value of this type, as the head of this file says.
        unsafe { self.0.as_ref() }
    }

    fn get_mut<'a>(self) -> Option<&'a mut T> {
        // SAFETY: as above; nobody else has a reference meanwhile.
        unsafe { self.0.as_mut() }
    }

    /// So many values, one behind the other; none if the pointer is null.
    fn run<'a>(self, len: usize) -> &'a [T] {
        if self.0.is_null() {
            return &[];
        }
        // SAFETY: as above, for each of them.
        unsafe { slice::from_raw_parts(self.0, len) }
    }

    /// The same, to be changed.
    fn run_mut<'a>(self, len: usize) -> &'a mut [T] {
        if self.0.is_null() {
            return &mut [];
        }
        // SAFETY: as above, for each of them.
        unsafe { slice::from_raw_parts_mut(self.0, len) }
    }
}

impl<T> Link<*mut T> {
    /// What an array of pointers leads to that ends with null.
    fn until_null<'a>(mut self) -> impl Iterator<Item = &'a T>
    where
        T: 'a,
    {
        iter::from_fn(move || {
            let pointer = *Link(self.0).get()?;
            self.0 = self.0.wrapping_add(1);
            Link(pointer).get()
        })
    }
}

/// What is never null where nginx calls a module.
fn there<T>(found: Option<T>) -> T {
    found.expect("a pointer of nginx's is null")
}

/// The elements of an array; none of an array whose elements have another size.
pub fn array<T: Plain>(array: &ngx_array_t) -> &[T] {
    let is_of = array.size == size_of::<T>();
    Link(array.elts.cast()).run(if is_of { array.nelts } else { 0 })
}

fn array_at<'a, T: Plain>(pointer: *mut ngx_array_t) -> &'a [T] {
    Link(pointer).get().map_or(&[], array)
}

/// The elements of a list, in order, as the parts that nginx keeps them in; none of a list whose elements have another
/// size.
pub fn list<T: Plain>(list: &ngx_list_t) -> impl Iterator<Item = &[Cell<T>]> {
    let first = (list.size == size_of::<T>()).then_some(&list.part);
    let parts = iter::successors(first, |part: &&ngx_list_part_t| Link(part.next).get());
    parts.map(|part| Link(part.elts.cast()).run(part.nelts))
}

/// What has a log.
pub trait HasLog {
    /// Its log, and for a log the next one.
    fn logs_to(&self) -> Option<&ngx_log_t>;
}

impl HasLog for ngx_connection_t {
    fn logs_to(&self) -> Option<&ngx_log_t> {
        Link(self.log).get()
    }
}

impl HasLog for ngx_cycle_t {
    fn logs_to(&self) -> Option<&ngx_log_t> {
        Link(self.log).get()
    }
}

impl HasLog for ngx_http_core_loc_conf_t {
    fn logs_to(&self) -> Option<&ngx_log_t> {
        Link(self.error_log).get()
    }
}

impl HasLog for ngx_log_t {
    fn logs_to(&self) -> Option<&ngx_log_t> {
        Link(self.next).get()
    }
}
