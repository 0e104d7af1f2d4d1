//! The rows of `sqlite_schema`: `(type, name, tbl_name, rootpage, sql)`.

use bytes::{Buf, Bytes};
use verso_pagestore::PageNumber;

use super::Owner;
use super::btree::varint;
use super::layout::Encoding;

/// A table or an index, in the bytes of its row.
#[derive(Debug)]
pub(super) struct Object {
    kind: Bytes,
    name: Bytes,
    table: Bytes,
}

impl Object {
    pub(super) fn owner(&self, encoding: Encoding) -> Owner {
        let name = text(&self.name, encoding);
        if text(&self.kind, encoding) == "index" {
            let table = text(&self.table, encoding);
            Owner::Index { name, table }
        } else {
            Owner::Table(name)
        }
    }
}

/// What the beginning of a row tells.
#[derive(Debug)]
pub(super) enum Row {
    /// An object that has a tree, with the root of that.
    Rooted(PageNumber, Object),
    /// A view, a trigger or a virtual table; or no row of a schema.
    Rootless,
    /// The root is further on.
    Cut,
}

impl Row {
    pub(super) fn parse(record: &Bytes) -> Self {
        let Some(columns) = columns(record.clone()) else {
            return Self::Cut;
        };
        let [kind, name, table, root] = columns;
        let root = root.integer().and_then(|root| u32::try_from(root).ok());
        match root.and_then(PageNumber::new) {
            Some(root) => Self::Rooted(
                root,
                Object {
                    kind: kind.content,
                    name: name.content,
                    table: table.content,
                },
            ),
            None => Self::Rootless,
        }
    }
}

/// A value of a record.
#[derive(Debug)]
struct Column {
    serial_type: u64,
    content: Bytes,
}

impl Column {
    fn integer(&self) -> Option<u64> {
        match self.serial_type {
            1..=6 => Some(
                (self.content.iter()).fold(0, |value: u64, byte| value << 8 | u64::from(*byte)),
            ),
            9 => Some(1),
            _ => None,
        }
    }
}

/// The first columns of a record; `None` if it ends before.
fn columns<const N: usize>(mut record: Bytes) -> Option<[Column; N]> {
    let mut types = record.clone();
    let length = usize::try_from(varint(&mut types)?).ok()?;
    if length > record.len() {
        return None;
    }
    record.advance(length);
    let mut columns = Vec::with_capacity(N);
    for _ in 0..N {
        let serial_type = varint(&mut types)?;
        let length = usize::try_from(content_length(serial_type)).ok()?;
        if length > record.len() {
            return None;
        }
        columns.push(Column {
            serial_type,
            content: record.split_to(length),
        });
    }
    columns.try_into().ok()
}

/// The last value of a record, if that is an integer.
pub(super) fn last_integer(record: &[u8]) -> Option<i64> {
    let mut header = record;
    let length = usize::try_from(varint(&mut header)?).ok()?;
    let before = record.len() - header.len();
    let mut types = record.get(before..length)?;
    let mut last = None;
    while !types.is_empty() {
        last = Some(varint(&mut types)?);
    }
    let serial_type = last?;
    match serial_type {
        1..=6 => {
            let length = usize::try_from(content_length(serial_type)).ok()?;
            let begin = record.len().checked_sub(length)?;
            let bytes = record.get(begin..)?;
            let is_negative = bytes.first()? & 0x80 != 0;
            let sign = if is_negative { -1 } else { 0 };
            Some((bytes.iter()).fold(sign, |value, byte| value << 8 | i64::from(*byte)))
        }
        8 => Some(0),
        9 => Some(1),
        _ => None,
    }
}

const fn content_length(serial_type: u64) -> u64 {
    match serial_type {
        1..=4 => serial_type,
        5 => 6,
        6 | 7 => 8,
        0 | 8..=11 => 0,
        _ => (serial_type - 12) / 2,
    }
}

fn text(bytes: &[u8], encoding: Encoding) -> String {
    let unit: fn([u8; 2]) -> u16 = match encoding {
        Encoding::Utf8 => return String::from_utf8_lossy(bytes).into_owned(),
        Encoding::Utf16Le => u16::from_le_bytes,
        Encoding::Utf16Be => u16::from_be_bytes,
    };
    let (pairs, _) = bytes.as_chunks();
    let units: Vec<u16> = pairs.iter().copied().map(unit).collect();
    String::from_utf16_lossy(&units)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The row of an index `i` of a table `t` with root 258, and no SQL.
    const ROW: &[u8] = b"\x06\x17\x0f\x0f\x02\x00indexit\x01\x02";

    #[test]
    fn a_row_cut_anywhere_is_recognised() {
        for length in 0..ROW.len() {
            let row = Row::parse(&Bytes::from_static(&ROW[..length]));
            assert!(matches!(row, Row::Cut), "{length} bytes: {row:?}");
        }
        let Row::Rooted(root, object) = Row::parse(&Bytes::from_static(ROW)) else {
            panic!("the row has a root");
        };
        assert_eq!(root.get(), 258);
        let expected = Owner::Index {
            name: "i".to_owned(),
            table: "t".to_owned(),
        };
        assert_eq!(object.owner(Encoding::Utf8), expected);
    }

    #[test]
    fn lengths_are_those_of_the_format() {
        let lengths: Vec<u64> = (0..16).map(content_length).collect();
        assert_eq!(lengths, [0, 1, 2, 3, 4, 6, 8, 8, 0, 0, 0, 0, 0, 0, 1, 1]);
    }

    #[test]
    fn the_last_value_is_an_integer_of_any_length() {
        for (record, value) in [
            (&b"\x03\x01\x01\x05\x80"[..], Some(-128)),
            (b"\x03\x17\x02indexz\x01\x02", Some(258)),
            (b"\x02\x05\xff\xff\xff\xff\xff\xfe", Some(-2)),
            (b"\x02\x06\x7f\xff\xff\xff\xff\xff\xff\xff", Some(i64::MAX)),
            (b"\x03\x01\x08\x05", Some(0)),
            (b"\x03\x01\x09\x05", Some(1)),
            (b"\x02\x0fx", None),
            (b"\x02\x00", None),
            (b"\x02\x06\x01", None),
            (b"\x01", None),
            (b"\x00", None),
            (b"\x09\x01", None),
            (b"", None),
        ] {
            assert_eq!(last_integer(record), value, "{record:?}");
        }
    }

    #[test]
    fn objects_without_a_root_are_passed_over() {
        for root in [0, 7, 8, 12, 13] {
            let mut row = ROW.to_vec();
            row[4] = root;
            row.extend([0; 8]);
            let row = Row::parse(&Bytes::from(row));
            assert!(matches!(row, Row::Rootless), "serial type {root}: {row:?}");
        }
        let absurd = Row::parse(&Bytes::from_static(&[0xff; 64]));
        assert!(matches!(absurd, Row::Cut));
    }
}
