//! Statements that change more than rows, against each other.

use rusqlite::Connection;
use verso_tests::TestStore;
use verso_tests::scale::scaled;
use verso_tests::sessions::{Answer, execute};
use verso_tests::{integer, text};

use super::{assert_intact, connect, counter, in_threads};

const WRITERS: u64 = 6;

#[test]
fn a_table_is_created_once() {
    let store = TestStore::new();
    for round in 0..scaled(5) {
        let created = in_threads(WRITERS, |_| {
            let db = connect(&store.path());
            let table = format!("CREATE TABLE IF NOT EXISTS maybe_{round} (n INTEGER)");
            assert_eq!(execute(&db, &table), Ok(vec![]));
            let insert = format!("INSERT INTO maybe_{round} VALUES (1)");
            assert_eq!(execute(&db, &insert), Ok(vec![]));
            execute(&db, &format!("CREATE TABLE once_{round} (n INTEGER)"))
        });
        // The others are told that it exists.
        let mut created = created;
        created.sort_unstable();
        let winners = created.iter().filter(|answer| answer.is_ok()).count();
        assert_eq!(winners, 1, "{created:?}");
        let mut refused = created.iter().filter_map(|answer| answer.as_ref().err());
        assert!(refused.all(|code| *code == 1), "{created:?}");
        let db = connect(&store.path());
        let rows = integer(&db, &format!("SELECT count(*) FROM maybe_{round}"));
        assert_eq!(rows.unsigned_abs(), WRITERS);
        assert_intact(&db);
    }
}

/// SQLite prepares a statement a second time if the schema has changed meanwhile, and when it has
/// changed again, gives it up with `SQLITE_SCHEMA` (`sqlite3LockAndPrepare`).
fn prepared_again(db: &Connection, statement: &str) -> Answer {
    for _ in 0..10 {
        let answer = execute(db, statement);
        if answer != Err(17) {
            return answer;
        }
    }
    Err(17)
}

#[test]
fn tables_come_and_go_among_writers() {
    let (store, db) = counter();
    let rounds = scaled(30);
    in_threads(WRITERS, |number| {
        let db = connect(&store.path());
        for round in 0..rounds {
            for statement in [
                format!("CREATE TABLE own_{number} (n INTEGER)"),
                format!("INSERT INTO own_{number} VALUES ({round})"),
                format!("ALTER TABLE own_{number} ADD COLUMN m INTEGER DEFAULT 5"),
                format!("CREATE INDEX index_{number} ON own_{number} (n)"),
                format!("ALTER TABLE own_{number} RENAME TO other_{number}"),
                format!("UPDATE counter SET n = n + (SELECT m FROM other_{number})"),
                format!("DROP TABLE other_{number}"),
            ] {
                assert_eq!(prepared_again(&db, &statement), Ok(vec![]), "{statement}");
            }
        }
    });
    let expected = 5 * WRITERS * rounds;
    assert_eq!(
        integer(&db, "SELECT n FROM counter").unsigned_abs(),
        expected
    );
    assert_eq!(integer(&db, "SELECT count(*) FROM sqlite_schema"), 1);
    assert_intact(&db);
}

/// The same columns by many: each is added once, and never lost.
#[test]
fn a_column_is_added_once() {
    let (store, db) = counter();
    let columns = scaled(5);
    let added = in_threads(WRITERS, |_| {
        let db = connect(&store.path());
        let add = |column| {
            let sql = format!("ALTER TABLE counter ADD COLUMN c{column} INTEGER DEFAULT 1");
            match execute(&db, &sql) {
                Ok(_) => 1,
                Err(1) => 0,
                Err(code) => panic!("result code {code}"),
            }
        };
        (0..columns).map(add).sum::<u64>()
    });
    assert_eq!(added.iter().sum::<u64>(), columns);
    let found = integer(&db, "SELECT count(*) FROM pragma_table_info('counter')");
    assert_eq!(found.unsigned_abs(), 1 + columns);
}

/// A pragma is not run again: it tells the conflict, and stores the value of a winner.
#[test]
fn user_version_is_that_of_one_that_succeeded_last() {
    let (store, db) = counter();
    let rounds = scaled(40);
    let last = in_threads(WRITERS, |number| {
        let db = connect(&store.path());
        let mut last = 0;
        for round in 0..rounds {
            let value = 1 + number * rounds + round;
            match execute(&db, &format!("PRAGMA user_version = {value}")) {
                Ok(_) => last = value,
                Err(517) => {}
                Err(code) => panic!("result code {code}"),
            }
        }
        last
    });
    assert!(last.iter().any(|last| *last > 0), "somebody wins");
    let found = integer(&db, "PRAGMA user_version").unsigned_abs();
    assert!(
        last.contains(&found),
        "{found} is of nobody's last success: {last:?}"
    );
}

