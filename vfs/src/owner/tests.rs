//! Goal: every page gets its owner, and no bytes do harm. Method: SQLite builds databases
//! of many shapes, and its own `dbstat` table says whose each page is; then the same
//! databases are damaged at random.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::Path;

use bytes::Bytes;
use rusqlite::Connection;
use tempfile::TempDir;
use verso_pagestore::{PageCount, PageSize, header};

use super::*;

const ALL: usize = usize::MAX;

/// How a database is built.
#[derive(Debug, Clone, Copy)]
struct Shape {
    page_size: u32,
    auto_vacuum: &'static str,
    encoding: &'static str,
    /// Bytes at the end of each page that SQLite leaves to extensions.
    reserved: u8,
}

const PLAIN: Shape = Shape {
    page_size: 4096,
    auto_vacuum: "NONE",
    encoding: "UTF-8",
    reserved: 0,
};

/// A database file, and what `dbstat` says of its pages.
struct Database {
    page_size: PageSize,
    bytes: Bytes,
    /// Names of tables and indexes by page; other pages are free or of the pointer map.
    names: BTreeMap<u32, String>,
    /// Tables of indexes.
    tables: BTreeMap<String, String>,
    free: u32,
}

impl Database {
    fn build(shape: Shape) -> Self {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("test.db");
        create(&path, shape);
        let db = Connection::open(&path).unwrap();
        fill(&db, shape);
        Self::read(&path, &db)
    }

    fn read(path: &Path, db: &Connection) -> Self {
        let bytes = Bytes::from(fs::read(path).unwrap());
        let pairs = |sql| -> Vec<(String, String)> {
            let mut statement = db.prepare(sql).unwrap();
            let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)));
            rows.unwrap().map(Result::unwrap).collect()
        };
        Self {
            page_size: header::page_size(&bytes).unwrap(),
            names: pairs("SELECT CAST(pageno AS TEXT), name FROM dbstat")
                .into_iter()
                .map(|(page, name)| (page.parse().unwrap(), name))
                .collect(),
            tables: pairs("SELECT name, tbl_name FROM sqlite_schema WHERE type = 'index'")
                .into_iter()
                .collect(),
            free: db
                .pragma_query_value(None, "freelist_count", |row| row.get(0))
                .unwrap(),
            bytes,
        }
    }

    fn count(&self) -> u32 {
        header::page_count(&self.bytes).unwrap().get()
    }

    fn page(&self, page: PageNumber) -> Option<Page> {
        let begin = usize::try_from(page.offset(self.page_size)).unwrap();
        let end = begin + self.page_size.length();
        (end <= self.bytes.len()).then(|| self.bytes.slice(begin..end))
    }

    /// The owner by `dbstat`; `None` for free pages and the pointer map.
    fn expected(&self, page: u32) -> Option<Owner> {
        let name = self.names.get(&page)?.clone();
        Some(match self.tables.get(&name) {
            _ if page == 1 => Owner::Header,
            Some(table) => Owner::Index {
                name,
                table: table.clone(),
            },
            None if name == "sqlite_schema" => Owner::Schema,
            None => Owner::Table(name),
        })
    }

    /// The owner, and the number of pages read; no page is read twice.
    fn find(&self, page: u32, budget: usize) -> (Owner, usize) {
        let read = RefCell::new(HashSet::new());
        let owner = find(number(page), budget, |page| {
            assert!(read.borrow_mut().insert(page), "page {page} is read again");
            self.page(page)
        });
        let reads = read.borrow().len();
        assert!(reads <= budget, "{reads} pages read of {budget}");
        (owner, reads)
    }

    fn assert_all_found(&self, shape: Shape) {
        let (mut free, mut map) = (0, 0);
        for page in 1..=self.count() {
            let (owner, _) = self.find(page, ALL);
            match self.expected(page) {
                Some(expected) => assert_eq!(owner, expected, "page {page}, {shape:?}"),
                None if owner == Owner::FreeList => free += 1,
                None => {
                    assert_eq!(owner, Owner::PointerMap, "page {page}, {shape:?}");
                    map += 1;
                }
            }
        }
        assert_eq!(free, self.free, "{shape:?}");
        assert_eq!(map > 0, shape.auto_vacuum != "NONE", "{shape:?}");
    }
}

