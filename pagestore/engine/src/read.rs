//! Begin and read: the first of the two data paths.

use std::collections::HashMap;

use verso_pagestore::{
    BeginError, Begun, Changes, CommitPages, CommitRecord, DatabaseId, DatabaseName, LeaseStanding,
    PageNumber, PageSize, ReadError, Since, Snapshot, StoreError, Version, VersionedPage,
};

use crate::kv::{
    Isolation, KeyValue, Kv, KvError, KvTransaction, RangeQuery, RunError, attempts, look,
};
use crate::lease::LeaseRecord;
use crate::room::Room;
use crate::{Engine, chain, keys, log};

/// Beyond so many commits since the client last looked, it gets [`Changes::Unknown`].
const MOST_CHANGES: usize = 1000;

/// Keys behind the changelog that a begin looks at: the lease and the name.
const BEHIND_THE_LOG: usize = 2;

impl<K: Kv> Engine<K> {
    pub(crate) fn begin_snapshot(
        &self,
        name: &DatabaseName,
        since: Option<Since>,
    ) -> Result<Begun, BeginError> {
        // Before anything is read: what is committed from now on may be seen or not.
        let mark = self.kv.mark();
        let mut begun = self.finish(look(&self.kv, |transaction| {
            self.try_begin(transaction, name, since)
        }))?;
        begun.snapshot.mark = mark;
        Ok(begun)
    }

    /// Whether nothing was committed to the store since, as far as can be told without a request.
    pub(crate) fn is_known_as_newest(&self, snapshot: &Snapshot) -> bool {
        snapshot.mark.is_some() && snapshot.mark == self.kv.mark()
    }

    fn try_begin(
        &self,
        transaction: &mut K::Transaction,
        name: &DatabaseName,
        since: Option<Since>,
    ) -> Result<Begun, RunError<BeginError>> {
        let changes = match since {
            Some(since) => {
                let pairs =
                    transaction.range(&news_since(since, MOST_CHANGES), Isolation::Snapshot)?;
                match self.follow(transaction, name, since, &pairs)? {
                    Followed::To(begun) => return Ok(begun),
                    Followed::Not(changes) => Some((since.database, changes)),
                }
            }
            None => None,
        };
        let id = self
            .resolve(transaction, name)?
            .ok_or_else(|| RunError::Abort(BeginError::NoSuchDatabase { name: name.clone() }))?;
        let News { commits, lease, .. } = self.newest_news(transaction, id)?;
        let head = commits.last().ok_or_else(|| self.without_commit())?;
        let changes = changes.filter(|(database, _)| *database == id);
        Ok(Begun {
            snapshot: Snapshot {
                lease: lease.standing(),
                ..self.newest(transaction, id, head)?
            },
            changes: changes.map_or(Changes::Unknown, |(_, changes)| changes),
        })
    }

    /// Begins from what the client knows, by the answer to [`news_since`].
    pub(crate) fn follow(
        &self,
        transaction: &mut K::Transaction,
        name: &DatabaseName,
        since: Since,
        pairs: &[KeyValue],
    ) -> Result<Followed, RunError<BeginError>> {
        let Since { database, .. } = since;
        // The commit that the client knows comes first, if it is still what it was.
        let News {
            mut commits,
            lease,
            name: own_name,
        } = self.decode_news(database, pairs)?;
        let is_known =
            |commit: &CommitRecord| (commit.version, commit.id) == (since.version, since.commit);
        if !commits.first().is_some_and(is_known) {
            return Ok(Followed::Not(Changes::Diverged));
        }
        // A database knows the name that stands for it: both change in one transaction.
        let is_same = own_name.as_deref() == Some(name.as_str().as_bytes());
        if !is_same || commits.len() > MOST_CHANGES + 1 {
            return Ok(Followed::Not(Changes::Unknown));
        }
        let known = commits.remove(0);
        let head = commits.last().unwrap_or(&known);
        let snapshot = Snapshot {
            lease: lease.standing(),
            ..self.newest(transaction, database, head)?
        };
        let pages = |commit: CommitRecord| CommitPages {
            version: commit.version,
            commit: commit.id,
            pages: commit.pages,
        };
        let changes = Changes::Commits(commits.into_iter().map(pages).collect());
        Ok(Followed::To(Begun { snapshot, changes }))
    }

    /// The newest commit, perhaps with some before it, and what lies behind.
    fn newest_news(
        &self,
        transaction: &mut K::Transaction,
        id: DatabaseId,
    ) -> Result<News, RunError<BeginError>> {
        let range = keys::news_from(id, Version::MIN);
        let query = RangeQuery::last(1 + BEHIND_THE_LOG, range);
        let mut pairs = transaction.range(&query, Isolation::Snapshot)?;
        pairs.reverse();
        self.decode_news(id, &pairs)
    }

