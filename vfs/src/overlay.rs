//! What a transaction has written so far, over its snapshot.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use verso_pagestore::{Page, PageCount, PageNumber, PageSize, PageWrite, Snapshot, header};

use crate::error::VfsError;
use crate::spill::{Place, Spill, SpilledPages};

/// SQLite's highest page number, `SQLITE_MAX_PAGE_COUNT`'s upper bound.
const MOST_PAGES: u32 = 0xffff_fffe;

/// A transaction's pages beyond so many bytes are written to a temporary file.
const MOST_IN_MEMORY: usize = 64 << 20;

/// Where a page's content comes from.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// This transaction wrote it.
    Written(Bytes),
    /// It is as the snapshot has it.
    Snapshot,
    /// Nobody wrote it, or this transaction truncated it away before.
    Zero,
}

/// A written page.
#[derive(Debug, Clone)]
enum Held {
    InMemory(Bytes),
    Spilled(Place),
}

/// Pages written by a transaction.
#[derive(Debug, Clone)]
pub(crate) struct Overlay {
    page_size: Option<PageSize>,
    pages: BTreeMap<PageNumber, Held>,
    /// Bytes of the pages in memory, and how many there may be.
    in_memory: usize,
    most_in_memory: usize,
    spill: Option<Spill>,
    /// Length of the file that SQLite sees, in bytes.
    length: u64,
    /// Pages of the snapshot that no truncation of this transaction has cut off.
    kept: PageCount,
}

/// A part of one page that a byte range of the file covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) page: PageNumber,
    /// Where in the page it begins.
    pub(crate) begin: usize,
    pub(crate) length: usize,
}

/// The parts of pages that `length` bytes from `offset` cover.
pub(crate) fn segments(
    size: PageSize,
    offset: u64,
    length: usize,
) -> impl Iterator<Item = Segment> {
    let page_bytes = u64::from(size.get());
    let (mut offset, mut rest) = (offset, length);
    std::iter::from_fn(move || {
        if rest == 0 {
            return None;
        }
        let page = PageNumber::from_index(offset / page_bytes)?;
        let begin = usize::try_from(offset % page_bytes).ok()?;
        let length = rest.min(size.length() - begin);
        offset += length as u64;
        rest -= length;
        Some(Segment {
            page,
            begin,
            length,
        })
    })
}

impl Overlay {
    pub(crate) fn new(snapshot: &Snapshot) -> Self {
        Self {
            page_size: snapshot.page_size,
            pages: BTreeMap::new(),
            in_memory: 0,
            most_in_memory: MOST_IN_MEMORY,
            spill: None,
            length: snapshot
                .page_size
                .map_or(0, |size| snapshot.page_count.bytes(size)),
            kept: snapshot.page_count,
        }
    }

    pub(crate) const fn length(&self) -> u64 {
        self.length
    }

    pub(crate) const fn page_size(&self) -> Option<PageSize> {
        self.page_size
    }

    /// Where to find a page.
    pub(crate) fn source(&self, page: PageNumber) -> Result<Source, VfsError> {
        Ok(match (self.pages.get(&page), &self.spill) {
            (Some(Held::InMemory(content)), _) => Source::Written(content.clone()),
            (Some(Held::Spilled(place)), Some(spill)) => Source::Written(spill.read(*place)?),
            _ if self.kept.contains(page) => Source::Snapshot,
            _ => Source::Zero,
        })
    }

    /// Page 1 as SQLite wrote it.
    pub(crate) fn first_page(&self) -> Option<&Bytes> {
        match self.pages.get(&PageNumber::FIRST)? {
            Held::InMemory(page) => Some(page),
            // It stays in memory.
            Held::Spilled(_) => None,
        }
    }

    fn insert(&mut self, page: PageNumber, content: Bytes) {
        self.in_memory += content.len();
        let old = self.pages.insert(page, Held::InMemory(content));
        self.in_memory -= old.map_or(0, |old| old.in_memory());
    }

    /// Writes the pages in memory to the temporary file, but for page 1.
    fn spill(&mut self) -> Result<(), VfsError> {
        let spill = match &self.spill {
            Some(spill) => spill.clone(),
            None => self.spill.insert(Spill::new()?).clone(),
        };
        for (_, held) in self
            .pages
            .range_mut(PageNumber::FIRST..)
            .skip_while(|(number, _)| **number == PageNumber::FIRST)
        {
            if let Held::InMemory(content) = held {
                let length = content.len();
                *held = Held::Spilled(spill.write(content)?);
                self.in_memory -= length;
            }
        }
        Ok(())
    }