fn number(page: u32) -> PageNumber {
    PageNumber::new(page).unwrap()
}

/// Creates an empty database. SQL cannot reserve bytes, so the empty schema is patched.
fn create(path: &Path, shape: Shape) {
    let db = Connection::open(path).unwrap();
    let Shape {
        page_size,
        auto_vacuum,
        encoding,
        reserved,
    } = shape;
    db.execute_batch(&format!(
        "PRAGMA page_size = {page_size}; PRAGMA auto_vacuum = {auto_vacuum};
        PRAGMA encoding = '{encoding}'; CREATE TABLE t (a); DROP TABLE t; VACUUM"
    ))
    .unwrap();
    drop(db);
    if reserved > 0 {
        let mut bytes = fs::read(path).unwrap();
        bytes[20] = reserved;
        let end = u16::try_from(page_size - u32::from(reserved)).unwrap();
        bytes[105..107].copy_from_slice(&end.to_be_bytes());
        fs::write(path, bytes).unwrap();
    }
}

/// Tables from empty to three levels deep, indexes of each kind, overflow chains, and a
/// schema of several pages.
fn fill(db: &Connection, shape: Shape) {
    let many = 40_000_000 / (shape.page_size + 8000);
    let blob = shape.page_size * 3;
    db.execute_batch(&format!(
        "BEGIN;
        CREATE TABLE big (id INTEGER PRIMARY KEY, text TEXT UNIQUE, number REAL);
        CREATE TABLE empty (a PRIMARY KEY, b);
        CREATE TABLE auto (id INTEGER PRIMARY KEY AUTOINCREMENT, a);
        CREATE TABLE \"größer, with spaces\" (a, b);
        CREATE TABLE blobs (name TEXT, data BLOB);
        CREATE TABLE rowless (key TEXT PRIMARY KEY, data BLOB) WITHOUT ROWID;
        CREATE TABLE gone (data BLOB);
        CREATE TABLE long_sql (a /* {comment} */);
        CREATE TABLE {long_name} (a UNIQUE);
        CREATE VIEW view AS SELECT a /* {comment} */ FROM auto;
        CREATE TRIGGER trigger AFTER INSERT ON auto BEGIN SELECT 1 /* {comment} */; END;
        CREATE INDEX by_number ON big (number DESC);
        CREATE INDEX by_name ON blobs (name, data);
        CREATE INDEX partial ON auto (a) WHERE a > 3;
        WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {many})
        INSERT INTO big SELECT i * 3 - 3000, 'a text of the row ' || i, random() FROM n;
        INSERT INTO auto (a) SELECT id % 5 FROM big LIMIT 100;
        INSERT INTO blobs SELECT 'name ' || id, randomblob({blob} + id) FROM big LIMIT 9;
        INSERT INTO blobs SELECT 'name ' || id, randomblob(abs(id) % 2000) FROM big LIMIT 20;
        INSERT INTO rowless SELECT 'key ' || id, randomblob({blob}) FROM big LIMIT 5;
        INSERT INTO rowless SELECT 'small ' || id, 'b' FROM big LIMIT 1000;
        INSERT INTO gone SELECT randomblob({blob}) FROM big LIMIT 70;",
        comment = "long ".repeat(usize::try_from(shape.page_size).unwrap()),
        long_name = "name".repeat(50),
    ))
    .unwrap();
    for i in 0..15 {
        db.execute_batch(&format!(
            "CREATE TABLE small_{i} (a, b UNIQUE); INSERT INTO small_{i} VALUES (1, 2)"
        ))
        .unwrap();
    }
    db.execute_batch(
        "COMMIT; DELETE FROM gone; DELETE FROM blobs WHERE rowid % 3 = 1; ANALYZE big;
        DELETE FROM big WHERE id % 7 < 3 AND id > 3000; DROP TABLE small_7",
    )
    .unwrap();
}

