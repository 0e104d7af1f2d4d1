//! A transaction of a FoundationDB cluster.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use foundationdb::future::FdbValues;
use foundationdb::options::{ConflictRangeType, MutationType, StreamingMode, TransactionOption};
use foundationdb::{FdbError, FdbResult, KeySelector, RangeOption, Transaction};
use futures::executor::block_on;
use futures::future::try_join_all;
use verso_pagestore::{Durability, Pass, Version};

use super::error::{failed_commit, refused};
use super::network::Use;
use super::{KEY_BYTES, Store};
use crate::kv::buffer::{Operation, WriteBuffer};
use crate::kv::{
    Committed, Direction, Isolation, KeyRange, KeyValue, KvError, KvTransaction, RangeQuery,
};

/// By how much more of a range is asked for after its first part.
const MORE_AT_ONCE: usize = 4;

/// A transaction of an [`FdbKv`](super::FdbKv).
pub struct FdbTransaction {
    store: Arc<Store>,
    inner: Transaction,
    buffer: WriteBuffer,
    /// The read version, once it is known.
    read_version: Option<u64>,
    began: Instant,
    _pass: Pass,
    _client: Use,
}

/// Keys of a range as they arrive.
struct Stored<'a> {
    transaction: &'a Transaction,
    prefix: &'a [u8],
    /// What is left to ask for; `None` at the end.
    rest: Option<RangeOption<'static>>,
    arrived: VecDeque<KeyValue>,
}

impl FdbTransaction {
    pub(super) fn new(store: Arc<Store>, inner: Transaction, pass: Pass) -> Self {
        Self {
            store,
            inner,
            buffer: WriteBuffer::default(),
            read_version: None,
            began: Instant::now(),
            _pass: pass,
            _client: Use,
        }
    }

    /// Reads at a version that the cluster has given out before.
    pub(super) fn read_at(&mut self, read_version: u64) {
        self.inner
            .set_read_version(i64::try_from(read_version).unwrap_or(i64::MAX));
        self.read_version = Some(read_version);
    }

    /// Tells FoundationDB the writes, and both conflict sets.
    fn send(&self) -> FdbResult<()> {
        let prefix = &self.store.prefix;
        for operation in self.buffer.operations() {
            self.inner
                .set_option(TransactionOption::NextWriteNoWriteConflictRange)?;
            match operation {
                Operation::Set { key, value } => self.inner.set(&absolute(prefix, key), value),
                Operation::SetVersionstamped { prefix: key, value } => {
                    let key = versionstamped(absolute(prefix, key));
                    let kind = MutationType::SetVersionstampedKey;
                    self.inner.atomic_op(&key, value, kind);
                }
                Operation::Clear { key } => self.inner.clear(&absolute(prefix, key)),
                Operation::ClearRange(KeyRange { begin, end }) => {
                    let (begin, end) = (absolute(prefix, begin), absolute(prefix, end));
                    self.inner.clear_range(&begin, &end);
                }
            }
        }
        for (ranges, kind) in [
            (self.buffer.reads(), ConflictRangeType::Read),
            (self.buffer.writes(), ConflictRangeType::Write),
        ] {
            for (begin, end) in ranges.iter() {
                let (begin, end) = (absolute(prefix, begin), absolute(prefix, end));
                self.inner.add_conflict_range(&begin, &end, kind)?;
            }
        }
        Ok(())
    }
}

/// A key of the store in the cluster. What is longer than any key lies beyond the store's last.
fn absolute(prefix: &[u8], key: &[u8]) -> Vec<u8> {
    if key.len() > KEY_BYTES {
        return KeyRange::prefix(prefix).end;
    }
    [prefix, key].concat()
}

/// A key with room for a versionstamp at its end, and the place of it
/// (`FDB_MUTATION_TYPE_SET_VERSIONSTAMPED_KEY`).
fn versionstamped(mut key: Vec<u8>) -> Vec<u8> {
    let place = u32::try_from(key.len()).unwrap_or(u32::MAX);
    key.extend_from_slice(&[0xff; Version::LENGTH]);
    key.extend_from_slice(&place.to_le_bytes());
    key
}

impl<'a> Stored<'a> {
    fn new(transaction: &'a Transaction, prefix: &'a [u8], query: &RangeQuery) -> Self {
        let begin = absolute(prefix, &query.range.begin);
        let end = absolute(prefix, &query.range.end);
        let rest = RangeOption {
            limit: Some(query.limit),
            mode: StreamingMode::WantAll,
            // 0 leaves it to the mode.
            target_bytes: query.until.map_or(0, |until| until.bytes_at_once),
            reverse: query.direction == Direction::Reverse,
            ..RangeOption::from((
                KeySelector::first_greater_or_equal(begin),
                KeySelector::first_greater_or_equal(end),
            ))
        };
        Self {
            transaction,
            prefix,
            rest: (query.limit > 0 && !query.range.is_empty()).then_some(rest),
            arrived: VecDeque::new(),
        }
    }

