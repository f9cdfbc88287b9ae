//! Linear memories whose addresses are used again: mapping 8 GiB anew for each instance, and taking them out of the page
//! tables afterwards, costs more than most calls.
//!
//! A memory that is given back is emptied before anybody else can have it, and what it had grown by is made
//! inaccessible again before it is a smaller one. If either fails the mapping is unmapped instead.

use std::ptr::NonNull;
use std::sync::{Arc, Mutex, PoisonError};

use wasmer::sys::vm::{
    LinearMemory, MaybeInstanceOwned, MemoryError, MemoryStyle, Mmap, MmapType, VMMemoryDefinition,
};
use wasmer::{Bytes, MemoryType, Pages};

/// Mappings that wait for their next instance. They are empty.
#[derive(Debug)]
pub(crate) struct Pool {
    most: usize,
    kept: Mutex<Vec<Mapping>>,
}

impl Pool {
    /// A pool that keeps at most `most` mappings.
    pub(crate) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, kept: Mutex::new(Vec::new()) })
    }

    /// An empty mapping of which the first `accessible` bytes, and no others, can be used.
    fn take(&self, accessible: usize) -> Result<Mapping, MemoryError> {
        let kept = {
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            // One that fits needs no system call.
            let fits = kept.iter().rposition(|m| m.accessible == accessible);
            let place = fits.or_else(|| kept.len().checked_sub(1));
            place.map(|place| kept.swap_remove(place))
        };
        if let Some(mut mapping) = kept
            && mapping.resize(accessible).is_ok()
        {
            return Ok(mapping);
        }
        Mapping::new(accessible)
    }

    fn put(&self, mut mapping: Mapping) {
        if mapping.empty().is_err() {
            return;
        }
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < self.most {
            kept.push(mapping);
        }
    }
}

/// Addresses for a memory of any size, with the guard behind it that compiled code relies on.
#[derive(Debug)]
struct Mapping {
    mmap: Mmap,
    /// Bytes from the beginning that can be read and written; all behind them trap.
    accessible: usize,
}

impl Mapping {
    fn new(accessible: usize) -> Result<Self, MemoryError> {
        let guard = usize::try_from(MemoryStyle::static_offset_guard_size());
        let guard = guard.map_err(|e| MemoryError::Generic(format!("no addresses for a guard: {e}")))?;
        let all = MemoryStyle::static_bound().bytes().0 + guard;
        let mmap = Mmap::accessible_reserved(accessible, all, None, MmapType::Private);
        Ok(Self { mmap: mmap.map_err(MemoryError::Region)?, accessible })
    }

    /// Moves the end of what can be used.
    fn resize(&mut self, accessible: usize) -> Result<(), MemoryError> {
        if accessible > self.accessible {
            let more = accessible - self.accessible;
            self.mmap.make_accessible(self.accessible, more).map_err(MemoryError::Region)?;
        } else if accessible < self.accessible {
            self.system("mprotect", accessible, |at, len| {
                #[allow(
                    unsafe_code,
                    reason = "the range lies in a mapping of ours that nobody else looks at"
                )]
                // SAFETY: see the reason; `system` has checked the range.
                unsafe {
                    libc::mprotect(at, len, libc::PROT_NONE)
                }
            })?;
        }
        self.accessible = accessible;
        Ok(())
    }

    /// Makes all bytes zero by giving their pages back to the system.
    fn empty(&mut self) -> Result<(), MemoryError> {
        self.system("madvise", 0, |at, len| {
            #[allow(
                unsafe_code,
                reason = "the range lies in a private anonymous mapping of ours that nobody else looks at: its \
                          pages read as zero afterwards"
            )]
            // SAFETY: see the reason; `system` has checked the range.
            unsafe {
                libc::madvise(at, len, libc::MADV_DONTNEED)
            }
        })
    }

    /// A system call over the usable bytes from `from` on.
    fn system(
        &mut self,
        name: &str,
        from: usize,
        call: impl FnOnce(*mut libc::c_void, usize) -> libc::c_int,
    ) -> Result<(), MemoryError> {
        let range = self.mmap.as_mut_slice_arbitrary(self.accessible).get_mut(from..);
        let Some(range) = range.filter(|r| !r.is_empty()) else { return Ok(()) };
        if call(range.as_mut_ptr().cast(), range.len()) == 0 {
            return Ok(());
        }
        Err(MemoryError::Region(format!("{name}: {}", std::io::Error::last_os_error())))
    }
}

/// A memory of an instance, whose mapping goes back to the pool with it.
pub(crate) struct Pooled {
    pool: Arc<Pool>,
    /// Taken out by `drop` alone.
    mapping: Option<Mapping>,
    ty: MemoryType,
    pages: Pages,
    definition: MaybeInstanceOwned<VMMemoryDefinition>,
}

#[allow(
    unsafe_code,
    reason = "as wasmer's own memories: the pointer is into the instance that owns this memory and goes \
              where it goes, and all access is through the store, which one thread has at a time"
)]
// SAFETY: see the reason above.
unsafe impl Send for Pooled {}
#[allow(unsafe_code, reason = "as for Send")]
// SAFETY: see the reason above.
unsafe impl Sync for Pooled {}

impl std::fmt::Debug for Pooled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pooled").field("pages", &self.pages).finish_non_exhaustive()
    }
}

