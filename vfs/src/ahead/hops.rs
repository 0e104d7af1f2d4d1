//! Scans of an index that hop to the rows of its table.
//!
//! A leaf of an index names the rows of its entries, and the interior pages of the table tell which
//! leaves those rows are in. Two leaves of a table that are missed in the order of the entries of one
//! index leaf are such a scan, and the leaves for the entries that follow are its next pages. Nothing
//! is known of the schema: that an index belongs to a table shows in the rows that are looked up.

use std::collections::{HashMap, VecDeque};

use verso_pagestore::{Page, PageNumber};

use super::run::Direction;
use crate::owner::Node;

/// How many leaves of indexes are remembered: those of the scans that one statement does at once.
const MOST_LEAVES: usize = 4;

/// How many entries a scan may pass over whose rows are there already, before it is looked for afresh.
const MOST_PASSED: usize = 256;

/// So many entries are looked at for each page of a window: rows of neighbours are often in one page.
const ENTRIES_OF_A_PAGE: usize = 16;

/// The leaves of indexes that SQLite got, newest first.
#[derive(Debug, Default)]
pub(super) struct Hops(VecDeque<Leaf>);

#[derive(Debug)]
struct Leaf {
    number: PageNumber,
    page: Page,
    /// The rows of its entries, once they were asked for; `None` where that is not known.
    rows: Option<Vec<Option<i64>>>,
    hop: Hop,
}

/// How the rows of an index leaf are looked up.
#[derive(Debug, Clone, Copy)]
enum Hop {
    /// None was.
    Fresh,
    /// One of them was missing, in this leaf of the table.
    At(PageNumber),
    /// One after the other: so many from the beginning in this direction. The last request was for so
    /// many pages.
    Going {
        tree: Tree,
        direction: Direction,
        passed: usize,
        window: usize,
    },
}

/// The tree of a table.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tree {
    /// Its root, or the highest page of it that is known.
    pub(super) root: PageNumber,
    /// How many pages lead from there to a leaf.
    pub(super) depth: usize,
}

/// A page that is missing, maybe a leaf of a table.
pub(super) struct Missing {
    pub(super) number: PageNumber,
    /// The page above it, of a table, and which of its children it is, if that is known.
    pub(super) place: Option<(PageNumber, usize)>,
    /// Whether it was read ahead before, and did not stay.
    pub(super) went: bool,
}

/// Where a row is.
enum Target {
    Leaf(PageNumber),
    /// This page would tell, and is not in the cache.
    Behind(PageNumber),
}

/// What is known without reading a page.
pub(super) struct Known<C, P> {
    cached: C,
    /// The page above a page, and which of its children it is.
    parent: P,
    nodes: HashMap<PageNumber, Option<Node>>,
}

