//! How much memory a piece of code takes: an allocator that counts what the thread holds.
//!
//! Must never count another thread's memory: tests run beside each other.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    /// Bytes that this thread has taken and not given back; less than none where it freed another's.
    static HELD: Cell<isize> = const { Cell::new(0) };
    /// The most of them since the last `measure` began.
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

/// The system's allocator, counted.
pub struct Counting;

/// At the end of a thread there is nothing to count with any more.
fn count(bytes: isize) {
    let _ = HELD.try_with(|held| {
        held.set(held.get() + bytes);
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(held.get())));
    });
}

// SAFETY: every call goes to the system's allocator with the caller's own arguments, and its answer goes back unchanged.
// What is counted beside it is a number of the thread's own that is never allocated and has no destructor.
unsafe impl GlobalAlloc for Counting {
    // SAFETY: the caller's promise about the layout is passed on.
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: as above.
        unsafe { System.alloc(layout) }
    }

    // SAFETY: the caller's promise about the pointer and its layout is passed on.
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: as above.
        unsafe { System.dealloc(at, layout) }
    }

    // SAFETY: the caller's promise about the pointer, its layout and the new size is passed on.
    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // It may be copied: for a moment both are there.
        count(size as isize);
        // SAFETY: as above.
        let moved = unsafe { System.realloc(at, layout, size) };
        count(-(layout.size() as isize));
        moved
    }
}

/// What `run` gives, and the most bytes that it held at a time beyond those that were held before.
pub fn measure<T>(run: impl FnOnce() -> T) -> (T, usize) {
    let before = HELD.get();
    PEAK.set(before);
    let result = run();
    (result, usize::try_from(PEAK.get() - before).unwrap_or(0))
}

#[test]
fn what_is_taken_is_counted_and_what_is_given_back_is_not() {
    let (kept, peak) = measure(|| {
        drop(vec![0_u8; 5_000]);
        vec![0_u8; 3_000]
    });
    assert!((5_000..5_100).contains(&peak), "{peak}");
    let (_, peak) = measure(|| {
        let mut grown = kept;
        grown.reserve_exact(1_000);
    });
    assert!((4_000..4_100).contains(&peak), "the old room and the new: {peak}");
    assert!(std::thread::spawn(|| measure(|| ()).1).join().is_ok_and(|peak| peak == 0));
}
