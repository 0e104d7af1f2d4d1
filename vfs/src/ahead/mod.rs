//! Reading ahead: which pages a scan will want next.
//!
//! An interior page of a b-tree names its children in the order of their keys. Whoever reads one
//! child after the other is scanning, so when one is missing the next ones are read in the same
//! request, in a window that doubles each time. Likewise the leaves of a table that a scan of an index
//! hops to (`hops`), and the pages of an overflow chain, which mostly lie one behind the other. A page
//! that is wanted alone, as in a point lookup, is read alone. The schema is always read whole.

mod hops;
mod run;

use std::collections::VecDeque;

use roaring::RoaringBitmap;
use verso_pagestore::{Page, PageNumber};

use crate::owner::{Node, is_index_leaf, is_interior};
use hops::{Hops, Known, Missing, Tree};
use run::{Direction, Run};

/// How many interior pages are remembered: those of a few scans at once, and of their levels.
const MOST_INTERIOR: usize = 32;

/// The deepest tree that SQLite makes, and no more steps are taken towards a root.
const DEEPEST: usize = 20;

/// A window reaches over so many times as many pages as it has, if most of those are there.
const PART_MISSING: usize = 4;

/// How many pages of the schema are read with the first one, at least: it is read whole.
const SCHEMA_WINDOW: usize = 16;

/// Of so many pages that were read ahead it is remembered that they were not used yet.
const MOST_UNUSED: u64 = 4096;

/// What is known of the scans of one connection to one database.
#[derive(Debug, Default)]
pub(crate) struct Ahead {
    /// The interior pages that SQLite got, or whose child was missing, newest first.
    interior: VecDeque<Interior>,
    /// The interior page whose child was read last.
    cursor: Option<PageNumber>,
    hops: Hops,
    chain: Chain,
    /// Pages that were read ahead, and that SQLite did not want yet.
    unused: RoaringBitmap,
}

/// An interior page.
#[derive(Debug)]
struct Interior {
    number: PageNumber,
    is_of_table: bool,
    children: Vec<PageNumber>,
    run: Run,
}

impl Interior {
    /// Whether a page is one of its children.
    fn names(&self, page: PageNumber) -> bool {
        // All of them are looked at, many in one instruction: most often it is none.
        let children = self.children.iter();
        let found: u32 = children.map(|child| u32::from(*child == page)).sum();
        found > 0
    }

    /// The place of a child, if that is where its scan may go on.
    fn next(&self, child: PageNumber) -> Option<usize> {
        let found = |place: usize| (self.children.get(place) == Some(&child)).then_some(place);
        match self.run {
            Run::Fresh => found(0).or_else(|| found(self.children.len().checked_sub(1)?)),
            Run::At(last) => found(last + 1).or_else(|| found(last.checked_sub(1)?)),
            Run::Up { next, window } => (next..next + window).find_map(found),
            Run::Down { next, window } => {
                let next = next?;
                (0..window).find_map(|back| found(next.checked_sub(back)?))
            }
        }
    }
}

/// An overflow chain that is followed.
#[derive(Debug, Default)]
struct Chain {
    /// The page that the last page names in its first four bytes.
    link: Option<PageNumber>,
    window: usize,
}

impl Ahead {
    /// Learns from a page that SQLite gets.
    pub(crate) fn delivered(&mut self, number: PageNumber, page: &Page) {
        self.chain.link = page
            .first_chunk()
            .and_then(|link| PageNumber::new(u32::from_be_bytes(*link)));
        let known = self.interior.iter().position(|it| it.number == number);
        let known = known.and_then(|known| self.interior.remove(known));
        if is_interior(number, page) {
            self.delivered_interior(number, page, known);
            return;
        }
        if is_index_leaf(number, page) {
            self.hops.delivered(number, page);
        }
        let cursor = self.cursor;
        let mut interior = self.interior.iter_mut();
        if let Some(interior) = interior.find(|it| Some(it.number) == cursor)
            && let Some(place) = interior.next(number)
        {
            interior.run.step(place);
        }
    }

    fn delivered_interior(&mut self, number: PageNumber, page: &Page, known: Option<Interior>) {
        let Some((is_of_table, children)) = children(number, page) else {
            return;
        };
        let run = match known {
            Some(known) if known.children == children => known.run,
            _ if number == PageNumber::FIRST => Run::before(Direction::Up, 0, SCHEMA_WINDOW / 2),
            _ => self.inherited(number, children.len()).unwrap_or(Run::Fresh),
        };
        if let Some((parent, place)) = self.place(number) {
            parent.run.step(place);
        }
        self.remember(Interior {
            number,
            is_of_table,
            children,
            run,
        });
        self.cursor = Some(number);
    }

