//! Values in the memory of nginx's pools.

use std::ffi::c_void;
use std::ptr;

use crate::nginx::base::ffi::{ngx_palloc, ngx_pool_cleanup_add, ngx_pool_t, NGX_ALIGNMENT};
use crate::nginx::base::guard;

/// Moves a value into the memory of a pool; it is dropped with the pool. `None` when out of memory, and then the
/// value is dropped at once.
///
/// # Safety
///
/// The pool is alive, and the value used no longer than it.
pub unsafe fn keep<T>(pool: *mut ngx_pool_t, value: T) -> Option<&'static mut T> {
    unsafe extern "C" fn drop_value<T>(data: *mut c_void) {
        // SAFETY: nginx calls a cleanup once, with the `data` set below: a value that nothing else drops.
        guard::process("cleanup", (), || unsafe { ptr::drop_in_place(data.cast::<T>()) });
    }
    const { assert!(align_of::<T>() <= NGX_ALIGNMENT) };
    // SAFETY: promised by the caller; both calls return null or memory that lives as long as the pool, aligned
    // for any type of nginx (asserted above). Nothing is written before both succeeded.
    unsafe {
        let place = ngx_palloc(pool, size_of::<T>().max(1)).cast::<T>();
        let cleanup = ngx_pool_cleanup_add(pool, 0);
        if place.is_null() || cleanup.is_null() {
            return None;
        }
        place.write(value);
        (*cleanup).handler = Some(drop_value::<T>);
        (*cleanup).data = place.cast();
        Some(&mut *place)
    }
}