    /// The written pages that are in the temporary file, of a database of so many pages.
    pub(crate) fn spilled(&self, page_count: PageCount) -> Option<SpilledPages> {
        let spill = self.spill.clone()?;
        let written = self
            .pages
            .iter()
            .filter(|(number, _)| page_count.contains(**number));
        let pages = written.filter_map(|(number, held)| match held {
            Held::InMemory(_) => None,
            Held::Spilled(place) => Some((*number, *place)),
        });
        let pages = pages.collect();
        Some(SpilledPages { spill, pages })
    }

    /// Writes `data` at `offset`. `base` reads a page of the snapshot, of which a write may
    /// cover only a part while a VACUUM changes the page size.
    pub(crate) fn write(
        &mut self,
        data: &[u8],
        offset: u64,
        mut base: impl FnMut(PageNumber) -> Result<Page, VfsError>,
    ) -> Result<(), VfsError> {
        let size = match self.page_size {
            Some(size) => size,
            None => first_page_size(data, offset)?,
        };
        let end = offset + data.len() as u64;
        if end > PageCount::new(MOST_PAGES).bytes(size) {
            return Err(VfsError::TooManyPages(MOST_PAGES));
        }
        let mut rest = data;
        for segment in segments(size, offset, data.len()) {
            let (part, after) = rest.split_at(segment.length);
            rest = after;
            let content = if segment.length == size.length() {
                Bytes::copy_from_slice(part)
            } else {
                let old = match self.source(segment.page)? {
                    Source::Written(content) => content,
                    Source::Snapshot => base(segment.page)?,
                    Source::Zero => Bytes::from(vec![0; size.length()]),
                };
                patched(&old, segment.begin, part)
            };
            self.insert(segment.page, content);
        }
        self.page_size = Some(size);
        self.length = self.length.max(end);
        if self.in_memory > self.most_in_memory {
            self.spill()?;
        }
        Ok(())
    }

    /// Cuts the file to `length` bytes, or extends it with zeros.
    pub(crate) fn truncate(&mut self, length: u64) {
        if let Some(size) = self.page_size {
            let pages = length.div_ceil(u64::from(size.get()));
            let pages = PageCount::new(u32::try_from(pages).unwrap_or(MOST_PAGES));
            self.pages.retain(|page, _| pages.contains(*page));
            self.in_memory = self.pages.values().map(Held::in_memory).sum();
            self.kept = self.kept.min(pages);
        }
        self.length = length;
    }

    /// The pages to commit, for a database that has `page_count` pages of `page_size` after
    /// it: those written and in memory, and zeros for those that are new and were never written.
    /// Where the page size changes these are all.
    ///
    /// `base` reads a page of the snapshot, which is needed where the page size changes.
    pub(crate) fn writes(
        &self,
        page_size: PageSize,
        page_count: PageCount,
        base: impl FnMut(PageNumber) -> Result<Page, VfsError>,
    ) -> Result<Vec<PageWrite>, VfsError> {
        if self.page_size != Some(page_size) {
            return self.resized(page_size, page_count, base);
        }
        let mut writes: Vec<PageWrite> = self
            .pages
            .range(..)
            .take_while(|(number, _)| page_count.contains(**number))
            .filter_map(|(number, held)| match held {
                Held::InMemory(page) => Some(PageWrite {
                    number: *number,
                    page: page.clone(),
                }),
                Held::Spilled(_) => None,
            })
            .collect();
        let mut zeros = None;
        for index in self.kept.get()..page_count.get() {
            if let Some(number) = PageNumber::from_index(u64::from(index))
                && !self.pages.contains_key(&number)
            {
                let zeros = zeros.get_or_insert_with(|| Bytes::from(vec![0; page_size.length()]));
                writes.push(PageWrite {
                    number,
                    page: zeros.clone(),
                });
            }
        }
        Ok(writes)
    }

