//! A process that runs SQL with a page cache on disk, and one that writes without.

use std::io::BufRead as _;
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use tempfile::TempDir;
use verso_tests::nodes::{self, Node};
use verso_tests::workers::{Worker, report};
use verso_tests::{CACHE_VARIABLE, TestStore, integer, open};

pub(crate) const ROLE: &str = "reader";
const DATABASE: &str = "VERSO_TEST_URI";

/// Most bytes of a file that the process writes.
const LIMIT: &str = "VERSO_TEST_FILE_LIMIT";

/// A sum over all rows, so over all pages of the table.
pub(crate) const SUM: &str = "SELECT sum(n * id) + sum(length(s)) FROM t";

/// Rows of the table, some 17 of them in a page.
pub(crate) const ROWS: i64 = 12_000;

/// A store behind a node, a folder for pages, and a connection that writes directly.
pub(crate) struct Setup {
    pub(crate) store: TestStore,
    pub(crate) node: Node,
    pub(crate) folder: TempDir,
}

impl Setup {
    /// With a table of some 700 pages.
    pub(crate) fn new() -> Self {
        let store = TestStore::new();
        fill(&writer(&store.path()));
        let node = Node::start(&store.path());
        Self {
            store,
            node,
            folder: tempfile::tempdir().expect("a temporary folder"),
        }
    }

    pub(crate) fn writer(&self) -> Connection {
        writer(&self.store.path())
    }

    pub(crate) fn cache(&self) -> PathBuf {
        self.folder.path().join("cache")
    }

    /// The URI of the database through the node, with the folder.
    pub(crate) fn uri(&self, more: &str) -> String {
        let cache = self.cache();
        let address = self.node.address();
        uri(address, &format!("&cache_dir={}{more}", cache.display()))
    }

    pub(crate) fn reader(&self) -> Reader {
        Reader::start(&self.uri(""), &[])
    }

    /// A process whose caches in memory hold next to nothing.
    pub(crate) fn forgetful_reader(&self) -> Reader {
        let mut reader = Reader::start(&self.uri(""), &[(CACHE_VARIABLE, "100000")]);
        reader.run("PRAGMA cache_size = 2");
        reader
    }

    /// What a new process answers to a query.
    pub(crate) fn ask(&self, sql: &str) -> Answer {
        self.reader().ask(sql)
    }
}

/// A connection to the store itself.
pub(crate) fn writer(store: &Path) -> Connection {
    let url = nodes::direct_url(store);
    let db = open(&format!("file:app.db?vfs=verso&store={url}")).expect("the database opens");
    db.execute_batch("PRAGMA synchronous = OFF").expect("SQL");
    db
}

pub(crate) fn fill(db: &Connection) {
    db.execute_batch(&format!(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER, s TEXT);
         WITH RECURSIVE i(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM i LIMIT {ROWS})
             INSERT INTO t SELECT n, 1, printf('%0220d', n) FROM i"
    ))
    .expect("SQL");
}

pub(crate) fn uri(address: &str, parameters: &str) -> String {
    format!("file:app.db?vfs=verso&store=http://{address}{parameters}")
}

/// What a query gave, and what the connection has counted until after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) value: i64,
    pub(crate) requests: i64,
    pub(crate) pages_read: i64,
    pub(crate) disk_hits: i64,
}

/// A process with a connection.
pub(crate) struct Reader(pub(crate) Worker);

impl Reader {
    pub(crate) fn start(uri: &str, environment: &[(&str, &str)]) -> Self {
        let mut all = vec![(DATABASE, uri)];
        all.extend_from_slice(environment);
        Self(Worker::start_in(ROLE, 0, 0, Path::new("-"), &all))
    }

    /// One that may write no file larger than so many bytes.
    pub(crate) fn with_file_limit(uri: &str, bytes: u64) -> Self {
        Self::start(uri, &[(LIMIT, &bytes.to_string())])
    }

    pub(crate) fn ask(&mut self, sql: &str) -> Answer {
        self.0.tell(sql);
        let line = self.0.line().expect("an answer");
        let numbers: Vec<i64> = line
            .split(' ')
            .map(|number| number.parse().unwrap_or_else(|_| panic!("{sql}: {line}")))
            .collect();
        let [value, requests, pages_read, disk_hits] = <[_; 4]>::try_from(numbers).expect("four");
        Answer {
            value,
            requests,
            pages_read,
            disk_hits,
        }
    }

    /// Runs SQL that answers nothing that matters.
    pub(crate) fn run(&mut self, sql: &str) {
        let answer = self.ask(&format!("!{sql}"));
        assert_eq!(answer.value, 0);
    }
}

pub(crate) fn work() {
    if let Ok(bytes) = std::env::var(LIMIT) {
        limit_files(bytes.parse().expect("a number"));
    }
    let db = open(&std::env::var(DATABASE).expect("a URI")).expect("the database opens");
    for line in std::io::stdin().lock().lines() {
        let line = line.expect("a line");
        let value = match line.strip_prefix('!') {
            Some(sql) => db.execute_batch(sql).map(|()| 0),
            None => db.query_row(&line, [], |row| row.get::<_, i64>(0)),
        };
        match value {
            Ok(value) => {
                let count = |what| integer(&db, &format!("SELECT verso_stats() ->> '{what}'"));
                let counts = ["requests", "pages_read", "disk_hits"].map(count);
                let [requests, pages_read, disk_hits] = counts;
                report(format!("{value} {requests} {pages_read} {disk_hits}"));
            }
            Err(error) => report(format!("{error}: {:?}", verso_vfs::last_error())),
        }
    }
}

fn limit_files(bytes: u64) {
    let limit = libc::rlimit {
        rlim_cur: bytes,
        rlim_max: bytes,
    };
    #[expect(unsafe_code, reason = "there is no safe wrapper here")]
    // SAFETY: both take plain values, and the process is this test's own.
    unsafe {
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
        assert_eq!(libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit), 0);
    }
}
