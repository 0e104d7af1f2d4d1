//! Reading ahead: which pages a scan will want next.
//!
//! An interior page of a b-tree names its children in the order of their keys. Whoever misses one
//! child after the other is scanning, so the next ones are read in the same request, in a window
//! that doubles each time. Likewise the pages of an overflow chain, which mostly lie one behind the
//! other. A page that is wanted alone, as in a point lookup, is read alone.

use std::collections::VecDeque;

use verso_pagestore::PageNumber;

use crate::owner::Node;

/// How many interior pages are remembered: those of a few scans at once, and of their levels.
const MOST_INTERIOR: usize = 32;

/// What is known of the scans of one connection to one database.
#[derive(Debug, Default)]
pub(crate) struct Ahead {
    /// The interior pages that SQLite got, newest first.
    interior: VecDeque<Interior>,
    chain: Chain,
}

/// An interior page.
#[derive(Debug)]
struct Interior {
    number: PageNumber,
    children: Vec<PageNumber>,
    run: Run,
}

/// How the children of an interior page are missed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Run {
    /// None was.
    Fresh,
    /// This one alone.
    At(usize),
    /// One after the other. The next is read with so many.
    Up { next: usize, window: usize },
    /// In descending order. `next` is below the last one.
    Down { next: Option<usize>, window: usize },
}

impl Run {
    /// A child is missing: which ones to read, from the first to the last.
    fn miss(&mut self, child: usize, children: usize, most: usize) -> (usize, usize) {
        let grown = |window: usize| (2 * window).min(most);
        *self = match *self {
            Self::Up { next, window } if child == next => Self::Up {
                next,
                window: grown(window),
            },
            Self::Down { next, window } if Some(child) == next => Self::Down {
                next,
                window: grown(window),
            },
            Self::At(last) if child == last + 1 => Self::Up {
                next: child,
                window: most.min(2),
            },
            Self::At(last) if child + 1 == last => Self::Down {
                next: Some(child),
                window: most.min(2),
            },
            _ => Self::At(child),
        };
        match self {
            Self::Up { next, window } => {
                let end = (child + *window).min(children);
                *next = end;
                (child, end.saturating_sub(1))
            }
            Self::Down { next, window } => {
                let begin = (child + 1).saturating_sub(*window);
                *next = begin.checked_sub(1);
                (begin, child)
            }
            Self::Fresh | Self::At(_) => (child, child),
        }
    }

    /// The run that goes on in the children of the next interior page, or of the one before.
    const fn beyond(self, children: usize, next_children: usize) -> Option<Self> {
        match self {
            Self::Up { next, window } if next >= children => Some(Self::Up { next: 0, window }),
            Self::Down { next: None, window } => Some(Self::Down {
                next: next_children.checked_sub(1),
                window,
            }),
            Self::Fresh | Self::At(_) | Self::Up { .. } | Self::Down { .. } => None,
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
    pub(crate) fn delivered(&mut self, number: PageNumber, page: &verso_pagestore::Page) {
        self.chain.link = page
            .first_chunk()
            .and_then(|link| PageNumber::new(u32::from_be_bytes(*link)));
        let known = self.interior.iter().position(|it| it.number == number);
        let children = Node::parse(number, page.clone())
            .filter(|node| !node.is_leaf())
            .map(|node| node.children())
            .filter(|children| children.len() > 1);
        let Some(children) = children else {
            // It was one, and is something else now.
            if let Some(known) = known {
                self.interior.remove(known);
            }
            return;
        };
        let run = match known.and_then(|known| self.interior.remove(known)) {
            Some(known) if known.children == children => known.run,
            _ => self.inherited(number, children.len()).unwrap_or(Run::Fresh),
        };
        self.interior.push_front(Interior {
            number,
            children,
            run,
        });
        self.interior.truncate(MOST_INTERIOR);
    }

    /// The run of a scan that has come to the end of the interior page beside this one.
    fn inherited(&self, number: PageNumber, children: usize) -> Option<Run> {
        let (parent, place) = self.place(number)?;
        let siblings = &self.interior.get(parent)?.children;
        let beside = [place.checked_sub(1), place.checked_add(1)];
        beside.into_iter().flatten().find_map(|beside| {
            let number = siblings.get(beside)?;
            let sibling = self.interior.iter().find(|it| it.number == *number)?;
            sibling.run.beyond(sibling.children.len(), children)
        })
    }

    /// The interior page that names a page, and where.
    fn place(&self, number: PageNumber) -> Option<(usize, usize)> {
        let mut interior = self.interior.iter().enumerate();
        interior.find_map(|(index, it)| {
            let place = it.children.iter().position(|child| *child == number)?;
            Some((index, place))
        })
    }

    /// A page is missing: the pages to read, it among them, at most so many.
    pub(crate) fn wanted(&mut self, number: PageNumber, most: usize) -> Vec<PageNumber> {
        if let Some((index, place)) = self.place(number)
            && let Some(interior) = self.interior.get_mut(index)
        {
            self.chain.window = 0;
            let (first, last) = interior.run.miss(place, interior.children.len(), most);
            let wanted = interior.children.get(first..=last);
            return wanted.map_or_else(|| vec![number], <[PageNumber]>::to_vec);
        }
        self.chain.window = if self.chain.link == Some(number) {
            (2 * self.chain.window).clamp(1, most)
        } else {
            0
        };
        let first = number.get();
        let last = first.saturating_add(u32::try_from(self.chain.window).unwrap_or(0).max(1) - 1);
        (first..=last).filter_map(PageNumber::new).collect()
    }
}