impl<C, P> Known<C, P>
where
    C: Fn(PageNumber) -> Option<Page>,
    P: Fn(PageNumber) -> Option<(PageNumber, usize)>,
{
    pub(super) fn new(cached: C, parent: P) -> Self {
        Self {
            cached,
            parent,
            nodes: HashMap::new(),
        }
    }

    /// The rows of the entries of an index leaf, between those of the entries that lie between it and
    /// the leaves beside it, in the page above.
    fn rows(&mut self, number: PageNumber, page: &Page) -> Vec<Option<i64>> {
        let leaf = Node::parse(number, page.clone());
        let mut rows = leaf.map_or_else(Vec::new, |leaf| leaf.rows_of_entries());
        if let Some((parent, place)) = (self.parent)(number)
            && let Some(parent) = self.node(parent)
        {
            rows.insert(
                0,
                place
                    .checked_sub(1)
                    .and_then(|before| parent.row_of_entry(before)),
            );
            rows.push(parent.row_of_entry(place));
        }
        rows
    }

    fn has(&self, number: PageNumber) -> bool {
        (self.cached)(number).is_some()
    }

    fn node(&mut self, number: PageNumber) -> Option<&Node> {
        let cached = &self.cached;
        let parse = || Node::parse(number, cached(number)?);
        self.nodes.entry(number).or_insert_with(parse).as_ref()
    }

    fn find(&mut self, tree: Tree, row: i64) -> Option<Target> {
        let mut page = tree.root;
        for _ in 0..tree.depth {
            page = match self.node(page) {
                Some(node) => node.child_of(row)?,
                None => return Some(Target::Behind(page)),
            };
        }
        Some(Target::Leaf(page))
    }

    /// Whether a row is in a page, or is not in the way of a scan that has come to that page: it is
    /// unknown, or its page is there.
    fn pass(&mut self, tree: Tree, row: Option<i64>, page: PageNumber) -> Passed {
        match row.map(|row| self.find(tree, row)) {
            Some(Some(Target::Leaf(leaf))) if leaf == page => Passed::Arrived,
            Some(Some(Target::Leaf(leaf))) if self.has(leaf) => Passed::On,
            Some(Some(Target::Leaf(_) | Target::Behind(_)) | None) => Passed::Not,
            None => Passed::On,
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Passed {
    Arrived,
    On,
    Not,
}

/// What became of a scan at a missing page.
enum Followed {
    /// It has come to that page.
    To(Hop),
    /// It has come to the end of the leaf; what is missing may be of the way to the next one.
    ToEnd,
    /// It is somewhere else.
    Not,
}

impl Hops {
    /// SQLite gets a leaf of an index.
    pub(super) fn delivered(&mut self, number: PageNumber, page: &Page) {
        let mut leaves = self.0.iter();
        let known = leaves.position(|leaf| leaf.number == number);
        if let Some(known) = known.and_then(|known| self.0.remove(known))
            && known.page.as_ptr() == page.as_ptr()
        {
            self.0.push_front(known);
            return;
        }
        // A scan comes from the leaf beside this one.
        let hop = match self.0.front().map(|leaf| leaf.hop) {
            Some(Hop::Going {
                tree,
                direction,
                window,
                ..
            }) => Hop::Going {
                tree,
                direction,
                passed: 0,
                window,
            },
            Some(Hop::Fresh | Hop::At(_)) | None => Hop::Fresh,
        };
        self.0.push_front(Leaf {
            number,
            page: page.clone(),
            rows: None,
            hop,
        });
        self.0.truncate(MOST_LEAVES);
    }

    /// A leaf of a table is missing: the pages to read, it among them, at most so many, if a scan
    /// hops to it.
    pub(super) fn wanted<C, P>(
        &mut self,
        missing: &Missing,
        tree: impl Fn() -> Tree,
        most: usize,
        known: &mut Known<C, P>,
    ) -> Option<Vec<PageNumber>>
    where
        C: Fn(PageNumber) -> Option<Page>,
        P: Fn(PageNumber) -> Option<(PageNumber, usize)>,
    {
        let mut leaves = self.0.iter_mut();
        leaves.find_map(|leaf| leaf.wanted(missing, &tree, most, known))
    }
}

impl Leaf {
    fn wanted<C, P>(
        &mut self,
        missing: &Missing,
        tree: impl Fn() -> Tree,
        most: usize,
        known: &mut Known<C, P>,
    ) -> Option<Vec<PageNumber>>
    where
        C: Fn(PageNumber) -> Option<Page>,
        P: Fn(PageNumber) -> Option<(PageNumber, usize)>,
    {
        let read = || known.rows(self.number, &self.page);
        let rows = self.rows.get_or_insert_with(read);
        self.hop = match self.hop.follow(rows, missing, known) {
            Followed::To(going) => going,
            Followed::ToEnd => return None,
            Followed::Not => self.hop.begin(rows, missing, tree, known),
        };
        let Hop::Going {
            tree,
            direction,
            passed,
            window,
        } = &mut self.hop
        else {
            return None;
        };
        *window = (2 * *window).min(most);
        let mut wanted = vec![missing.number];
        let next = in_direction(*direction, rows).skip(*passed);
        for row in next.take(*window * ENTRIES_OF_A_PAGE).flatten() {
            if wanted.len() >= *window {
                break;
            }
            if let Some(Target::Leaf(page) | Target::Behind(page)) = known.find(*tree, row)
                && !wanted.contains(&page)
                && !known.has(page)
            {
                wanted.push(page);
            }
        }
        Some(wanted)
    }
}

impl Hop {
    /// The scan goes on to the missing page.
    fn follow<C, P>(
        self,
        rows: &[Option<i64>],
        missing: &Missing,
        known: &mut Known<C, P>,
    ) -> Followed
    where
        C: Fn(PageNumber) -> Option<Page>,
        P: Fn(PageNumber) -> Option<(PageNumber, usize)>,
    {
        let Self::Going {
            tree,
            direction,
            passed,
            window,
        } = self
        else {
            return Followed::Not;
        };
        let next = in_direction(direction, rows).skip(passed).take(MOST_PASSED);
        for (index, row) in next.enumerate() {
            match known.pass(tree, row, missing.number) {
                Passed::Arrived => {
                    return Followed::To(Self::Going {
                        tree,
                        direction,
                        passed: passed + index + 1,
                        window: if missing.went {
                            window.div_ceil(8)
                        } else {
                            window
                        },
                    });
                }
                Passed::On => {}
                Passed::Not => return Followed::Not,
            }
        }
        if rows.len() <= passed + MOST_PASSED {
            Followed::ToEnd
        } else {
            Followed::Not
        }
    }

    /// The missing page may be the first of a scan, or the second, which shows that it is one.
    fn begin<C, P>(
        self,
        rows: &[Option<i64>],
        missing: &Missing,
        tree: impl Fn() -> Tree,
        known: &mut Known<C, P>,
    ) -> Self
    where
        C: Fn(PageNumber) -> Option<Page>,
        P: Fn(PageNumber) -> Option<(PageNumber, usize)>,
    {
        let range = missing.place.and_then(|(parent, place)| {
            let node = known.node(parent)?;
            Some((node.row_before(place), node.row_at(place)))
        });
        let Some((after, to)) = range else {
            return Self::Fresh;
        };
        let is_in =
            |row: i64| after.is_none_or(|after| row > after) && to.is_none_or(|to| row <= to);
        let mut entries = (rows.iter().enumerate())
            .filter(|(_, row)| row.is_some_and(is_in))
            .map(|(index, _)| index)
            .peekable();
        if entries.peek().is_none() {
            return Self::Fresh;
        }
        let Self::At(last) = self else {
            return Self::At(missing.number);
        };
        let tree = tree();
        for entry in entries {
            for (direction, passed) in [
                (Direction::Up, entry + 1),
                (Direction::Down, rows.len() - entry),
            ] {
                let back = in_direction(direction.opposite(), rows).skip(rows.len() + 1 - passed);
                let mut back = back
                    .take(MOST_PASSED)
                    // Of the page that is missing now.
                    .skip_while(|row| row.is_some_and(is_in))
                    .map(|row| known.pass(tree, row, last))
                    .skip_while(|passed| *passed == Passed::On);
                if back.next() == Some(Passed::Arrived) {
                    return Self::Going {
                        tree,
                        direction,
                        passed,
                        window: 1,
                    };
                }
            }
        }
        Self::At(missing.number)
    }
}

fn in_direction(
    direction: Direction,
    rows: &[Option<i64>],
) -> impl Iterator<Item = Option<i64>> + '_ {
    let last = rows.len().saturating_sub(1);
    (0..rows.len()).filter_map(move |index| match direction {
        Direction::Up => rows.get(index).copied(),
        Direction::Down => rows.get(last - index).copied(),
    })
}
