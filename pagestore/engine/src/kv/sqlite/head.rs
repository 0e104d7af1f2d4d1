//! Whether anything was committed, without asking SQLite.
//!
//! In WAL mode all processes that have the file open share the index of its write-ahead log in
//! memory (<https://www.sqlite.org/walformat.html#the_wal_index_file_format>). It begins with 48
//! bytes that are written at every commit, before the commit is answered. They contain a number of
//! the commit, the length of the log, and a checksum of all of it: while they stay the same,
//! nothing was committed.

use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use arc_swap::ArcSwapOption;
use rusqlite::ffi;

use super::connection::Session;

/// The header of the index.
type Header = [u64; 6];

/// The size of the index's first part: 32 kB, see the file format.
const REGION: i32 = 32 * 1024;

/// The header in the memory that is shared.
#[derive(Debug)]
struct Shared {
    header: ptr::NonNull<[AtomicU64; 6]>,
    /// While it is open, the memory is there.
    _session: Session,
}

#[expect(unsafe_code, reason = "a pointer into shared memory")]
// SAFETY: what it points to is atomic, and stays where it is while the session is open. The session
// may be moved and dropped on any thread.
unsafe impl Send for Shared {}
#[expect(unsafe_code, reason = "a pointer into shared memory")]
// SAFETY: as above; the session is not used by anybody.
unsafe impl Sync for Shared {}

impl Shared {
    /// Asks SQLite for the memory. The session must have read from the file. `None` if SQLite does
    /// not share any.
    fn of(session: Session) -> Option<Self> {
        #[expect(unsafe_code, reason = "SQLite's files have no safe interface")]
        // SAFETY: the connection is open, and lives as long as what is returned. SQLite fills in its
        // file for this file control, and maps at least as many bytes as it is asked for, at the
        // begin of a memory page.
        unsafe {
            let mut file: *mut ffi::sqlite3_file = ptr::null_mut();
            let asked = ffi::sqlite3_file_control(
                session.connection().handle(),
                c"main".as_ptr(),
                ffi::SQLITE_FCNTL_FILE_POINTER,
                (&raw mut file).cast(),
            );
            if asked != ffi::SQLITE_OK || file.is_null() || (*file).pMethods.is_null() {
                return None;
            }
            let map = (*(*file).pMethods).xShmMap?;
            let mut memory: *mut std::ffi::c_void = ptr::null_mut();
            // Part 0, which is not to be made if it is not there.
            let mapped = map(file, 0, REGION, 0, (&raw mut memory).cast());
            let header = ptr::NonNull::new(memory)?.cast::<[AtomicU64; 6]>();
            (mapped == ffi::SQLITE_OK && header.is_aligned()).then_some(Self {
                header,
                _session: session,
            })
        }
    }

    /// The header as it is now. Torn if it is being written: then it is equal to none that was
    /// read before, since the number of the commit in it counts up.
    fn read(&self) -> Header {
        #[expect(unsafe_code, reason = "a pointer into shared memory")]
        // SAFETY: the session is open.
        let header = unsafe { self.header.as_ref() };
        fence(Ordering::SeqCst);
        header.each_ref().map(|word| word.load(Ordering::Acquire))
    }
}

/// The newest version of the store that this process knows, and the header that says so.
#[derive(Debug)]
struct Seen {
    version: u64,
    header: Header,
}

/// Tells whether a version is still the newest.
#[derive(Debug, Default)]
pub(super) struct Head {
    shared: ArcSwapOption<Shared>,
    seen: ArcSwapOption<Seen>,
}

/// The header at a moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark(Option<Header>);

impl Head {
    /// Begins to look, by a session of its own, which has read from the file.
    pub(super) fn watch(&self, session: Session) {
        self.shared.store(Shared::of(session).map(Arc::new));
    }

    /// The header as it is now.
    pub(super) fn mark(&self) -> Mark {
        Mark(self.shared.load().as_deref().map(Shared::read))
    }

    /// Learns the version of the newest commit, which was read after `before` was taken.
    pub(super) fn learn(&self, version: u64, before: Mark) {
        let Mark(Some(header)) = self.mark() else {
            return;
        };
        // Else something was committed meanwhile, before or after the version was read.
        if before.0 == Some(header) {
            self.remember(version, header);
        }
    }

    fn remember(&self, version: u64, header: Header) {
        let is_known = |seen: &Arc<Seen>| seen.version == version && seen.header == header;
        if !self.seen.load().as_ref().is_some_and(is_known) {
            self.seen.store(Some(Arc::new(Seen { version, header })));
        }
    }

    /// Whether nothing was committed after this version. False if that is not known.
    pub(super) fn is_newest(&self, version: u64) -> bool {
        let Mark(Some(header)) = self.mark() else {
            return false;
        };
        let seen = self.seen.load();
        seen.as_deref()
            .is_some_and(|seen| seen.version == version && seen.header == header)
    }

    /// Forgets everything, and closes its session.
    pub(super) fn close(&self) {
        self.seen.store(None);
        self.shared.store(None);
    }
}
