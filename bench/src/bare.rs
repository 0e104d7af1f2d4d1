//! A bare client of a FoundationDB cluster: it does the reads and writes that the work cannot do
//! without, one round trip for what is read first and one for the commit. It is the limit.

use std::path::Path;

use anyhow::Context as _;
use foundationdb::api::NetworkAutoStop;
use foundationdb::options::StreamingMode;
use foundationdb::{Database, FdbError, RangeOption};
use futures::executor::block_on;
use serde_json::Value;

use crate::numbers::Numbers;
use crate::protocol::Status;
use crate::session::Client;
use crate::sql::{Failure, SqlError};
use crate::workload::{SMALL_ROWS, Work};

/// Bytes of a page.
const PAGE: usize = 4096;

/// Pages that are written by one transaction while the store is filled.
const BATCH: u32 = 500;

/// What a small commit writes: three keys with so many bytes each.
const WRITES: [usize; 3] = [90, 60, 30];

/// Starts FoundationDB's client, once in a process. It must be dropped before the process ends.
pub(crate) fn start() -> NetworkAutoStop {
    #[expect(
        unsafe_code,
        reason = "the client wants to be stopped before the process ends"
    )]
    // SAFETY: the caller keeps what is returned until it returns from `main`, or is killed.
    unsafe {
        foundationdb::boot()
    }
}

/// A client.
struct Bare {
    database: Database,
    prefix: Vec<u8>,
    /// Pages that there are.
    pages: u32,
    last: u32,
}

impl From<FdbError> for SqlError {
    fn from(error: FdbError) -> Self {
        Self {
            failure: if error.is_retryable() {
                Failure::Busy
            } else {
                Failure::Other
            },
            message: format!("{} ({})", error.message(), error.code()),
        }
    }
}

type Done<T> = Result<T, SqlError>;

impl Bare {
    fn open(cluster: &Path, prefix: &str) -> anyhow::Result<Self> {
        Ok(Self {
            database: open(cluster)?,
            prefix: subspace(prefix),
            pages: 0,
            last: 0,
        })
    }

    fn key(&self, kind: u8, number: u32) -> Vec<u8> {
        [&self.prefix[..], &[kind], &number.to_be_bytes()].concat()
    }

    fn fill(&mut self, pages: u32) -> Done<()> {
        let mut numbers = Numbers::new(1);
        let mut noise = || {
            let byte = numbers.below(256);
            u8::try_from(byte).unwrap_or_default()
        };
        for first in (0..pages).step_by(BATCH as usize) {
            let transaction = self.database.create_trx()?;
            for page in first..pages.min(first + BATCH) {
                let page_bytes: Vec<u8> = (0..PAGE).map(|_| noise()).collect();
                transaction.set(&self.key(b'p', page), &page_bytes);
            }
            transaction.set(&self.key(b'n', 0), &pages.to_be_bytes());
            block_on(transaction.commit()).map_err(FdbError::from)?;
        }
        for first in (0..SMALL_ROWS).step_by(BATCH as usize) {
            let transaction = self.database.create_trx()?;
            for row in first..SMALL_ROWS.min(first + BATCH) {
                transaction.set(&self.key(b's', row), &[7; 110]);
            }
            block_on(transaction.commit()).map_err(FdbError::from)?;
        }
        Ok(())
    }

    /// A read version and one value.
    fn get(&self, key: &[u8]) -> Done<Vec<u8>> {
        let transaction = self.database.create_trx()?;
        let value = block_on(transaction.get(key, true))?;
        let missing = || SqlError::wrong("a key is missing".to_owned());
        value.map(|value| value.to_vec()).ok_or_else(missing)
    }

    /// Reads what a transaction must know, and writes what a commit must.
    fn commit(&self, writer: usize, numbers: &mut Numbers) -> Done<u64> {
        let writer = u32::try_from(writer).unwrap_or_default();
        let transaction = self.database.create_trx()?;
        let head = self.key(b'h', writer);
        block_on(transaction.get(&head, false))?;
        for (part, length) in WRITES.into_iter().enumerate() {
            let value: Vec<u8> = (0..length)
                .map(|_| u8::try_from(numbers.below(256)).unwrap_or_default())
                .collect();
            let mut key = head.clone();
            if part > 0 {
                key.extend_from_slice(&numbers.below(1 << 20).to_be_bytes());
            }
            transaction.set(&key, &value);
        }
        block_on(transaction.commit()).map_err(FdbError::from)?;
        Ok(1)
    }

    fn count(&self) -> Done<u64> {
        let key = self.key(b'c', 1);
        let mut transaction = self.database.create_trx()?;
        loop {
            let value = block_on(transaction.get(&key, false))?;
            transaction.set(&key, &(counter(value.as_deref()) + 1).to_be_bytes());
            match block_on(transaction.commit()) {
                Ok(_) => return Ok(1),
                Err(error) => transaction = block_on(error.on_error())?,
            }
        }
    }