    /// All pages of the file, cut anew to another page size.
    fn resized(
        &self,
        new: PageSize,
        page_count: PageCount,
        mut base: impl FnMut(PageNumber) -> Result<Page, VfsError>,
    ) -> Result<Vec<PageWrite>, VfsError> {
        let old = self.page_size.unwrap_or(new);
        let mut writes = Vec::new();
        for index in 0..page_count.get() {
            let Some(number) = PageNumber::from_index(u64::from(index)) else {
                break;
            };
            let mut page = BytesMut::with_capacity(new.length());
            for segment in segments(old, number.offset(new), new.length()) {
                let content = match self.source(segment.page)? {
                    Source::Written(content) => content,
                    Source::Snapshot => base(segment.page)?,
                    Source::Zero => Bytes::from(vec![0; old.length()]),
                };
                let part = content.get(segment.begin..segment.begin + segment.length);
                page.extend_from_slice(part.unwrap_or_default());
            }
            page.resize(new.length(), 0);
            writes.push(PageWrite {
                number,
                page: page.freeze(),
            });
        }
        Ok(writes)
    }

    /// The page size that SQLite wrote into the header.
    pub(crate) fn header_page_size(&self) -> Option<PageSize> {
        self.first_page().and_then(|page| header::page_size(page))
    }
}

impl Held {
    const fn in_memory(&self) -> usize {
        match self {
            Self::InMemory(content) => content.len(),
            Self::Spilled(_) => 0,
        }
    }
}

/// The page size that the first write into an empty database tells: SQLite writes whole
/// pages.
fn first_page_size(data: &[u8], offset: u64) -> Result<PageSize, VfsError> {
    let size = u32::try_from(data.len())
        .ok()
        .and_then(|length| PageSize::new(length).ok());
    size.filter(|size| offset.is_multiple_of(u64::from(size.get())))
        .ok_or(VfsError::FirstWrite {
            offset,
            length: data.len(),
        })
}

fn patched(old: &[u8], begin: usize, part: &[u8]) -> Bytes {
    let mut page = BytesMut::from(old);
    if let Some(target) = page.get_mut(begin..begin + part.len()) {
        target.copy_from_slice(part);
    }
    page.freeze()
}

#[cfg(test)]
mod tests {
    use verso_pagestore::{CommitId, DatabaseId, Version};

    use super::*;

    fn size(bytes: u32) -> PageSize {
        PageSize::new(bytes).unwrap()
    }

    fn page(number: u32) -> PageNumber {
        PageNumber::new(number).unwrap()
    }

    /// A snapshot of `count` pages of 512 bytes, each filled with its number.
    fn overlay(count: u32) -> Overlay {
        Overlay::new(&Snapshot {
            database: DatabaseId::new(1),
            version: Version::MIN,
            commit: CommitId::from_bytes([0; 16]),
            read_version: 0,
            lease: verso_pagestore::LeaseStanding::Unknown,
            mark: None,
            page_size: (count > 0).then(|| size(512)),
            page_count: PageCount::new(count),
        })
    }

    #[expect(clippy::unnecessary_wraps, reason = "the form that the overlay takes")]
    fn base(number: PageNumber) -> Result<Page, VfsError> {
        Ok(Bytes::from(vec![u8::try_from(number.get()).unwrap(); 512]))
    }

    fn no_base(number: PageNumber) -> Result<Page, VfsError> {
        panic!("page {number} is not needed")
    }

    #[test]
    fn the_first_write_fixes_the_page_size() {
        let mut overlay = overlay(0);
        assert!(overlay.write(&[1; 1000], 0, no_base).is_err());
        assert!(overlay.write(&[1; 1024], 512, no_base).is_err());
        overlay.write(&[1; 1024], 2048, no_base).unwrap();
        assert_eq!(
            (overlay.page_size(), overlay.length()),
            (Some(size(1024)), 3072)
        );
        let writes = overlay
            .writes(size(1024), PageCount::new(3), no_base)
            .unwrap();
        let summary: Vec<_> = writes
            .iter()
            .map(|write| (write.number.get(), write.page[0]))
            .collect();
        assert_eq!(
            summary,
            [(3, 1), (1, 0), (2, 0)],
            "pages never written are zero"
        );
    }

