//! Buffer sizes: what nginx takes without `clerk_proxy` it takes with it, however large the numbers are.

#![no_main]

use std::cmp::max;

use clerk_nginx_fuzz::buffer_sizes::{Sizes, UserSizes};
use libfuzzer_sys::fuzz_target;

/// The checks that nginx makes when it merges a location.
fn nginx_takes(size: usize, buffers: (usize, usize), busy: usize, user: UserSizes) -> bool {
    let largest = max(size, buffers.1);
    let all_but_one = (buffers.0 as u128).saturating_sub(1) * buffers.1 as u128;
    buffers.0 >= 2
        && busy >= largest
        && busy as u128 <= all_but_one
        && user.temp_file_write_size.is_none_or(|write| write >= largest)
        && user.max_temp_file_size.is_none_or(|most| most == 0 || most >= largest)
}

// Numbers in the order of the fields, with anything else for what the user did not set.
fuzz_target!(|text: &str| {
    let mut numbers = text.split(' ').map(|number| number.parse::<usize>().ok());
    let mut next = || numbers.next().flatten().filter(|&number| number > 0);
    let mut user = UserSizes {
        buffer_size: next(),
        buffers: next().zip(next()),
        busy_buffers_size: next(),
        temp_file_write_size: next(),
        max_temp_file_size: None,
    };
    user.max_temp_file_size = numbers.next().flatten();
    let ours = Sizes::beside(user);
    assert_eq!(ours.buffer_size, user.buffer_size.unwrap_or(ours.buffer_size));
    assert_eq!(ours.buffers, user.buffers.unwrap_or(ours.buffers));
    assert_eq!(ours.busy_buffers_size, user.busy_buffers_size.unwrap_or(ours.busy_buffers_size));
    let (size, buffers) = (user.buffer_size.unwrap_or(4096), user.buffers.unwrap_or((8, 4096)));
    // nginx's own default is twice the larger size; numbers near the largest that there is overflow there.
    let Some(busy) = user.busy_buffers_size.or(max(size, buffers.1).checked_mul(2)) else { return };
    if nginx_takes(size, buffers, busy, user) {
        assert!(
            nginx_takes(ours.buffer_size, ours.buffers, ours.busy_buffers_size, user),
            "{ours:?}"
        );
    }
});
