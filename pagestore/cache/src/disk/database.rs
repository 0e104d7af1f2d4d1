//! One database on disk.

use std::sync::Arc;

use parking_lot::RwLock;
use verso_pagestore::{Begun, Changes, PageNumber, PageSize, Since, Snapshot, VersionedPage};

use super::found::Found;
use super::known::Known;
use super::writer::Batch;
use super::{DatabaseKey, Shared, State};

/// What a folder has of one database. All connections of a process share it.
#[derive(Debug)]
pub struct DiskDatabase {
    shared: Arc<Shared>,
    key: DatabaseKey,
    known: RwLock<Known>,
}

impl DiskDatabase {
    pub(super) fn new(shared: Arc<Shared>, key: DatabaseKey, found: Found) -> Self {
        Self {
            shared,
            key,
            known: RwLock::new(Known::new(found)),
        }
    }

    /// Learns from the store's answer to a begin. Every answer must be learnt before pages of its
    /// snapshot are asked for.
    pub fn learn(&self, since: Option<Since>, begun: &Begun) {
        if begun.snapshot.database != self.key.database {
            return;
        }
        let since = since.filter(|since| since.database == self.key.database);
        let since = since.as_ref().map(State::from);
        self.learn_of(since, State::from(&begun.snapshot), &begun.changes);
    }

    fn learn_of(&self, since: Option<State>, newest: State, changes: &Changes) {
        let is_news = {
            let known = self.known.read();
            known.newest() != Some(newest) || known.question().is_some()
        };
        if !is_news {
            return;
        }
        let should_note = {
            let mut known = self.known.write();
            known.learn(since, newest, changes);
            known.should_note()
        };
        if should_note {
            self.write(newest, Vec::new());
        }
    }

    /// What the store must be asked before pages from earlier processes are known to be valid:
    /// what changed since this state. The answer is to be learnt, and then there may be another
    /// question, of which there are few.
    #[must_use]
    pub fn question(&self) -> Option<Since> {
        let state = self.known.read().question()?;
        Some(self.since(state))
    }

    const fn since(&self, state: State) -> Since {
        Since {
            database: self.key.database,
            version: state.version,
            commit: state.commit,
        }
    }

    /// A page of a snapshot, if it is there.
    #[must_use]
    pub fn get(&self, snapshot: &Snapshot, number: PageNumber) -> Option<VersionedPage> {
        if snapshot.database != self.key.database {
            return None;
        }
        let entry = self.known.read().get(number, State::from(snapshot))?;
        let segment = self.shared.segment(entry.segment);
        let length = snapshot.page_size.map(PageSize::get);
        let content = segment
            .filter(|_| length == Some(entry.place.length))
            .and_then(|segment| segment.read(&entry.place));
        let Some(content) = content else {
            self.known.write().drop_page(number, entry);
            return None;
        };
        Some(VersionedPage {
            version: entry.place.version,
            page: content.into(),
            chain: entry.place.chain,
        })
    }

    /// Keeps pages that the store gave for a snapshot, as far as they still are what the newest
    /// state has.
    pub fn put(&self, snapshot: &Snapshot, pages: Vec<(PageNumber, VersionedPage)>) {
        if snapshot.database == self.key.database {
            self.write(State::from(snapshot), pages);
        }
    }

    fn write(&self, at: State, mut pages: Vec<(PageNumber, VersionedPage)>) {
        let wants_none = pages.is_empty();
        // From here on nobody else writes notes of this database.
        let mut writer = self.shared.writer.lock();
        if !writer.is_writing() {
            return;
        }
        let notes = {
            let known = self.known.read();
            pages.retain(|(number, page)| known.wants(*number, page, at));
            known.notes()
        };
        let Some(notes) = notes.filter(|_| wants_none || !pages.is_empty()) else {
            return;
        };
        let batch = Batch {
            key: &self.key,
            notes: &notes,
            pages: &pages,
        };
        let (folder, segments) = (&self.shared.folder, &self.shared.segments);
        if let Some(written) = writer.write(folder, segments, &batch) {
            let segments = segments.read();
            let is_there = |segment| segments.by_number.contains_key(&segment);
            let mut known = self.known.write();
            known.noted(notes.at, &written);
            known.drop_segments(segments.removed, is_there);
        }
    }
}
