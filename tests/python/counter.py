"""Adds one to a counter: a statement of its own each time, and no second attempt.

Arguments: STORE THREADS ROUNDS
"""

import sys

import verso

store, threads, rounds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
verso.register()


def count(_):
    db = verso.connect(store)
    for _ in range(rounds):
        changed = db.execute("UPDATE counter SET n = n + 1").rowcount
        assert changed == 1, f"{changed} rows changed"
    db.close()


verso.run_threads(threads, count)
