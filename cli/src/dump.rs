//! A database as SQL text, in the form of the `sqlite3` shell's `.dump`.

use std::io::Write;

use rusqlite::Connection;

use crate::error::sql_error;
use crate::value;

/// Writes SQL that makes this database anew.
///
/// All of it is one state of the database, whatever others commit meanwhile.
pub(crate) fn dump(connection: &Connection, out: &mut dyn Write) -> anyhow::Result<()> {
    if !connection.is_autocommit() {
        return dump_inside(connection, out);
    }
    connection.execute_batch("BEGIN").map_err(sql_error)?;
    let dumped = dump_inside(connection, out);
    connection.execute_batch("ROLLBACK").map_err(sql_error)?;
    dumped
}

fn dump_inside(connection: &Connection, out: &mut dyn Write) -> anyhow::Result<()> {
    writeln!(out, "PRAGMA foreign_keys=OFF;\nBEGIN TRANSACTION;")?;
    let mut dumper = Dumper {
        connection,
        out,
        writable_schema: false,
    };
    let tables = "SELECT name, sql FROM sqlite_schema WHERE type = 'table' AND sql NOT NULL \
                  ORDER BY tbl_name = 'sqlite_sequence', rowid";
    for table in dumper.pairs(tables)? {
        dumper.table(&table)?;
    }
    // Views before triggers, which may stand on them.
    let rest = "SELECT name, sql FROM sqlite_schema WHERE sql NOT NULL \
                AND type IN ('index', 'trigger', 'view') \
                ORDER BY type COLLATE NOCASE DESC, rowid";
    for entry in dumper.pairs(rest)? {
        writeln!(dumper.out, "{};", entry.sql)?;
    }
    if dumper.writable_schema {
        writeln!(dumper.out, "PRAGMA writable_schema=OFF;")?;
    }
    Ok(writeln!(out, "COMMIT;")?)
}

/// An entry of the schema.
struct Entry {
    name: String,
    sql: String,
}

struct Dumper<'a> {
    connection: &'a Connection,
    out: &'a mut dyn Write,
    /// Whether the text so far has opened the schema for writing.
    writable_schema: bool,
}

impl Dumper<'_> {
    fn pairs(&self, sql: &str) -> anyhow::Result<Vec<Entry>> {
        let mut statement = self.connection.prepare(sql).map_err(sql_error)?;
        let entries = statement
            .query_map([], |row| {
                Ok(Entry {
                    name: row.get(0)?,
                    sql: row.get(1)?,
                })
            })
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(sql_error)?;
        Ok(entries)
    }

    fn table(&mut self, table: &Entry) -> anyhow::Result<()> {
        let Entry { name, sql } = table;
        if name == "sqlite_sequence" {
            writeln!(self.out, "DELETE FROM sqlite_sequence;")?;
        } else if name.starts_with("sqlite_stat") {
            // Makes the tables for statistics, which cannot be created by name.
            writeln!(self.out, "ANALYZE sqlite_schema;")?;
        } else if name.starts_with("sqlite_") {
            return Ok(());
        } else if starts_with_words(sql, &["CREATE", "VIRTUAL", "TABLE"]) {
            return self.virtual_table(table);
        } else {
            writeln!(self.out, "{};", if_not_exists(sql))?;
        }
        self.rows(name)
    }

    /// A virtual table's content lies in its shadow tables, which are dumped like any
    /// others. Creating it the usual way would make them too, so it is written straight
    /// into the schema.
    fn virtual_table(&mut self, table: &Entry) -> anyhow::Result<()> {
        if !self.writable_schema {
            writeln!(self.out, "PRAGMA writable_schema=ON;")?;
            self.writable_schema = true;
        }
        let mut name = String::new();
        value::quote(&table.name, &mut name);
        let mut sql = String::new();
        value::quote(&table.sql, &mut sql);
        let into = "INSERT INTO sqlite_schema(type,name,tbl_name,rootpage,sql)";
        Ok(writeln!(
            self.out,
            "{into}VALUES('table',{name},{name},0,{sql});"
        )?)
    }

    fn rows(&mut self, table: &str) -> anyhow::Result<()> {
        let columns = self.columns(table)?;
        let mut name = String::new();
        value::quote_name(table, &mut name);
        let select = format!("SELECT {} FROM {name}", columns.join(","));
        let mut statement = self.connection.prepare(&select).map_err(sql_error)?;
        let mut rows = statement.raw_query();
        let mut line = String::new();
        while let Some(row) = rows.next().map_err(sql_error)? {
            line.clear();
            line.push_str("INSERT INTO ");
            line.push_str(&name);
            line.push_str(" VALUES(");
            for index in 0..columns.len() {
                if index > 0 {
                    line.push(',');
                }
                value::literal(row.get_ref(index).map_err(sql_error)?, &mut line);
            }
            line.push_str(");\n");
            self.out.write_all(line.as_bytes())?;
        }
        Ok(())
    }

    /// The names of a table's columns, quoted where they must be, without generated
    /// columns: those cannot be inserted.
    fn columns(&self, table: &str) -> anyhow::Result<Vec<String>> {
        let select = "SELECT name FROM pragma_table_info(?1)";
        let mut statement = self.connection.prepare(select).map_err(sql_error)?;
        let names: Vec<String> = statement
            .query_map([table], |row| row.get(0))
            .and_then(Iterator::collect)
            .map_err(sql_error)?;
        Ok(names
            .iter()
            .map(|name| {
                let mut quoted = String::new();
                value::quote_name(name, &mut quoted);
                quoted
            })
            .collect())
    }
}

