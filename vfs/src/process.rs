//! What a process shares: its open stores, its page cache, its connections and their leases.
//!
//! A forked child must use neither the threads nor the files of its parent, so every
//! process has its own [`Process`], found by process id.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use parking_lot::Mutex;
use verso_cache::DiskCache;
use verso_pagestore::{
    BeginError, Bound, DatabaseName, PageStore, Recent, Since, Snapshot, StoreError, StoreUrl,
};

use crate::StoreOpener;
use crate::cache::{PageCache, StoreKey};
use crate::cache_folder::CacheFolder;
use crate::connection::Connections;
use crate::joint::Joints;
use crate::lease::Leases;
use crate::stats::Stats;

/// A store that this process has open. It is closed with the last database that uses it.
pub(crate) struct OpenStore {
    pub(crate) key: StoreKey,
    pub(crate) url: StoreUrl,
    pub(crate) store: Arc<dyn PageStore>,
}

/// A database's way to its store, for what outlives a single request. The requests are counted.
#[derive(Clone)]
pub(crate) struct StoreClient {
    pub(crate) open: Arc<OpenStore>,
    pub(crate) stats: Arc<Stats>,
}

impl StoreClient {
    /// A begin that may need no request.
    pub(crate) fn begin_within(
        &self,
        name: &DatabaseName,
        since: Option<Since>,
        bound: Bound,
    ) -> Result<Recent, BeginError> {
        let recent = self.open.store.begin_within(name, since, bound)?;
        if recent.age.is_zero() {
            self.stats.requests.add(1);
        }
        Ok(recent)
    }

    /// The store, for one request.
    pub(crate) fn pages(&self) -> &dyn PageStore {
        self.stats.requests.add(1);
        &*self.open.store
    }
}

/// The id of the running process, as a rule without a system call: every page that is read asks
/// for it.
fn process_id() -> u32 {
    match ID.load(Ordering::Relaxed) {
        0 => std::process::id(),
        id => id,
    }
}

/// Remembers the id of the running process. Call it once forks are noticed, and in each child.
pub(crate) fn remember_id() {
    ID.store(std::process::id(), Ordering::Relaxed);
}

/// What the connections of one process share.
pub(crate) struct Process {
    id: u32,
    pub(crate) stores: Mutex<HashMap<StoreUrl, Weak<OpenStore>>>,
    pub(crate) cache: PageCache,
    cache_bytes: u64,
    /// By folder. The first database that uses one chooses its size.
    disk_caches: Mutex<HashMap<PathBuf, Arc<DiskCache>>>,
    pub(crate) leases: Leases,
    pub(crate) connections: Connections,
    pub(crate) joints: Joints,
    /// The process that was forked from this one, in that process's memory only.
    child: OnceLock<Box<Process>>,
}

static FIRST: OnceLock<Process> = OnceLock::new();
/// The id of the running process, 0 until the handlers of forks keep it right.
static ID: AtomicU32 = AtomicU32::new(0);
static NEXT_STORE: AtomicU64 = AtomicU64::new(1);

impl Process {
    fn new(cache_bytes: u64) -> Self {
        Self {
            id: process_id(),
            stores: Mutex::default(),
            cache: PageCache::new(cache_bytes),
            cache_bytes,
            disk_caches: Mutex::default(),
            leases: Leases::default(),
            connections: Connections::default(),
            joints: Joints::default(),
            child: OnceLock::new(),
        }
    }

    /// That of the running process. The first caller chooses the size of the cache.
    pub(crate) fn current(cache_bytes: u64) -> &'static Self {
        let id = process_id();
        let mut process = FIRST.get_or_init(|| Self::new(cache_bytes));
        while process.id != id {
            let bytes = process.cache_bytes;
            process = process.child.get_or_init(|| Box::new(Self::new(bytes)));
        }
        process
    }

    /// Whether it is that of the running process, and not of its parent.
    pub(crate) fn is_current(&self) -> bool {
        self.id == process_id()
    }

    /// That of the running process, if any database was opened in it.
    pub(crate) fn existing() -> Option<&'static Self> {
        let id = process_id();
        let mut process = FIRST.get()?;
        while process.id != id {
            process = process.child.get()?;
        }
        Some(process)
    }

    /// The page cache on disk in a folder.
    pub(crate) fn disk_cache(&self, folder: &CacheFolder) -> Arc<DiskCache> {
        let mut caches = self.disk_caches.lock();
        let CacheFolder { path, bytes } = folder;
        let new = || Arc::new(DiskCache::new(path.clone(), *bytes));
        Arc::clone(caches.entry(path.clone()).or_insert_with(new))
    }

    /// The store, opened if no connection of this process has it open.
    pub(crate) fn store(
        &self,
        url: &StoreUrl,
        opener: StoreOpener,
    ) -> Result<Arc<OpenStore>, StoreError> {
        let mut stores = self.stores.lock();
        if let Some(open) = stores.get(url).and_then(Weak::upgrade) {
            return Ok(open);
        }
        let store = opener(url)?;
        let key = StoreKey(NEXT_STORE.fetch_add(1, Ordering::Relaxed));
        let open = Arc::new(OpenStore {
            key,
            url: url.clone(),
            store,
        });
        stores.retain(|_, store| store.strong_count() > 0);
        stores.insert(url.clone(), Arc::downgrade(&open));
        Ok(open)
    }

    /// Before a fork: closes the files of all stores, and lets none be opened.
    pub(crate) fn suspend(&self) {
        let stores = self.stores.lock();
        for open in stores.values().filter_map(Weak::upgrade) {
            open.store.suspend();
        }
        // The fork handler unlocks it in the parent. The child never looks at it.
        std::mem::forget(stores);
    }

    /// After a fork, in the parent: the stores go on.
    pub(crate) fn resume(&self) {
        for open in self.stores.lock().values().filter_map(Weak::upgrade) {
            open.store.resume();
        }
    }
}

