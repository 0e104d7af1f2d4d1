//! Pages on local disk, for the next process: below the memory, above the store.
//!
//! A [`DiskCache`] is a folder of files, a [`DiskDatabase`] what it has of one database. What is on
//! disk is true whatever becomes of the store: that a page had a content at a state of the database,
//! and what changed from one state to another. A state is named by the random id of the commit that
//! made it, so it cannot be mistaken for one of a store that was put back or made anew. A page is
//! used if the store itself says what changed since its state, and the page is not among that.
//!
//! Several processes may use one folder. Files may be removed or damaged at any time: what is not
//! there, or not as its checksum says, is missing, and no more. No failure is ever passed on.

mod database;
mod folder;
mod found;
mod known;
mod lineage;
mod record;
mod segment;
mod writer;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use verso_pagestore::{CommitId, CommitPages, DatabaseId, Since, Snapshot, Version};

pub use database::DiskDatabase;
use folder::{Folder, MOST_SEGMENTS};
use found::Found;
use known::Entry;
use record::{Record, Records};
use segment::{Paths, Segment};
use writer::Writer;

/// A state of a database: the commit that made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct State {
    version: Version,
    commit: CommitId,
}

impl From<&Snapshot> for State {
    fn from(snapshot: &Snapshot) -> Self {
        let (version, commit) = (snapshot.version, snapshot.commit);
        Self { version, commit }
    }
}

impl From<&Since> for State {
    fn from(since: &Since) -> Self {
        let (version, commit) = (since.version, since.commit);
        Self { version, commit }
    }
}

impl From<&CommitPages> for State {
    fn from(pages: &CommitPages) -> Self {
        let (version, commit) = (pages.version, pages.commit);
        Self { version, commit }
    }
}

/// Which database. Stores are told apart by how they are reached, so that none can lend its pages
/// to another one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DatabaseKey {
    /// The URL of its store.
    pub store: String,
    /// Its id.
    pub database: DatabaseId,
}

/// The segments that this process knows, by numbers that entries have.
#[derive(Debug, Default)]
struct Segments {
    last: u32,
    by_number: HashMap<u32, Arc<Segment>>,
    /// How many were removed.
    removed: u64,
}

impl Segments {
    /// The number of a segment. One may have several: at the same path there may be another file by
    /// now.
    fn add(&mut self, paths: Paths) -> u32 {
        self.last = self.last.wrapping_add(1);
        self.by_number.insert(self.last, Segment::new(paths).into());
        self.last
    }

    /// Closes those whose files were removed.
    fn close_removed(&mut self) {
        let before = self.by_number.len();
        self.by_number.retain(|_, segment| !segment.is_removed());
        self.removed += (before - self.by_number.len()) as u64;
    }
}

/// What all databases of a folder share.
#[derive(Debug)]
struct Shared {
    folder: Folder,
    segments: RwLock<Segments>,
    writer: Mutex<Writer>,
}

/// What the folder had when this process looked, and the databases that were opened since.
#[derive(Debug, Default)]
struct Databases {
    found: Option<HashMap<DatabaseKey, Found>>,
    open: HashMap<DatabaseKey, Arc<DiskDatabase>>,
}

/// Pages in a folder, as one process sees them. A forked child needs one of its own.
#[derive(Debug)]
pub struct DiskCache {
    shared: Arc<Shared>,
    databases: Mutex<Databases>,
}

impl DiskCache {
    /// The smallest limit: a segment must have room for some pages.
    pub const LEAST_BYTES: u64 = MOST_SEGMENTS as u64 * (256 << 10);

    /// A cache in this folder, of at most so many bytes, or [`LEAST_BYTES`](Self::LEAST_BYTES).
    /// Nothing is read or written yet.
    #[must_use]
    pub fn new(folder: PathBuf, bytes: u64) -> Self {
        Self {
            shared: Arc::new(Shared {
                folder: Folder::new(folder, bytes.max(Self::LEAST_BYTES)),
                segments: RwLock::default(),
                writer: Mutex::new(Writer::Closed),
            }),
            databases: Mutex::default(),
        }
    }

