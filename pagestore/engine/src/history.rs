//! A database's past: its changelog, and the snapshot of a moment.

use verso_pagestore::{
    CatalogueError, CommitRecord, DatabaseId, DatabaseName, Moment, MomentError, Snapshot,
    StoreError, UnixMillis, Version,
};

use crate::kv::{KeyRange, Kv, KvTransaction, RangeQuery, RunError, look};
use crate::read::snapshot;
use crate::{Engine, keys, log};

type Attempt<T> = Result<T, RunError<MomentError>>;

impl<K: Kv> Engine<K> {
    pub(crate) fn commit_log(
        &self,
        name: &DatabaseName,
        before: Option<Version>,
        limit: usize,
    ) -> Result<Vec<CommitRecord>, CatalogueError> {
        let attempt = |transaction: &mut K::Transaction| -> Result<_, RunError<CatalogueError>> {
            let id = self.existing(transaction, name)?;
            let range = match before {
                Some(before) => keys::log_between(id, Version::MIN, before),
                None => keys::log(id),
            };
            self.commits(transaction, &RangeQuery::last(limit, range))
        };
        self.finish(look(&self.kv, attempt))
    }

    pub(crate) fn moment(
        &self,
        name: &DatabaseName,
        moment: Moment,
    ) -> Result<Snapshot, MomentError> {
        self.finish(look(&self.kv, |transaction| {
            self.try_moment(transaction, name, moment)
        }))
    }

    fn try_moment(
        &self,
        transaction: &mut K::Transaction,
        name: &DatabaseName,
        moment: Moment,
    ) -> Attempt<Snapshot> {
        let id = self
            .resolve(transaction, name)?
            .ok_or_else(|| RunError::Abort(MomentError::NoSuchDatabase { name: name.clone() }))?;
        let commit = match moment {
            Moment::Version(version) => self.at_version(transaction, id, name, version)?,
            Moment::Time(time) => self.at_time(transaction, id, name, time)?,
            Moment::ReadVersion(read_version) => {
                self.at_read_version(transaction, id, name, read_version)?
            }
        };
        Ok(snapshot(id, &commit, transaction.read_version()?))
    }

    /// The commit that made this version.
    fn at_version(
        &self,
        transaction: &mut K::Transaction,
        id: DatabaseId,
        name: &DatabaseName,
        version: Version,
    ) -> Attempt<CommitRecord> {
        let key = [keys::log_prefix(id).as_slice(), version.as_bytes()].concat();
        let query = RangeQuery::first(1, KeyRange::single(&key));
        let commit = self.commits(transaction, &query)?.into_iter().next();
        commit.ok_or_else(|| {
            RunError::Abort(MomentError::NoSuchVersion {
                name: name.clone(),
                version,
            })
        })
    }

    /// The newest commit that a read version contains.
    fn at_read_version(
        &self,
        transaction: &mut K::Transaction,
        id: DatabaseId,
        name: &DatabaseName,
        read_version: u64,
    ) -> Attempt<CommitRecord> {
        let last = Version::from_commit(read_version, u16::MAX);
        let query = RangeQuery::last(1, keys::log_until(id, last));
        let commit = self.commits(transaction, &query)?.into_iter().next();
        commit.ok_or_else(|| {
            RunError::Abort(MomentError::NoSuchVersion {
                name: name.clone(),
                version: last,
            })
        })
    }

    /// The newest commit at or before `time`, by binary search over the numbers that commit
    /// versions are. Times are taken to rise with versions, which is true as far as the clocks
    /// of the committing processes agree.
    fn at_time(
        &self,
        transaction: &mut K::Transaction,
        id: DatabaseId,
        name: &DatabaseName,
        time: UnixMillis,
    ) -> Attempt<CommitRecord> {
        let newest = self.head(transaction, id)?;
        if newest.time <= time {
            return Ok(newest);
        }
        let mut low = self.oldest(transaction, id)?;
        if low.time > time {
            let (name, oldest) = (name.clone(), low.time);
            return Err(RunError::Abort(MomentError::TooEarly {
                name,
                time,
                oldest,
            }));
        }
        // Commits at or above `high` are later than `time`; `low` is not.
        let mut high = newest.version;
        while let Some(middle) = between(low.version, high) {
            let query = RangeQuery::first(1, keys::log_between(id, middle, high));
            match self.commits(transaction, &query)?.into_iter().next() {
                Some(commit) if commit.time <= time => low = commit,
                _ => high = middle,
            }
        }
        // What is left shares one or two commit versions: commits of one batch.
        let query = RangeQuery::last(usize::MAX, keys::log_between(id, low.version, high));
        let batch = self.commits(transaction, &query)?;
        Ok(batch
            .into_iter()
            .find(|commit| commit.time <= time)
            .unwrap_or(low))
    }

    /// The oldest commit record. A live database has one.
    pub(crate) fn oldest<E: From<StoreError>>(
        &self,
        transaction: &mut K::Transaction,
        id: DatabaseId,
    ) -> Result<CommitRecord, RunError<E>> {
        let query = RangeQuery::first(1, keys::log(id));
        self.commits(transaction, &query)?
            .into_iter()
            .next()
            .ok_or_else(|| {
                RunError::Abort(
                    self.damaged(&log::DecodeError("a database has no commit"))
                        .into(),
                )
            })
    }
}

/// A version strictly between two, half-way by commit version; `None` if there is none.
fn between(low: Version, high: Version) -> Option<Version> {
    let (low, high) = (low.commit_version(), high.commit_version());
    let half = high.checked_sub(low)? / 2;
    (half > 0).then(|| Version::from_commit(low + half, 0))
}
