//! Page 1 on its way from a file to a store and back, on top of [`verso_pagestore::header`].

use std::ops::Range;

use verso_pagestore::header::{
    LENGTH, MAGIC, change_counter, normalize, page_count, page_size, present, version_valid_for,
};
use verso_pagestore::{PageCount, PageSize};

/// Where the size in pages stands.
const SIZE_IN_PAGES: Range<usize> = 28..32;
/// Where the number stands that changes with the schema.
const SCHEMA_COOKIE: Range<usize> = 40..44;

/// What an import needs to know of a file's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    /// Size of pages.
    pub(crate) page_size: PageSize,
    /// Size in pages, if the header is to be believed: files that an old SQLite wrote
    /// last have a stale one.
    pub(crate) page_count: Option<PageCount>,
    /// Whether the file is in WAL mode.
    pub(crate) wal: bool,
}

impl Header {
    /// Reads a header; `None` if these bytes are not the beginning of a SQLite 3 database.
    pub(crate) fn parse(bytes: &[u8; LENGTH]) -> Option<Self> {
        if !bytes.starts_with(MAGIC) {
            return None;
        }
        let believed = change_counter(bytes) == version_valid_for(bytes);
        Some(Self {
            page_size: page_size(bytes)?,
            page_count: page_count(bytes).filter(|&count| believed && count > PageCount::ZERO),
            wal: normalize(&mut bytes.to_owned()),
        })
    }
}

/// Makes a file's page 1 that of a store.
///
/// A store's page 1 always has its size in pages right: what is shown to SQLite says that
/// it is to be believed.
pub(crate) fn to_store(page: &mut [u8], pages: PageCount) {
    normalize(page);
    put(page, SIZE_IN_PAGES, pages.get());
}

/// Makes a store's page 1 that of a file. `change_counter` must not be 0.
pub(crate) fn to_file(page: &mut [u8], pages: PageCount, change_counter: u32) {
    let library = u32::try_from(rusqlite::version_number()).unwrap_or_default();
    present(page, change_counter, library);
    put(page, SIZE_IN_PAGES, pages.get());
}

/// Sets the schema cookie.
pub(crate) fn put_schema_cookie(page: &mut [u8], cookie: u32) {
    put(page, SCHEMA_COOKIE, cookie);
}

/// A page shorter than its header is left as it is: no page size is below 512.
fn put(page: &mut [u8], range: Range<usize>, value: u32) {
    if let Some(bytes) = page.get_mut(range) {
        bytes.copy_from_slice(&value.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> [u8; LENGTH] {
        let mut bytes = [0xaa; LENGTH];
        bytes[..16].copy_from_slice(MAGIC);
        bytes[16..18].copy_from_slice(&4096_u16.to_be_bytes());
        bytes[18..20].copy_from_slice(&[2, 2]);
        bytes[24..28].copy_from_slice(&7_u32.to_be_bytes());
        bytes[28..32].copy_from_slice(&9_u32.to_be_bytes());
        bytes[92..96].copy_from_slice(&7_u32.to_be_bytes());
        bytes
    }

    #[test]
    fn headers_are_read() {
        let mut bytes = sample();
        let header = Header::parse(&bytes).unwrap();
        assert_eq!(header.page_size.get(), 4096);
        assert_eq!(header.page_count, Some(PageCount::new(9)));
        assert!(header.wal);
        bytes[92] = 1;
        assert_eq!(Header::parse(&bytes).unwrap().page_count, None);
        bytes[16..18].copy_from_slice(&1_u16.to_be_bytes());
        assert_eq!(Header::parse(&bytes).unwrap().page_size, PageSize::MAX);
        bytes[16..18].copy_from_slice(&1000_u16.to_be_bytes());
        assert_eq!(Header::parse(&bytes), None);
        bytes[0] = b'x';
        assert_eq!(Header::parse(&bytes), None);
    }

    #[test]
    fn only_the_named_bytes_change_on_the_way() {
        let original = sample();
        let mut page = original;
        to_store(&mut page, PageCount::new(9));
        for (index, (before, after)) in original.iter().zip(&page).enumerate() {
            let expected = match index {
                18 | 19 => 1,
                24..28 | 92..100 => 0,
                _ => *before,
            };
            assert_eq!(*after, expected, "byte {index}");
        }
        to_file(&mut page, PageCount::new(3), 5);
        assert_eq!(page[24..32], [0, 0, 0, 5, 0, 0, 0, 3]);
        assert_eq!(page[92..96], [0, 0, 0, 5]);
        assert_ne!(page[96..100], [0; 4]);
    }
}
