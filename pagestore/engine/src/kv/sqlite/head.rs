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
use std::thread;

use arc_swap::ArcSwapOption;
use rusqlite::ffi;
use verso_pagestore::Mark;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::connection::Session;

/// The header of the index.
type Header = [u64; 6];

/// The field `iChange`, which counts commits: four bytes from the eighth on.
#[expect(
    clippy::host_endian_bytes,
    reason = "the index is in the machine's byte order"
)]
const fn commit_number(header: &Header) -> u32 {
    let [_, word, ..] = header;
    let [a, b, c, d, ..] = word.to_ne_bytes();
    u32::from_ne_bytes([a, b, c, d])
}

/// The size of the index's first part: 32 kB, see the file format.
const REGION: i32 = 32 * 1024;

/// How often this process has begun to look.
static LOOKS: AtomicU64 = AtomicU64::new(0);

/// The header in the memory that is shared.
#[derive(Debug)]
struct Shared {
    header: ptr::NonNull<[AtomicU64; 6]>,
    /// Another one each time that somebody begins to look. While nobody had the file open, others may
    /// have committed and closed it, and the header of an empty log is always the same.
    look: u64,
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
            (mapped == ffi::SQLITE_OK && header.is_aligned()).then(|| Self {
                header,
                look: LOOKS.fetch_add(1, Ordering::Relaxed),
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

/// Tells what is committed.
#[derive(Debug, Default)]
pub(super) struct Head(ArcSwapOption<Shared>);

/// The header before a commit.
#[derive(Debug, Clone, Copy)]
pub(super) struct Before(Option<(u64, Header)>);

impl Head {
    /// Begins to look, by a session of its own, which has read from the file.
    pub(super) fn watch(&self, session: Session) {
        self.0.store(Shared::of(session).map(Arc::new));
    }

    /// Ends that, and closes the session, once no other thread looks at its memory.
    pub(super) fn close(&self) {
        let Some(shared) = self.0.swap(None) else {
            return;
        };
        while Arc::strong_count(&shared) > 1 {
            thread::yield_now();
        }
    }

    fn read(&self) -> Option<(u64, Header)> {
        let shared = self.0.load();
        shared.as_deref().map(|shared| (shared.look, shared.read()))
    }

    /// What is committed now.
    pub(super) fn mark(&self) -> Option<Mark> {
        self.read().map(|(look, header)| mark(look, &header))
    }

    /// Call when it is not sure yet whether the commit takes place, but sure that nobody else commits
    /// between this and a commit that does.
    pub(super) fn before_commit(&self) -> Before {
        Before(self.read())
    }

    /// What this process has committed in one commit since `before`.
    pub(super) fn after_commit(&self, before: Before) -> Option<Mark> {
        let ((before_look, before), (look, header)) = (before.0?, self.read()?);
        // Else another process has committed since.
        let is_next = commit_number(&header) == commit_number(&before).wrapping_add(1);
        (is_next && look == before_look).then(|| mark(look, &header))
    }
}

fn mark(look: u64, header: &Header) -> Mark {
    let mut bytes = [0; size_of::<Header>()];
    for (target, word) in bytes.chunks_exact_mut(size_of::<u64>()).zip(header) {
        target.copy_from_slice(&word.to_be_bytes());
    }
    Mark::new(xxh3_64_with_seed(&bytes, look))
}