    /// What was read of a range that begins in the changelog and may end behind it.
    pub(crate) fn decode_news<E: From<StoreError>>(
        &self,
        database: DatabaseId,
        pairs: &[KeyValue],
    ) -> Result<News, RunError<E>> {
        let (lease, name) = (keys::lease(database), keys::own_name(database));
        let log = pairs.partition_point(|(key, _)| *key < lease);
        let (commits, behind) = pairs.split_at_checked(log).unwrap_or((pairs, &[]));
        let value = |wanted: &[u8]| {
            let mut pairs = behind.iter();
            let found = pairs.find(|(key, _)| key == wanted);
            found.map(|(_, value)| value.as_slice())
        };
        Ok(News {
            commits: self.decode_commits(commits)?,
            lease: self.decode_lease(value(&lease))?,
            name: value(&name).map(<[u8]>::to_vec),
        })
    }

    /// The snapshot at the head. Below it the next commit would be hidden: the versions of the
    /// key-value store must not go back.
    fn newest(
        &self,
        transaction: &mut K::Transaction,
        database: DatabaseId,
        head: &CommitRecord,
    ) -> Result<Snapshot, RunError<BeginError>> {
        let read_version = transaction.read_version()?;
        let reached = head.version.commit_version();
        if read_version < reached {
            let reason = format!(
                "its newest commit has version {reached}, and the key-value store is at \
                 {read_version}, as after a restore into another cluster; raise it with \
                 fdbcli --exec 'advanceversion {reached}'"
            );
            let store = self.url.clone();
            return Err(RunError::Abort(
                StoreError::Unavailable { store, reason }.into(),
            ));
        }
        Ok(snapshot(database, head, read_version))
    }

    /// What the name stands for now.
    pub(crate) fn resolve<E: From<StoreError>>(
        &self,
        transaction: &mut K::Transaction,
        name: &DatabaseName,
    ) -> Result<Option<DatabaseId>, RunError<E>> {
        let id = transaction.get(&keys::name(name), Isolation::Serializable)?;
        id.as_deref()
            .map(log::decode_id)
            .transpose()
            .map_err(|error| RunError::Abort(self.damaged(&error).into()))
    }

    /// The newest commit record. A live database has one.
    pub(crate) fn head<E: From<StoreError>>(
        &self,
        transaction: &mut K::Transaction,
        id: DatabaseId,
    ) -> Result<CommitRecord, RunError<E>> {
        let newest = RangeQuery::last(1, keys::log(id));
        let records = self.commits(transaction, &newest)?;
        records
            .into_iter()
            .next()
            .ok_or_else(|| self.without_commit())
    }

    fn without_commit<E: From<StoreError>>(&self) -> RunError<E> {
        let error = log::DecodeError("a database has no commit");
        RunError::Abort(self.damaged(&error).into())
    }

    /// Commit records of a range, as a snapshot read: a conflict on the log would serialise
    /// every commit of the database.
    pub(crate) fn commits<E: From<StoreError>>(
        &self,
        transaction: &mut K::Transaction,
        query: &RangeQuery,
    ) -> Result<Vec<CommitRecord>, RunError<E>> {
        let pairs = transaction.range(query, Isolation::Snapshot)?;
        self.decode_commits(&pairs)
    }

    fn decode_commits<E: From<StoreError>>(
        &self,
        pairs: &[KeyValue],
    ) -> Result<Vec<CommitRecord>, RunError<E>> {
        pairs
            .iter()
            .map(|(key, value)| {
                let (id, version) = keys::log_position(key).ok_or_else(|| {
                    self.damaged(&log::DecodeError("a commit record has an invalid key"))
                })?;
                log::decode_commit(version, value).map_err(|error| StoreError::Damaged {
                    store: self.url.clone(),
                    reason: format!("{error} (version {version} of database {id})"),
                })
            })
            .collect::<Result<_, StoreError>>()
            .map_err(|error| RunError::Abort(error.into()))
    }

