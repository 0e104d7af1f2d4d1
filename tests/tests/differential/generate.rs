//! Random SQL from a seed. Every table has the columns id, a, b, c and d, so that most
//! statements suit most tables; those that do not must fail alike on both sides.

use verso_tests::random::Random;

use crate::step::{BlobWrite, Setup, Step};
use crate::{queries, schema};

/// Row ids stay below this, so that databases stay small and rows meet each other.
const IDS: u64 = 250;

pub(crate) struct Generator {
    pub(crate) random: Random,
    setup: Setup,
    steps: Vec<Step>,
    /// Whether a transaction is open, as far as is known.
    is_open: bool,
    reader_open: bool,
}

/// The databases and steps of a seed.
pub(crate) fn generate(seed: u64, length: usize) -> (Setup, Vec<Step>) {
    let mut random = Random::new(seed);
    let setup = setup(&mut random);
    let mut generator = Generator {
        random,
        setup: setup.clone(),
        steps: Vec::new(),
        is_open: false,
        reader_open: false,
    };
    let tables = schema::first_tables(&mut generator.random, setup.attached);
    generator.steps.extend(tables.into_iter().map(Step::Sql));
    while generator.steps.len() < length {
        generator.step();
    }
    generator.end_transaction();
    generator.steps.push(Step::Compare);
    (setup, generator.steps)
}

fn setup(random: &mut Random) -> Setup {
    Setup {
        page_size: 512 << random.below(8),
        auto_vacuum: random.pick(&[0, 0, 1, 2]),
        journal_mode: random.pick(&["delete", "truncate", "persist", "memory", "wal"]),
        synchronous: random.pick(&["off", "off", "off", "normal", "full", "extra"]),
        cache_size: random.pick(&[3, 5, 10, 100, 2000]),
        foreign_keys: random.one_in(2),
        attached: random.one_in(2),
        apart: random.one_in(2),
    }
}

impl Generator {
    fn step(&mut self) {
        let step = match self.random.below(100) {
            0..45 => Step::Sql(self.modification()),
            45..58 => Step::Sql(queries::query(&mut self.random)),
            58..70 => return self.transaction(),
            70..79 => Step::Sql(self.schema_change()),
            79..83 => Step::Sql(self.maintenance()),
            83..87 => self.blob(),
            87..90 => self.while_reading(),
            90..91 => Step::Flush,
            91..92 => {
                self.is_open = false;
                self.reader_open = false;
                Step::Reopen
            }
            92 => Step::Swap,
            93..95 => {
                self.reader_open = !self.reader_open;
                if self.reader_open {
                    Step::ReaderBegins
                } else {
                    Step::ReaderEnds
                }
            }
            95..97 => return self.vacuum(),
            _ => Step::Compare,
        };
        self.steps.push(step);
    }