    /// Whether SQLite wants a page for the first time since it was read ahead.
    pub(crate) fn is_first_use(&mut self, number: PageNumber) -> bool {
        !self.unused.is_empty() && self.unused.remove(number.get())
    }

    /// Pages came, of which only one is wanted by now.
    pub(crate) fn came(&mut self, pages: &[PageNumber], wanted: PageNumber) {
        if self.unused.len() > MOST_UNUSED {
            self.unused.clear();
        }
        let ahead = pages.iter().filter(|page| **page != wanted);
        self.unused.extend(ahead.map(|page| page.get()));
    }

    /// The run of a scan that has come to the end of the interior page beside this one.
    fn inherited(&self, number: PageNumber, children: usize) -> Option<Run> {
        [Direction::Up, Direction::Down]
            .into_iter()
            .find_map(|direction| {
                let before = *self.siblings(number, direction.opposite()).first()?;
                let before = self.interior.iter().find(|it| it.number == before)?;
                let (run, window) = before.run.at_end(before.children.len())?;
                (run == direction).then(|| Run::before(direction, children, window))
            })
    }

    /// Where the interior pages name a page.
    fn position(&self, number: PageNumber) -> Option<(usize, usize)> {
        let (index, it) = (self.interior.iter().enumerate()).find(|(_, it)| it.names(number))?;
        let place = it.children.iter().position(|child| *child == number)?;
        Some((index, place))
    }

    /// The interior page that names a page, which is remembered for longer, and where.
    fn place(&mut self, number: PageNumber) -> Option<(&mut Interior, usize)> {
        let (index, place) = self.position(number)?;
        let interior = self.interior.remove(index)?;
        self.interior.push_front(interior);
        Some((self.interior.front_mut()?, place))
    }

