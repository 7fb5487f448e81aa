//! The addresses of names in shared memory, for all workers. Each configuration has its own.

use std::ffi::c_void;
use std::marker::PhantomData;
use std::ptr::NonNull;

use crate::known_name::KnownName;
use crate::nginx::base::ffi::{
    ngx_conf_t, ngx_int_t, ngx_shared_memory_add, ngx_shm_zone_t, ngx_shmtx_lock, ngx_shmtx_t,
    ngx_shmtx_unlock, ngx_slab_calloc, ngx_slab_pool_t,
};
use crate::nginx::base::guard;
use crate::nginx::base::links::configuration::{cycle, old_cycle};
use crate::nginx::base::links::list;
use crate::nginx::base::module::{Module, NginxModule};
use crate::nginx::base::parser::{ConfExt, Stop, NO_MEMORY};
use crate::nginx::base::process::globals;
use crate::nginx::base::status::{ERROR, OK};

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
        let size = names * size_of::<KnownName>() + 16 * globals().page_size;
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
    pub fn entries(self, names: usize) -> Option<&'static [KnownName]> {
        let size = names * size_of::<KnownName>();
        // SAFETY: nginx has set up a slab pool in the zone before it calls `init`; what that gives is null or has room,
        // and stays mapped in all processes that use this configuration.
        unsafe {
            let memory = NonNull::new(ngx_slab_calloc(self.pool(), size).cast::<KnownName>())?;
            (0..names).for_each(|i| memory.add(i).write(KnownName::default()));
            Some(NonNull::slice_from_raw_parts(memory, names).as_ref())
        }
    }

    /// Reads or changes addresses while nobody else does.
    pub fn locked<R>(self, body: impl FnOnce() -> R) -> R {
        let _lock = Lock::of(self.pool());
        body()
    }

    /// The pool, which is at the beginning of the memory.
    fn pool(self) -> *mut ngx_slab_pool_t {
        self.get().shm.addr.cast::<c_void>().cast()
    }

    /// The zone of the running configuration, if it has one; its data must be of this type.
    pub fn running(cf: &ngx_conf_t) -> Option<Self> {
        // At the start that before is an empty one.
        let mut zones = list::<ngx_shm_zone_t>(&old_cycle(cycle(cf))?.shared_memory).flatten();
        zones.find(|zone| zone.get().tag == tag()).map(|zone| Self(zone.as_ptr(), PhantomData))
    }
}

/// The mark of this copy of the module, so that no copy reads the zone of another.
fn tag() -> *mut c_void {
    Module::entry().cast_mut().cast()
}

/// The lock of a zone, held while the value lives. nginx frees it where a worker died with it.
struct Lock(*mut ngx_shmtx_t);

impl Lock {
    /// Waits until nobody else has it.
    fn of(pool: *mut ngx_slab_pool_t) -> Self {
        // SAFETY: nginx has set up the pool's lock before there are workers.
        unsafe {
            let mutex = &raw mut (*pool).mutex;
            ngx_shmtx_lock(mutex);
            Self(mutex)
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // SAFETY: locked in `of`.
        unsafe { ngx_shmtx_unlock(self.0) };
    }
}
