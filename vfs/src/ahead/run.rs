//! How a scan goes over the children of one interior page.

use std::ops::Range;

/// How the children of an interior page are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Run {
    /// None was.
    Fresh,
    /// This one alone.
    At(usize),
    /// One after the other. The last request was for so many.
    Up { next: usize, window: usize },
    /// In descending order. `next` is below the last one.
    Down { next: Option<usize>, window: usize },
}

/// Which way a scan goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    Up,
    Down,
}

impl Direction {
    pub(super) const fn opposite(self) -> Self {
        match self {
            Self::Up => Self::Down,
            Self::Down => Self::Up,
        }
    }

    /// What follows on a range in this direction, up to so many from its beginning.
    pub(super) fn rest(self, range: Range<usize>, most: usize, of: usize) -> Range<usize> {
        match self {
            Self::Up => range.end..(range.start + most).min(of).max(range.end),
            Self::Down => range.end.saturating_sub(most).min(range.start)..range.start,
        }
    }

    /// The first in this direction of so many.
    pub(super) fn first(self, taken: usize, of: usize) -> Range<usize> {
        match self {
            Self::Up => 0..taken.min(of),
            Self::Down => of.saturating_sub(taken)..of,
        }
    }
}

impl Run {
    /// Before the first child in a direction.
    pub(super) const fn before(direction: Direction, children: usize, window: usize) -> Self {
        match direction {
            Direction::Up => Self::Up { next: 0, window },
            Direction::Down => Self::Down {
                next: children.checked_sub(1),
                window,
            },
        }
    }

    /// A child is read, whether it was there or not. A scan may leave some out that SQLite has in its
    /// own cache, but not more than its window.
    pub(super) fn step(&mut self, child: usize) {
        let below = child.checked_sub(1);
        let up = |window| Self::Up {
            next: child + 1,
            window,
        };
        let down = |window| Self::Down {
            next: below,
            window,
        };
        *self = match *self {
            Self::Up { next, window } if (next..next + window).contains(&child) => up(window),
            Self::Up { next, window } if child + 1 == next => up(window),
            Self::Down { next, window }
                if next.is_some_and(|next| child <= next && next < child + window) =>
            {
                down(window)
            }
            Self::Down { next, window } if below == next => down(window),
            Self::At(last) if child == last + 1 => up(1),
            Self::At(last) if child + 1 == last => down(1),
            Self::Fresh | Self::At(_) | Self::Up { .. } | Self::Down { .. } => Self::At(child),
        };
    }

    /// The child that was read last is missing: which ones to read with it, and how many more beyond
    /// the last of all children, or before the first.
    pub(super) fn miss(
        &mut self,
        child: usize,
        children: usize,
        most: usize,
    ) -> (Range<usize>, Option<(Direction, usize)>) {
        let alone = child..child + 1;
        match self {
            Self::Up { window, .. } => {
                *window = (2 * *window).min(most);
                let end = (child + *window).min(children).max(alone.end);
                let beyond = (child + *window).saturating_sub(end);
                (child..end, Some((Direction::Up, beyond)))
            }
            Self::Down { window, .. } => {
                *window = (2 * *window).min(most);
                let begin = alone.end.saturating_sub(*window);
                let beyond = window.saturating_sub(alone.end - begin);
                (begin..alone.end, Some((Direction::Down, beyond)))
            }
            Self::Fresh | Self::At(_) => (alone, None),
        }
    }

    /// Whether children were read in their order, and one of them with others.
    pub(super) const fn is_scan(self) -> bool {
        matches!(self, Self::Up { window, .. } | Self::Down { window, .. } if window > 1)
    }

    /// Which way the scan goes, and its window, if its next window reaches the end.
    pub(super) fn at_end(self, children: usize) -> Option<(Direction, usize)> {
        match self {
            Self::Up { next, window } if next + window >= children => Some((Direction::Up, window)),
            Self::Down { next, window } if next.is_none_or(|next| next < window) => {
                Some((Direction::Down, window))
            }
            Self::Fresh | Self::At(_) | Self::Up { .. } | Self::Down { .. } => None,
        }
    }

    /// Reads less at once, since what was read ahead did not stay until it was wanted.
    pub(super) const fn slow_down(&mut self) {
        if let Self::Up { window, .. } | Self::Down { window, .. } = self {
            *window = if *window > 8 { *window / 8 } else { 1 };
        }
    }
}
