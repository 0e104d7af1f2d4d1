"""Runs SQL and prints its rows, after a line with the version of SQLite.

Arguments: STORE SQL...
"""

import sqlite3
import sys

import verso

store, *statements = sys.argv[1:]
verso.register()
print(sqlite3.sqlite_version)
db = verso.connect(store)
for statement in statements:
    for row in db.execute(statement):
        print(*row)
