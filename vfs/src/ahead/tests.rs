//! Goal: scans need few requests, lookups read nothing else. Method: pages are read in the order in
//! which SQLite would read them, and requests are counted.

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

/// A leaf of an index, with the rows of its entries in their order.
fn index_leaf(rows: &[u16]) -> Page {
    let mut content = vec![0; 4096];
    content[0] = 10;
    content[3..5].copy_from_slice(&u16::try_from(rows.len()).unwrap().to_be_bytes());
    for (index, row) in rows.iter().enumerate() {
        let cell = 4080 - 8 * index;
        let offset = u16::try_from(cell).unwrap().to_be_bytes();
        content[8 + 2 * index..10 + 2 * index].copy_from_slice(&offset);
        // Six bytes: a header of three, of which two are types; a key; the row.
        content[cell..cell + 5].copy_from_slice(&[6, 3, 1, 2, 77]);
        content[cell + 5..cell + 7].copy_from_slice(&row.to_be_bytes());
    }
    content.into()
}

/// An interior page of a table whose children have ten rows each, from 1 on.
fn table(children: std::ops::Range<usize>) -> Page {
    let mut content = interior(children.clone()).to_vec();
    for index in 0..children.len() - 1 {
        let cell = 4090 - 6 * index;
        let row = 10 * (index + 1);
        content[cell + 4] = u8::try_from(0x80 | row >> 7).unwrap();
        content[cell + 5] = u8::try_from(row & 0x7f).unwrap();
    }
    content.into()
}

/// Rows 1, 311, 621 and so on, each in another leaf than the one before.
fn scattered(count: u16) -> Vec<u16> {
    (0..count).map(|entry| 1 + entry * 310 % 2000).collect()
}

/// The child that has a row.
fn child_of(row: u16) -> usize {
    1000 + usize::from(row - 1) / 10
}

/// Reads a page of `table`, whose page 2 is in the cache.
fn hop(reader: &mut Reader, row: u16) {
    let number = page(child_of(row));
    if !reader.cached.contains(&number) {
        let content = table(1000..1200);
        let cached = |other: PageNumber| match other.get() {
            2 => Some(content.clone()),
            _ => reader.cached.contains(&other).then(leaf),
        };
        let wanted = reader.ahead.wanted(number, false, 128, cached);
        assert!(wanted.contains(&number) && wanted.len() <= 128);
        reader.cached.extend(wanted);
        reader.requests += 1;
    }
    reader.ahead.delivered(number, &leaf());
}

#[test]
fn rows_that_an_index_names_take_few_requests_in_either_direction() {
    for is_descending in [false, true] {
        let mut reader = Reader::new();
        reader.read(2, &table(1000..1200));
        let mut parts: Vec<Vec<u16>> = scattered(180).chunks(90).map(<[u16]>::to_vec).collect();
        let leaves = parts.clone();
        if is_descending {
            parts.reverse();
        }
        let before = reader.cached.len();
        reader.requests = 0;
        for mut part in parts {
            let place = leaves.iter().position(|leaf| *leaf == part).unwrap();
            reader
                .ahead
                .delivered(page(500 + place), &index_leaf(&part));
            if is_descending {
                part.reverse();
            }
            for row in part {
                hop(&mut reader, row);
            }
        }
        // Windows of 1, 2, 4 up to 64 end with the first leaf; then 128 at once.
        assert!(reader.requests <= 10, "{} requests", reader.requests);
        let wanted: std::collections::HashSet<_> =
            scattered(180).into_iter().map(child_of).collect();
        assert_eq!(reader.cached.len() - before, wanted.len(), "nothing else");
    }
}

#[test]
fn rows_in_no_order_of_an_index_are_read_alone() {
    let mut reader = Reader::new();
    reader.read(2, &table(1000..1200));
    reader
        .ahead
        .delivered(page(500), &index_leaf(&scattered(180)));
    let before = reader.cached.len();
    for entry in [10, 100, 40, 3, 170, 90, 20, 130, 60] {
        let rows = scattered(180);
        hop(&mut reader, rows[entry]);
    }
    assert_eq!(reader.cached.len() - before, 9);
}

#[test]
fn a_scan_over_pages_that_are_there_keeps_its_window() {
    let mut reader = Reader::new();
    reader.read(2, &interior(1000..1400));
    reader
        .cached
        .extend((1000..1300).filter(|n| n % 50 > 10).map(page));
    reader.requests = 0;
    for child in 1000..1400 {
        reader.read(child, &leaf());
    }
    // Without the pages that are there it would take 10.
    assert!(reader.requests <= 10, "{} requests", reader.requests);
}

#[test]
fn what_does_not_stay_is_read_in_smaller_windows() {
    let mut ahead = Ahead::default();
    ahead.delivered(page(2), &interior(1000..1400));
    let mut most = 0;
    for child in 1000..1200 {
        // Nothing is ever there.
        let went = ahead.is_first_use(page(child));
        let wanted = ahead.wanted(page(child), went, 128, |_| None);
        most = most.max(wanted.len());
        ahead.came(&wanted, page(child));
        ahead.delivered(page(child), &leaf());
    }
    assert!(most <= 16, "{most} pages at once");
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
            let wanted = self.ahead.wanted(number, false, 128, |_| None);
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
fn the_schema_is_read_whole() {
    // The header of the file comes before that of the page.
    let mut content = interior(10..22).to_vec();
    content.copy_within(0..100, 100);
    content[..100].fill(0);
    let mut reader = Reader::new();
    reader.read(1, &content.into());
    for child in 10..22 {
        reader.read(child, &leaf());
    }
    assert_eq!(reader.requests, 2);
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