    /// What is known of pages without reading any.
    #[expect(clippy::type_complexity, reason = "closures have no names")]
    fn known<'a>(
        &'a self,
        cached: &'a impl Fn(PageNumber) -> Option<Page>,
    ) -> Known<
        impl Fn(PageNumber) -> Option<Page>,
        impl Fn(PageNumber) -> Option<(PageNumber, usize)>,
    > {
        Known::new(cached, |page| {
            let (parent, place) = self.position(page)?;
            Some((self.interior.get(parent)?.number, place))
        })
    }

    /// The tree that an interior page belongs to.
    fn tree(&self, number: PageNumber) -> Tree {
        let (mut root, mut depth) = (number, 1);
        while depth < DEEPEST
            && let Some((parent, _)) = self.position(root)
            && let Some(parent) = self.interior.get(parent)
        {
            root = parent.number;
            depth += 1;
        }
        Tree { root, depth }
    }

    /// A page is missing, and `went` if it was read ahead: the pages to read, it among them, at most so
    /// many. None of the others is `cached`.
    pub(crate) fn wanted(
        &mut self,
        number: PageNumber,
        went: bool,
        most: usize,
        cached: impl Fn(PageNumber) -> Option<Page>,
    ) -> Vec<PageNumber> {
        let Some((interior, place)) = self.place(number) else {
            return self.wanted_without_parent(number, went, most, cached);
        };
        interior.run.step(place);
        if went {
            interior.run.slow_down();
        }
        let (parent, is_of_table) = (interior.number, interior.is_of_table);
        let is_alone = !interior.run.is_scan();
        self.cursor = Some(parent);
        self.chain.window = 0;
        if is_alone && is_of_table {
            let missing = Missing {
                number,
                place: Some((parent, place)),
                went,
            };
            let mut hops = std::mem::take(&mut self.hops);
            let tree = || self.tree(parent);
            let wanted = hops.wanted(&missing, tree, most, &mut self.known(&cached));
            self.hops = hops;
            if let Some(wanted) = wanted {
                return wanted;
            }
        }
        self.wanted_beside(place, most, &cached)
    }

    /// A child of the first interior page is missing, and maybe those beside it.
    fn wanted_beside(
        &mut self,
        place: usize,
        most: usize,
        cached: &impl Fn(PageNumber) -> Option<Page>,
    ) -> Vec<PageNumber> {
        let Some(interior) = self.interior.front_mut() else {
            return Vec::new();
        };
        let children = interior.children.len();
        let (range, beyond) = interior.run.miss(place, children, most);
        let missing = interior.children.get(place).copied();
        let is_wanted = |page: &PageNumber| Some(*page) == missing || cached(*page).is_none();
        let mut wanted = interior
            .children
            .get(range.clone())
            .unwrap_or_default()
            .to_vec();
        wanted.retain(is_wanted);
        let Some((direction, room)) = beyond else {
            return wanted;
        };
        // Where a part of them is there, the window reaches further.
        let window = range.len() + room;
        let rest = direction.rest(range, PART_MISSING * window, children);
        let mut rest: Vec<_> = interior.children.get(rest).unwrap_or_default().to_vec();
        if direction == Direction::Down {
            rest.reverse();
        }
        let rest = rest.into_iter().filter(is_wanted);
        wanted.extend(rest.take(window.saturating_sub(wanted.len())));
        let parent = interior.number;
        let so_far = wanted.len();
        let way = (direction, window);
        self.want_beyond(parent, children, way, room, cached, &mut wanted);
        let mut beyond = wanted.split_off(so_far);
        beyond.retain(is_wanted);
        wanted.extend(beyond);
        wanted.truncate(most);
        wanted
    }

    fn wanted_without_parent(
        &mut self,
        number: PageNumber,
        went: bool,
        most: usize,
        cached: impl Fn(PageNumber) -> Option<Page>,
    ) -> Vec<PageNumber> {
        let missing = Missing {
            number,
            place: None,
            went,
        };
        self.chain.window = if self.chain.link == Some(number) {
            (2 * self.chain.window).clamp(1, most)
        } else {
            0
        };
        if self.chain.window == 0 {
            let tree = || Tree {
                root: number,
                depth: 0,
            };
            let mut hops = std::mem::take(&mut self.hops);
            let wanted = hops.wanted(&missing, tree, most, &mut self.known(&cached));
            self.hops = hops;
            if let Some(wanted) = wanted {
                return wanted;
            }
        }
        let first = number.get();
        let last = first.saturating_add(u32::try_from(self.chain.window).unwrap_or(0).max(1) - 1);
        let pages = (first..=last).filter_map(PageNumber::new);
        pages
            .filter(|page| *page == number || cached(*page).is_none())
            .collect()
    }

    /// A window reaches beyond an interior page: into those beside it, or if they are not there,
    /// to them.
    fn want_beyond(
        &mut self,
        number: PageNumber,
        usual: usize,
        (direction, window): (Direction, usize),
        mut room: usize,
        cached: &impl Fn(PageNumber) -> Option<Page>,
        wanted: &mut Vec<PageNumber>,
    ) {
        for sibling in self.siblings(number, direction) {
            if room == 0 {
                return;
            }
            let Some(content) = cached(sibling) else {
                // Its children come when it is there.
                wanted.push(sibling);
                room = room.saturating_sub(usual);
                continue;
            };
            let Some((is_of_table, children)) = children(sibling, &content) else {
                return;
            };
            let range = direction.first(room, children.len());
            room -= range.len();
            wanted.extend(children.get(range).unwrap_or_default());
            self.remember(Interior {
                number: sibling,
                is_of_table,
                run: Run::before(direction, children.len(), window),
                children,
            });
        }
    }

    /// The pages beside an interior page, nearest first.
    fn siblings(&self, number: PageNumber, direction: Direction) -> Vec<PageNumber> {
        let Some((parent, place)) = self.position(number) else {
            return Vec::new();
        };
        let all = self.interior.get(parent).map(|parent| &*parent.children);
        let (before, after) = all.unwrap_or_default().split_at(place);
        match direction {
            Direction::Up => after.iter().skip(1).copied().collect(),
            Direction::Down => before.iter().rev().copied().collect(),
        }
    }

    fn remember(&mut self, interior: Interior) {
        self.interior.retain(|it| it.number != interior.number);
        self.interior.push_front(interior);
        self.interior.truncate(MOST_INTERIOR);
    }
}

/// Whether an interior page is of a table, and its children.
fn children(number: PageNumber, page: &Page) -> Option<(bool, Vec<PageNumber>)> {
    let node = Node::parse(number, page.clone())?;
    let children = node.children();
    (children.len() > 1).then(|| (node.is_of_table(), children))
}

#[cfg(test)]
mod tests;