/// Shadow tables carry a quoted name. Loading the dump into a database that has them is
/// no error, as in the `sqlite3` shell.
fn if_not_exists(sql: &str) -> String {
    match sql.strip_prefix("CREATE TABLE ") {
        Some(rest) if rest.starts_with(['\'', '"']) => format!("CREATE TABLE IF NOT EXISTS {rest}"),
        Some(_) | None => sql.to_owned(),
    }
}

fn starts_with_words(sql: &str, words: &[&str]) -> bool {
    let mut found = sql.split_whitespace();
    words.iter().all(|word| {
        found
            .next()
            .is_some_and(|text| text.eq_ignore_ascii_case(word))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dumped(connection: &Connection) -> String {
        let mut out = Vec::new();
        dump(connection, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    const SCHEMA: &str = "
        CREATE TABLE kinds(i INTEGER PRIMARY KEY AUTOINCREMENT, t TEXT, r REAL, b BLOB, n);
        INSERT INTO kinds VALUES(1, 'it''s' || char(10) || 'two', 0.1, X'00ff', NULL);
        INSERT INTO kinds VALUES(9, 'nul' || char(0) || 'inside', 9e999, x'', -1.0e-7);
        CREATE TABLE \"odd \"\"name\"(\"a b\" PRIMARY KEY, g AS (\"a b\" * 2)) WITHOUT ROWID;
        INSERT INTO \"odd \"\"name\" VALUES(3), (4);
        CREATE TABLE log(what);
        CREATE VIEW big AS SELECT * FROM kinds WHERE i > 5;
        CREATE TRIGGER on_view INSTEAD OF INSERT ON big BEGIN
          INSERT INTO log VALUES('view; ' || new.t); END;
        CREATE TRIGGER on_table AFTER DELETE ON kinds BEGIN DELETE FROM log; END;
        CREATE INDEX by_text ON kinds(t COLLATE NOCASE, r DESC) WHERE r > 0;
        CREATE VIRTUAL TABLE search USING fts5(body, tokenize = 'porter');
        INSERT INTO search VALUES('running foxes'), ('lazy dogs');
        CREATE VIRTUAL TABLE boxes USING rtree(id, x0, x1);
        INSERT INTO boxes VALUES(1, 0.5, 2.5);
        ANALYZE;";

    #[test]
    fn a_dump_makes_the_same_database() {
        let folder = tempfile::tempdir().unwrap();
        let original = Connection::open_in_memory().unwrap();
        original.execute_batch(SCHEMA).unwrap();
        let text = dumped(&original);
        let path = folder.path().join("copy.db");
        Connection::open(&path)
            .unwrap()
            .execute_batch(&text)
            .unwrap();
        let copy = Connection::open(&path).unwrap();
        assert_eq!(dumped(&copy), text);
        let check: String = copy
            .query_row("PRAGMA integrity_check", [], |row| row.get(0))
            .unwrap();
        assert_eq!(check, "ok");
        let found: i64 = copy
            .query_row(
                "SELECT rowid FROM search WHERE search MATCH 'run'",
                [],
                |row| row.get(0),
            )
            .unwrap();
        assert_eq!(found, 1);
        copy.execute_batch("INSERT INTO big(t) VALUES('x'); INSERT INTO kinds(t) VALUES('y')")
            .unwrap();
        let next: i64 = copy
            .query_row("SELECT max(i) FROM kinds", [], |row| row.get(0))
            .unwrap();
        assert_eq!(next, 10);
    }

    #[test]
    fn a_dump_inside_a_transaction_leaves_it_open() {
        let connection = Connection::open_in_memory().unwrap();
        connection
            .execute_batch("BEGIN; CREATE TABLE t1(a); INSERT INTO t1 VALUES(1)")
            .unwrap();
        assert!(dumped(&connection).contains("INSERT INTO t1 VALUES(1);"));
        assert!(!connection.is_autocommit());
    }
}
