//! Two sources of pairs as one: newer ones, which are in memory, over those of a store.

use std::iter::Peekable;

use super::{Direction, KeyValue, KvError};

/// Pairs of both sources in the order of a query. What is in memory hides what is stored.
pub(super) struct Overlay<Newer: Iterator, Hides, Stored> {
    direction: Direction,
    newer: Peekable<Newer>,
    hides: Hides,
    stored: Stored,
    /// The store's next pair, if it was asked for already.
    next: Option<KeyValue>,
}

impl<Key, Value, Newer, Hides, Stored> Overlay<Newer, Hides, Stored>
where
    Key: AsRef<[u8]> + Into<Vec<u8>>,
    Value: Into<Vec<u8>>,
    Newer: Iterator<Item = (Key, Value)>,
    Hides: Fn(&[u8]) -> bool,
    Stored: FnMut() -> Result<Option<KeyValue>, KvError>,
{
    /// `newer` and `stored` give their pairs in this order; `hides` tells which of the store's
    /// keys were written or cleared since.
    pub(super) fn new(direction: Direction, newer: Newer, hides: Hides, stored: Stored) -> Self {
        Self {
            direction,
            newer: newer.peekable(),
            hides,
            stored,
            next: None,
        }
    }

    /// The next pair.
    pub(super) fn next(&mut self) -> Result<Option<KeyValue>, KvError> {
        if self.next.is_none() {
            self.next = self.next_stored()?;
        }
        let newer_first = match (self.newer.peek(), &self.next) {
            (None, _) => false,
            (Some(_), None) => true,
            (Some((key, _)), Some((stored, _))) => match self.direction {
                Direction::Forward => key.as_ref() < stored.as_slice(),
                Direction::Reverse => key.as_ref() > stored.as_slice(),
            },
        };
        if newer_first {
            let newer = self.newer.next();
            Ok(newer.map(|(key, value)| (key.into(), value.into())))
        } else {
            Ok(self.next.take())
        }
    }

    fn next_stored(&mut self) -> Result<Option<KeyValue>, KvError> {
        loop {
            match (self.stored)()? {
                Some((key, _)) if (self.hides)(&key) => {}
                other => return Ok(other),
            }
        }
    }
}
