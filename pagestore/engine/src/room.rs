//! Room on the heap for many small pieces of memory.

use std::hint::black_box;

/// glibc keeps so much at the end of a heap that nobody uses (`M_TRIM_THRESHOLD`, 128 kB), and asks the
/// kernel for a place of its own for larger pieces (`M_MMAP_THRESHOLD`, the same).
const AT_ONCE: usize = 120 << 10;

/// Counts how much of the heap is used up.
///
/// In every thread but the first glibc lets the heap grow by what is missing, to a page of memory: a
/// system call for each page of a database that comes into the cache. What was allocated once and
/// given back stays part of the heap. With other allocators this does nothing.
#[derive(Debug, Default)]
pub(crate) struct Room {
    left: usize,
}

impl Room {
    /// So many bytes are about to be allocated.
    pub(crate) fn take(&mut self, bytes: usize) {
        if self.left < bytes {
            drop(black_box(Vec::<u8>::with_capacity(AT_ONCE)));
            self.left = AT_ONCE;
        }
        self.left = self.left.saturating_sub(bytes);
    }
}
