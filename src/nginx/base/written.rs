//! A body that is written piece by piece, into memory of a request.

use std::fmt;
use std::iter;
use std::mem;
use std::ptr;

use crate::nginx::base::ffi::{ngx_buf_t, ngx_chain_t};
use crate::nginx::base::pool::Pool;

/// The size of a buffer.
const SIZE: usize = 16 * 1024;

/// What was written. Writing fails without memory; Rust's own would end the process.
pub struct Written<'a> {
    pool: Pool<'a>,
    first: *mut ngx_chain_t,
    /// The last buffer with its link, and the room that is left behind it.
    last: Option<(&'a mut ngx_chain_t, &'a mut ngx_buf_t)>,
    room: &'a mut [u8],
    len: usize,
}

impl<'a> Written<'a> {
    /// Nothing.
    pub fn new(pool: Pool<'a>) -> Self {
        Self { pool, first: ptr::null_mut(), last: None, room: &mut [], len: 0 }
    }

    /// The body, whose last buffer is the last of a reply, and its length. `None` if nothing was written.
    pub fn end(self) -> Option<(*mut ngx_chain_t, usize)> {
        let (_, buffer) = self.last?;
        buffer.set_last_buf(1);
        buffer.set_last_in_chain(1);
        Some((self.first, self.len))
    }

    /// Adds an empty buffer. `None` without memory.
    fn grow(&mut self) -> Option<()> {
        let room = self.pool.fill(SIZE, iter::repeat_n(0, SIZE))?;
        let (link, buffer) = self.pool.chain(0, iter::empty())?;
        buffer.start = room.as_mut_ptr();
        (buffer.pos, buffer.last) = (buffer.start, buffer.start);
        buffer.end = buffer.start.wrapping_add(SIZE);
        let place: *mut ngx_chain_t = &raw mut *link;
        match &mut self.last {
            Some((last, _)) => last.next = place,
            None => self.first = place,
        }
        (self.last, self.room) = (Some((link, buffer)), room);
        Some(())
    }
}

impl fmt::Write for Written<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut text = text.as_bytes();
        while !text.is_empty() {
            if self.room.is_empty() {
                self.grow().ok_or(fmt::Error)?;
            }
            let (now, later) = text.split_at(text.len().min(self.room.len()));
            let (place, room) = mem::take(&mut self.room).split_at_mut(now.len());
            place.copy_from_slice(now);
            (self.room, text) = (room, later);
            self.len += now.len();
            if let Some((_, buffer)) = &mut self.last {
                buffer.last = buffer.last.wrapping_add(now.len());
            }
        }
        Ok(())
    }
}
