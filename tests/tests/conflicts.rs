//! Goal: a conflict says which database, page, table or index it was about, and which version
//! won: to the application, to SQLite's log, and as a tracing event.
//! Method: two connections that meet on a known object; the version is compared with the log
//! of the store, and the page with SQLite's own account of its pages.
#![expect(unsafe_code, reason = "SQLite's log is set for the whole process")]

use std::fmt::{Debug, Write as _};
use std::sync::{Mutex, Once, PoisonError};

use rusqlite::Connection;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};
use verso_pagestore::{DatabaseName, StoreUrl};
use verso_tests::{TestStore, code, integer};
use verso_vfs::{Conflict, Owner, last_conflict, last_error};

/// What SQLite logged and what was traced, in this process.
static LOGGED: Mutex<Vec<(i32, String)>> = Mutex::new(Vec::new());
static TRACED: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Keeps the fields of every event.
struct Tracer;

impl Subscriber for Tracer {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("verso")
    }
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields(String::new());
        event.record(&mut fields);
        TRACED.lock().expect("no panic").push(fields.0);
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

struct Fields(String);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.0, "{field}={value:?};").expect("a string takes all");
    }
}

fn watch() {
    static WATCHING: Once = Once::new();
    WATCHING.call_once(|| {
        let keep = |code, message: &str| {
            let mut logged = LOGGED.lock().unwrap_or_else(PoisonError::into_inner);
            logged.push((code, message.to_owned()));
        };
        // SAFETY: before the first use of SQLite in this process.
        unsafe { rusqlite::trace::config_log(Some(keep)) }.expect("SQLite is not in use yet");
        tracing::subscriber::set_global_default(Tracer).expect("the only subscriber");
    });
}

/// A store with one database, two connections to it, and its name.
struct Meeting {
    store: TestStore,
    loser: Connection,
    winner: Connection,
    name: &'static str,
}

impl Meeting {
    fn new(name: &'static str, schema: &str) -> Self {
        watch();
        let store = TestStore::new();
        let loser = store.connect(name);
        loser.execute_batch(schema).expect("the schema");
        let winner = store.connect(name);
        Self {
            store,
            loser,
            winner,
            name,
        }
    }

    /// The newest version, from the store itself.
    fn head(&self) -> verso_pagestore::Version {
        let url: StoreUrl = self.store.url().parse().expect("a URL");
        let store = verso_open::open(&url).expect("the store");
        let name = DatabaseName::new(self.name).expect("a name");
        store.info(&name).expect("it exists").version
    }

    /// Both change something on one snapshot; the second to commit loses.
    fn meet(&self, lost: &str, won: &str) -> Conflict {
        self.loser.execute_batch("BEGIN").expect("a transaction");
        self.loser
            .execute_batch(lost)
            .expect("nobody is in the way yet");
        self.winner.execute_batch(won).expect("it is alone");
        let error = self.loser.execute_batch("COMMIT").expect_err("a conflict");
        assert_eq!(code(&error), 517);
        let conflict = last_conflict().expect("it was one");
        assert_eq!(conflict.database.as_str(), self.name);
        assert_eq!(conflict.winner, self.head());
        let message = last_error().expect("a message");
        assert_eq!(message, format!("{conflict}: run it again"));
        let (page, owner) = (conflict.page, &conflict.owner);
        let expected = format!("version {} changed page {page} ({owner})", self.head());
        assert!(message.contains(&expected), "{message}");
        self.is_logged(517, &message);
        is_traced(&conflict);
        conflict
    }

    fn is_logged(&self, code: i32, message: &str) {
        let logged = LOGGED.lock().expect("no panic");
        let found = logged
            .iter()
            .any(|(logged, text)| *logged == code && text.contains(message));
        assert!(found, "{}: {logged:?}", self.name);
    }

    /// The object that SQLite says the page belongs to.
    fn object_of(&self, conflict: &Conflict) -> String {
        let page = conflict.page.get();
        let query = format!("SELECT name FROM dbstat WHERE pageno = {page}");
        verso_tests::text(&self.winner, &query)
    }
}

fn is_traced(conflict: &Conflict) {
    let Conflict {
        database,
        page,
        owner,
        winner,
    } = conflict;
    let expected = format!("database={database};page={page};owner={owner};winner={winner};");
    let traced = TRACED.lock().expect("no panic");
    let found = traced.iter().any(|event| event.contains(&expected));
    assert!(found, "{expected}: {traced:?}");
}

