//! Pieces of a memory of fixed size, for when the system has none.

use std::alloc::Layout;

/// Many times what a callback needs at once.
pub const SIZE: usize = 256 * 1024;
/// Pieces are so aligned, or as they ask for, up to what a channel between threads asks for.
const ALIGNMENT: usize = 16;
/// The memory itself is so aligned.
pub const MOST_ALIGNED: usize = 128;

/// A stack of pieces, which is empty once all pieces are returned.
pub struct Pieces {
    top: usize,
    live: usize,
}

impl Pieces {
    /// No piece is taken.
    pub const NONE: Self = Self { top: 0, live: 0 };

    /// Where a new piece begins.
    pub fn take(&mut self, layout: Layout) -> Option<usize> {
        let start = self.top.next_multiple_of(layout.align());
        let len = layout.size().next_multiple_of(ALIGNMENT);
        if layout.align() > MOST_ALIGNED || len > SIZE.saturating_sub(start) {
            return None;
        }
        self.top = start + len;
        self.live += 1;
        Some(start)
    }

    /// Takes a piece back.
    pub fn give_back(&mut self, offset: usize, len: usize) {
        self.live -= 1;
        if self.live == 0 {
            self.top = 0;
        } else if offset + len.next_multiple_of(ALIGNMENT) == self.top {
            self.top = offset;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(size: usize, align: usize) -> Layout {
        Layout::from_size_align(size, align).expect("a layout")
    }

    #[test]
    fn pieces_are_apart_and_aligned() {
        let mut pieces = Pieces::NONE;
        let layouts = [layout(24, 8), layout(1, 1), layout(200, 128), layout(4096, 16)];
        let mut end = 0;
        for layout in layouts {
            let start = pieces.take(layout).expect("room");
            assert!(start >= end && start % layout.align() == 0);
            end = start + layout.size();
        }
        assert_eq!(pieces.take(layout(SIZE, 1)), None);
        assert_eq!(pieces.take(layout(1, 256)), None);
    }

    #[test]
    fn what_is_returned_is_given_again() {
        let mut pieces = Pieces::NONE;
        let [first, second] = [(); 2].map(|()| pieces.take(layout(24, 8)).expect("room"));
        pieces.give_back(second, 24);
        assert_eq!(pieces.take(layout(8, 8)), Some(second));
        pieces.give_back(first, 24);
        assert_eq!(pieces.take(layout(SIZE, 1)), None);
        pieces.give_back(second, 8);
        assert_eq!(pieces.take(layout(SIZE, 1)), Some(0), "all was returned");
    }
}
