//! What all workers know of names: shared memory, of which each configuration has its own.

use std::cell::UnsafeCell;
use std::ffi::c_void;
use std::mem;
use std::net::IpAddr;
use std::slice;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use crate::nginx::base::ffi::{
    ngx_conf_t, ngx_msec_t, ngx_shared_memory_add, ngx_shm_zone_init_pt, ngx_shm_zone_t,
    ngx_shmtx_lock, ngx_shmtx_unlock, ngx_slab_calloc, ngx_slab_pool_t,
};
use crate::nginx::base::module::{HttpModule, Module};
use crate::nginx::base::parser::{ConfExt, Stop, NO_MEMORY};
use crate::nginx::base::process;

/// More addresses than this of one name are not used.
const MAX_ADDRESSES: usize = 16;

/// What is known of a name. Zeroed memory is a valid value: nothing is.
pub struct Entry {
    /// Counts the lists of addresses; 0 before there is any.
    generation: AtomicUsize,
    /// When the next lookup is due, and when the last began.
    due: AtomicUsize,
    last: AtomicUsize,
    /// Whether the last lookup failed.
    failing: AtomicBool,
    /// Changed and read under the zone's lock only.
    list: UnsafeCell<List>,
}

struct List {
    len: usize,
    addresses: [IpAddr; MAX_ADDRESSES],
}

/// What zeroed memory is; the compiler refuses a constant that is no valid value.
// SAFETY: see above.
const _: List = unsafe { mem::zeroed() };

impl Entry {
    /// Whether there is no address.
    pub fn is_empty(&self) -> bool {
        self.generation() == 0
    }

    /// The number of the list of addresses.
    pub fn generation(&self) -> usize {
        self.generation.load(Relaxed)
    }

    /// When the last lookup began.
    pub fn last(&self) -> ngx_msec_t {
        self.last.load(Relaxed)
    }

    /// When the next lookup is due.
    pub fn due(&self) -> ngx_msec_t {
        self.due.load(Relaxed)
    }

    /// Sets when the next lookup is due.
    pub fn set_due(&self, time: ngx_msec_t) {
        self.due.store(time, Relaxed);
    }

    /// Takes on the lookup that is due, so that no other worker does.
    pub fn claim(&self, due: ngx_msec_t, now: ngx_msec_t, next: ngx_msec_t) -> bool {
        let claimed = self.due.compare_exchange(due, next, Relaxed, Relaxed).is_ok();
        if claimed {
            self.last.store(now, Relaxed);
        }
        claimed
    }

    /// Whether the last lookup failed.
    pub fn is_failing(&self) -> bool {
        self.failing.load(Relaxed)
    }

    /// Notes whether a lookup failed, and tells whether that is news.
    pub fn set_failing(&self, failing: bool) -> bool {
        self.failing.swap(failing, Relaxed) != failing
    }

    /// The addresses.
    pub fn addresses(&self, _lock: &Lock) -> Vec<IpAddr> {
        // SAFETY: the lock is held.
        let list = unsafe { &*self.list.get() };
        list.addresses[..list.len].to_vec()
    }

    /// Replaces the addresses, unless they are the same or none, and tells whether it did.
    pub fn set_addresses(&self, _lock: &Lock, addresses: &[IpAddr]) -> bool {
        let addresses = &addresses[..addresses.len().min(MAX_ADDRESSES)];
        // SAFETY: the lock is held.
        let list = unsafe { &mut *self.list.get() };
        if addresses.is_empty() || list.addresses[..list.len] == *addresses {
            return false;
        }
        list.len = addresses.len();
        list.addresses[..addresses.len()].copy_from_slice(addresses);
        self.generation.fetch_add(1, Relaxed);
        true
    }
}

/// The shared memory of one configuration.
#[derive(Clone, Copy)]
pub struct Zone(*mut ngx_shm_zone_t);

impl Zone {
    /// Asks nginx for memory for so many names. It calls `init` once it is there, with `data` in the zone.
    pub fn ask(
        cf: &mut ngx_conf_t,
        names: usize,
        init: ngx_shm_zone_init_pt,
        data: *mut c_void,
    ) -> Result<Self, Stop> {
        // No zone of a user's has a blank in its name.
        let mut name = cf.copy("clerk_proxy addresses")?;
        let size = names * size_of::<Entry>() + 16 * process::page_size();
        // SAFETY: the name lives as long as the configuration; the result is null or a zone that does.
        unsafe {
            let zone = ngx_shared_memory_add(cf, &raw mut name, size, tag());
            if zone.is_null() {
                return Err(NO_MEMORY);
            }
            ((*zone).init, (*zone).data) = (init, data);
            // The old configuration's workers go on using theirs.
            (*zone).noreuse = 1;
            Ok(Self(zone))
        }
    }

    /// The zone that `init` is called with.
    ///
    /// # Safety
    ///
    /// The zone was asked for by `ask`.
    pub unsafe fn of(zone: *mut ngx_shm_zone_t) -> Self {
        Self(zone)
    }

    /// What `ask` was given.
    pub fn data(self) -> *mut c_void {
        // SAFETY: the zone lives as long as its configuration.
        unsafe { (*self.0).data }
    }

    /// Memory for the names; called once.
    pub fn entries(self, names: usize) -> Option<&'static [Entry]> {
        // SAFETY: nginx has set up a slab pool in the zone before it calls `init`; the memory is zeroed and
        // stays mapped in all processes that use this configuration.
        unsafe {
            let entries = ngx_slab_calloc(self.pool(), names * size_of::<Entry>()).cast::<Entry>();
            (!entries.is_null()).then(|| slice::from_raw_parts(entries, names))
        }
    }

    /// Waits until nobody else changes or reads addresses.
    pub fn lock(self) -> Lock {
        let pool = self.pool();
        // SAFETY: nginx has set up the pool's lock before there are workers.
        unsafe { ngx_shmtx_lock(&raw mut (*pool).mutex) };
        Lock(pool)
    }

    fn pool(self) -> *mut ngx_slab_pool_t {
        // SAFETY: the pool is at the beginning of the memory.
        unsafe { (*self.0).shm.addr.cast::<c_void>().cast() }
    }

    /// The zone of the running configuration, if it has one.
    pub fn running(cf: &ngx_conf_t) -> Option<Self> {
        // SAFETY: `old_cycle` is the running cycle, or at the start an empty one; the parts of its list of
        // zones end with null and have `nelts` zones each.
        unsafe {
            let mut part = &raw const (*cf.cycle).old_cycle.as_ref()?.shared_memory.part;
            while let Some(this) = part.as_ref() {
                let zones = this.elts.cast::<ngx_shm_zone_t>();
                let mut all = (0..this.nelts).map(|i| zones.add(i));
                if let Some(zone) = all.find(|zone| (**zone).tag == tag()) {
                    return Some(Self(zone));
                }
                part = this.next;
            }
        }
        None
    }
}

/// What this copy of the module, and no other, marks its zone with: none reads what another wrote.
fn tag() -> *mut c_void {
    Module::module().cast_mut().cast()
}

/// The lock of a zone, held while the value lives. nginx frees it where a worker died with it.
pub struct Lock(*mut ngx_slab_pool_t);

impl Drop for Lock {
    fn drop(&mut self) {
        // SAFETY: locked in `Zone::lock`.
        unsafe { ngx_shmtx_unlock(&raw mut (*self.0).mutex) };
    }
}
