//! Buffer sizes that nginx accepts together with the user's.

use std::cmp::{max, min};

/// The user's values of the directives that nginx checks against each other.
#[derive(Clone, Copy, Debug, Default)]
pub struct UserSizes {
    /// `proxy_buffer_size`
    pub buffer_size: Option<usize>,
    /// `proxy_buffers`: number and size
    pub buffers: Option<(usize, usize)>,
    /// `proxy_busy_buffers_size`
    pub busy_buffers_size: Option<usize>,
    /// `proxy_temp_file_write_size`
    pub temp_file_write_size: Option<usize>,
    /// `proxy_max_temp_file_size`
    pub max_temp_file_size: Option<usize>,
}

/// Buffer sizes in bytes that nginx accepts together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sizes {
    /// `proxy_buffer_size`
    pub buffer_size: usize,
    /// `proxy_buffers`: number and size
    pub buffers: (usize, usize),
    /// `proxy_busy_buffers_size`
    pub busy_buffers_size: usize,
}

impl Sizes {
    /// Our defaults, changed to fit the user's sizes: a configuration that nginx accepts without `clerk_proxy` must not
    /// fail for sizes that the user did not write.
    pub fn beside(user: UserSizes) -> Self {
        let cap = [user.busy_buffers_size, user.temp_file_write_size, user.max_temp_file_size]
            .into_iter()
            .flatten()
            .filter(|&limit| limit > 0)
            .min()
            .unwrap_or(usize::MAX);
        let buffers = user.buffers.unwrap_or((8, min(16 * 1024, cap)));
        let all_but_one = buffers.0.saturating_sub(1).saturating_mul(buffers.1);
        let buffer_size = user.buffer_size.unwrap_or(min(32 * 1024, min(cap, all_but_one)));
        let largest = max(buffer_size, buffers.1);
        let busy_buffers_size =
            user.busy_buffers_size.unwrap_or(max(largest, min(64 * 1024, all_but_one)));
        Self { buffer_size, buffers, busy_buffers_size }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes_without_the_user() {
        let sizes = Sizes::beside(UserSizes::default());
        let expected =
            Sizes { buffer_size: 32 * 1024, buffers: (8, 16 * 1024), busy_buffers_size: 64 * 1024 };
        assert_eq!(sizes, expected);
    }

    /// The checks that nginx makes when it merges a location.
    fn nginx_takes(all: UserSizes, default: Sizes) -> bool {
        let buffer_size = all.buffer_size.unwrap_or(default.buffer_size);
        let buffers = all.buffers.unwrap_or(default.buffers);
        let size = max(buffer_size, buffers.1);
        let busy = all.busy_buffers_size.unwrap_or(if default.busy_buffers_size == 0 {
            2 * size
        } else {
            default.busy_buffers_size
        });
        buffers.0 >= 2
            && busy >= size
            && busy <= (buffers.0 - 1) * buffers.1
            && all.temp_file_write_size.is_none_or(|write| write >= size)
            && all.max_temp_file_size.is_none_or(|most| most == 0 || most >= size)
    }

    proptest! {
        #[test]
        fn what_nginx_takes_alone_it_takes_with_us(
            buffer_size in proptest::option::of(1..200_000usize),
            buffers in proptest::option::of((1..40usize, 1..100_000usize)),
            busy_buffers_size in proptest::option::of(1..400_000usize),
            temp_file_write_size in proptest::option::of(1..400_000usize),
            max_temp_file_size in proptest::option::of(0..400_000usize),
        ) {
            let user = UserSizes { buffer_size, buffers, busy_buffers_size, temp_file_write_size,
                                   max_temp_file_size };
            let stock = Sizes { buffer_size: 4096, buffers: (8, 4096), busy_buffers_size: 0 };
            if nginx_takes(user, stock) {
                let ours = Sizes::beside(user);
                prop_assert!(nginx_takes(user, ours), "{ours:?}");
            }
        }
    }
}
