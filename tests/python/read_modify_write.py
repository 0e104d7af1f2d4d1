"""Adds one to a counter by reading it and writing what the program made of it.

Python begins the transactions, as it does by default: before the first statement that
writes, which here takes the turn before anything is read. So they need `writers=queued`,
and then nothing may fail, least of all a COMMIT.

Arguments: STORE ROUNDS
"""

import sys

import verso

store, rounds = sys.argv[1], int(sys.argv[2])
verso.register()


def count(_):
    db = verso.connect(store, "&writers=queued", timeout=10, isolation_level="")
    for _ in range(rounds):
        assert not db.in_transaction
        db.execute("UPDATE turn SET taken = taken + 1")
        assert db.in_transaction, "Python sent no BEGIN"
        (n,) = db.execute("SELECT n FROM counter").fetchone()
        db.execute("UPDATE counter SET n = ?", (n + 1,))
        db.commit()
    db.close()


verso.run_threads(1, count)