/// A virtual table runs statements of its own inside of the one that makes it. Of these, the
/// ones that it runs to connect while a statement is prepared read the schema that was loaded
/// before, and cannot load it again: if another connection has changed it in between, prepare
/// fails with `SQLITE_SCHEMA` (17), in any SQLite, and the application prepares again.
#[test]
fn virtual_tables_come_and_go() {
    let (store, db) = counter();
    let rounds = scaled(8);
    in_threads(4, |number| {
        let db = connect(&store.path());
        for round in 0..rounds {
            for statement in [
                "CREATE VIRTUAL TABLE IF NOT EXISTS shared USING fts5 (text)".to_owned(),
                format!("INSERT INTO shared VALUES ('common writer{number} round{round}')"),
                format!("CREATE VIRTUAL TABLE own_{number} USING fts5 (text)"),
                format!("INSERT INTO own_{number} VALUES ('common')"),
                format!("UPDATE own_{number} SET text = 'rare'"),
                format!("ALTER TABLE own_{number} RENAME TO other_{number}"),
                format!("DROP TABLE other_{number}"),
            ] {
                let mut results = (0..100).map(|_| execute(&db, &statement));
                let done = results.find(|result| *result != Err(17));
                assert_eq!(done, Some(Ok(vec![])), "{statement}");
            }
        }
    });
    let found = "SELECT count(*) FROM shared WHERE shared MATCH 'common'";
    assert_eq!(integer(&db, found).unsigned_abs(), 4 * rounds);
    execute(
        &db,
        "INSERT INTO shared (shared) VALUES ('integrity-check')",
    )
    .unwrap();
    let tables = "SELECT count(*) FROM sqlite_schema WHERE name NOT LIKE 'shared%'";
    assert_eq!(integer(&db, tables), 1);
    assert_intact(&db);
}

#[test]
fn autoincrement_gives_each_number_once() {
    let (store, db) = counter();
    execute(
        &db,
        "CREATE TABLE t (id INTEGER PRIMARY KEY AUTOINCREMENT, who INTEGER)",
    )
    .unwrap();
    let rounds = scaled(80);
    let ids = in_threads(WRITERS, |number| {
        let db = connect(&store.path());
        let insert = format!("INSERT INTO t (who) VALUES ({number})");
        let ids = (0..rounds).map(|_| {
            assert_eq!(db.execute(&insert, []), Ok(1));
            let id = db.last_insert_rowid();
            let owner = integer(&db, &format!("SELECT who FROM t WHERE id = {id}"));
            assert_eq!(
                owner.unsigned_abs(),
                number,
                "the id is that of its own row"
            );
            id
        });
        ids.collect::<Vec<i64>>()
    });
    let mut ids: Vec<i64> = ids.into_iter().flatten().collect();
    ids.sort_unstable();
    assert_eq!(
        ids,
        (1..=(WRITERS * rounds).cast_signed()).collect::<Vec<i64>>()
    );
    assert_intact(&db);
}

#[test]
fn writers_share_a_full_text_index() {
    let (store, db) = counter();
    execute(&db, "CREATE VIRTUAL TABLE words USING fts5 (text)").unwrap();
    let rounds = scaled(60);
    in_threads(4, |number| {
        let db = connect(&store.path());
        for round in 0..rounds {
            let insert = format!("INSERT INTO words VALUES ('common writer{number} round{round}')");
            assert_eq!(execute(&db, &insert), Ok(vec![]), "round {round}");
            if round % 4 == 3 {
                let update = format!(
                    "UPDATE words SET text = text || ' again' WHERE words MATCH 'writer{number} round{round}'"
                );
                assert_eq!(execute(&db, &update), Ok(vec![]), "round {round}");
            }
        }
    });
    let found = |word: &str| {
        integer(
            &db,
            &format!("SELECT count(*) FROM words WHERE words MATCH '{word}'"),
        )
        .unsigned_abs()
    };
    assert_eq!(found("common"), 4 * rounds);
    assert_eq!(found("writer2"), rounds);
    assert_eq!(found("again"), 4 * (rounds / 4));
    execute(&db, "INSERT INTO words (words) VALUES ('integrity-check')").unwrap();
    assert_eq!(text(&db, "PRAGMA integrity_check"), "ok");
}
