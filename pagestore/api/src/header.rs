//! The header fields of page 1: the only bytes of SQLite's file format that a store knows.
//!
//! Some of them change with every commit of SQLite and mean nothing in a store. They are
//! stored as zero, or every pair of writers would conflict on page 1, and filled in again
//! when the page is handed to SQLite. Offsets are those of
//! <https://www.sqlite.org/fileformat2.html#the_database_header>.

use std::ops::Range;

use crate::{PageCount, PageSize};

/// Length of the header in bytes.
pub const LENGTH: usize = 100;
/// The first bytes of every SQLite database.
pub const MAGIC: &[u8; 16] = b"SQLite format 3\0";
/// Where the change counter stands: SQLite compares it to know whether its cache is valid.
pub const CHANGE_COUNTER: Range<usize> = 24..28;

const PAGE_SIZE: Range<usize> = 16..18;
const FORMAT_VERSIONS: Range<usize> = 18..20;
const PAGE_COUNT: Range<usize> = 28..32;
const VERSION_VALID_FOR: Range<usize> = 92..96;
const LIBRARY_VERSION: Range<usize> = 96..100;
/// Format version of a database in WAL mode, where 1 stands for a rollback journal.
const WAL_FORMAT: u8 = 2;

/// Sets the fields that mean nothing in a store to zero, and a WAL-mode format to the
/// rollback-journal one. Returns whether the format was WAL's.
pub fn normalize(page: &mut [u8]) -> bool {
    for field in [CHANGE_COUNTER, VERSION_VALID_FOR, LIBRARY_VERSION] {
        if let Some(bytes) = page.get_mut(field) {
            bytes.fill(0);
        }
    }
    let mut was_wal = false;
    for byte in page.get_mut(FORMAT_VERSIONS).into_iter().flatten() {
        if *byte == WAL_FORMAT {
            *byte = 1;
            was_wal = true;
        }
    }
    was_wal
}

/// Fills the fields that [`normalize`] cleared: `change_counter`, which is also the counter
/// that the header's page count is valid for, and SQLite's `library_version`
/// (`SQLITE_VERSION_NUMBER`).
pub fn present(page: &mut [u8], change_counter: u32, library_version: u32) {
    put(page, CHANGE_COUNTER, change_counter);
    put(page, VERSION_VALID_FOR, change_counter);
    put(page, LIBRARY_VERSION, library_version);
}

/// The change counter; `None` if the bytes are too short.
#[must_use]
pub fn change_counter(page: &[u8]) -> Option<u32> {
    get(page, CHANGE_COUNTER)
}

/// The change counter at which the header's page count was written; the count is valid only
/// if it equals [`change_counter`].
#[must_use]
pub fn version_valid_for(page: &[u8]) -> Option<u32> {
    get(page, VERSION_VALID_FOR)
}

/// The number of pages that the header states; `None` if the bytes are too short.
#[must_use]
pub fn page_count(page: &[u8]) -> Option<PageCount> {
    get(page, PAGE_COUNT).map(PageCount::new)
}

/// The page size that the header states; `None` if the bytes are too short or it is not a
/// page size.
#[must_use]
pub fn page_size(page: &[u8]) -> Option<PageSize> {
    let bytes: [u8; 2] = page.get(PAGE_SIZE)?.try_into().ok()?;
    match u16::from_be_bytes(bytes) {
        // 65536 does not fit in two bytes.
        1 => Some(PageSize::MAX),
        size => PageSize::new(u32::from(size)).ok(),
    }
}

fn get(page: &[u8], field: Range<usize>) -> Option<u32> {
    Some(u32::from_be_bytes(page.get(field)?.try_into().ok()?))
}

fn put(page: &mut [u8], field: Range<usize>, value: u32) {
    if let Some(bytes) = page.get_mut(field) {
        bytes.copy_from_slice(&value.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normalizing_clears_exactly_the_volatile_fields() {
        let mut page: Vec<u8> = (0..200).collect();
        page[18] = 2;
        page[19] = 2;
        let before = page.clone();
        assert!(normalize(&mut page));
        for (index, (old, new)) in before.iter().zip(&page).enumerate() {
            let expected = match index {
                24..28 | 92..100 => 0,
                18 | 19 => 1,
                _ => *old,
            };
            assert_eq!(*new, expected, "byte {index}");
        }
        assert!(!normalize(&mut page), "normalizing twice changes nothing");
    }

    #[test]
    fn fields_are_presented_and_read_back() {
        let mut page = vec![0; 512];
        present(&mut page, 7, 3_054_001);
        assert_eq!(change_counter(&page), Some(7));
        assert_eq!(version_valid_for(&page), Some(7));
        assert_eq!(&page[96..100], &3_054_001_u32.to_be_bytes());
        page[16..18].copy_from_slice(&[0, 1]);
        assert_eq!(page_size(&page), Some(PageSize::MAX));
        page[16..18].copy_from_slice(&4096_u16.to_be_bytes());
        assert_eq!(page_size(&page).unwrap().get(), 4096);
        assert_eq!(page_size(&[0; 512]), None);
        assert_eq!(change_counter(&[0; 20]), None);
        normalize(&mut []);
        present(&mut [], 1, 1);
    }
}