    /// What the cache has of a database. The first call looks through the folder; what others
    /// write later is for those who come later.
    pub fn database(&self, key: &DatabaseKey) -> Arc<DiskDatabase> {
        let mut databases = self.databases.lock();
        if let Some(open) = databases.open.get(key) {
            return Arc::clone(open);
        }
        let found = databases.found.get_or_insert_with(|| self.shared.look());
        let found = found.remove(key).unwrap_or_default();
        let database = DiskDatabase::new(Arc::clone(&self.shared), key.clone(), found);
        let database = Arc::new(database);
        databases.open.insert(key.clone(), Arc::clone(&database));
        database
    }
}

impl Shared {
    fn segment(&self, number: u32) -> Option<Arc<Segment>> {
        self.segments.read().by_number.get(&number).map(Arc::clone)
    }

    /// Reads the index of every segment.
    fn look(&self) -> HashMap<DatabaseKey, Found> {
        let mut found = HashMap::new();
        match self.folder.segments() {
            Ok(segments) => {
                for paths in segments {
                    // One that was removed meanwhile has nothing.
                    let index = std::fs::read(&paths.index).unwrap_or_default();
                    let segment = self.segments.write().add(paths);
                    read_index(&index, segment, &mut found);
                }
            }
            Err(error) => tracing::warn!(
                %error, folder = %self.folder.path().display(),
                "the page cache on disk cannot be read"
            ),
        }
        found
    }
}

fn read_index(index: &[u8], segment: u32, found: &mut HashMap<DatabaseKey, Found>) {
    // By their numbers in this index.
    let mut databases: HashMap<u32, (DatabaseKey, Found)> = HashMap::new();
    for record in Records::of(index).into_iter().flatten() {
        let (Record::Database {
            number: database, ..
        }
        | Record::Page { database, .. }
        | Record::Changes { database, .. }
        | Record::Lost { database, .. }) = record;
        let known = databases.get_mut(&database).map(|(_, known)| known);
        match (record, known) {
            (Record::Database { key, .. }, None) => {
                let known = found.remove(&key).unwrap_or_default();
                databases.insert(database, (key, known));
            }
            (
                Record::Page {
                    number, at, place, ..
                },
                Some(known),
            ) => known.add_page(at, number, Entry { segment, place }),
            (
                Record::Changes {
                    from, to, pages, ..
                },
                Some(known),
            ) => known.add_changes(from, to, pages),
            (Record::Lost { state, .. }, Some(known)) => known.add_lost(state),
            // A number has one meaning, and none before it was given one.
            (Record::Database { .. }, Some(_)) | (_, None) => {}
        }
    }
    found.extend(databases.into_values());
}

/// Short names for states and pages in the tests of this module.
#[cfg(test)]
mod tests_of_states {
    use verso_pagestore::{Chain, Changes, PageNumber, VersionedPage};

    use super::record::Place;
    use super::*;

    /// The state of a version.
    pub(super) fn state(version: u64) -> State {
        State {
            version: Version::from_commit(version, 0),
            commit: CommitId::from_bytes([u8::try_from(version % 251).unwrap(); 16]),
        }
    }

    /// Another state of the same version.
    pub(super) fn other(version: u64) -> State {
        State {
            commit: CommitId::from_bytes([0xff; 16]),
            ..state(version)
        }
    }

    pub(super) fn page(number: u32) -> PageNumber {
        PageNumber::new(number).unwrap()
    }

    pub(super) fn content(text: &'static [u8], from: u64) -> VersionedPage {
        VersionedPage {
            version: state(from).version,
            page: text.into(),
            chain: Chain::WHOLE,
        }
    }

    pub(super) fn entry(from: u64) -> Entry {
        Entry {
            segment: 0,
            place: Place {
                version: state(from).version,
                chain: Chain::WHOLE,
                offset: 0,
                length: 512,
                checksum: 0,
            },
        }
    }

    pub(super) fn commits(list: &[(u64, &[u32])]) -> Changes {
        let commit = |(version, pages): &(u64, &[u32])| CommitPages {
            version: state(*version).version,
            commit: state(*version).commit,
            pages: pages.iter().collect(),
        };
        Changes::Commits(list.iter().map(commit).collect())
    }
}
