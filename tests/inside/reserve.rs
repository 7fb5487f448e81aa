//! Tests of the memory for when there is none, which needs no nginx.

use std::alloc::{GlobalAlloc, Layout};
use std::ptr;

use super::{taken, ALLOCATOR};
use crate::pieces::{Pieces, SIZE};

/// Pieces of the reserve, which is asked where the system has nothing, are used while others come and go.
#[test]
fn pieces_are_memory() {
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
    *ALLOCATOR.pieces() = Pieces::NONE;
}