    /// Pages at a snapshot. Page records at or below the head never change, so any read
    /// version serves.
    pub(crate) fn read_pages(
        &self,
        snapshot: &Snapshot,
        pages: &[PageNumber],
    ) -> Result<Vec<VersionedPage>, ReadError> {
        if let Some(&page) = pages
            .iter()
            .find(|page| !snapshot.page_count.contains(**page))
        {
            let Snapshot {
                database,
                version,
                page_count,
                ..
            } = *snapshot;
            let reason = format!("it lies beyond the end, and the database has {page_count} pages");
            return Err(ReadError::Corrupt {
                database,
                page,
                version,
                reason,
            });
        }
        let mut recent = Some(snapshot.read_version);
        self.finish(attempts(&self.kv, || {
            // A read version that turns out to be too old, or too new, is not tried twice.
            let mut transaction = match recent.take() {
                Some(at_least) => self.kv.begin_recent(at_least)?,
                None => self.kv.begin()?,
            };
            let mut found = self.read_runs(&mut transaction, snapshot, pages)?;
            let single: Vec<_> = pages
                .iter()
                .filter(|page| !found.contains_key(page))
                .collect();
            let query = |page: &&PageNumber| {
                chain::query(
                    snapshot.database,
                    **page,
                    snapshot.version,
                    snapshot.page_size,
                )
            };
            let queries: Vec<RangeQuery> = single.iter().map(query).collect();
            let answers = transaction.ranges(&queries, Isolation::Snapshot)?;
            for (&page, answer) in single.into_iter().zip(answers) {
                match decode_page(snapshot, page, answer)? {
                    Some(content) => found.insert(page, content),
                    None => return Err(missing(&mut transaction, snapshot, page)?),
                };
            }
            let found = pages.iter().filter_map(|page| found.get(page).cloned());
            Ok(found.collect())
        }))
    }

    /// Pages among these that are read in runs.
    fn read_runs(
        &self,
        transaction: &mut K::Transaction,
        snapshot: &Snapshot,
        pages: &[PageNumber],
    ) -> Result<HashMap<PageNumber, VersionedPage>, RunError<ReadError>> {
        let mut found = HashMap::with_capacity(pages.len());
        let page_length = snapshot.page_size.map_or(0, PageSize::length);
        let mut room = Room::default();
        for run in self.runs.of(pages) {
            let records = transaction.range(&run.query(snapshot), Isolation::Snapshot)?;
            for (page, records) in self.runs.take(run, snapshot, records) {
                room.take(page_length);
                if let Some(content) = decode_page(snapshot, page, records)? {
                    found.insert(page, content);
                }
            }
        }
        Ok(found)
    }
}

/// What lies behind each other in the store, so that one range read brings it.
pub(crate) struct News {
    /// In the order of versions.
    pub(crate) commits: Vec<CommitRecord>,
    pub(crate) lease: LeaseRecord,
    /// The name that stands for the database.
    pub(crate) name: Option<Vec<u8>>,
}

/// Asks for what happened since a client last looked. With more commits than `most` the name is
/// missing, which lies behind them.
pub(crate) fn news_since(since: Since, most: usize) -> RangeQuery {
    let pairs = most + 1 + BEHIND_THE_LOG;
    RangeQuery::first(pairs, keys::news_from(since.database, since.version))
}

/// Whether a begin followed the changelog from what the client knows.
pub(crate) enum Followed {
    To(Begun),
    /// It did not, and this is why.
    Not(Changes),
}

/// The snapshot right after a commit.
pub(crate) fn snapshot(database: DatabaseId, commit: &CommitRecord, read_version: u64) -> Snapshot {
    Snapshot {
        database,
        version: commit.version,
        commit: commit.id,
        read_version,
        lease: LeaseStanding::Unknown,
        mark: None,
        page_size: commit.page_size,
        page_count: commit.page_count,
    }
}

/// Why a page of a snapshot has no record.
fn missing<T: KvTransaction>(
    transaction: &mut T,
    snapshot: &Snapshot,
    page: PageNumber,
) -> Result<RunError<ReadError>, KvError> {
    let Snapshot {
        database,
        version,
        page_count,
        ..
    } = *snapshot;
    // Not whether there is a database of this id: a request that was asked again may have created
    // it anew.
    let query = RangeQuery::first(1, keys::log_from(database, version));
    let commits = transaction.range(&query, Isolation::Snapshot)?;
    let first = commits.first().and_then(|(key, _)| keys::log_position(key));
    Ok(RunError::Abort(if first == Some((database, version)) {
        ReadError::Corrupt {
            database,
            page,
            version,
            reason: format!("it has no record, and the database has {page_count} pages"),
        }
    } else {
        ReadError::Removed { database }
    }))
}

fn decode_page(
    snapshot: &Snapshot,
    page: PageNumber,
    records: Vec<KeyValue>,
) -> Result<Option<VersionedPage>, RunError<ReadError>> {
    let corrupt = |version, reason| {
        RunError::Abort(ReadError::Corrupt {
            database: snapshot.database,
            page,
            version,
            reason,
        })
    };
    let found = chain::decode(records)
        .map_err(|broken| corrupt(broken.version, broken.error.to_string()))?;
    if let Some(found) = &found
        && snapshot.page_size.map(PageSize::length) != Some(found.page.len())
    {
        let length = found.page.len();
        let reason = format!("it has {length} bytes, which is not the page size");
        return Err(corrupt(found.version, reason));
    }
    Ok(found)
}
