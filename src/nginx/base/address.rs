//! Addresses as nginx keeps them.

use std::net::SocketAddr;

use crate::nginx::base::ffi::{sockaddr, socklen_t};
use crate::nginx::base::plain::Plain;
use crate::nginx::base::pool::Pool;

/// An address in a pool, and its length. `None` without memory.
pub fn in_pool(pool: Pool, address: SocketAddr) -> Option<(*mut sockaddr, socklen_t)> {
    match address {
        SocketAddr::V4(address) => {
            let mut place = libc::sockaddr_in::zeroed();
            place.sin_family = libc::sa_family_t::try_from(libc::AF_INET).ok()?;
            place.sin_port = address.port().to_be();
            place.sin_addr.s_addr = u32::from(*address.ip()).to_be();
            put(pool, place)
        }
        SocketAddr::V6(address) => {
            let mut place = libc::sockaddr_in6::zeroed();
            place.sin6_family = libc::sa_family_t::try_from(libc::AF_INET6).ok()?;
            place.sin6_port = address.port().to_be();
            place.sin6_addr.s6_addr = address.ip().octets();
            put(pool, place)
        }
    }
}

fn put<T: Plain>(pool: Pool, place: T) -> Option<(*mut sockaddr, socklen_t)> {
    let len = socklen_t::try_from(size_of::<T>()).ok()?;
    Some((std::ptr::from_mut(pool.place(place)?).cast(), len))
}
