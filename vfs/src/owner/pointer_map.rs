//! The pointer map, which a database with auto-vacuum has: the parent of every page.

use roaring::RoaringBitmap;
use verso_pagestore::{Page, PageNumber};

use super::layout::page_number;
use super::pages::Pages;

/// What the pointer map says of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// It is a page of the pointer map.
    Map,
    /// It is on the free list.
    Free,
    /// It is part of the tree with this root.
    Root(PageNumber),
}

/// Where the parents of a page lead to; `None` if they lead nowhere.
pub(super) fn origin<R: FnMut(PageNumber) -> Option<Page>>(
    page: PageNumber,
    pages: &mut Pages<R>,
) -> Option<Origin> {
    if pages.layout().map_page(page) == Some(page) {
        return Some(Origin::Map);
    }
    let mut seen = RoaringBitmap::new();
    let mut current = page;
    while current != PageNumber::FIRST {
        if !seen.insert(current.get()) {
            return None;
        }
        let map = pages.layout().map_page(current)?;
        let offset = pages.layout().pointer_offset(current)?;
        let content = pages.fetch(map)?;
        match content.get(offset)? {
            1 => return Some(Origin::Root(current)),
            2 => return Some(Origin::Free),
            // The first page of an overflow chain, a further one, a page of a tree.
            3..=5 => current = page_number(&content, offset + 1)?,
            _ => return None,
        }
    }
    Some(Origin::Root(PageNumber::FIRST))
}
