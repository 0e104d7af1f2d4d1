//! The pages of SQLite's b-trees: their cells, children and overflow chains.

use bytes::{Buf, Bytes};
use verso_pagestore::{Page, PageNumber, header};

use super::layout::{be_u16, page_number};
use super::schema::last_integer;

/// Whether the keys of a tree are row numbers or records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keys {
    /// A table's.
    Rows,
    /// Those of an index, or of a table without row numbers.
    Records,
}

/// A page of a b-tree.
#[derive(Debug)]
pub(crate) struct Node {
    page: Page,
    /// Where its header begins.
    begin: usize,
    keys: Keys,
    leaf: bool,
}

/// An entry of a node.
#[derive(Debug)]
pub(super) struct Cell {
    /// The child with the keys up to that of the cell; none in a leaf.
    pub(super) child: Option<PageNumber>,
    /// Its key in the tree of a table.
    pub(super) row: Option<i64>,
    /// Its record, unless only leaves have one.
    pub(super) payload: Option<Payload>,
}

/// A record, of which the end may be in an overflow chain.
#[derive(Debug)]
pub(super) struct Payload {
    pub(super) local: Bytes,
    pub(super) overflow: Option<PageNumber>,
}

/// The kind of a page of a b-tree, by the first byte of its header: its keys, and whether it is a leaf.
const fn kind(byte: u8) -> Option<(Keys, bool)> {
    match byte {
        2 => Some((Keys::Records, false)),
        5 => Some((Keys::Rows, false)),
        10 => Some((Keys::Records, true)),
        13 => Some((Keys::Rows, true)),
        _ => None,
    }
}

/// The kind of a page by its content, which may be of any other use.
fn kind_of(number: PageNumber, content: &[u8]) -> Option<(Keys, bool)> {
    content.get(begin(number)).copied().and_then(kind)
}

/// Where the header of a page of a b-tree begins.
const fn begin(number: PageNumber) -> usize {
    if number.get() == PageNumber::FIRST.get() {
        header::LENGTH
    } else {
        0
    }
}

/// Whether a page looks like one of a b-tree that has children.
pub(crate) fn is_interior(number: PageNumber, content: &[u8]) -> bool {
    matches!(kind_of(number, content), Some((_, false)))
}

/// Whether a page looks like a leaf of an index.
pub(crate) fn is_index_leaf(number: PageNumber, content: &[u8]) -> bool {
    matches!(kind_of(number, content), Some((Keys::Records, true)))
}

impl Cell {
    fn row_of_entry(&self) -> Option<i64> {
        let payload = self.payload.as_ref()?;
        if payload.overflow.is_some() {
            return None;
        }
        last_integer(&payload.local)
    }
}

impl Node {
    /// `content` is the usable part of the page; `None` if that is not of a b-tree.
    pub(crate) fn parse(number: PageNumber, content: Page) -> Option<Self> {
        let (keys, leaf) = kind_of(number, &content)?;
        Some(Self {
            page: content,
            begin: begin(number),
            keys,
            leaf,
        })
    }

    pub(crate) const fn is_leaf(&self) -> bool {
        self.leaf
    }

    pub(super) const fn keys(&self) -> Keys {
        self.keys
    }

    /// The child that has the keys behind those of all cells.
    pub(super) fn last_child(&self) -> Option<PageNumber> {
        let link = page_number(&self.page, self.begin + 8);
        link.filter(|_| !self.leaf)
    }

    /// All children in the order of their keys; none of a leaf.
    pub(crate) fn children(&self) -> Vec<PageNumber> {
        if self.leaf {
            return Vec::new();
        }
        let count = be_u16(&self.page, self.begin + 3).unwrap_or(0);
        let places = (0..usize::from(count)).map(|index| self.begin + 12 + 2 * index);
        places
            .map_while(|place| be_u16(&self.page, place))
            .filter_map(|offset| page_number(&self.page, usize::from(offset)))
            .chain(self.last_child())
            .collect()
    }

    /// Whether its keys are row numbers.
    pub(crate) fn is_of_table(&self) -> bool {
        self.keys == Keys::Rows
    }