const NOT_REOPENED: &str = "it could not be opened again after a fork; try again";

/// A database's hold on its store, for the process that took it.
pub(crate) struct StoreHandle {
    url: StoreUrl,
    opener: StoreOpener,
    process: &'static Process,
    open: Option<Arc<OpenStore>>,
    stats: Arc<Stats>,
}

impl StoreHandle {
    pub(crate) fn open(
        url: StoreUrl,
        opener: StoreOpener,
        cache_bytes: u64,
    ) -> Result<Self, StoreError> {
        let process = Process::current(cache_bytes);
        let open = Some(process.store(&url, opener)?);
        Ok(Self {
            url,
            opener,
            process,
            open,
            stats: Arc::default(),
        })
    }

    /// Opens the store afresh if this process was forked since. Says whether it was.
    pub(crate) fn renew(&mut self) -> Result<bool, StoreError> {
        if self.is_current() {
            return Ok(false);
        }
        self.forget_if_inherited();
        self.process = Process::current(self.process.cache_bytes);
        self.open = Some(self.process.store(&self.url, self.opener)?);
        Ok(true)
    }

    /// The open store.
    fn opened(&self) -> Result<&Arc<OpenStore>, StoreError> {
        if self.is_inherited() {
            return Err(self.unusable("this process was forked inside a transaction; end it first"));
        }
        self.open
            .as_ref()
            .ok_or_else(|| self.unusable(NOT_REOPENED))
    }

    /// The store, for one request, which is counted.
    pub(crate) fn pages(&self) -> Result<&dyn PageStore, StoreError> {
        let open = self.opened()?;
        self.stats.requests.add(1);
        Ok(&*open.store)
    }

    /// Whether a snapshot is known to be the newest, without a request.
    pub(crate) fn is_newest(&self, snapshot: &Snapshot) -> bool {
        self.opened()
            .is_ok_and(|open| open.store.is_newest(snapshot))
    }

    /// The store, for what outlives a single request.
    pub(crate) fn share(&self) -> Result<StoreClient, StoreError> {
        Ok(StoreClient {
            open: Arc::clone(self.opened()?),
            stats: Arc::clone(&self.stats),
        })
    }

    /// What this database has counted.
    pub(crate) fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Which store it is, for the page cache.
    pub(crate) fn key(&self) -> Result<StoreKey, StoreError> {
        self.open
            .as_ref()
            .map(|open| open.key)
            .ok_or_else(|| self.unusable(NOT_REOPENED))
    }

    fn unusable(&self, reason: &str) -> StoreError {
        StoreError::Unavailable {
            store: self.url.to_string(),
            reason: reason.to_owned(),
        }
    }

    fn is_inherited(&self) -> bool {
        !self.process.is_current()
    }

    /// Whether it is open, and this process was not forked since.
    pub(crate) fn is_current(&self) -> bool {
        self.open.is_some() && !self.is_inherited()
    }

    pub(crate) const fn url(&self) -> &StoreUrl {
        &self.url
    }

    pub(crate) fn current_process(&self) -> &'static Process {
        Process::current(self.process.cache_bytes)
    }

    pub(crate) fn cache(&self) -> &'static PageCache {
        &self.process.cache
    }

    /// How much that holds.
    pub(crate) const fn cache_bytes(&self) -> u64 {
        self.process.cache_bytes
    }

    /// A parent's store is neither used nor closed: its files are the parent's.
    fn forget_if_inherited(&mut self) {
        if self.is_inherited() {
            std::mem::forget(self.open.take());
        }
    }
}

impl Drop for StoreHandle {
    fn drop(&mut self) {
        self.forget_if_inherited();
        if self.open.is_none() {
            return;
        }
        // With the lock held, so that a fork waits until the files of a last handle are closed.
        let mut stores = self.process.stores.lock();
        let Some(open) = self.open.take() else { return };
        let key = open.key;
        if Arc::into_inner(open).is_some() {
            stores.remove(&self.url);
            self.process.cache.forget_store(key);
        }
    }
}
