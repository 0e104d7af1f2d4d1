//! A conflict on purpose: the SQL function `rival()`, which is 0, lets another connection
//! write in the middle of a statement.

use std::path::Path;
use std::sync::{Arc, Mutex};

use rusqlite::Connection;
use rusqlite::functions::{Context, FunctionFlags};
use verso_tests::sessions::{Answer, execute};

use super::{connect, impatient};

#[derive(Default)]
struct State {
    /// What the rival will do at the next call.
    plan: Option<String>,
    /// What became of it.
    answer: Option<Answer>,
    calls: u32,
}

/// A connection whose statements can be disturbed.
pub(crate) struct Duel {
    pub(crate) db: Connection,
    state: Arc<Mutex<State>>,
}

impl Duel {
    /// Opens the database of a store, and makes a table in it.
    pub(crate) fn new(store: &Path) -> Self {
        let db = connect(store);
        let schema = "CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER);
                      INSERT INTO t VALUES (1, 10), (2, 20);";
        execute(&db, schema).expect("SQL");
        let state: Arc<Mutex<State>> = Arc::default();
        let (shared, path) = (Arc::clone(&state), store.to_owned());
        let rival = move |_: &mut Context<'_>| {
            let mut state = shared.lock().expect("nobody panics with it");
            state.calls += 1;
            if let Some(sql) = state.plan.take() {
                state.answer = Some(execute(&impatient(&path), &sql));
            }
            Ok(0)
        };
        db.create_scalar_function("rival", 0, FunctionFlags::SQLITE_UTF8, rival)
            .expect("a function");
        Self { db, state }
    }

    /// Runs `work`, in which the first call of `rival()` runs `sql`. The answer is how often
    /// it was called, and what became of the SQL.
    pub(crate) fn disturbed<T>(&self, sql: &str, work: impl FnOnce() -> T) -> (T, u32, Answer) {
        *self.state.lock().expect("nobody panics with it") = State {
            plan: Some(sql.to_owned()),
            ..State::default()
        };
        let result = work();
        let mut state = self.state.lock().expect("nobody panics with it");
        let answer = state.answer.take().expect("the function was called");
        (result, state.calls, answer)
    }

    /// Runs a statement that loses once, and must then succeed by itself.
    pub(crate) fn wins_at_second_attempt(&self, statement: &str, rival: &str) {
        let (result, calls, answer) = self.disturbed(rival, || execute(&self.db, statement));
        assert_eq!(answer, Ok(vec![]), "{rival}");
        assert_eq!(result, Ok(vec![]), "{statement}");
        assert_eq!(calls, 2, "{statement}: attempts");
    }

    pub(crate) fn rows(&self, sql: &str) -> Vec<i64> {
        execute(&self.db, sql).expect("SQL")
    }
}
