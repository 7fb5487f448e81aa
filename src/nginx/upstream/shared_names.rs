//! The addresses of names in shared memory, for all workers. Each configuration has its own.

use std::cell::UnsafeCell;
use std::ffi::c_void;
use std::marker::PhantomData;
use std::net::{IpAddr, Ipv4Addr};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use crate::nginx::base::ffi::{
    ngx_conf_t, ngx_int_t, ngx_msec_t, ngx_shared_memory_add, ngx_shm_zone_t, ngx_shmtx_lock,
    ngx_shmtx_unlock, ngx_slab_calloc, ngx_slab_pool_t,
};
use crate::nginx::base::module::{HttpModule, Module};
use crate::nginx::base::parser::{ConfExt, Stop, NO_MEMORY};
use crate::nginx::base::status::{ERROR, OK};
use crate::nginx::base::{guard, process};

/// The most addresses that are used of one name.
const MAX_ADDRESSES: usize = 16;

/// The state of a name; all-zero bytes are the state before the first lookup.
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

impl Default for Entry {
    fn default() -> Self {
        let none = List { len: 0, addresses: [Ipv4Addr::UNSPECIFIED.into(); MAX_ADDRESSES] };
        let [generation, due, last] = [const { AtomicUsize::new(0) }; 3];
        Self { generation, due, last, failing: AtomicBool::new(false), list: none.into() }
    }
}

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

    /// Claims the lookup that is due, so that no other worker does it.
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

    /// Notes whether a lookup failed; returns whether that changed.
    pub fn set_failing(&self, failing: bool) -> bool {
        self.failing.swap(failing, Relaxed) != failing
    }

    /// The addresses.
    pub fn addresses(&self, lock: &mut Lock) -> Vec<IpAddr> {
        let list = self.list(lock);
        list.addresses[..list.len].to_vec()
    }

    /// Replaces the addresses, unless they are the same or none; returns whether it did.
    pub fn set_addresses(&self, lock: &mut Lock, addresses: &[IpAddr]) -> bool {
        let addresses = &addresses[..addresses.len().min(MAX_ADDRESSES)];
        let list = self.list(lock);
        if addresses.is_empty() || list.addresses[..list.len] == *addresses {
            return false;
        }
        list.len = addresses.len();
        list.addresses[..addresses.len()].copy_from_slice(addresses);
        self.generation.fetch_add(1, Relaxed);
        true
    }

    fn list<'a>(&'a self, _lock: &'a mut Lock) -> &'a mut List {
        // SAFETY: the lock is held, and borrowed as long as the list.
        unsafe { &mut *self.list.get() }
    }
}

/// The shared memory of one configuration, with a value of the process in it.
pub struct Zone<T: 'static>(*mut ngx_shm_zone_t, PhantomData<&'static T>);

impl<T: 'static> Clone for Zone<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: 'static> Copy for Zone<T> {}

/// What a zone belongs to.
pub trait Fill: Sized + 'static {
    /// Fills the memory, once it is there; `None` if it is too small.
    fn fill(&self, zone: Zone<Self>) -> Option<()>;
}

unsafe extern "C" fn init<T: Fill>(zone: *mut ngx_shm_zone_t, _old: *mut c_void) -> ngx_int_t {
    guard::process("shared memory", ERROR, || {
        // nginx calls this for a zone that was asked for with it, and with data of this type.
        let zone = Zone::<T>(zone, PhantomData);
        zone.data().and_then(|data| data.fill(zone)).map_or(ERROR, |()| OK)
    })
}

impl<T: Fill> Zone<T> {
    /// Asks nginx for memory for so many names. The data live as long as the configuration.
    pub fn ask(cf: &mut ngx_conf_t, names: usize, data: *const T) -> Result<Self, Stop> {
        // No zone of a user's contains a space in its name.
        let mut name = cf.copy("clerk_proxy addresses")?;
        let size = names * size_of::<Entry>() + 16 * process::page_size();
        // SAFETY: the name lives as long as the configuration; the result is null or a zone that does.
        let zone = unsafe { ngx_shared_memory_add(cf, &raw mut name, size, tag()).as_mut() };
        let zone = zone.ok_or(NO_MEMORY)?;
        zone.init = Some(init::<T>);
        zone.data = data.cast_mut().cast();
        // The old configuration's workers continue to use theirs.
        #[cfg(not(nginx_angie))]
        {
            zone.noreuse = 1;
        }
        #[cfg(nginx_angie)]
        zone.set_noreuse(1);
        Ok(Self(zone, PhantomData))
    }

    fn get(self) -> &'static ngx_shm_zone_t {
        // SAFETY: the zone lives as long as its configuration.
        unsafe { &*self.0 }
    }

    /// The value given to `ask`.
    pub fn data(self) -> Option<&'static T> {
        // SAFETY: promised by the caller of `ask`, and of the same configuration.
        unsafe { self.get().data.cast::<T>().as_ref() }
    }

    /// Memory for the names; called once.
    pub fn entries(self, names: usize) -> Option<&'static [Entry]> {
        // SAFETY: nginx has set up a slab pool in the zone before it calls `init`; what that gives is null or has room,
        // and stays mapped in all processes that use this configuration.
        unsafe {
            let memory = ngx_slab_calloc(self.pool(), names * size_of::<Entry>()).cast::<Entry>();
            let memory = NonNull::new(memory)?;
            (0..names).for_each(|i| memory.add(i).write(Entry::default()));
            Some(NonNull::slice_from_raw_parts(memory, names).as_ref())
        }
    }

    /// Waits until nobody else changes or reads addresses.
    pub fn lock(self) -> Lock {
        let pool = self.pool();
        // SAFETY: nginx has set up the pool's lock before there are workers.
        unsafe { ngx_shmtx_lock(&raw mut (*pool).mutex) };
        Lock(pool)
    }

    /// The pool, which is at the beginning of the memory.
    fn pool(self) -> *mut ngx_slab_pool_t {
        self.get().shm.addr.cast::<c_void>().cast()
    }

    /// The zone of the running configuration, if it has one; its data must be of this type.
    pub fn running(cf: &ngx_conf_t) -> Option<Self> {
        // SAFETY: `old_cycle` is the running cycle, or at the start an empty one; the parts of its list of
        // zones end with null and have `nelts` zones each.
        unsafe {
            let mut part = &raw const (*cf.cycle).old_cycle.as_ref()?.shared_memory.part;
            while let Some(this) = part.as_ref() {
                let zones = this.elts.cast::<ngx_shm_zone_t>();
                let mut all = (0..this.nelts).map(|i| zones.add(i));
                if let Some(zone) = all.find(|zone| (**zone).tag == tag()) {
                    return Some(Self(zone, PhantomData));
                }
                part = this.next;
            }
        }
        None
    }
}

/// The mark of this copy of the module, so that no copy reads the zone of another.
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
