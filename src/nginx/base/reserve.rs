//! A reserve of memory: Rust ends the process if an allocation fails. That must not happen to a master that reads a new
//! configuration, nor to a worker with requests of others.
//!
//! If the system has no memory, it comes from the reserve. A configuration callback that needed the reserve fails when
//! it returns; nginx's own fail at once. A request needs little and goes on.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::UnsafeCell;
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Many times what a callback needs at once. Unused pages take no memory.
const SIZE: usize = 256 * 1024;
/// Pieces are so aligned, or as they ask for, up to what a channel between threads asks for.
const ALIGNMENT: usize = 16;
const MOST_ALIGNED: usize = 128;

#[global_allocator]
static ALLOCATOR: Allocator = Allocator {
    memory: UnsafeCell::new(Memory([0; SIZE])),
    pieces: Mutex::new(Pieces { top: 0, live: 0 }),
    taken: AtomicUsize::new(0),
};

/// How often the reserve was needed.
pub fn taken() -> usize {
    ALLOCATOR.taken.load(Ordering::Relaxed)
}

struct Allocator {
    memory: UnsafeCell<Memory>,
    /// A lock that allocates nothing.
    pieces: Mutex<Pieces>,
    taken: AtomicUsize,
}

// SAFETY: the memory is only handed out, each piece to one owner at a time.
unsafe impl Sync for Allocator {}

#[repr(align(128))]
struct Memory(#[allow(dead_code)] [u8; SIZE]);

/// A stack of pieces, which is empty once all pieces are returned.
struct Pieces {
    top: usize,
    live: usize,
}

impl Pieces {
    /// Where a new piece begins.
    fn take(&mut self, layout: Layout) -> Option<usize> {
        let start = self.top.next_multiple_of(layout.align());
        let len = layout.size().next_multiple_of(ALIGNMENT);
        if layout.align() > MOST_ALIGNED || len > SIZE.saturating_sub(start) {
            return None;
        }
        self.top = start + len;
        self.live += 1;
        Some(start)
    }

    fn give_back(&mut self, offset: usize, len: usize) {
        self.live -= 1;
        if self.live == 0 {
            self.top = 0;
        } else if offset + len.next_multiple_of(ALIGNMENT) == self.top {
            self.top = offset;
        }
    }
}

impl Allocator {
    fn pieces(&self) -> MutexGuard<'_, Pieces> {
        self.pieces.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where in the reserve it lies, if it does.
    fn offset(&self, memory: *mut u8) -> Option<usize> {
        let offset = memory.addr().wrapping_sub(self.memory.get().addr());
        (offset < SIZE).then_some(offset)
    }

    fn or_reserve(&self, memory: *mut u8, layout: Layout) -> *mut u8 {
        if !memory.is_null() {
            return memory;
        }
        self.taken.fetch_add(1, Ordering::Relaxed);
        let start = self.pieces().take(layout);
        start.map_or(ptr::null_mut(), |start| self.memory.get().cast::<u8>().wrapping_add(start))
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

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: promised by the caller: the new size is none that a layout cannot have, and the old
        // memory is of the old layout. What the system does not enlarge stays as it was.
        unsafe {
            if self.offset(memory).is_none() {
                let larger = System.realloc(memory, layout, size);
                if !larger.is_null() {
                    return larger;
                }
            }
            let other = self.alloc(Layout::from_size_align_unchecked(size, layout.align()));
            if !other.is_null() {
                other.copy_from_nonoverlapping(memory, layout.size().min(size));
                self.dealloc(memory, layout);
            }
            other
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pieces of the reserve, which is asked where the system has nothing, are used while others come and go.
    #[test]
    fn pieces_are_apart() {
        let layout = |size, align| Layout::from_size_align(size, align).expect("a layout");
        let of = |layout| ALLOCATOR.or_reserve(ptr::null_mut(), layout);
        let before = taken();
        let layouts = [layout(24, 8), layout(1, 1), layout(200, 128), layout(4096, 16)];
        let pieces = layouts.map(of);
        for (number, (piece, layout)) in (1..).zip(pieces.into_iter().zip(layouts)) {
            assert!(!piece.is_null() && piece.addr() % layout.align() == 0);
            // SAFETY: it was just given out, with this size.
            unsafe { piece.write_bytes(number, layout.size()) };
        }
        let other = of(layout(16, 16));
        for (number, (piece, layout)) in (1..).zip(pieces.into_iter().zip(layouts)) {
            // SAFETY: as above.
            assert!((0..layout.size()).all(|at| unsafe { *piece.add(at) } == number));
        }
        assert!(of(layout(SIZE, 1)).is_null() && of(layout(1, 256)).is_null());
        assert_eq!(taken() - before, 7);
        // SAFETY: each is given back once, with its size.
        unsafe {
            let moved = ALLOCATOR.realloc(pieces[0], layouts[0], 48);
            assert!((0..24).all(|at| *moved.add(at) == 1));
            ALLOCATOR.dealloc(moved, layout(48, 8));
            for (piece, layout) in pieces.into_iter().zip(layouts).skip(1) {
                ALLOCATOR.dealloc(piece, layout);
            }
            ALLOCATOR.dealloc(other, layout(16, 16));
        }
        assert!(!of(layout(SIZE - 128, 1)).is_null(), "all was given back");
        *ALLOCATOR.pieces() = Pieces { top: 0, live: 0 };
    }
}
