//! A child shares neither positions in files nor what its parent writes to.

use verso_tests::workers::{Orders, Worker, report};
use verso_tests::{CACHE_VARIABLE, integer, open};

use crate::reader::{SUM, Setup};

pub(crate) const ROLE: &str = "forks";
const DATABASE: &str = "VERSO_TEST_URI";

/// Runs `child` in a forked process, and waits for it after `parent`.
#[expect(unsafe_code, reason = "fork and waitpid have no safe wrapper here")]
fn fork(child: impl FnOnce(), parent: impl FnOnce()) {
    // SAFETY: the child runs only `child` and leaves by _exit.
    match unsafe { libc::fork() } {
        -1 => panic!("fork failed"),
        0 => {
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(child));
            // SAFETY: ends the child without running the parent's exit handlers.
            unsafe { libc::_exit(i32::from(result.is_err())) }
        }
        pid => {
            parent();
            let mut status = 0;
            // SAFETY: waits for a child of this process.
            assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
            assert_eq!(status, 0, "the child failed");
        }
    }
}

/// Reads in the parent, in children with inherited and with new connections, and again in the
/// parent; each with next to no memory, so that all of them read from disk and write to it.
pub(crate) fn work(orders: &Orders) {
    let uri = std::env::var(DATABASE).expect("a URI");
    let connect = || {
        let db = open(&uri).expect("the database opens");
        db.execute_batch("PRAGMA cache_size = 2").expect("SQL");
        db
    };
    let db = connect();
    let expected = integer(&db, SUM);
    let half = "SELECT sum(n) FROM t WHERE id < 6000";
    for round in 0..orders.rounds {
        let rows = integer(&db, half);
        fork(
            || {
                if round % 2 == 0 {
                    assert_eq!(integer(&db, SUM), expected);
                }
                assert_eq!(integer(&connect(), SUM), expected);
                assert_eq!(integer(&db, SUM), expected);
            },
            || {
                for _ in 0..3 {
                    assert_eq!(integer(&db, half), rows);
                    assert_eq!(integer(&connect(), SUM), expected);
                }
            },
        );
        assert_eq!(integer(&db, SUM), expected);
    }
    report(expected);
}

#[test]
fn parent_and_children_go_on() {
    let setup = Setup::new();
    let uri = setup.uri("");
    let environment = [(DATABASE, uri.as_str()), (CACHE_VARIABLE, "100000")];
    let path = setup.store.path();
    let worker = Worker::start_in(ROLE, 0, 6, &path, &environment);
    let lines = worker.finish();
    let answer = setup.ask(SUM);
    assert_eq!(lines, [answer.value.to_string()]);
    assert_eq!(answer.pages_read, 0, "{answer:?}");
}