    /// The child that has a row, in the tree of a table.
    pub(crate) fn child_of(&self, row: i64) -> Option<PageNumber> {
        if self.leaf || self.keys != Keys::Rows {
            return None;
        }
        let count = usize::from(be_u16(&self.page, self.begin + 3)?);
        let (mut low, mut high) = (0, count);
        while low < high {
            let middle = usize::midpoint(low, high);
            if self.row_at(middle)? < row {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        if low == count {
            return self.last_child();
        }
        page_number(&self.page, self.place(low)?)
    }

    /// The last row that a child may have, in an interior page of a table; `None` of the last child.
    pub(crate) fn row_at(&self, child: usize) -> Option<i64> {
        if self.leaf || self.keys != Keys::Rows {
            return None;
        }
        let mut cell = self.page.get(self.place(child)? + 4..)?;
        varint(&mut cell).map(u64::cast_signed)
    }

    /// The last row before those of a child, in the same way; `None` of the first child.
    pub(crate) fn row_before(&self, child: usize) -> Option<i64> {
        self.row_at(child.checked_sub(1)?)
    }

    /// Where a cell of an interior page begins.
    fn place(&self, cell: usize) -> Option<usize> {
        let count = be_u16(&self.page, self.begin + 3)?;
        if cell >= usize::from(count) {
            return None;
        }
        be_u16(&self.page, self.begin + 12 + 2 * cell).map(usize::from)
    }

    /// The rows that the entries of an index belong to: their last columns. `None` where that is
    /// no integer, or in an overflow page.
    pub(crate) fn rows_of_entries(&self) -> Vec<Option<i64>> {
        self.cells().map(|cell| cell.row_of_entry()).collect()
    }

    /// The row of one of these entries.
    pub(crate) fn row_of_entry(&self, index: usize) -> Option<i64> {
        self.cells().nth(index)?.row_of_entry()
    }

    /// The first key, in the tree of a table.
    pub(super) fn first_row(&self) -> Option<i64> {
        self.cells().next()?.row
    }

    /// Its cells in the order of their keys; damaged ones are left out.
    pub(super) fn cells(&self) -> impl Iterator<Item = Cell> {
        let count = be_u16(&self.page, self.begin + 3).unwrap_or(0);
        let array = self.begin + if self.leaf { 8 } else { 12 };
        (0..usize::from(count))
            .map_while(move |index| be_u16(&self.page, array + 2 * index))
            .filter_map(|offset| self.cell(usize::from(offset)))
    }

    fn cell(&self, offset: usize) -> Option<Cell> {
        let mut rest = self.page.clone();
        if offset > rest.len() {
            return None;
        }
        rest.advance(offset);
        let child = if self.leaf {
            None
        } else {
            Some(PageNumber::new(rest.try_get_u32().ok()?)?)
        };
        let length = match (self.keys, self.leaf) {
            (Keys::Rows, false) => None,
            (Keys::Rows, true) | (Keys::Records, _) => Some(varint(&mut rest)?),
        };
        let row = match self.keys {
            Keys::Rows => Some(varint(&mut rest)?.cast_signed()),
            Keys::Records => None,
        };
        let payload = match length {
            Some(length) => Some(self.payload(length, rest)?),
            None => None,
        };
        Some(Cell {
            child,
            row,
            payload,
        })
    }

    fn payload(&self, length: u64, mut rest: Bytes) -> Option<Payload> {
        let local = local_length(self.page.len(), self.keys, length)?;
        if local > rest.len() {
            return None;
        }
        let link = rest.split_off(local);
        let overflow = if local as u64 == length {
            None
        } else {
            page_number(&link, 0)
        };
        Some(Payload {
            local: rest,
            overflow,
        })
    }
}

/// How much of a payload is in the cell. The formulas are the format's.
fn local_length(usable: usize, keys: Keys, length: u64) -> Option<usize> {
    let share = |of_255: usize| (usable.checked_sub(12)? * of_255 / 255).checked_sub(23);
    let most = match keys {
        Keys::Rows => usable.checked_sub(35)?,
        Keys::Records => share(64)?,
    };
    if length <= most as u64 {
        return usize::try_from(length).ok();
    }
    let least = share(32)?;
    let odd = (length - least as u64) % (usable as u64 - 4);
    let local = least + usize::try_from(odd).ok()?;
    Some(if local <= most { local } else { least })
}

/// Takes SQLite's variable-length integer: seven bits a byte, and all eight of the ninth.
pub(super) fn varint(bytes: &mut impl Buf) -> Option<u64> {
    let mut value = 0;
    for _ in 0..8 {
        let byte = bytes.try_get_u8().ok()?;
        value = value << 7 | u64::from(byte & 0x7f);
        if byte < 0x80 {
            return Some(value);
        }
    }
    let last = bytes.try_get_u8().ok()?;
    Some(value << 8 | u64::from(last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_have_one_to_nine_bytes() {
        for (encoded, value) in [
            (&[0x00][..], Some(0)),
            (&[0x7f], Some(127)),
            (&[0x81, 0x00], Some(128)),
            (&[0xff; 9], Some(u64::MAX)),
            (&[0xff; 8], None),
            (&[0x80], None),
            (&[], None),
        ] {
            let mut bytes = Bytes::from_static(encoded);
            assert_eq!(varint(&mut bytes), value, "{encoded:?}");
            assert!(bytes.is_empty());
        }
    }

    /// The limits of pages of 4096 bytes: 4061 in a table's leaf, 1002 in an index, 489.
    #[test]
    fn a_long_payload_is_split_where_sqlite_splits_it() {
        for (keys, length, local) in [
            (Keys::Rows, 0, 0),
            (Keys::Rows, 4061, 4061),
            (Keys::Rows, 4062, 489),
            (Keys::Rows, 5000, 908),
            (Keys::Records, 1002, 1002),
            (Keys::Records, 1003, 489),
            (Keys::Records, 489 + 4092 + 513, 1002),
            (Keys::Records, 489 + 4092 + 514, 489),
        ] {
            let found = local_length(4096, keys, length);
            assert_eq!(found, Some(local), "{keys:?} {length}");
        }
        assert!(local_length(4096, Keys::Rows, u64::MAX).is_some());
        assert_eq!(local_length(11, Keys::Records, 1), None);
    }

    #[test]
    fn pages_of_any_length_and_content_are_read_safely() {
        for length in 0..120 {
            for kind in [2, 5, 10, 13] {
                for fill in [0, 1, 0x7f, 0xff] {
                    let mut content = vec![fill; length];
                    for begin in [0, header::LENGTH] {
                        if let Some(byte) = content.get_mut(begin) {
                            *byte = kind;
                        }
                    }
                    for number in [1, 2] {
                        let number = PageNumber::new(number).unwrap();
                        if let Some(node) = Node::parse(number, Bytes::from(content.clone())) {
                            let _ = (node.cells().count(), node.last_child(), node.first_row());
                            let _ = (node.rows_of_entries(), node.row_of_entry(1));
                            let _ = (node.child_of(7), node.row_at(1), node.row_before(1));
                        }
                    }
                }
            }
        }
    }
}