    #[test]
    fn a_page_cut_off_and_grown_again_is_zero() {
        let mut overlay = overlay(4);
        overlay.truncate(1024);
        overlay.write(&[9; 512], 1536, no_base).unwrap();
        assert_eq!(overlay.source(page(2)).unwrap(), Source::Snapshot);
        assert_eq!(overlay.source(page(3)).unwrap(), Source::Zero);
        let writes = overlay
            .writes(size(512), PageCount::new(4), no_base)
            .unwrap();
        let summary: Vec<_> = writes
            .iter()
            .map(|write| (write.number.get(), write.page[0]))
            .collect();
        assert_eq!(summary, [(4, 9), (3, 0)]);
    }

    #[test]
    fn part_of_a_page_is_patched_into_the_old_content() {
        let mut overlay = overlay(3);
        overlay.write(&[9; 600], 500, base).unwrap();
        let content = |number| match overlay.source(page(number)).unwrap() {
            Source::Written(content) => content,
            Source::Snapshot | Source::Zero => panic!("not written"),
        };
        assert_eq!((content(1)[499], content(1)[500]), (1, 9));
        assert_eq!((content(2)[0], content(2)[511]), (9, 9));
        assert_eq!((content(3)[75], content(3)[76]), (9, 3));
        assert_eq!(overlay.length(), 1536);
    }

    #[test]
    fn pages_beyond_the_committed_size_are_left_out() {
        let mut overlay = overlay(2);
        overlay.write(&[9; 1024], 1024, no_base).unwrap();
        let writes = overlay
            .writes(size(512), PageCount::new(3), no_base)
            .unwrap();
        assert_eq!(writes.len(), 1);
        assert_eq!(writes[0].number, page(3));
    }

    #[test]
    fn another_page_size_rewrites_every_page() {
        let mut overlay = overlay(4);
        overlay.write(&[9; 512], 512, no_base).unwrap();
        let writes = overlay.writes(size(1024), PageCount::new(2), base).unwrap();
        assert_eq!(writes.len(), 2);
        assert_eq!((writes[0].page[511], writes[0].page[512]), (1, 9));
        assert_eq!((writes[1].page[0], writes[1].page[1023]), (3, 4));
        let smaller = overlay
            .writes(PageSize::MIN, PageCount::new(4), no_base)
            .unwrap();
        assert_eq!(smaller.len(), 1, "the same size writes only what changed");
    }

    #[test]
    fn what_is_too_much_for_memory_is_in_a_file_and_reads_the_same() {
        let mut overlay = overlay(0);
        overlay.most_in_memory = 4 * 512;
        for number in 1..=20_u8 {
            let offset = 512 * (u64::from(number) - 1);
            overlay.write(&[number; 512], offset, no_base).unwrap();
        }
        let before = overlay.clone();
        // Again, in part, and in memory since.
        overlay.write(&[99; 512], 512 * 4, no_base).unwrap();
        overlay.write(&[77; 100], 512 * 9, no_base).unwrap();
        assert!(overlay.in_memory <= 5 * 512, "{} bytes", overlay.in_memory);
        let byte =
            |overlay: &Overlay, number, at: usize| match overlay.source(page(number)).unwrap() {
                Source::Written(content) => content[at],
                Source::Snapshot | Source::Zero => panic!("page {number} was written"),
            };
        assert_eq!((byte(&overlay, 5, 0), byte(&before, 5, 0)), (99, 5));
        assert_eq!((byte(&overlay, 10, 99), byte(&overlay, 10, 100)), (77, 10));
        assert_eq!(byte(&before, 10, 0), 10);
        overlay.truncate(512 * 15);
        let count = PageCount::new(15);
        let writes = overlay.writes(size(512), count, no_base).unwrap();
        let spilled = overlay.spilled(count).unwrap();
        let parts: Result<Vec<_>, _> = spilled.parts(3 * 512).collect();
        let parts = parts.unwrap();
        assert!(parts.len() > 2 && parts.iter().all(|part| part.len() <= 3));
        let mut pages: Vec<_> = parts.into_iter().flatten().chain(writes).collect();
        pages.sort_by_key(|write| write.number);
        let found: Vec<_> = pages.iter().map(|write| write.page[0]).collect();
        let mut expected: Vec<u8> = (1..=15).collect();
        (expected[4], expected[9]) = (99, 77);
        assert_eq!(found, expected, "each page once");
        assert!(overlay.first_page().is_some());
    }
}
