//! The pairs of transactions.

/// Two transactions that run at the same time, and that in some orders of their steps
/// cannot both take effect.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) one: &'static [&'static str],
    pub(crate) two: &'static [&'static str],
    /// Whether it makes or removes tables.
    pub(crate) changes_schema: bool,
}

const fn case(
    name: &'static str,
    one: &'static [&'static str],
    two: &'static [&'static str],
) -> Case {
    Case {
        name,
        one,
        two,
        changes_schema: false,
    }
}

/// Every row of `a` and `b` is on a page of its own. `e1` and `e2` are empty. Row 1 of
/// `own` is used by the first connection only, and row 2 by the second.
pub(crate) const SCHEMA: &str = "PRAGMA page_size = 1024;
    CREATE TABLE a (id INTEGER PRIMARY KEY, n INTEGER, pad BLOB);
    CREATE INDEX a_n ON a (n);
    CREATE TABLE b (id INTEGER PRIMARY KEY, n INTEGER, pad BLOB);
    CREATE TABLE e1 (id INTEGER PRIMARY KEY, n INTEGER);
    CREATE TABLE e2 (id INTEGER PRIMARY KEY, n INTEGER);
    CREATE TABLE own (id INTEGER PRIMARY KEY, n INTEGER, pad BLOB);
    INSERT INTO own VALUES (1, 0, zeroblob(700)), (2, 0, zeroblob(700));";

/// Brings every table but `own` into the state that a case begins with.
pub(crate) const RESET: &str = "DROP TABLE IF EXISTS c;
    BEGIN;
    DELETE FROM a; DELETE FROM b; DELETE FROM e1; DELETE FROM e2;
    WITH RECURSIVE ids (id) AS (VALUES (1) UNION ALL SELECT id + 1 FROM ids WHERE id < 8)
        INSERT INTO a SELECT id, id * 10, zeroblob(700) FROM ids;
    INSERT INTO b VALUES (1, 1, zeroblob(700)), (2, 2, zeroblob(700));
    COMMIT;";

/// Reads every page that a case may read.
pub(crate) const READ_ALL: &str = "SELECT sum(n), sum(length(pad)) FROM a;
    SELECT count(*) FROM a INDEXED BY a_n WHERE n >= 0;
    SELECT sum(n), sum(length(pad)) FROM b;
    SELECT count(*) FROM e1;
    SELECT count(*) FROM e2;
    SELECT count(*) FROM sqlite_schema;";

/// What must be the same after a case and after the same transactions one by one.
pub(crate) const DUMP: &str = "SELECT id, n, length(pad) FROM a ORDER BY id;
    SELECT id, n FROM a INDEXED BY a_n WHERE n >= 0 ORDER BY n, id;
    SELECT id, n, length(pad) FROM b ORDER BY id;
    SELECT id, n FROM e1 ORDER BY id;
    SELECT id, n FROM e2 ORDER BY id;";

