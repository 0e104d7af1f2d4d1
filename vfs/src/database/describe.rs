//! What a database tells of itself in SQL.

use serde_json::json;
use verso_pagestore::{CommitRecord, DatabaseEntry, DatabaseName, Snapshot, Version};

use super::Database;
use crate::error::VfsError;

impl Database {
    /// What the transaction reads; without one, the newest state.
    pub(crate) fn present(&mut self) -> Result<Snapshot, VfsError> {
        if let Some(snapshot) = self.transaction_snapshot() {
            return Ok(*snapshot);
        }
        self.store.renew()?;
        self.newest_snapshot()
    }

    /// Commit records below a version, newest first.
    pub(crate) fn log(
        &mut self,
        before: Option<Version>,
        limit: usize,
    ) -> Result<Vec<CommitRecord>, VfsError> {
        self.store.renew()?;
        Ok(self.store.pages()?.log(&self.name, before, limit)?)
    }

    /// Databases of the store that it is in, behind a name.
    pub(crate) fn siblings(
        &mut self,
        after: Option<&DatabaseName>,
        limit: usize,
    ) -> Result<Vec<DatabaseEntry>, VfsError> {
        self.store.renew()?;
        Ok(self.store.pages()?.list(after, limit)?)
    }

    /// The facts about it, as JSON.
    pub(crate) fn describe(&mut self) -> Result<String, VfsError> {
        let snapshot = self.present()?;
        let facts = json!({
            "name": self.name.as_str(),
            "id": snapshot.database.to_string(),
            "store": self.store.url().to_string(),
            "version": snapshot.version.to_string(),
            "page_size": snapshot.page_size.map(verso_pagestore::PageSize::get),
            "pages": snapshot.page_count.get(),
            "read_only": self.is_read_only(),
            "pinned": self.is_pinned(),
            "writers": self.settings.writers.name().to_string_lossy(),
            "freshness": self.settings.freshness.to_string(),
        });
        Ok(facts.to_string())
    }

    /// What was counted since it was opened, as JSON.
    pub(crate) fn statistics(&self) -> String {
        self.store.stats().describe()
    }

    /// SQLite was told to run a statement again.
    pub(crate) fn count_retry(&self) {
        self.store.stats().retries.add(1);
    }
}