#[test]
fn a_table() {
    let meeting = Meeting::new(
        "bank",
        "CREATE TABLE account (n); INSERT INTO account VALUES (1)",
    );
    let update = "UPDATE account SET n = n + 1";
    let conflict = meeting.meet(update, update);
    assert_eq!(conflict.owner, Owner::Table("account".into()));
    assert_eq!(meeting.object_of(&conflict), "account");
    assert_eq!(integer(&meeting.loser, "SELECT n FROM account"), 2);
    let told = meeting.winner.query_row(
        "SELECT owner, page, winner FROM verso_conflicts WHERE database = 'bank'",
        [],
        |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
    );
    let expected = (
        "table account".to_owned(),
        i64::from(conflict.page.get()),
        conflict.winner.to_string(),
    );
    assert_eq!(told, Ok(expected));
}

#[test]
fn an_index() {
    let meeting = Meeting::new(
        "shop",
        "CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT, stock INT);
         CREATE INDEX by_stock ON item (stock);
         WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c LIMIT 3000)
         INSERT INTO item SELECT n, printf('%040d', n), 0 FROM c",
    );
    // Two rows at the two ends of the table, and one place in the index.
    let conflict = meeting.meet(
        "UPDATE item SET stock = 1 WHERE id = 1",
        "UPDATE item SET stock = 1 WHERE id = 3000",
    );
    let expected = Owner::Index {
        name: "by_stock".into(),
        table: "item".into(),
    };
    assert_eq!(conflict.owner, expected);
    assert_eq!(conflict.owner.to_string(), "index by_stock of table item");
    assert_eq!(meeting.object_of(&conflict), "by_stock");
}

#[test]
fn the_schema() {
    let meeting = Meeting::new("growing", "CREATE TABLE t (n)");
    let conflict = meeting.meet("CREATE TABLE a (n)", "CREATE TABLE b (n)");
    assert_eq!(conflict.owner, Owner::Header);
    assert_eq!(conflict.page.get(), 1);
}

#[test]
fn a_page_that_the_winner_added() {
    let meeting = Meeting::new(
        "log",
        "CREATE TABLE entry (text); CREATE TABLE other (n); INSERT INTO other VALUES (1)",
    );
    // Both add pages behind the end; page 1 tells of it, so that is the first in common.
    let fill = "INSERT INTO entry VALUES (zeroblob(3000)), (zeroblob(3000)), (zeroblob(3000))";
    let conflict = meeting.meet(fill, fill);
    assert_eq!(conflict.owner, Owner::Header);
}

#[test]
fn a_statement_that_was_run_again_tells_as_well() {
    let meeting = Meeting::new(
        "counter",
        "CREATE TABLE counter (n); INSERT INTO counter VALUES (0)",
    );
    let Meeting { loser, winner, .. } = &meeting;
    // The other one commits after this one has read, in the first attempt only.
    let path = meeting.store.uri("counter", "");
    loser
        .create_scalar_function(
            "meanwhile",
            0,
            rusqlite::functions::FunctionFlags::default(),
            {
                let first = std::sync::atomic::AtomicBool::new(true);
                move |_| {
                    if first.swap(false, std::sync::atomic::Ordering::Relaxed) {
                        let other = verso_tests::open(&path)?;
                        other.execute("UPDATE counter SET n = n + 10", [])?;
                    }
                    Ok(1)
                }
            },
        )
        .unwrap();
    let before = last_conflict();
    loser
        .execute("UPDATE counter SET n = n + meanwhile()", [])
        .expect("SQLite runs it again");
    assert_eq!(integer(winner, "SELECT n FROM counter"), 11);
    let conflict = last_conflict().unwrap();
    assert_ne!(Some(&conflict), before.as_ref());
    assert_eq!(conflict.owner, Owner::Table("counter".into()));
    is_traced(&conflict);
    let notice = rusqlite::ffi::SQLITE_NOTICE;
    meeting.is_logged(notice, &format!("{conflict}; the statement runs again"));
    assert_ne!(
        last_error().as_deref(),
        Some(conflict.to_string().as_str()),
        "nothing has failed"
    );
}

#[test]
fn a_conflict_in_an_attached_database_names_that() {
    let meeting = Meeting::new("main.db", "CREATE TABLE t (n); INSERT INTO t VALUES (1)");
    let Meeting { store, loser, .. } = &meeting;
    let attached = store.connect("attached.db");
    attached
        .execute_batch("CREATE TABLE u (n); INSERT INTO u VALUES (1)")
        .unwrap();
    loser
        .execute_batch(&verso_tests::sessions::attach(&store.path(), "attached.db"))
        .unwrap();
    loser
        .execute_batch("BEGIN; UPDATE t SET n = 5 + (SELECT n FROM other.u)")
        .unwrap();
    attached.execute_batch("UPDATE u SET n = 2").unwrap();
    assert_eq!(code(&loser.execute_batch("COMMIT").unwrap_err()), 517);
    let conflict = last_conflict().unwrap();
    assert_eq!(conflict.database.as_str(), "attached.db");
    assert_eq!(conflict.owner, Owner::Table("u".into()));
}
