//! What the header of a database tells about its pages.

use verso_pagestore::{PageCount, PageNumber, header};

/// Length of an entry of the pointer map: a type and a page number.
const POINTER: u32 = 5;
/// SQLite locks bytes from here on, and leaves the page that has them unused.
const LOCK_BYTES: u32 = 0x4000_0000;
/// The least usable size of a page that SQLite accepts.
const LEAST_USABLE: u32 = 480;

/// How text is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    Utf8,
    Utf16Le,
    Utf16Be,
}

/// The header fields that the search needs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layout {
    /// Bytes of a page without those reserved for extensions.
    usable: u32,
    /// `None` if the header does not tell.
    count: Option<PageCount>,
    /// The page with the bytes that SQLite locks.
    lock_page: u32,
    pub(super) first_trunk: Option<PageNumber>,
    pub(super) auto_vacuum: bool,
    pub(super) encoding: Encoding,
}

impl Layout {
    /// `None` if it is not the first page of a SQLite database.
    pub(super) fn parse(page: &[u8]) -> Option<Self> {
        let size = header::page_size(page)?.get();
        let reserved = u32::from(*page.get(20)?);
        let usable = size - reserved;
        let count = header::page_count(page)?;
        (usable >= LEAST_USABLE).then_some(Self {
            usable,
            count: (count > PageCount::ZERO).then_some(count),
            lock_page: LOCK_BYTES / size + 1,
            first_trunk: page_number(page, 32),
            auto_vacuum: be_u32(page, 52)? != 0,
            encoding: match be_u32(page, 56)? {
                2 => Encoding::Utf16Le,
                3 => Encoding::Utf16Be,
                _ => Encoding::Utf8,
            },
        })
    }

    pub(super) const fn usable(&self) -> usize {
        self.usable as usize
    }

    /// Whether the database can have this page.
    pub(super) fn contains(&self, page: PageNumber) -> bool {
        self.count.is_none_or(|count| count.contains(page))
    }

    /// The page of the pointer map that tells about a page from 2 on, itself for a page of
    /// the map.
    pub(super) fn map_page(&self, page: PageNumber) -> Option<PageNumber> {
        let group = self.usable / POINTER + 1;
        let index = page.get().checked_sub(2)?;
        let map = index - index % group + 2;
        PageNumber::new(if map == self.lock_page { map + 1 } else { map })
    }

    /// Where in its page of the pointer map a page's entry begins; `None` for a page of the
    /// map.
    pub(super) fn pointer_offset(&self, page: PageNumber) -> Option<usize> {
        let behind = page.get().checked_sub(self.map_page(page)?.get())?;
        let offset = behind.checked_sub(1)?.checked_mul(POINTER)?;
        usize::try_from(offset).ok()
    }
}

pub(super) fn be_u16(bytes: &[u8], offset: usize) -> Option<u16> {
    let field = bytes.get(offset..)?.first_chunk()?;
    Some(u16::from_be_bytes(*field))
}

pub(super) fn be_u32(bytes: &[u8], offset: usize) -> Option<u32> {
    let field = bytes.get(offset..)?.first_chunk()?;
    Some(u32::from_be_bytes(*field))
}

/// A link to a page, of which 0 means none.
pub(super) fn page_number(bytes: &[u8], offset: usize) -> Option<PageNumber> {
    be_u32(bytes, offset).and_then(PageNumber::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(number: u32) -> PageNumber {
        PageNumber::new(number).unwrap()
    }

    fn layout(size: u16, reserved: u8) -> Option<Layout> {
        let mut header = [0; header::LENGTH];
        header[16..18].copy_from_slice(&size.to_be_bytes());
        header[20] = reserved;
        Layout::parse(&header)
    }

    #[test]
    fn pages_of_the_pointer_map_are_where_sqlite_has_them() {
        let layout = layout(512, 0).unwrap();
        for (of, map, offset) in [
            (2, 2, None),
            (3, 2, Some(0)),
            (104, 2, Some(505)),
            (105, 105, None),
            (106, 105, Some(0)),
        ] {
            assert_eq!(layout.map_page(page(of)), Some(page(map)));
            assert_eq!(layout.pointer_offset(page(of)), offset, "page {of}");
        }
        assert_eq!(layout.map_page(page(1)), None);
        assert!(layout.map_page(page(u32::MAX)).is_some());
    }

    /// With pages of 1024 bytes, a page of the map would be where the lock page is.
    #[test]
    fn the_pointer_map_steps_over_the_lock_page() {
        let layout = layout(1024, 0).unwrap();
        let lock = LOCK_BYTES / 1024 + 1;
        assert_eq!(layout.map_page(page(lock - 1)), Some(page(lock - 205)));
        assert_eq!(layout.map_page(page(lock + 2)), Some(page(lock + 1)));
        assert_eq!(layout.pointer_offset(page(lock + 1)), None);
        assert_eq!(layout.pointer_offset(page(lock + 2)), Some(0));
    }

    #[test]
    fn what_is_no_header_is_refused() {
        assert!(Layout::parse(&[0; 512]).is_none());
        assert!(Layout::parse(&[]).is_none());
        assert!(layout(512, 33).is_none());
        assert!(layout(513, 0).is_none());
    }
}
