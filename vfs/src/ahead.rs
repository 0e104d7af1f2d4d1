//! Reading ahead: which pages a scan will want next.
//!
//! An interior page of a b-tree names its children in the order of their keys. Whoever misses one
//! child after the other is scanning, so the next ones are read in the same request, in a window
//! that doubles each time. Likewise the pages of an overflow chain, which mostly lie one behind the
//! other. A page that is wanted alone, as in a point lookup, is read alone.

use std::collections::VecDeque;
use std::ops::Range;

use verso_pagestore::{Page, PageNumber};

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
            Self::Fresh | Self::At(_) | Self::Up { .. } | Self::Down { .. } => Self::At(child),
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

    /// Whether it goes on beyond the last child, or before the first one, and its window.
    fn beyond(self, children: usize) -> Option<(Direction, usize)> {
        match self {
            Self::Up { next, window } if next >= children => Some((Direction::Up, window)),
            Self::Down { next: None, window } => Some((Direction::Down, window)),
            Self::Fresh | Self::At(_) | Self::Up { .. } | Self::Down { .. } => None,
        }
    }
}

/// Which way a scan goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    Up,
    Down,
}

impl Direction {
    const fn opposite(self) -> Self {
        match self {
            Self::Up => Self::Down,
            Self::Down => Self::Up,
        }
    }

