//! Versioned pages in memory and on disk, for whoever stands in front of a page store.
//!
//! A [`PageCache`] keeps pages with the range of versions that they are known to be valid for. A
//! [`History`] is a run of a database's commits, which says how far such a range may be extended.
//! Neither knows where it stands: the VFS has one cache per process, a page-store node has one too.
//! A [`DiskCache`] keeps pages for the next process.

mod disk;
mod history;
mod pages;

pub use disk::{DatabaseKey, DiskCache, DiskDatabase};
pub use history::History;
pub use pages::PageCache;