    fn scan(&self) -> Done<u64> {
        let transaction = self.database.create_trx()?;
        let (begin, end) = (self.key(b'p', 0), self.key(b'p', u32::MAX));
        let mut range = Some(RangeOption {
            mode: StreamingMode::WantAll,
            ..RangeOption::from((begin, end))
        });
        let mut pages = 0;
        while let Some(part) = range {
            let values = block_on(transaction.get_range(&part, 1, true))?;
            pages += values.len();
            range = part.next_range(&values);
        }
        Ok(u64::try_from(pages).unwrap_or_default())
    }
}

/// The prefix as a tuple of one string, as Verso keeps it.
fn subspace(prefix: &str) -> Vec<u8> {
    [&[2], prefix.as_bytes(), &[0]].concat()
}

fn counter(value: Option<&[u8]>) -> i64 {
    let bytes = value.and_then(|value| value.try_into().ok());
    bytes.map(i64::from_be_bytes).unwrap_or_default()
}

impl Client for Bare {
    fn operate(&mut self, work: Work, writer: usize, numbers: &mut Numbers) -> Done<u64> {
        match work {
            Work::Select | Work::FirstQuery => {
                self.get(&self.key(b's', numbers.below(SMALL_ROWS)))?;
                Ok(1)
            }
            Work::SelectMany => {
                let transaction = self.database.create_trx()?;
                for _ in 0..100 {
                    let key = self.key(b's', numbers.below(SMALL_ROWS));
                    block_on(transaction.get(&key, true))?;
                }
                Ok(100)
            }
            Work::SelectCold => {
                self.last = (self.last + 7919) % self.pages;
                self.get(&self.key(b'p', self.last))?;
                Ok(1)
            }
            Work::Scan | Work::ScanCold => self.scan(),
            Work::Update | Work::Insert => self.commit(writer, numbers),
            Work::SameRow | Work::Immediate => self.count(),
            Work::BulkLoad
            | Work::AppendLog
            | Work::Orders
            | Work::Ycsb(_)
            | Work::SelectBig
            | Work::UpdateBig => Err(SqlError::wrong(
                "a bare client has nothing like it".to_owned(),
            )),
        }
    }

    fn counted(&mut self, work: Work, _writers: usize) -> Done<Option<i64>> {
        if !matches!(work, Work::SameRow | Work::Immediate) {
            return Ok(None);
        }
        let transaction = self.database.create_trx()?;
        let value = block_on(transaction.get(&self.key(b'c', 1), true))?;
        Ok(Some(counter(value.as_deref())))
    }

    fn check(&mut self, _work: Work) -> Done<()> {
        Ok(())
    }

    fn prepare(&mut self, work: Work) -> Done<()> {
        if work == Work::FirstQuery {
            return Ok(());
        }
        let pages = self.get(&self.key(b'n', 0))?;
        let pages = pages.try_into().unwrap_or_default();
        self.pages = u32::from_be_bytes(pages);
        Ok(())
    }
}

/// Opens a client.
pub(crate) fn client(cluster: &Path, prefix: &str) -> anyhow::Result<Box<dyn Client>> {
    Ok(Box::new(Bare::open(cluster, prefix)?))
}

/// Writes the pages and rows that the work reads.
pub(crate) fn fill(cluster: &Path, prefix: &str, pages: u32) -> anyhow::Result<()> {
    Ok(Bare::open(cluster, prefix)?.fill(pages)?)
}

/// Asks a cluster for `\xff\xff/status/json`
/// (<https://apple.github.io/foundationdb/mr-status.html>).
pub(crate) fn status(cluster: &Path) -> anyhow::Result<Status> {
    let transaction = open(cluster)?.create_trx()?;
    let text = block_on(transaction.get(b"\xff\xff/status/json", true))?;
    let status: Value = serde_json::from_slice(&text.context("no status")?)?;
    let at = |pointer: &str| {
        let value = status.pointer(&format!("/cluster/{pointer}"));
        value.with_context(|| format!("the status of the cluster has no {pointer}"))
    };
    let text = |pointer: &str| Ok::<_, anyhow::Error>(at(pointer)?.as_str().unwrap_or_default());
    let counter = |pointer: &str| at(pointer)?.as_u64().context("a counter is no number");
    let processes = at("processes")?.as_object().context("no processes")?;
    let version = processes.values().next().and_then(|one| one.get("version"));
    let version = version.and_then(Value::as_str).context("no version")?;
    Ok(Status {
        version: version.to_owned(),
        configuration: format!(
            "{} processes, {}, {}",
            processes.len(),
            text("configuration/storage_engine")?,
            text("configuration/redundancy_mode")?,
        ),
        reads: counter("workload/operations/reads/counter")?,
        written_bytes: counter("workload/bytes/written/counter")?,
    })
}

/// Removes all keys that begin with a text, as it is or as the first string of a tuple.
pub(crate) fn clear(cluster: &Path, text: &str) -> anyhow::Result<()> {
    let transaction = open(cluster)?.create_trx()?;
    for begin in [[b"\x02", text.as_bytes()].concat(), text.into()] {
        let end = [&begin[..], &[0xff]].concat();
        transaction.clear_range(&begin, &end);
    }
    block_on(transaction.commit()).map_err(FdbError::from)?;
    Ok(())
}

fn open(cluster: &Path) -> anyhow::Result<Database> {
    Ok(Database::from_path(&cluster.to_string_lossy())?)
}
