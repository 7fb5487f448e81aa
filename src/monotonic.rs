//! Times of a monotonic clock in milliseconds, which may wrap.

/// Whether one time is before another.
pub fn is_before(one: usize, other: usize) -> bool {
    (one.wrapping_sub(other) as isize) < 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_wrap() {
        assert!(is_before(1, 2) && !is_before(2, 1) && !is_before(2, 2));
        assert!(is_before(usize::MAX, 0) && !is_before(0, usize::MAX));
    }
}