#[test]
fn every_page_has_the_owner_that_dbstat_tells() {
    for page_size in [512, 4096, 65536] {
        for auto_vacuum in ["NONE", "INCREMENTAL"] {
            let shape = Shape {
                page_size,
                auto_vacuum,
                ..PLAIN
            };
            Database::build(shape).assert_all_found(shape);
        }
    }
}

#[test]
fn encodings_reserved_bytes_and_full_vacuum_change_nothing() {
    for (page_size, encoding, reserved, auto_vacuum) in [
        (512, "UTF-16le", 32, "FULL"),
        (1024, "UTF-16be", 0, "NONE"),
        (4096, "UTF-8", 255, "NONE"),
        (4096, "UTF-16be", 7, "FULL"),
    ] {
        let shape = Shape {
            page_size,
            auto_vacuum,
            encoding,
            reserved,
        };
        Database::build(shape).assert_all_found(shape);
    }
}

/// Small budgets find less, but never something else.
#[test]
fn a_budget_is_kept() {
    let database = Database::build(PLAIN);
    for budget in [0, 1, 2, 3, 5, 10, 30, 100] {
        for page in (1..=database.count()).step_by(7) {
            let (owner, _) = database.find(page, budget);
            let expected = database.expected(page).unwrap_or(Owner::FreeList);
            assert!(
                owner == expected || owner == Owner::Unknown,
                "page {page}: {owner}"
            );
        }
    }
    assert_eq!(database.find(1, 0), (Owner::Header, 0));
}

/// The page of a table is found on the way down to its key; one of an index without reading
/// leaves, but for one of each tree that tells where they begin.
#[test]
fn pages_of_trees_are_found_with_few_reads() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("test.db");
    let db = Connection::open(&path).unwrap();
    let numbers = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT";
    db.execute_batch("PRAGMA page_size = 512; BEGIN").unwrap();
    for i in 0..10 {
        db.execute_batch(&format!(
            "CREATE TABLE shallow_{i} (key PRIMARY KEY) WITHOUT ROWID;
            {numbers} 600) INSERT INTO shallow_{i} SELECT hex(i * 9000001) FROM n;"
        ))
        .unwrap();
    }
    db.execute_batch(&format!(
        "CREATE TABLE deep (key UNIQUE);
        {numbers} 20000) INSERT INTO deep SELECT hex(i * 9000001) FROM n; COMMIT"
    ))
    .unwrap();
    let count = |filter: &str| -> usize {
        let sql = format!("SELECT count(*) FROM dbstat WHERE {filter}");
        let count: i64 = db.query_row(&sql, [], |row| row.get(0)).unwrap();
        usize::try_from(count).unwrap()
    };
    let schema = count("name = 'sqlite_schema'");
    let interior = count("name <> 'deep' AND pagetype = 'internal'");
    let roots = count("path = '/'");
    let database = Database::read(&path, &db);
    let most_reads = |name: &str| {
        let pages = database.names.iter().filter(|(_, of)| *of == name);
        pages.map(|(page, _)| database.find(*page, ALL).1).max()
    };
    let depth = 4;
    assert!(most_reads("deep").unwrap() <= schema + roots + depth);
    let index = most_reads("sqlite_autoindex_deep_1").unwrap();
    assert!(index <= schema + interior + roots + 1);
    assert!(count("name LIKE '%deep%'") > 1000, "the trees are deep");
}

#[test]
fn pages_that_are_not_there_are_unknown() {
    let mut database = Database::build(PLAIN);
    let count = database.count();
    for page in [count + 1, count + 1000, u32::MAX] {
        assert_eq!(database.find(page, ALL), (Owner::Unknown, 1));
    }
    // SQLite before 3.7.0 wrote no page count.
    let mut bytes = database.bytes.to_vec();
    bytes[28..32].fill(0);
    database.bytes = bytes.into();
    for page in [count + 1, u32::MAX] {
        assert_eq!(database.find(page, ALL).0, Owner::Unknown);
    }
    assert_eq!(find(number(2), ALL, |_| None), Owner::Unknown);
    assert_eq!(find(number(2), ALL, |_| Some(Bytes::new())), Owner::Unknown);
}

/// A small generator of numbers (xorshift), seeded so that a failure can be repeated.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit as u64).unwrap()
    }
}

