//! Writing: appends to a segment that is this process's own for the time.

use std::collections::HashMap;
use std::io;
use std::time::{Duration, Instant};

use parking_lot::RwLock;
use verso_pagestore::{PageNumber, VersionedPage};
use xxhash_rust::xxh3::xxh3_64;

use super::folder::{Folder, Opened};
use super::known::{Entry, Notes};
use super::record::{Place, Record, Records};
use super::segment::Appender;
use super::{DatabaseKey, Segments};

/// After so long it looks again whether there is room for one more process that writes.
const PAUSE: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) enum Writer {
    /// It has no segment.
    Closed,
    /// It appends to a segment.
    Open(Box<Current>),
    /// Other processes have all segments, as of this moment.
    Full(Instant),
    /// Writing has failed, and is not tried again.
    Off,
}

/// The segment that it appends to.
#[derive(Debug)]
pub(super) struct Current {
    appender: Appender,
    segment: u32,
    most_bytes: u64,
    databases: Databases,
}

/// The numbers that databases have in a segment.
#[derive(Debug, Default)]
struct Databases(HashMap<DatabaseKey, u32>);

impl Databases {
    /// Those of an index, and where its records end. `None` if it is no index.
    fn of(index: &[u8]) -> Option<(Self, usize)> {
        let mut records = Records::of(index)?;
        let mut databases = HashMap::new();
        for record in records.by_ref() {
            if let Record::Database { number, key } = record {
                databases.insert(key, number);
            }
        }
        Some((Self(databases), records.end()))
    }

    /// The number of a database, which gets one if it has none.
    fn number(&mut self, key: &DatabaseKey, records: &mut Vec<u8>) -> u32 {
        if let Some(number) = self.0.get(key) {
            return *number;
        }
        let number = self.0.values().max().map_or(0, |last| last + 1);
        let key = key.clone();
        self.0.insert(key.clone(), number);
        Record::Database { number, key }.encode(records);
        number
    }
}

/// What is to be written of a database.
pub(super) struct Batch<'a> {
    pub(super) key: &'a DatabaseKey,
    pub(super) notes: &'a Notes,
    pub(super) pages: &'a [(PageNumber, VersionedPage)],
}

impl Writer {
    /// Whether it is worth while to come with pages.
    pub(super) fn is_writing(&self) -> bool {
        match self {
            Self::Closed | Self::Open(_) => true,
            Self::Full(since) => since.elapsed() >= PAUSE,
            Self::Off => false,
        }
    }

    /// Writes notes and pages. `None` if they could not be.
    pub(super) fn write(
        &mut self,
        folder: &Folder,
        segments: &RwLock<Segments>,
        batch: &Batch<'_>,
    ) -> Option<Vec<(PageNumber, Entry)>> {
        if !self.is_writing() {
            return None;
        }
        match self.try_write(folder, segments, batch) {
            Ok(entries) => entries,
            Err(error) => {
                tracing::warn!(
                    %error, folder = %folder.path().display(),
                    "the page cache on disk takes no more pages from this process"
                );
                *self = Self::Off;
                None
            }
        }
    }

    fn try_write(
        &mut self,
        folder: &Folder,
        segments: &RwLock<Segments>,
        batch: &Batch<'_>,
    ) -> io::Result<Option<Vec<(PageNumber, Entry)>>> {
        let mut written = Vec::with_capacity(batch.pages.len());
        let mut has_notes = false;
        loop {
            let Some(current) = self.current(folder, segments)? else {
                return Ok(None);
            };
            let pages = batch.pages.get(written.len()..).unwrap_or_default();
            current.write(batch.key, batch.notes, &mut has_notes, pages, &mut written)?;
            if has_notes && written.len() == batch.pages.len() {
                return Ok(Some(written));
            }
            *self = Self::Closed;
        }
    }

    /// The segment to append to; another one than before if somebody removed that.
    fn current(
        &mut self,
        folder: &Folder,
        segments: &RwLock<Segments>,
    ) -> io::Result<Option<&mut Current>> {
        let is_open = match self {
            Self::Open(current) => current.appender.is_in_place()?,
            Self::Closed | Self::Full(_) | Self::Off => false,
        };
        if !is_open {
            // The old one must be free before another one is looked for.
            *self = Self::Closed;
            *self = match Current::open(folder, segments)? {
                Some(current) => Self::Open(Box::new(current)),
                None => Self::Full(Instant::now()),
            };
        }
        Ok(match self {
            Self::Open(current) => Some(current),
            Self::Closed | Self::Full(_) | Self::Off => None,
        })
    }
}

impl Current {
    fn open(folder: &Folder, segments: &RwLock<Segments>) -> io::Result<Option<Self>> {
        let opened = folder.open(Databases::of)?;
        segments.write().close_removed();
        Ok(opened.map(|opened: Opened<Databases>| Self {
            appender: opened.appender,
            segment: segments.write().add(opened.paths),
            most_bytes: folder.segment_bytes(),
            databases: opened.content,
        }))
    }

    /// Writes as much as there is room for.
    fn write(
        &mut self,
        key: &DatabaseKey,
        notes: &Notes,
        has_notes: &mut bool,
        pages: &[(PageNumber, VersionedPage)],
        written: &mut Vec<(PageNumber, Entry)>,
    ) -> io::Result<()> {
        let (mut records, mut content) = (Vec::new(), Vec::new());
        let is_new = self.appender.is_empty();
        let database = self.databases.number(key, &mut records);
        let room = self.most_bytes.saturating_sub(self.appender.bytes());
        if !*has_notes {
            let before = records.len();
            encode_notes(database, notes, &mut records);
            if records.len() as u64 > room {
                if !is_new {
                    return Ok(());
                }
                // What no segment has room for is left out.
                records.truncate(before);
            }
            *has_notes = true;
        }
        for (number, page) in pages {
            let place = Place {
                version: page.version,
                chain: page.chain,
                offset: narrow(self.appender.pages_length() + content.len() as u64)?,
                length: narrow(page.page.len() as u64)?,
                checksum: xxh3_64(&page.page),
            };
            let before = records.len();
            let record = Record::Page {
                database,
                number: *number,
                at: notes.at,
                place,
            };
            record.encode(&mut records);
            if (records.len() + content.len() + page.page.len()) as u64 > room {
                records.truncate(before);
                break;
            }
            content.extend_from_slice(&page.page);
            let segment = self.segment;
            written.push((*number, Entry { segment, place }));
        }
        self.appender.append(&content, &records)
    }
}

fn encode_notes(database: u32, notes: &Notes, records: &mut Vec<u8>) {
    for link in &notes.links {
        let changes = Record::Changes {
            database,
            from: link.from,
            to: notes.at,
            pages: link.changed.clone(),
        };
        changes.encode(records);
    }
    for state in &notes.lost {
        let state = *state;
        Record::Lost { database, state }.encode(records);
    }
}

fn narrow(number: u64) -> io::Result<u32> {
    u32::try_from(number).map_err(io::Error::other)
}
