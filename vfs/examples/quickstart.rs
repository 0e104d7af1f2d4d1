//! A database in a store, from rusqlite: write, read, and look at the past.
//!
//! `cargo run -p verso-vfs --example quickstart` makes `verso.db` in the working directory.

use rusqlite::{Connection, OpenFlags};
use verso_pagestore::DatabaseName;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    verso_vfs::register(verso_vfs::Options::new(verso_engine::open))?;

    // Any number of connections, threads and processes may do this at once.
    let db = Connection::open_with_flags_and_vfs("app.db", OpenFlags::default(), "verso")?;
    db.execute_batch(
        "CREATE TABLE IF NOT EXISTS visits (at TEXT, who TEXT);
         INSERT INTO visits VALUES (datetime('now'), 'alice')",
    )?;
    let count = |db: &Connection| {
        db.query_row("SELECT count(*) FROM visits", [], |row| {
            row.get::<_, u32>(0)
        })
    };
    println!("{} visits now", count(&db)?);

    // Every commit is a version, and every version can be opened.
    let store = verso_engine::open(&verso_pagestore::StoreUrl::resolve(None)?)?;
    let before = store.info(&DatabaseName::new("app.db")?)?.version;
    db.execute("INSERT INTO visits VALUES (datetime('now'), 'bob')", [])?;
    let past = Connection::open(format!("file:app.db?vfs=verso&at={before}"))?;
    println!(
        "{} visits now, {} as of version {before}",
        count(&db)?,
        count(&past)?
    );
    Ok(())
}