/// Damages a page: single bytes, links to any page, a copy of another page, noise, absurd
/// numbers. The page size stays, or there is nothing to search in.
fn damage(bytes: &mut [u8], page_size: usize, random: &mut Random) {
    let count = bytes.len() / page_size;
    let begin = random.below(count) * page_size;
    let from = if begin == 0 { 20 } else { 0 };
    let other = random.below(count) * page_size;
    match random.below(5) {
        0 => bytes[begin + from + random.below(100)] = u8::try_from(random.below(256)).unwrap(),
        1 => {
            let at = begin + from + random.below(page_size - from - 4);
            let link = u32::try_from(random.below(count + 2)).unwrap();
            bytes[at..at + 4].copy_from_slice(&link.to_be_bytes());
        }
        2 if begin > 0 => bytes.copy_within(other..other + page_size, begin),
        3 if begin > 0 => {
            for byte in &mut bytes[begin + 1..begin + page_size] {
                *byte = u8::try_from(random.below(256)).unwrap();
            }
        }
        _ => {
            let at = begin + from + random.below(page_size - from - 9);
            bytes[at..at + 9].fill(0xff);
        }
    }
}

#[test]
fn damage_does_no_harm() {
    let mut random = Random(0x5eed);
    for auto_vacuum in ["NONE", "INCREMENTAL"] {
        let mut database = Database::build(Shape {
            page_size: 512,
            auto_vacuum,
            ..PLAIN
        });
        let (sound, count) = (database.bytes.clone(), database.count());
        for round in 0..200 {
            let mut bytes = sound.to_vec();
            for _ in 0..=random.below(400) {
                // Most damage goes to the beginning, where the schema and the roots are.
                let end = sound.len() >> random.below(7);
                let end = (end / 512).max(2) * 512;
                damage(&mut bytes[..end], 512, &mut random);
            }
            database.bytes = bytes.into();
            for _ in 0..5 {
                let page = u32::try_from(random.below(count as usize) + 1).unwrap();
                let budget = if round % 10 == 0 {
                    ALL
                } else {
                    random.below(2000)
                };
                database.find(page, budget);
            }
        }
    }
}

/// Every page links to itself and to every other one.
#[test]
fn a_tangle_of_links_ends() {
    for kind in [2, 5, 10, 13, 0] {
        let page_size = 512;
        let mut bytes = vec![0; 64 * page_size];
        for page in bytes.chunks_mut(page_size) {
            for (at, byte) in page.iter_mut().enumerate() {
                *byte = [0, 0, 0, u8::try_from(at % 65).unwrap()][at % 4];
            }
            page[0..8].copy_from_slice(&[kind, 0, 0, 0, 200, 0, 0, 0]);
        }
        bytes[..100].fill(0);
        bytes[16..18].copy_from_slice(&[2, 0]);
        bytes[28..36].copy_from_slice(&[0, 0, 0, 64, 0, 0, 0, 3]);
        bytes[100..108].copy_from_slice(&[5, 0, 0, 0, 100, 0, 0, 0]);
        let database = Database {
            page_size: PageSize::MIN,
            bytes: bytes.into(),
            names: BTreeMap::new(),
            tables: BTreeMap::new(),
            free: 0,
        };
        for page in 1..=PageCount::new(64).get() {
            database.find(page, ALL);
        }
    }
}

#[test]
fn owners_read_well_behind_a_page() {
    let index = |name: &str| Owner::Index {
        name: name.to_owned(),
        table: "t".to_owned(),
    };
    for (owner, shown) in [
        (Owner::Header, "the header and the schema"),
        (Owner::Table("accounts".to_owned()), "table accounts"),
        (index("by_name"), "index by_name of table t"),
        (Owner::Table("a\n\u{1b}[1m".to_owned()), "table a  [1m"),
        (Owner::FreeList, "the free list"),
        (Owner::Unknown, "owner unknown"),
    ] {
        assert_eq!(owner.to_string(), shown);
    }
    let long = Owner::Table("ß".repeat(1000)).to_string();
    assert_eq!(long, format!("table {}…", "ß".repeat(SHOWN)));
}
