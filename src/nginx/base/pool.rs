//! Memory of nginx's pools.

use std::ffi::c_void;
use std::marker::PhantomData;
use std::mem;
use std::ptr::{self, NonNull};

use crate::nginx::base::ffi::{
    ngx_array_t, ngx_buf_t, ngx_chain_t, ngx_conf_t, ngx_create_pool, ngx_destroy_pool,
    ngx_http_request_t, ngx_palloc, ngx_pnalloc, ngx_pool_cleanup_add, ngx_pool_t, ngx_str_t,
    NGX_ALIGNMENT,
};
use crate::nginx::base::plain::Plain;
use crate::nginx::base::{guard, process};

/// A pool that is alive for `'a`. Its functions return `None` without memory, which nginx logs.
#[derive(Clone, Copy)]
pub struct Pool<'a>(*mut ngx_pool_t, PhantomData<&'a ()>);

impl<'a> From<&'a ngx_http_request_t> for Pool<'a> {
    fn from(r: &'a ngx_http_request_t) -> Self {
        Self(r.pool, PhantomData)
    }
}

/// The pool of the configuration that is read.
impl From<&ngx_conf_t> for Pool<'static> {
    fn from(cf: &ngx_conf_t) -> Self {
        Self(cf.pool, PhantomData)
    }
}

impl<'a> Pool<'a> {
    /// The pointer for nginx's functions.
    pub fn as_ptr(self) -> *mut ngx_pool_t {
        self.0
    }

    /// Memory for `room` values, filled with these.
    pub fn fill<T>(self, room: usize, values: impl IntoIterator<Item = T>) -> Option<&'a mut [T]> {
        const { assert!(align_of::<T>() <= NGX_ALIGNMENT && !mem::needs_drop::<T>()) };
        // SAFETY: the pool is alive; the result is null or as large as asked for, and aligned for any type of nginx
        // (asserted above). No more values are written than there is room for, nor taken for values than were written.
        unsafe {
            let size = (room * size_of::<T>()).max(1);
            let memory = NonNull::new(ngx_palloc(self.0, size).cast::<T>())?;
            let mut len = 0;
            for value in values.into_iter().take(room) {
                memory.add(len).write(value);
                len += 1;
            }
            Some(NonNull::slice_from_raw_parts(memory, len).as_mut())
        }
    }

    /// One value.
    pub fn place<T>(self, value: T) -> Option<&'a mut T> {
        self.fill(1, [value])?.first_mut()
    }

    /// Copies of texts, one behind the other.
    pub fn concat<const N: usize>(self, texts: [&[u8]; N]) -> Option<&'a mut [u8]> {
        let len = texts.iter().map(|text| text.len()).sum();
        // SAFETY: as above; fresh memory does not overlap the texts.
        unsafe {
            let memory = NonNull::new(ngx_pnalloc(self.0, len).cast::<u8>())?;
            let mut end = memory;
            for text in texts {
                end.as_ptr().copy_from_nonoverlapping(text.as_ptr(), text.len());
                end = end.add(text.len());
            }
            Some(NonNull::slice_from_raw_parts(memory, len).as_mut())
        }
    }

    /// A copy of a text, with the zero byte behind it that nginx relies on.
    pub fn text(self, text: impl AsRef<[u8]>) -> Option<ngx_str_t> {
        let text = text.as_ref();
        let data = self.concat([text, b"\0"])?.as_mut_ptr();
        Some(ngx_str_t { len: text.len(), data })
    }

    /// An array with these elements.
    pub fn array<T: Copy>(self, elements: &[T]) -> Option<&'a mut ngx_array_t> {
        let nalloc = elements.len().max(1);
        let elts = self.fill(nalloc, elements.iter().copied())?.as_mut_ptr().cast();
        let (nelts, size, pool) = (elements.len(), size_of::<T>(), self.0);
        self.place(ngx_array_t { elts, nelts, size, nalloc, pool })
    }

    /// A chain of one buffer with these bytes, so many, and the buffer.
    pub fn chain(
        self,
        len: usize,
        bytes: impl IntoIterator<Item = u8>,
    ) -> Option<(&'a mut ngx_chain_t, &'a mut ngx_buf_t)> {
        let range = self.fill(len, bytes)?.as_mut_ptr_range();
        let mut buffer = ngx_buf_t::zeroed();
        (buffer.start, buffer.pos) = (range.start, range.start);
        (buffer.last, buffer.end) = (range.end, range.end);
        buffer.set_temporary(1);
        let buffer = self.place(buffer)?;
        Some((self.place(ngx_chain_t { buf: buffer, next: ptr::null_mut() })?, buffer))
    }

    /// Keeps a value. It is dropped with the pool, or at once if there is no memory.
    pub fn keep<T>(self, value: T) -> Option<&'a mut T> {
        unsafe extern "C" fn drop_value<T>(data: *mut c_void) {
            // SAFETY: nginx calls a cleanup once, with the `data` set below: a value that nothing else drops.
            guard::process("cleanup", (), || unsafe { ptr::drop_in_place(data.cast::<T>()) });
        }
        const { assert!(align_of::<T>() <= NGX_ALIGNMENT) };
        // SAFETY: as in `fill`. Nothing is written before both calls succeeded.
        unsafe {
            let place = NonNull::new(ngx_palloc(self.0, size_of::<T>().max(1)).cast::<T>())?;
            let cleanup = ngx_pool_cleanup_add(self.0, 0).as_mut()?;
            place.write(value);
            cleanup.handler = Some(drop_value::<T>);
            cleanup.data = place.as_ptr().cast();
            Some(&mut *place.as_ptr())
        }
    }
}

/// A pool of our own, which is destroyed when this is dropped.
pub struct OwnedPool(Pool<'static>);

impl OwnedPool {
    /// A new pool, of blocks of this size.
    pub fn new(size: usize) -> Option<Self> {
        // SAFETY: the process has a log as long as it runs.
        let pool = unsafe { ngx_create_pool(size, process::cycle().log) };
        (!pool.is_null()).then(|| Self(Pool(pool, PhantomData)))
    }

    /// Leaves it to what owns it from now on.
    pub fn into_raw(self) -> *mut ngx_pool_t {
        mem::ManuallyDrop::new(self).0.as_ptr()
    }

    /// The pool. What is in it must not be used longer than it.
    pub fn pool(&self) -> Pool<'static> {
        self.0
    }
}

impl Drop for OwnedPool {
    fn drop(&mut self) {
        // SAFETY: `new` has made it, and nothing uses it any longer.
        unsafe { ngx_destroy_pool(self.0.as_ptr()) };
    }
}
