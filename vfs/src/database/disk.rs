//! The page cache on local disk, below that of the process.

use std::ptr;
use std::sync::Arc;

use verso_cache::{DatabaseKey, DiskDatabase};
use verso_pagestore::{
    Begun, DatabaseId, DatabaseName, PageNumber, Since, Snapshot, VersionedPage,
};

use crate::cache_folder::CacheFolder;
use crate::process::{Process, StoreHandle};

/// What a connection has of it.
pub(crate) enum Disk {
    /// There is none.
    None,
    /// Nothing was learnt yet.
    Folder(CacheFolder),
    Open(CacheFolder, Opened),
}

/// The database in the cache of a process. A forked child must not touch it.
pub(crate) struct Opened {
    process: &'static Process,
    id: DatabaseId,
    database: Arc<DiskDatabase>,
}

impl Disk {
    pub(crate) fn new(folder: Option<CacheFolder>) -> Self {
        folder.map_or(Self::None, Self::Folder)
    }

    /// The database, if it is this process that opened it.
    fn opened(&self, store: &StoreHandle) -> Option<&Opened> {
        match self {
            Self::Open(_, opened) if ptr::eq(opened.process, store.current_process()) => {
                Some(opened)
            }
            Self::None | Self::Folder(_) | Self::Open(..) => None,
        }
    }

    /// Opens the database of an id, unless it is open.
    fn open(&mut self, store: &StoreHandle, id: DatabaseId) -> Option<&DiskDatabase> {
        if self.opened(store).is_none_or(|opened| opened.id != id) {
            *self = match std::mem::replace(self, Self::None) {
                Self::None => Self::None,
                Self::Folder(folder) | Self::Open(folder, _) => {
                    let opened = Opened::new(store, &folder, id);
                    Self::Open(folder, opened)
                }
            };
        }
        self.opened(store).map(|opened| &*opened.database)
    }

    /// Learns from the answer to a begin, and asks the store what else must be known.
    pub(crate) fn learn(
        &mut self,
        store: &StoreHandle,
        name: &DatabaseName,
        since: Option<Since>,
        begun: &Begun,
    ) {
        let Some(database) = self.open(store, begun.snapshot.database) else {
            return;
        };
        database.learn(since, begun);
        while let Some(question) = database.question() {
            let answer = store
                .pages()
                .map_err(Into::into)
                .and_then(|pages| pages.begin(name, Some(question)));
            match answer {
                Ok(begun) if begun.snapshot.database == question.database => {
                    database.learn(Some(question), &begun);
                }
                // Whoever needs the store will be told. It is asked again at the next begin.
                Ok(_) | Err(_) => break,
            }
        }
    }

    /// A page of a snapshot, if it is there.
    pub(super) fn get(
        &self,
        store: &StoreHandle,
        snapshot: &Snapshot,
        number: PageNumber,
    ) -> Option<VersionedPage> {
        let found = self.opened(store)?.database.get(snapshot, number)?;
        store.stats().disk_hits.add(1);
        Some(found)
    }

    /// Keeps pages that the store gave.
    pub(super) fn put(
        &self,
        store: &StoreHandle,
        snapshot: &Snapshot,
        numbers: &[PageNumber],
        pages: &[VersionedPage],
    ) {
        if let Some(opened) = self.opened(store) {
            let pages = numbers.iter().copied().zip(pages.iter().cloned());
            opened.database.put(snapshot, pages.collect());
        }
    }
}

impl Opened {
    fn new(store: &StoreHandle, folder: &CacheFolder, id: DatabaseId) -> Self {
        let process = store.current_process();
        let key = DatabaseKey {
            store: store.url().to_string(),
            database: id,
        };
        Self {
            process,
            id,
            database: process.disk_cache(folder).database(&key),
        }
    }
}
