//! Random changes of the schema, and statements for virtual tables.

use verso_tests::random::Random;

const COLUMNS: &str = "a, b TEXT, c BLOB, d INTEGER";

/// What every run begins with.
pub(crate) fn first_tables(random: &mut Random, attached: bool) -> Vec<String> {
    let mut tables = vec![
        format!("CREATE TABLE main.t0(id INTEGER PRIMARY KEY, {COLUMNS})"),
        format!("CREATE TABLE main.t1(id INTEGER PRIMARY KEY AUTOINCREMENT, {COLUMNS})"),
        format!("CREATE TABLE main.t2(id INTEGER PRIMARY KEY, {COLUMNS}) WITHOUT ROWID"),
        create_table(random, "main", "t3"),
        create_table(random, "main", "t4"),
        format!("CREATE TEMP TABLE x0(id INTEGER PRIMARY KEY, {COLUMNS})"),
        "CREATE VIRTUAL TABLE main.f0 USING fts5(a, b)".to_owned(),
        "CREATE VIRTUAL TABLE main.r0 USING rtree(id, x0, x1, y0, y1)".to_owned(),
    ];
    if attached {
        tables.push(create_table(random, "aux", "u0"));
        tables.push(create_table(random, "aux", "u1"));
    }
    tables
}

/// A change of the schema of `main` or `aux`, or of the temporary one.
pub(crate) fn change(random: &mut Random, schema: &str) -> String {
    let letter = if schema == "aux" { "u" } else { "t" };
    let number = random.below(if schema == "aux" { 2 } else { 5 });
    let table = format!("{letter}{number}");
    match random.below(24) {
        0..8 => create_table(random, schema, &table),
        8 => format!("DROP TABLE IF EXISTS {schema}.{table}"),
        9..12 => index(random, schema, &table),
        12 => format!("DROP INDEX IF EXISTS {schema}.i{}", random.below(4)),
        13..15 => alter(random, schema, &table),
        15..17 if schema == "main" => trigger(random, &table),
        17 => format!("DROP TRIGGER IF EXISTS {schema}.g{}", random.below(3)),
        18 if schema == "main" => view(random, &table),
        19 => format!("DROP VIEW IF EXISTS {schema}.v{}", random.below(2)),
        20 if schema == "main" => temporary(random, &table),
        21 => format!("ANALYZE {schema}"),
        22 => format!("REINDEX {schema}.{table}"),
        _ if schema == "main" => virtual_table(random),
        _ => format!("CREATE TABLE {schema}.{table}(id, a, b, c, d)"),
    }
}

fn create_table(random: &mut Random, schema: &str, table: &str) -> String {
    let head = format!("CREATE TABLE {schema}.{table}");
    match random.below(7) {
        0 => format!("{head}(id INTEGER PRIMARY KEY, {COLUMNS})"),
        1 => format!("{head}(id INTEGER PRIMARY KEY AUTOINCREMENT, {COLUMNS} CHECK (d < 49))"),
        2 => format!("{head}(id INTEGER, {COLUMNS}, PRIMARY KEY (id DESC)) WITHOUT ROWID"),
        3 => format!(
            "{head}(id INTEGER PRIMARY KEY, {COLUMNS}, \
             g AS (id * 2 + d) STORED, h AS (length(c)) VIRTUAL)"
        ),
        4 if schema == "main" => {
            let action = random.pick(&["CASCADE", "SET NULL", "RESTRICT", "NO ACTION"]);
            let deferred = random.pick(&["", " DEFERRABLE INITIALLY DEFERRED"]);
            format!(
                "{head}(id INTEGER PRIMARY KEY, {COLUMNS} \
                 REFERENCES t0(id) ON DELETE {action} ON UPDATE CASCADE{deferred})"
            )
        }
        5 => {
            format!("{head}(id INT UNIQUE, a ANY, b TEXT, c ANY, d INTEGER, UNIQUE (a, d)) STRICT")
        }
        _ => format!("{head}(id UNIQUE, {COLUMNS})"),
    }
}

fn index(random: &mut Random, schema: &str, table: &str) -> String {
    let number = random.below(4);
    let columns = random.pick(&["a", "b, a", "d DESC", "length(c)", "c"]);
    let unique = random.pick(&["", "", "", "UNIQUE "]);
    let partial = random.pick(&["", "", " WHERE d > 10"]);
    format!("CREATE {unique}INDEX {schema}.i{number} ON {table}({columns}){partial}")
}

