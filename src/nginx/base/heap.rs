//! The heap of the processes that serve requests.

use std::hint;
use std::sync::Once;

/// Larger than all buffers of a reply together.
const LARGE: usize = 512 * 1024;

/// Has glibc keep the memory of a reply for the next one. By itself it gives the end of the heap back to the system as
/// soon as 128 KB of it are free, and asks for it again: up to eight calls and 17 page faults for a script. One large
/// block that was freed tells it, and all processes that are forked later, that this program's blocks come and go: it
/// keeps up to 1 MB from then on. No page of the block is touched. Who sets glibc's tunables has the last word, and
/// other libraries take no notice.
pub fn expect_large_blocks() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: null or a block that nobody else has. The compiler must not see that nobody uses it.
        unsafe { libc::free(hint::black_box(libc::malloc(LARGE))) };
    });
}
