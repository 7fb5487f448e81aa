//! The heap of the processes that serve requests.

use std::hint;
use std::sync::Once;

/// Larger than all buffers of a reply together.
const LARGE: usize = 512 * 1024;

/// Makes glibc keep the memory of a reply for the next one. By default it returns the end of the heap to the system as
/// soon as 128 KB are free and requests it again: up to eight calls and 17 page faults for a script. Freeing one large
/// block raises that limit to 1 MB, in this process and in all that are forked later. No page of the block is touched.
/// glibc's tunables override this, and other libraries ignore it.
pub fn expect_large_blocks() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let mut block = Vec::<u8>::new();
        let _ = block.try_reserve_exact(LARGE);
        // The compiler must not see that nobody uses it.
        drop(hint::black_box(block));
    });
}