    /// The first children in this direction of so many, and the run behind them.
    fn begin(self, children: usize, taken: usize, window: usize) -> (Range<usize>, Run) {
        let rest = children.saturating_sub(taken);
        match self {
            Self::Up => (
                0..taken,
                Run::Up {
                    next: taken,
                    window,
                },
            ),
            Self::Down => (
                rest..children,
                Run::Down {
                    next: rest.checked_sub(1),
                    window,
                },
            ),
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
        let Some(children) = children(number, page) else {
            return;
        };
        let run = match known {
            Some(known) if known.children == children => known.run,
            _ => self.inherited(number, children.len()).unwrap_or(Run::Fresh),
        };
        self.remember(number, children, run);
    }

    /// The run of a scan that has come to the end of the interior page beside this one.
    fn inherited(&self, number: PageNumber, children: usize) -> Option<Run> {
        [Direction::Up, Direction::Down]
            .into_iter()
            .find_map(|direction| {
                let before = *self.siblings(number, direction.opposite()).first()?;
                let before = self.interior.iter().find(|it| it.number == before)?;
                let (run, window) = before.run.beyond(before.children.len())?;
                (run == direction).then(|| direction.begin(children, 0, window).1)
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

    /// A page is missing: the pages to read, it among them, at most so many. `cached` knows pages
    /// that need not be read.
    pub(crate) fn wanted(
        &mut self,
        number: PageNumber,
        most: usize,
        cached: impl Fn(PageNumber) -> Option<Page>,
    ) -> Vec<PageNumber> {
        if let Some((index, place)) = self.place(number)
            && let Some(interior) = self.interior.get_mut(index)
        {
            self.chain.window = 0;
            let (first, last) = interior.run.miss(place, interior.children.len(), most);
            let children = interior.children.get(first..=last);
            let mut wanted = children.unwrap_or(&[]).to_vec();
            if wanted.is_empty() {
                wanted.push(number);
            }
            let beyond = interior.run.beyond(interior.children.len());
            if let Some((direction, window)) = beyond {
                let room = window.saturating_sub(wanted.len());
                self.want_beyond(index, direction, window, room, &cached, &mut wanted);
            }
            return wanted;
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

    /// A window reaches beyond an interior page: into those beside it, or if they are not there,
    /// to them.
    fn want_beyond(
        &mut self,
        index: usize,
        direction: Direction,
        window: usize,
        mut room: usize,
        cached: &impl Fn(PageNumber) -> Option<Page>,
        wanted: &mut Vec<PageNumber>,
    ) {
        let Some(interior) = self.interior.get(index) else {
            return;
        };
        let usual = interior.children.len();
        for sibling in self.siblings(interior.number, direction) {
            if room == 0 {
                return;
            }
            let Some(content) = cached(sibling) else {
                // Its children come when it is there.
                wanted.push(sibling);
                room = room.saturating_sub(usual);
                continue;
            };
            let Some(children) = children(sibling, &content) else {
                return;
            };
            let taken = room.min(children.len());
            let (range, run) = direction.begin(children.len(), taken, window);
            wanted.extend(children.get(range).unwrap_or_default());
            room -= taken;
            self.remember(sibling, children, run);
        }
    }

    /// The pages beside an interior page, nearest first.
    fn siblings(&self, number: PageNumber, direction: Direction) -> Vec<PageNumber> {
        let Some((parent, place)) = self.place(number) else {
            return Vec::new();
        };
        let all = self.interior.get(parent).map(|parent| &*parent.children);
        let (before, after) = all.unwrap_or_default().split_at(place);
        match direction {
            Direction::Up => after.iter().skip(1).copied().collect(),
            Direction::Down => before.iter().rev().copied().collect(),
        }
    }

    fn remember(&mut self, number: PageNumber, children: Vec<PageNumber>, run: Run) {
        self.interior.retain(|it| it.number != number);
        self.interior.push_front(Interior {
            number,
            children,
            run,
        });
        self.interior.truncate(MOST_INTERIOR);
    }
}

/// The children of an interior page.
fn children(number: PageNumber, page: &Page) -> Option<Vec<PageNumber>> {
    let node = Node::parse(number, page.clone())?;
    let children = node.children();
    (children.len() > 1).then_some(children)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(number: usize) -> PageNumber {
        PageNumber::new(u32::try_from(number).unwrap()).unwrap()
    }

    /// An interior page of a table with these children.
    fn interior(children: std::ops::Range<usize>) -> Page {
        let mut content = vec![0; 4096];
        let last = children.end - 1;
        let cells = u16::try_from(children.len() - 1).unwrap();
        content[0] = 5;
        content[3..5].copy_from_slice(&cells.to_be_bytes());
        content[8..12].copy_from_slice(&page(last).get().to_be_bytes());
        for (index, child) in (children.start..last).enumerate() {
            let cell = 4090 - 6 * index;
            let offset = u16::try_from(cell).unwrap().to_be_bytes();
            content[12 + 2 * index..14 + 2 * index].copy_from_slice(&offset);
            content[cell..cell + 4].copy_from_slice(&page(child).get().to_be_bytes());
        }
        content.into()
    }

    /// Reads pages as SQLite does, and counts the requests for those that are missing.
    struct Reader {
        ahead: Ahead,
        cached: std::collections::HashSet<PageNumber>,
        requests: usize,
    }

    impl Reader {
        fn new() -> Self {
            Self {
                ahead: Ahead::default(),
                cached: std::collections::HashSet::new(),
                requests: 0,
            }
        }

        fn read(&mut self, number: usize, content: &Page) {
            let number = page(number);
            if !self.cached.contains(&number) {
                let wanted = self.ahead.wanted(number, 128, |_| None);
                assert!(wanted.contains(&number) && wanted.len() <= 128);
                self.cached.extend(wanted);
                self.requests += 1;
            }
            self.ahead.delivered(number, content);
        }
    }

    fn leaf() -> Page {
        let mut content = vec![0; 4096];
        content[0] = 13;
        content.into()
    }

    #[test]
    fn a_scan_needs_few_requests_in_either_direction() {
        for is_descending in [false, true] {
            let mut reader = Reader::new();
            reader.read(2, &interior(10..14));
            let mut order: Vec<usize> = (10..14).collect();
            if is_descending {
                order.reverse();
            }
            for parent in order {
                let mut children: Vec<usize> = (parent * 1000..parent * 1000 + 400).collect();
                reader.read(parent, &interior(parent * 1000..parent * 1000 + 400));
                if is_descending {
                    children.reverse();
                }
                for child in children {
                    reader.read(child, &leaf());
                }
            }
            // Windows of 1, 2, 4 up to 128, and then 128 each; at each end of an interior page less.
            assert!(reader.requests <= 1 + 3 + 10 + 3 * 4, "{}", reader.requests);
            let needless = reader.cached.len() - (1 + 4 + 1600);
            assert_eq!(needless, 0, "nothing but what the scan wants");
        }
    }

    #[test]
    fn lookups_read_nothing_else() {
        let mut reader = Reader::new();
        reader.read(2, &interior(1000..1400));
        for lookup in [1200, 1017, 1399, 1000, 1003, 1100, 1300] {
            reader.read(lookup, &leaf());
        }
        assert_eq!((reader.requests, reader.cached.len()), (8, 8));
    }

    #[test]
    fn a_chain_is_followed_once_it_is_one() {
        let mut reader = Reader::new();
        let link = |next: usize| {
            let mut content = page(next).get().to_be_bytes().to_vec();
            content.resize(4096, 0);
            Page::from(content)
        };
        for number in 50..150 {
            reader.read(number, &link(number + 1));
        }
        assert!(reader.requests <= 10, "{}", reader.requests);
        let before = reader.cached.len();
        reader.read(500, &leaf());
        assert_eq!(reader.cached.len(), before + 1, "the chain has ended");
    }

    #[test]
    fn a_page_that_became_something_else_is_forgotten() {
        let mut reader = Reader::new();
        reader.read(2, &interior(1000..1400));
        reader.read(1000, &leaf());
        reader.ahead.delivered(page(2), &leaf());
        reader.read(1001, &leaf());
        assert_eq!(reader.cached.len(), 3);
    }
}