    /// Where the next statement writes.
    fn target(&mut self) -> &'static str {
        // More often inside of a transaction, so that many write both.
        let chance = if self.is_open { 3 } else { 8 };
        if self.setup.attached && self.random.one_in(chance) {
            "aux"
        } else {
            "main"
        }
    }

    pub(crate) fn table(&mut self) -> String {
        match self.target() {
            "aux" => format!("aux.u{}", self.random.below(2)),
            _ if self.random.one_in(15) => "temp.x0".to_owned(),
            schema => format!("{schema}.t{}", self.random.below(5)),
        }
    }

    fn transaction(&mut self) {
        let savepoint = format!("s{}", self.random.below(2));
        if !self.is_open {
            self.is_open = true;
            let begin = match self.random.below(5) {
                0 => "BEGIN IMMEDIATE".to_owned(),
                1 => "BEGIN EXCLUSIVE".to_owned(),
                2 => format!("SAVEPOINT {savepoint}"),
                _ => "BEGIN".to_owned(),
            };
            return self.steps.push(Step::Sql(begin));
        }
        let sql = match self.random.below(8) {
            0..2 => return self.end_transaction(),
            2 => {
                self.is_open = false;
                self.steps.push(Step::End("ROLLBACK"));
                return;
            }
            3..5 => format!("SAVEPOINT {savepoint}"),
            5..7 => format!("ROLLBACK TO {savepoint}"),
            _ => format!("RELEASE {savepoint}"),
        };
        self.steps.push(Step::Sql(sql));
    }

    fn end_transaction(&mut self) {
        self.is_open = false;
        self.steps.push(Step::End("COMMIT"));
    }

    fn vacuum(&mut self) {
        if self.is_open && !self.random.one_in(10) {
            self.end_transaction();
        }
        let schema = if self.setup.attached && self.random.one_in(4) {
            "aux"
        } else {
            "main"
        };
        match self.random.below(6) {
            0..2 => {
                let size = 512 << self.random.below(8);
                let sql = format!("PRAGMA {schema}.page_size = {size}");
                self.steps.push(Step::Sql(sql));
            }
            2..4 => {
                let mode = self.random.below(3);
                let sql = format!("PRAGMA {schema}.auto_vacuum = {mode}");
                self.steps.push(Step::Sql(sql));
            }
            _ => {}
        }
        self.steps.push(Step::Sql(format!("VACUUM {schema}")));
        self.steps.push(Step::Compare);
    }

    fn maintenance(&mut self) -> String {
        let schema = self.target();
        let random = &mut self.random;
        match random.below(12) {
            0 => format!("PRAGMA {schema}.user_version = {}", random.below(1000)),
            1 => format!("PRAGMA {schema}.application_id = {}", random.below(1000)),
            2..5 => format!("PRAGMA {schema}.incremental_vacuum({})", random.below(20)),
            5 => format!(
                "PRAGMA {schema}.cache_size = {}",
                random.pick(&[2, 5, 50, 2000])
            ),
            6 => format!("PRAGMA {schema}.secure_delete = {}", random.below(2)),
            7 => format!("PRAGMA {schema}.synchronous = {}", random.below(4)),
            8 if self.setup.journal_mode != "wal" => {
                let mode = random.pick(&["delete", "truncate", "persist", "memory"]);
                format!("PRAGMA {schema}.journal_mode = {mode}")
            }
            9 => "PRAGMA foreign_key_check".to_owned(),
            10 => format!("PRAGMA {schema}.quick_check"),
            _ => format!("PRAGMA {schema}.optimize"),
        }
    }

    fn blob(&mut self) -> Step {
        let (schema, table) = match self.target() {
            "aux" => ("aux", format!("u{}", self.random.below(2))),
            _ => ("main", format!("t{}", self.random.below(5))),
        };
        Step::Blob(BlobWrite {
            schema,
            table,
            column: self.random.pick(&["c", "c", "c", "b", "a"]),
            rowid: self.id().cast_signed(),
            offset: self.random.below(3000),
            length: usize::try_from(self.random.below(2000)).unwrap_or(0),
        })
    }

    fn while_reading(&mut self) -> Step {
        let query = queries::scan(&mut self.random);
        // Outside of a transaction each of these commits.
        let mut statements: Vec<String> = (0..3).map(|_| self.modification()).collect();
        if self.random.one_in(2) {
            // The query goes on, if it can.
            statements.push(self.random.pick(&["COMMIT", "ROLLBACK"]).to_owned());
            statements.push(self.modification());
        }
        Step::While { query, statements }
    }

    fn schema_change(&mut self) -> String {
        let target = self.target();
        schema::change(&mut self.random, target)
    }

    pub(crate) fn id(&mut self) -> u64 {
        1 + self.random.below(IDS)
    }

    fn modification(&mut self) -> String {
        let table = self.table();
        let sql = match self.random.below(20) {
            0..6 => self.insert_many(&table),
            6..8 => self.insert_one(&table),
            8..12 => self.update(&table),
            12..15 => self.delete(&table),
            15..17 => self.upsert(&table),
            17 => self.copy(&table),
            18 => schema::full_text(&mut self.random),
            _ => schema::rectangle(&mut self.random),
        };
        let returning = sql.contains(&table) && self.random.one_in(6);
        if returning {
            format!("{sql} RETURNING id, a, length(c) AS size")
        } else {
            sql
        }
    }

    fn conflict_clause(&mut self) -> &'static str {
        const CLAUSES: [&str; 9] = [
            "",
            "",
            "",
            " OR REPLACE",
            " OR REPLACE",
            " OR IGNORE",
            " OR FAIL",
            " OR ABORT",
            " OR ROLLBACK",
        ];
        self.random.pick(&CLAUSES)
    }

    /// An expression for the column c of row i: from nothing to many overflow pages.
    fn content(&mut self) -> String {
        let length = match self.random.below(12) {
            0 => self.random.below(100_000),
            1..4 => self.random.below(5000),
            _ => self.random.below(200),
        };
        match self.random.below(4) {
            0 => format!("zeroblob({length})"),
            1 => "NULL".to_owned(),
            2 => format!("CAST(printf('%0*d', {length}, i) AS BLOB)"),
            _ => format!("replace(hex(zeroblob({})), '00', 'a' || i)", length / 4),
        }
    }

    fn insert_many(&mut self, table: &str) -> String {
        let (clause, first) = (self.conflict_clause(), self.id());
        let count = match self.random.below(6) {
            0 => self.random.below(120),
            _ => self.random.below(12),
        };
        let (content, factor) = (self.content(), self.random.below(50));
        format!(
            "INSERT{clause} INTO {table}(id, a, b, c, d) \
             WITH RECURSIVE n(i) AS (SELECT {first} UNION ALL SELECT i + 1 FROM n LIMIT {count}) \
             SELECT i, i * {factor} % 31, 'text ' || (i * {factor}), {content}, i % 40 \
             FROM n WHERE 1"
        )
    }

    fn insert_one(&mut self, table: &str) -> String {
        let (clause, content) = (self.conflict_clause(), self.content());
        let id = if self.random.one_in(3) {
            "NULL".to_owned()
        } else {
            self.id().to_string()
        };
        let (a, d) = (self.random.below(50), self.random.below(50));
        format!(
            "INSERT{clause} INTO {table}(id, a, b, c, d) \
             SELECT {id}, {a}, 'one ' || {d}, {content}, {d} FROM (SELECT {a} AS i) WHERE 1"
        )
    }

    fn update(&mut self, table: &str) -> String {
        let clause = self.conflict_clause();
        let (from, content) = (self.id(), self.content());
        let to = from + self.random.below(60);
        let set = match self.random.below(6) {
            0 => "id = id + 3".to_owned(),
            1 => format!("c = (SELECT {content} FROM (SELECT {from} AS i))"),
            2 => "b = b || b".to_owned(),
            3 => "d = (d + 1) % 40, a = NULL".to_owned(),
            _ => "a = a + 1, d = d".to_owned(),
        };
        let short = if set.starts_with("b =") {
            " AND length(b) < 3000"
        } else {
            ""
        };
        format!("UPDATE{clause} {table} SET {set} WHERE id BETWEEN {from} AND {to}{short}")
    }

    fn delete(&mut self, table: &str) -> String {
        let (from, remainder) = (self.id(), self.random.below(7));
        match self.random.below(8) {
            0 => format!("DELETE FROM {table}"),
            1..3 => format!("DELETE FROM {table} WHERE id % 7 = {remainder}"),
            3 => format!("DELETE FROM {table} WHERE length(c) > 1000"),
            _ => format!(
                "DELETE FROM {table} WHERE id BETWEEN {from} AND {}",
                from + 20
            ),
        }
    }

    fn upsert(&mut self, table: &str) -> String {
        let (first, content) = (self.id(), self.content());
        format!(
            "INSERT INTO {table}(id, a, b, c, d) \
             WITH RECURSIVE n(i) AS (SELECT {first} UNION ALL SELECT i + 1 FROM n LIMIT 5) \
             SELECT i, i, 'upsert', {content}, i % 40 FROM n WHERE 1 \
             ON CONFLICT(id) DO UPDATE SET a = a + 1, c = excluded.c WHERE excluded.id % 5 > 0"
        )
    }

    /// Rows of one database into another, or into the same.
    fn copy(&mut self, table: &str) -> String {
        let from = self
            .random
            .pick(&["main.t0", "main.t1", "main.t2", "aux.u0", "aux.u1"]);
        let (first, clause) = (self.id(), self.conflict_clause());
        format!(
            "INSERT{clause} INTO {table}(id, a, b, c, d) \
             SELECT id + {first}, a, b, c, d FROM {from} WHERE id % 5 = 1"
        )
    }
}
