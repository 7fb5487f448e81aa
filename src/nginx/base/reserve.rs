//! A reserve of memory: Rust ends the process if an allocation fails. That must not happen to a master that reads a new
//! configuration, nor to a worker with requests of others.
//!
//! If the system has no memory, it comes from the reserve. A configuration callback that needed the reserve fails when
//! it returns; nginx's own fail at once. A request needs little and goes on.

use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::pieces::{Pieces, MOST_ALIGNED, SIZE};

#[global_allocator]
static ALLOCATOR: Allocator = Allocator {
    memory: Memory([const { AtomicU8::new(0) }; SIZE]),
    pieces: Mutex::new(Pieces::NONE),
    taken: AtomicUsize::new(0),
};

/// How often the reserve was needed.
pub fn taken() -> usize {
    ALLOCATOR.taken.load(Ordering::Relaxed)
}

struct Allocator {
    memory: Memory,
    /// A lock that allocates nothing.
    pieces: Mutex<Pieces>,
    taken: AtomicUsize,
}

/// Bytes that anybody may write to who has a piece of them. Unused pages take no memory.
#[repr(align(128))]
struct Memory([AtomicU8; SIZE]);

const _: () = assert!(align_of::<Memory>() == MOST_ALIGNED);

impl Allocator {
    fn pieces(&self) -> MutexGuard<'_, Pieces> {
        self.pieces.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn first(&self) -> *mut u8 {
        self.memory.0.as_ptr().cast::<u8>().cast_mut()
    }

    /// Where in the reserve it lies, if it does.
    fn offset(&self, memory: *mut u8) -> Option<usize> {
        let offset = memory.addr().wrapping_sub(self.first().addr());
        (offset < SIZE).then_some(offset)
    }

    fn or_reserve(&self, memory: *mut u8, layout: Layout) -> *mut u8 {
        if !memory.is_null() {
            return memory;
        }
        self.taken.fetch_add(1, Ordering::Relaxed);
        let start = self.pieces().take(layout);
        start.map_or(ptr::null_mut(), |start| self.first().wrapping_add(start))
    }
}

// SAFETY: memory is the system's, or a piece of the reserve that nobody else has until it is given back.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: promised by the caller.
        self.or_reserve(unsafe { System.alloc(layout) }, layout)
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        match self.offset(memory) {
            Some(offset) => self.pieces().give_back(offset, layout.size()),
            // SAFETY: promised by the caller, and it came from the system.
            None => unsafe { System.dealloc(memory, layout) },
        }
    }
}

#[cfg(test)]
#[path = "../../../tests/inside/reserve.rs"]
mod tests;
