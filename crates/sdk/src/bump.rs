//! The allocator of a module.
//!
//! Every event runs in a fresh instance, so memory is given back as a whole when the handler returns. The
//! allocator therefore only moves forward; it takes back, and grows in place, what was allocated last, which
//! is what a growing `Vec` or `String` needs.
#![allow(unsafe_code, reason = "an allocator hands out memory")]

use core::alloc::{GlobalAlloc, Layout};
use core::arch::wasm32;
use core::cell::Cell;
use core::ptr;

const PAGE: usize = 64 * 1024;

unsafe extern "C" {
    /// Set by the linker: the first byte after stack and data.
    static __heap_base: u8;
}

/// The allocator that [`crate::runtime!`] installs.
#[derive(Debug)]
pub struct Bump {
    /// The first free byte; 0 before the first allocation.
    next: Cell<usize>,
}

// SAFETY: a module has one thread.
unsafe impl Sync for Bump {}

impl Bump {
    /// An allocator that has given nothing yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { next: Cell::new(0) }
    }

    /// Moves the end of what is used to `end`, growing the memory if needed.
    fn advance(&self, end: usize) -> bool {
        let have = wasm32::memory_size(0) * PAGE;
        if end > have && wasm32::memory_grow(0, (end - have).div_ceil(PAGE)) == usize::MAX {
            return false;
        }
        self.next.set(end);
        true
    }

    fn free(&self) -> usize {
        match self.next.get() {
            0 => (&raw const __heap_base).addr(),
            next => next,
        }
    }
}

// SAFETY: blocks never overlap, because `next` moves past each; they are aligned, and inside memory, because
// `advance` fails otherwise.
unsafe impl GlobalAlloc for Bump {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let start = self.free().checked_next_multiple_of(layout.align());
        let end = start.and_then(|start| start.checked_add(layout.size()));
        match (start, end) {
            (Some(start), Some(end)) if self.advance(end) => ptr::with_exposed_provenance_mut(start),
            _ => ptr::null_mut(),
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if block.addr() + layout.size() == self.next.get() {
            self.next.set(block.addr());
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        let last = block.addr() + layout.size() == self.next.get();
        if new_size <= layout.size() || last {
            let end = block.addr().checked_add(new_size);
            return match end {
                Some(_) if !last => block,
                Some(end) if self.advance(end) => block,
                _ => ptr::null_mut(),
            };
        }
        // SAFETY: the caller vouches that alignment and new size make a layout.
        let new = unsafe { self.alloc(Layout::from_size_align_unchecked(new_size, layout.align())) };
        if !new.is_null() {
            // SAFETY: both blocks hold at least the old size, and a new block never overlaps an old one.
            unsafe { ptr::copy_nonoverlapping(block, new, layout.size()) };
        }
        new
    }
}
