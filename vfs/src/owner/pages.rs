//! Reads pages within a budget, each of them once.

use std::collections::HashMap;

use verso_pagestore::{Page, PageNumber};

use super::layout::Layout;

/// The pages of a database, as far as the budget allows.
pub(super) struct Pages<R> {
    read: R,
    left: usize,
    cache: HashMap<PageNumber, Option<Page>>,
    layout: Layout,
}

impl<R: FnMut(PageNumber) -> Option<Page>> Pages<R> {
    /// Reads the header; `None` without a valid one.
    pub(super) fn open(budget: usize, mut read: R) -> Option<Self> {
        let left = budget.checked_sub(1)?;
        let mut first = read(PageNumber::FIRST)?;
        let layout = Layout::parse(&first)?;
        first.truncate(layout.usable());
        Some(Self {
            read,
            left,
            cache: HashMap::from([(PageNumber::FIRST, Some(first))]),
            layout,
        })
    }

    pub(super) const fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The usable bytes of a page.
    pub(super) fn fetch(&mut self, page: PageNumber) -> Option<Page> {
        if let Some(known) = self.cache.get(&page) {
            return known.clone();
        }
        if !self.layout.contains(page) {
            return None;
        }
        self.left = self.left.checked_sub(1)?;
        let mut content = (self.read)(page);
        if let Some(content) = &mut content {
            content.truncate(self.layout.usable());
        }
        self.cache.insert(page, content.clone());
        content
    }
}