impl Pooled {
    /// A fresh memory of static style that tells the instance at `place` where it is.
    ///
    /// # Safety
    /// `place` must be valid for as long as the memory lives.
    #[allow(unsafe_code, reason = "the caller promises what the pointer needs")]
    pub(crate) unsafe fn new(
        pool: &Arc<Pool>,
        ty: &MemoryType,
        place: NonNull<VMMemoryDefinition>,
    ) -> Result<Self, MemoryError> {
        let pages = ty.minimum;
        if pages > Pages::max_value() || ty.maximum.is_some_and(|m| m < pages || m > Pages::max_value()) {
            return Err(MemoryError::InvalidMemory { reason: format!("{ty:?} has no such sizes") });
        }
        let mapping = pool.take(pages.bytes().0)?;
        let definition = MaybeInstanceOwned::Instance(place);
        let mut memory = Self { pool: Arc::clone(pool), mapping: Some(mapping), ty: *ty, pages, definition };
        memory.tell();
        Ok(memory)
    }

    /// Tells the instance where the memory is and how large.
    fn tell(&mut self) {
        let Some(mapping) = &mut self.mapping else { return };
        #[allow(unsafe_code, reason = "valid by the promise to `new`; compiled code does not run now")]
        // SAFETY: see the reason above.
        let definition = unsafe { self.definition.as_ptr().as_mut() };
        definition.base = mapping.mmap.as_mut_ptr();
        definition.current_length = self.pages.bytes().0;
    }

    fn unsupported(message: &str) -> MemoryError {
        MemoryError::UnsupportedOperation { message: message.to_owned() }
    }
}

impl LinearMemory for Pooled {
    fn ty(&self) -> MemoryType {
        MemoryType { minimum: self.pages, ..self.ty }
    }

    fn size(&self) -> Pages {
        self.pages
    }

    fn style(&self) -> MemoryStyle {
        MemoryStyle::Static
    }

    fn grow(&mut self, delta: Pages) -> Result<Pages, MemoryError> {
        let before = self.pages;
        let refused = MemoryError::CouldNotGrow { current: before, attempted_delta: delta };
        let most = self.ty.maximum.unwrap_or(Pages::max_value()).min(Pages::max_value());
        let Some(after) = before.checked_add(delta).filter(|after| *after <= most) else {
            return Err(refused);
        };
        let Some(mapping) = &mut self.mapping else { return Err(refused) };
        let Bytes(accessible) = after.bytes();
        mapping.resize(accessible)?;
        self.pages = after;
        self.tell();
        Ok(before)
    }

    fn vmmemory(&self) -> NonNull<VMMemoryDefinition> {
        self.definition.as_ptr()
    }

    fn try_clone(&self) -> Result<Box<dyn LinearMemory + Send + Sync + 'static>, MemoryError> {
        Err(Self::unsupported("an instance's memory is not shared"))
    }

    fn copy(&self) -> Result<Box<dyn LinearMemory + Send + Sync + 'static>, MemoryError> {
        Err(Self::unsupported("an instance's memory is not copied"))
    }
}

impl Drop for Pooled {
    fn drop(&mut self) {
        if let Some(mapping) = self.mapping.take() {
            self.pool.put(mapping);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(mapping: &mut Mapping) -> &mut [u8] {
        mapping.mmap.as_mut_slice_arbitrary(mapping.accessible)
    }

    /// Whether the system lets that byte be read: asked by having it copy the byte.
    fn readable(mapping: &Mapping, at: usize) -> bool {
        let address = mapping.mmap.as_ptr() as usize + at;
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        maps.lines().any(|line| {
            let (range, rest) = line.split_once(' ').unwrap();
            let (from, to) = range.split_once('-').unwrap();
            let number = |hex| usize::from_str_radix(hex, 16).unwrap();
            (number(from)..number(to)).contains(&address) && rest.starts_with("rw")
        })
    }

    #[test]
    fn a_mapping_is_used_again_and_is_empty_and_no_larger_than_asked() {
        let pool = Pool::new(1);
        let mut first = pool.take(5 << 16).unwrap();
        let address = first.mmap.as_ptr();
        bytes(&mut first).fill(7);
        pool.put(first);
        let mut smaller = pool.take(2 << 16).unwrap();
        assert_eq!(smaller.mmap.as_ptr(), address, "a new mapping was made");
        assert!(bytes(&mut smaller).iter().all(|b| *b == 0), "something was left");
        assert!(readable(&smaller, (2 << 16) - 1) && !readable(&smaller, 2 << 16));
        smaller.resize(9 << 16).unwrap();
        assert!(bytes(&mut smaller).iter().all(|b| *b == 0), "what it had grown by came back");
        bytes(&mut smaller).fill(9);
        pool.put(smaller);
        let mut none = pool.take(0).unwrap();
        assert!(!readable(&none, 0) && bytes(&mut none).is_empty());
        none.resize(1 << 16).unwrap();
        assert!(bytes(&mut none).iter().all(|b| *b == 0));
    }

    #[test]
    fn no_more_is_kept_than_there_is_room_for() {
        let pool = Pool::new(2);
        let taken: Vec<_> = (1..=4).map(|pages| pool.take(pages << 16).unwrap()).collect();
        taken.into_iter().for_each(|mapping| pool.put(mapping));
        assert_eq!(pool.kept.lock().unwrap().len(), 2);
        // The one that fits is taken first.
        assert_eq!(pool.take(1 << 16).unwrap().accessible, 1 << 16);
    }
}
