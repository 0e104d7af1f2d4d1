//! What transactions mean: a model of two tables, and steps that change and read it.

use std::collections::BTreeMap;

use verso_tests::random::Random;

/// Keys go from 0 to here.
const KEYS: u64 = 16;
/// Values are few, so that several rows have the same.
const VALUES: u64 = 6;
/// What the tables `t` and `u` hold: key, value, and length of the padding.
pub(crate) const SCHEMA: &str = "CREATE TABLE t (k INTEGER PRIMARY KEY, v INTEGER, pad BLOB);
    CREATE INDEX t_v ON t (v);
    CREATE TABLE u (k INTEGER PRIMARY KEY, v INTEGER, pad BLOB);";

/// A table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Table {
    T,
    U,
}

/// The content of both tables.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct State {
    t: BTreeMap<i64, (i64, i64)>,
    u: BTreeMap<i64, (i64, i64)>,
}

/// A statement. Ranges of keys include both ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Operation {
    Get(Table, i64),
    Scan(Table, i64, i64),
    /// Through the index of `t`.
    Find(i64),
    Count(Table),
    Put(Table, i64, i64, i64),
    Add(Table, i64, i64),
    Delete(Table, i64, i64),
    /// From `t` to `u`.
    Copy(i64, i64),
}

/// A step inside a transaction. Savepoints are numbered from the outermost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    Run(Operation),
    Savepoint(usize),
    RollbackTo(usize),
    Release(usize),
}

/// What one transaction sees.
#[derive(Debug, Clone, Default)]
pub(crate) struct View {
    pub(crate) state: State,
    savepoints: Vec<State>,
}

impl Table {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::T => "t",
            Self::U => "u",
        }
    }
}

impl State {
    fn table(&mut self, table: Table) -> &mut BTreeMap<i64, (i64, i64)> {
        match table {
            Table::T => &mut self.t,
            Table::U => &mut self.u,
        }
    }
}

impl Operation {
    /// A random one.
    pub(crate) fn choose(random: &mut Random, longest: u64) -> Self {
        let table = random.pick(&[Table::T, Table::U]);
        let mut key = || random.below(KEYS).cast_signed();
        let (one, two) = (key(), key());
        let range = (one.min(two), one.max(two));
        let near = (one, (one + 2).min(two.max(one)));
        let value = random.below(VALUES).cast_signed();
        match random.below(16) {
            0..3 => Self::Get(table, one),
            3 | 4 => Self::Scan(table, range.0, range.1),
            5 => Self::Find(value),
            6 => Self::Count(table),
            7..11 => Self::Put(table, one, value, random.below(longest).cast_signed()),
            11 | 12 => Self::Add(table, near.0, near.1),
            13 | 14 => Self::Delete(table, near.0, near.1),
            _ => Self::Copy(near.0, near.1),
        }
    }

    /// The statement that reads a whole table.
    pub(crate) const fn scan_all(table: Table) -> Self {
        Self::Scan(table, 0, KEYS.cast_signed())
    }

    pub(crate) const fn is_write(&self) -> bool {
        matches!(
            self,
            Self::Put(..) | Self::Add(..) | Self::Delete(..) | Self::Copy(..)
        )
    }

    pub(crate) fn sql(&self) -> String {
        match self {
            Self::Get(table, key) => {
                format!(
                    "SELECT v, length(pad) FROM {} WHERE k = {key}",
                    table.name()
                )
            }
            Self::Scan(table, first, last) => format!(
                "SELECT k, v, length(pad) FROM {} WHERE k BETWEEN {first} AND {last} ORDER BY k",
                table.name()
            ),
            Self::Find(value) => {
                format!("SELECT k FROM t INDEXED BY t_v WHERE v = {value} ORDER BY k")
            }
            Self::Count(table) => format!("SELECT count(*) FROM {}", table.name()),
            Self::Put(table, key, value, length) => format!(
                "INSERT OR REPLACE INTO {} VALUES ({key}, {value}, zeroblob({length})); \
                 SELECT changes()",
                table.name()
            ),
            Self::Add(table, first, last) => format!(
                "UPDATE {} SET v = (v + 1) % {VALUES} WHERE k BETWEEN {first} AND {last}; \
                 SELECT changes()",
                table.name()
            ),
            Self::Delete(table, first, last) => format!(
                "DELETE FROM {} WHERE k BETWEEN {first} AND {last}; SELECT changes()",
                table.name()
            ),
            Self::Copy(first, last) => format!(
                "INSERT OR REPLACE INTO u SELECT * FROM t WHERE k BETWEEN {first} AND {last}; \
                 SELECT changes()"
            ),
        }
    }

    /// Does to the model what the statement does, and returns what it returns.
    fn apply(&self, state: &mut State) -> Vec<i64> {
        match *self {
            Self::Get(table, key) => {
                let row = state.table(table).get(&key);
                row.map_or(Vec::new(), |&(value, length)| vec![value, length])
            }
            Self::Scan(table, first, last) => {
                let rows = state.table(table).range(first..=last);
                rows.flat_map(|(&key, &(value, length))| [key, value, length])
                    .collect()
            }
            Self::Find(value) => {
                let rows = state.t.iter().filter(|(_, row)| row.0 == value);
                rows.map(|(&key, _)| key).collect()
            }
            Self::Count(table) => vec![count(state.table(table).len())],
            Self::Put(table, key, value, length) => {
                state.table(table).insert(key, (value, length));
                vec![1]
            }
            Self::Add(table, first, last) => {
                let rows = state.table(table).range_mut(first..=last);
                let changed = rows.map(|(_, row)| row.0 = (row.0 + 1) % VALUES.cast_signed());
                vec![count(changed.count())]
            }
            Self::Delete(table, first, last) => {
                let removed = state.table(table).extract_if(first..=last, |_, _| true);
                vec![count(removed.count())]
            }
            Self::Copy(first, last) => {
                let rows = state.t.range(first..=last);
                let rows: Vec<_> = rows.map(|(&key, &row)| (key, row)).collect();
                let copied = rows.len();
                state.u.extend(rows);
                vec![count(copied)]
            }
        }
    }
}

fn count(number: usize) -> i64 {
    i64::try_from(number).expect("a small number")
}

impl Step {
    pub(crate) fn sql(&self) -> String {
        match self {
            Self::Run(operation) => operation.sql(),
            Self::Savepoint(depth) => format!("SAVEPOINT s{depth}"),
            Self::RollbackTo(depth) => format!("ROLLBACK TO s{depth}"),
            Self::Release(depth) => format!("RELEASE s{depth}"),
        }
    }
}

impl View {
    pub(crate) const fn new(state: State) -> Self {
        Self {
            state,
            savepoints: Vec::new(),
        }
    }

    /// Fills in the snapshot that the first access to the database takes: nothing was
    /// changed before.
    pub(crate) fn begin(&mut self, snapshot: &State) {
        self.state.clone_from(snapshot);
        self.savepoints.fill(snapshot.clone());
    }

    /// Number of open savepoints.
    pub(crate) fn depth(&self) -> usize {
        self.savepoints.len()
    }

    /// Does a step, and returns what it returns.
    pub(crate) fn apply(&mut self, step: &Step) -> Vec<i64> {
        match step {
            Step::Run(operation) => return operation.apply(&mut self.state),
            Step::Savepoint(_) => self.savepoints.push(self.state.clone()),
            Step::RollbackTo(depth) => {
                self.savepoints.truncate(depth + 1);
                self.state = self.savepoints.last().expect("it is open").clone();
            }
            Step::Release(depth) => self.savepoints.truncate(*depth),
        }
        Vec::new()
    }
}
