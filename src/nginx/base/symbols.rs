//! Functions that nginx may lack, found by name: a build without TLS can load this module, too.

use std::ffi::{c_char, c_void, CStr};
use std::mem;
use std::sync::LazyLock;

use crate::nginx::base::ffi::ngx_log_error_core;

#[cfg(target_pointer_width = "32")]
use libc::Elf32_Phdr as ProgramHeader;
#[cfg(target_pointer_width = "64")]
use libc::Elf64_Phdr as ProgramHeader;

/// A function of nginx, or of a library that nginx is linked to. One of that name from elsewhere in the process is
/// another: a module may bring an OpenSSL of its own beside the one in nginx.
///
/// # Safety
///
/// `F` is the type of the function of this name.
pub unsafe fn find<F>(name: &CStr) -> Option<F> {
    const { assert!(size_of::<F>() == size_of::<*mut c_void>()) };
    // SAFETY: promised by the caller; a function has the size of a pointer.
    unsafe {
        let found = libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr());
        (!found.is_null() && is_of_nginx(found)).then(|| mem::transmute_copy(&found))
    }
}

fn is_of_nginx(function: *const c_void) -> bool {
    let nginx = ngx_log_error_core as *const c_void;
    let (Some(file), Some(own)) = (file_of(function), file_of(nginx)) else { return false };
    let name = file.1.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
    file.0 == own.0 || NEEDED.iter().any(|needed| **needed == *name)
}

/// Where the file with the function begins in memory, and its name.
pub fn file_of(function: *const c_void) -> Option<(usize, Vec<u8>)> {
    // SAFETY: zero is a valid value for every field; what is found has a name that ends with a zero byte.
    unsafe {
        let mut found: libc::Dl_info = mem::zeroed();
        if libc::dladdr(function, &raw mut found) == 0 || found.dli_fname.is_null() {
            return None;
        }
        Some((found.dli_fbase.addr(), CStr::from_ptr(found.dli_fname).to_bytes().to_vec()))
    }
}

/// The libraries that nginx's program is linked to.
static NEEDED: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| needed().unwrap_or_default());

/// Reads the dynamic section of the program.
fn needed() -> Option<Vec<Vec<u8>>> {
    const DT_NULL: usize = 0;
    const DT_NEEDED: usize = 1;
    const DT_STRTAB: usize = 5;
    // SAFETY: the system's loader has mapped the program, and says where: its dynamic section is a list of pairs of words
    // that ends with a zero tag, and names are offsets into the table of texts. Only some loaders have added the base to
    // the table's address.
    unsafe {
        let first = libc::getauxval(libc::AT_PHDR) as *const ProgramHeader;
        let len = usize::try_from(libc::getauxval(libc::AT_PHNUM)).ok()?;
        if first.is_null() {
            return None;
        }
        let headers = std::slice::from_raw_parts(first, len);
        let find = |kind| headers.iter().find(|header| header.p_type == kind);
        let place = |kind| usize::try_from(find(kind)?.p_vaddr).ok();
        let base = first.addr().wrapping_sub(place(libc::PT_PHDR)?);
        let mut entry = (base + place(libc::PT_DYNAMIC)?) as *const [usize; 2];
        let (mut offsets, mut texts) = (Vec::new(), 0);
        while (*entry)[0] != DT_NULL {
            match *entry {
                [DT_NEEDED, offset] => offsets.push(offset),
                [DT_STRTAB, table] => texts = if table < base { base + table } else { table },
                _ => {}
            }
            entry = entry.add(1);
        }
        let text = |offset| CStr::from_ptr((texts + offset) as *const c_char).to_bytes().to_vec();
        Some(offsets.into_iter().map(text).collect())
    }
}
