//! Memory that a configuration shares with all workers.

use std::ffi::c_void;
use std::marker::PhantomData;
use std::ptr::NonNull;

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
    /// The zone's name, which no other type has. A space keeps it apart from those of users.
    const NAME: &'static str;
    /// Whether the next configuration goes on with the memory, if it asks for as much. Else the old configuration's
    /// workers continue to use theirs.
    const STAYS: bool = false;
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
    /// Asks nginx for memory for so many values. The data live as long as the configuration.
    pub fn ask<E>(cf: &mut ngx_conf_t, count: usize, data: *const T) -> Result<Self, Stop> {
        let mut name = cf.copy(T::NAME)?;
        let values = count * size_of::<E>();
        // nginx keeps a description of each page there as well.
        let size = values + values / 64 + 16 * globals().page_size;
        // SAFETY: the name lives as long as the configuration; the result is null or a zone that does.
        let zone = unsafe { ngx_shared_memory_add(cf, &raw mut name, size, tag()).as_mut() };
        let zone = zone.ok_or(NO_MEMORY)?;
        zone.init = Some(init::<T>);
        zone.data = data.cast_mut().cast();
        #[cfg(not(nginx_angie))]
        {
            zone.noreuse = (!T::STAYS).into();
        }
        #[cfg(nginx_angie)]
        zone.set_noreuse((!T::STAYS).into());
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

    /// The values, as many as were asked for; those of the configuration before, if its memory stays.
    pub fn values<E: Default>(self, count: usize) -> Option<&'static [E]> {
        // SAFETY: nginx has set up a slab pool in the zone before it calls `init`; what that gives is null or has room,
        // and stays mapped in all processes that use this configuration. `data` is for whoever has the zone: null or the
        // values, of the same type and as many, since nginx hands over memory of the same size alone.
        unsafe {
            let place = &raw mut (*self.pool()).data;
            if (*place).is_null() {
                let new = ngx_slab_calloc(self.pool(), count * size_of::<E>()).cast::<E>();
                let new = NonNull::new(new)?;
                (0..count).for_each(|i| new.add(i).write(E::default()));
                *place = new.as_ptr().cast();
            }
            let values = NonNull::new((*place).cast::<E>())?;
            Some(NonNull::slice_from_raw_parts(values, count).as_ref())
        }
    }

    /// Reads or changes what the lock is for, while nobody else does.
    pub fn locked<R>(self, body: impl FnOnce() -> R) -> R {
        let _lock = Lock::of(self.pool());
        body()
    }

    /// The pool, which is at the beginning of the memory.
    fn pool(self) -> *mut ngx_slab_pool_t {
        self.get().shm.addr.cast::<c_void>().cast()
    }

    /// The zone of the running configuration, if it has one.
    pub fn running(cf: &ngx_conf_t) -> Option<Self> {
        // At the start that before is an empty one.
        let mut zones = list::<ngx_shm_zone_t>(&old_cycle(cycle(cf))?.shared_memory).flatten();
        let is_meant = |zone: &ngx_shm_zone_t| {
            zone.tag == tag() && zone.shm.name.as_bytes() == T::NAME.as_bytes()
        };
        zones.find(|zone| is_meant(&zone.get())).map(|zone| Self(zone.as_ptr(), PhantomData))
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