fn alter(random: &mut Random, schema: &str, table: &str) -> String {
    let number = random.below(3);
    let head = format!("ALTER TABLE {schema}.{table}");
    match random.below(5) {
        0 | 1 => format!("{head} ADD COLUMN e{number} DEFAULT 'e{number}'"),
        2 => format!("{head} DROP COLUMN e{number}"),
        3 => format!("{head} RENAME COLUMN e{number} TO e{}", random.below(3)),
        _ => format!(
            "{head} RENAME TO {}{}",
            &table.replace(char::is_numeric, ""),
            random.below(6)
        ),
    }
}

fn trigger(random: &mut Random, table: &str) -> String {
    let (number, other) = (random.below(3), random.below(3));
    let event = random.pick(&["INSERT", "UPDATE", "DELETE", "UPDATE OF a"]);
    let when = random.pick(&["BEFORE", "AFTER"]);
    let row = if event == "DELETE" { "old" } else { "new" };
    let body = match random.below(4) {
        0 => format!("UPDATE t{other} SET a = a + 1 WHERE id = {row}.id + 1"),
        1 => format!("INSERT OR IGNORE INTO t{other}(id, a) VALUES ({row}.id + 100, 'trigger')"),
        2 => format!("DELETE FROM t{other} WHERE id = {row}.id - 7"),
        _ => {
            let kind = random.pick(&["ABORT", "FAIL", "ROLLBACK"]);
            format!("SELECT RAISE({kind}, 'unlucky') WHERE {row}.id % 13 = 5")
        }
    };
    format!("CREATE TRIGGER main.g{number} {when} {event} ON {table} BEGIN {body}; END")
}

fn view(random: &mut Random, table: &str) -> String {
    let number = random.below(2);
    format!(
        "CREATE VIEW main.v{number} AS SELECT id, a, length(c) AS size FROM {table} WHERE d > 5"
    )
}

fn temporary(random: &mut Random, table: &str) -> String {
    match random.below(4) {
        0 => "DROP TABLE IF EXISTS temp.x0".to_owned(),
        1 => format!(
            "CREATE TEMP TRIGGER x1 AFTER INSERT ON main.{table} \
             BEGIN INSERT INTO x0(id, a) VALUES (new.id, 'seen'); END"
        ),
        2 => format!("CREATE TEMP TABLE x0 AS SELECT id, a, b, c, d FROM main.{table}"),
        _ => format!("CREATE TEMP TABLE x0(id INTEGER PRIMARY KEY, {COLUMNS})"),
    }
}

fn virtual_table(random: &mut Random) -> String {
    match random.below(12) {
        0 => "DROP TABLE IF EXISTS main.f0".to_owned(),
        1 => "DROP TABLE IF EXISTS main.r0".to_owned(),
        2..7 => "CREATE VIRTUAL TABLE main.f0 USING fts5(a, b)".to_owned(),
        _ => "CREATE VIRTUAL TABLE main.r0 USING rtree(id, x0, x1, y0, y1)".to_owned(),
    }
}

/// A change of the full-text table.
pub(crate) fn full_text(random: &mut Random) -> String {
    let (row, count) = (random.below(100), random.below(40));
    match random.below(8) {
        0..4 => format!(
            "INSERT OR REPLACE INTO main.f0(rowid, a, b) WITH RECURSIVE n(i) AS \
             (SELECT {row} UNION ALL SELECT i + 1 FROM n LIMIT {count}) \
             SELECT i, 'word' || (i % 7) || ' common', 'term' || i FROM n"
        ),
        4 => format!(
            "UPDATE main.f0 SET a = 'changed word{row}' WHERE rowid % 5 = {}",
            row % 5
        ),
        5 => format!("DELETE FROM main.f0 WHERE rowid < {row}"),
        6 => "INSERT INTO main.f0(f0) VALUES ('optimize')".to_owned(),
        _ => "INSERT INTO main.f0(f0) VALUES ('integrity-check')".to_owned(),
    }
}

/// A change of the R-tree table.
pub(crate) fn rectangle(random: &mut Random) -> String {
    let (row, size) = (random.below(200), random.below(30));
    match random.below(5) {
        0 => format!("DELETE FROM main.r0 WHERE x0 > {row}"),
        1 => format!("UPDATE main.r0 SET x1 = x1 + {size}, y0 = y0 - 1 WHERE id % 3 = 1"),
        _ => format!(
            "INSERT OR REPLACE INTO main.r0 WITH RECURSIVE n(i) AS \
             (SELECT {row} UNION ALL SELECT i + 1 FROM n LIMIT {size}) \
             SELECT i, i * 17 % 101, i * 17 % 101 + {size}, i, i + {size} FROM n"
        ),
    }
}