pub(crate) const CASES: &[Case] = &[
    case(
        "lost update",
        &[
            "BEGIN",
            "SELECT n FROM a WHERE id = 1",
            "UPDATE a SET n = n + 1 WHERE id = 1",
            "COMMIT",
        ],
        &[
            "BEGIN",
            "SELECT n FROM a WHERE id = 1",
            "UPDATE a SET n = n + 1 WHERE id = 1",
            "COMMIT",
        ],
    ),
    case(
        "lost update of a value that the application computed",
        &[
            "BEGIN",
            "SELECT n FROM a WHERE id = 1",
            "UPDATE a SET n = 101 WHERE id = 1",
            "COMMIT",
        ],
        &[
            "BEGIN",
            "SELECT n FROM a WHERE id = 1",
            "UPDATE a SET n = 201 WHERE id = 1",
            "COMMIT",
        ],
    ),
    case(
        "lost update by a single statement",
        &["UPDATE a SET n = n + 1 WHERE id IN (1, 8)"],
        &[
            "BEGIN",
            "SELECT n FROM a WHERE id = 1",
            "SELECT n FROM a WHERE id = 8",
            "UPDATE a SET n = 5 WHERE id = 8",
            "COMMIT",
        ],
    ),
    case(
        "write skew",
        &[
            "BEGIN",
            "SELECT n FROM a WHERE id IN (1, 8)",
            "UPDATE a SET n = -1 WHERE id = 1",
            "COMMIT",
        ],
        &[
            "BEGIN",
            "SELECT n FROM a WHERE id IN (1, 8)",
            "UPDATE a SET n = -1 WHERE id = 8",
            "COMMIT",
        ],
    ),
    case(
        "write skew between tables",
        &[
            "BEGIN",
            "SELECT sum(n) FROM b",
            "UPDATE a SET n = 0 WHERE id = 5",
            "COMMIT",
        ],
        &[
            "BEGIN",
            "SELECT sum(n) FROM a",
            "UPDATE b SET n = 0 WHERE id = 2",
            "COMMIT",
        ],
    ),
    case(
        "read skew",
        &[
            "BEGIN",
            "SELECT n FROM a WHERE id = 1",
            "SELECT n FROM a WHERE id = 8",
            "COMMIT",
        ],
        &[
            "BEGIN",
            "UPDATE a SET n = 7 WHERE id = 1",
            "UPDATE a SET n = 7 WHERE id = 8",
            "COMMIT",
        ],
    ),
    case(
        "read skew that is written down",
        &[
            "BEGIN",
            "SELECT n FROM a WHERE id = 1",
            "SELECT n FROM a WHERE id = 8",
            "UPDATE b SET n = 9 WHERE id = 1",
            "COMMIT",
        ],
        &[
            "BEGIN",
            "UPDATE a SET n = 7 WHERE id = 1",
            "UPDATE a SET n = 7 WHERE id = 8",
            "COMMIT",
        ],
    ),
    case(
        "phantom",
        &[
            "BEGIN",
            "SELECT count(*) FROM a WHERE id > 3",
            "UPDATE b SET n = (SELECT count(*) FROM a WHERE id > 3) WHERE id = 1",
            "COMMIT",
        ],
        &[
            "BEGIN",
            "SELECT n FROM b WHERE id = 1",
            "INSERT INTO a VALUES (9, 90, zeroblob(700))",
            "COMMIT",
        ],
    ),
    case(
        "phantom in an index",
        &[
            "BEGIN",
            "SELECT count(*) FROM a INDEXED BY a_n WHERE n BETWEEN 15 AND 25",
            "UPDATE b SET n = 3 WHERE id = 1",
            "COMMIT",
        ],
        &[
            "BEGIN",
            "SELECT sum(n) FROM b",
            "UPDATE a SET n = 22 WHERE id = 7",
            "COMMIT",
        ],
    ),
    case(
        "phantom in an empty table",
        &[
            "BEGIN",
            "SELECT count(*) FROM e1",
            "INSERT INTO e2 VALUES (1, 1)",
            "COMMIT",
        ],
        &[
            "BEGIN",
            "SELECT count(*) FROM e2",
            "INSERT INTO e1 VALUES (1, 1)",
            "COMMIT",
        ],
    ),
    case(
        "pages that one frees and the other takes",
        &[
            "BEGIN",
            "DELETE FROM a WHERE id > 4",
            "SELECT count(*) FROM a",
            "COMMIT",
        ],
        &[
            "BEGIN",
            "INSERT INTO b VALUES (10, 10, zeroblob(3000))",
            "SELECT count(*) FROM b",
            "COMMIT",
        ],
    ),
    case(
        "savepoints as transactions",
        &[
            "SAVEPOINT s",
            "SELECT n FROM a WHERE id = 1",
            "UPDATE a SET n = 0 WHERE id = 8",
            "RELEASE s",
        ],
        &[
            "SAVEPOINT s",
            "SELECT n FROM a WHERE id = 8",
            "UPDATE a SET n = 0 WHERE id = 1",
            "RELEASE s",
        ],
    ),
    case(
        "what a savepoint took back",
        &[
            "BEGIN",
            "SAVEPOINT s; UPDATE a SET n = 50 WHERE id = 1; SELECT n FROM a WHERE id = 1; ROLLBACK TO s",
            "UPDATE b SET n = (SELECT n FROM a WHERE id = 1) WHERE id = 2",
            "COMMIT",
        ],
        &[
            "BEGIN",
            "SELECT n FROM b WHERE id = 2",
            "UPDATE a SET n = n + 7 WHERE id = 1",
            "COMMIT",
        ],
    ),
    case(
        "pages written before the commit",
        &[
            "PRAGMA cache_size = 2; BEGIN",
            "UPDATE a SET pad = zeroblob(701), n = n + 1",
            "SELECT sum(n) FROM b",
            "COMMIT; PRAGMA cache_size = -2000",
        ],
        &[
            "BEGIN",
            "SELECT sum(n) FROM a",
            "UPDATE b SET n = 4 WHERE id = 1",
            "COMMIT",
        ],
    ),
    Case {
        changes_schema: true,
        ..case(
            "a new table",
            &[
                "BEGIN",
                "SELECT count(*) FROM sqlite_schema",
                "INSERT INTO e1 VALUES (2, 2)",
                "COMMIT",
            ],
            &[
                "BEGIN",
                "SELECT count(*) FROM e1",
                "CREATE TABLE c (x)",
                "COMMIT",
            ],
        )
    },
];