    /// Asks for the next part.
    async fn ask(&mut self) -> FdbResult<()> {
        let Some(option) = self.rest.take() else {
            return Ok(());
        };
        let values = self.transaction.get_range(&option, 1, true).await?;
        self.rest = after(option, &values);
        let relative = |key: &[u8]| key.strip_prefix(self.prefix).map(<[u8]>::to_vec);
        self.arrived.extend(
            values
                .iter()
                .filter_map(|pair| Some((relative(pair.key())?, pair.value().to_vec()))),
        );
        Ok(())
    }

    fn next(&mut self) -> Result<Option<KeyValue>, KvError> {
        while self.arrived.is_empty() && self.rest.is_some() {
            block_on(self.ask()).map_err(refused)?;
        }
        Ok(self.arrived.pop_front())
    }
}

/// What is left of a range. Its limit stays: own writes may take the place of what has come.
fn after(option: RangeOption<'static>, values: &FdbValues) -> Option<RangeOption<'static>> {
    let last = values.last()?.key().to_vec();
    let full = option.limit.is_some_and(|limit| values.len() >= limit);
    if !values.more() && !full {
        return None;
    }
    let mut rest = option;
    // It was more than one expects: what is left comes in fewer parts.
    rest.target_bytes = rest.target_bytes.saturating_mul(MORE_AT_ONCE);
    if rest.reverse {
        rest.end = KeySelector::first_greater_or_equal(last);
    } else {
        rest.begin = KeySelector::first_greater_than(last);
    }
    Some(rest)
}

impl KvTransaction for FdbTransaction {
    fn read_version(&mut self) -> Result<u64, KvError> {
        if let Some(read_version) = self.read_version {
            return Ok(read_version);
        }
        let read_version = block_on(self.inner.get_read_version()).map_err(refused)?;
        let read_version = u64::try_from(read_version).unwrap_or(0);
        self.store.learn(read_version, self.began);
        self.read_version = Some(read_version);
        Ok(read_version)
    }

    fn get(&mut self, key: &[u8], isolation: Isolation) -> Result<Option<Vec<u8>>, KvError> {
        let Self {
            store,
            inner,
            buffer,
            ..
        } = self;
        buffer.read(key, isolation, || {
            let value = block_on(inner.get(&absolute(&store.prefix, key), true));
            Ok(value.map_err(refused)?.map(|value| value.to_vec()))
        })
    }

    fn range(
        &mut self,
        query: &RangeQuery,
        isolation: Isolation,
    ) -> Result<Vec<KeyValue>, KvError> {
        let mut stored = Stored::new(&self.inner, &self.store.prefix, query);
        self.buffer.read_range(query, isolation, || stored.next())
    }

    fn ranges(
        &mut self,
        queries: &[RangeQuery],
        isolation: Isolation,
    ) -> Result<Vec<Vec<KeyValue>>, KvError> {
        let Self {
            store,
            inner,
            buffer,
            ..
        } = self;
        let mut all: Vec<_> = queries
            .iter()
            .map(|query| Stored::new(inner, &store.prefix, query))
            .collect();
        block_on(try_join_all(all.iter_mut().map(Stored::ask))).map_err(refused)?;
        queries
            .iter()
            .zip(&mut all)
            .map(|(query, stored)| buffer.read_range(query, isolation, || stored.next()))
            .collect()
    }

    fn set(&mut self, key: &[u8], value: &[u8]) {
        self.buffer.set(key, value);
    }

    fn set_versionstamped(&mut self, prefix: &[u8], value: &[u8]) {
        self.buffer.set_versionstamped(prefix, value);
    }

    fn clear(&mut self, key: &[u8]) {
        self.buffer.clear(key);
    }

    fn clear_range(&mut self, range: &KeyRange) {
        self.buffer.clear_range(range);
    }

    fn add_read_conflict(&mut self, range: KeyRange) {
        self.buffer.add_read_conflict(range);
    }

    fn add_write_conflict(&mut self, range: KeyRange) {
        self.buffer.add_write_conflict(range);
    }

    fn commit(mut self, _durability: Durability) -> Result<Committed, KvError> {
        if self.buffer.is_read_only() {
            let read_version = self.read_version()?;
            return Ok(Committed {
                versionstamp: None,
                read_version,
                mark: None,
            });
        }
        self.buffer.check_limits(&self.store.limits())?;
        self.send().map_err(refused)?;
        let stamp = self.inner.get_versionstamp();
        let asked = Instant::now();
        let committed = block_on(self.inner.commit()).map_err(|error| failed_commit(*error))?;
        // Applied, whatever comes now.
        let known = || {
            let read_version = u64::try_from(committed.committed_version()?).unwrap_or(0);
            Ok((read_version, block_on(stamp)?))
        };
        let unknown = |error: FdbError| KvError::CommitUnknown(error.to_string());
        let (read_version, stamp) = known().map_err(unknown)?;
        self.store.learn(read_version, asked);
        let versionstamp = <[u8; Version::LENGTH]>::try_from(&stamp[..]).ok();
        Ok(Committed {
            versionstamp: versionstamp.map(Version::from_bytes),
            read_version,
            mark: None,
        })
    }
}
