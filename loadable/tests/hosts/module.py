"""Python's module sqlite3 on Verso: module.py LIBRARY STORE STEP [ARGUMENT...]"""

import itertools
import sqlite3
import sys

LIBRARY, STORE, STEP, *ARGUMENTS = sys.argv[1:]
URI = f"file:app.db?vfs=verso&store=sqlite:{STORE}"


def load(library):
    """Registers the VFS, once for all connections of the process."""
    loader = sqlite3.connect(":memory:")
    loader.enable_load_extension(True)
    loader.load_extension(library)
    loader.close()


def connect(uri):
    return sqlite3.connect(uri, uri=True, timeout=60, isolation_level=None)


def transact(db, work):
    """Runs work(db) in a transaction, and again if another one came in between."""
    for attempt in itertools.count():
        db.execute("BEGIN" if attempt < 3 else "BEGIN IMMEDIATE")
        try:
            result = work(db)
            db.execute("COMMIT")
            return result
        except BaseException as error:
            if db.in_transaction:
                db.execute("ROLLBACK")
            if getattr(error, "sqlite_errorcode", 0) != sqlite3.SQLITE_BUSY_SNAPSHOT:
                raise


def balance(db, name):
    return db.execute("SELECT amount FROM account WHERE name = ?", [name]).fetchone()[0]


def deposit(amount):
    """Reads, computes here, and writes: lost without a transaction."""

    def work(db):
        found = balance(db, "anna")
        db.execute("UPDATE account SET amount = ? WHERE name = 'anna'", [found + amount])

    return work


def create():
    db = connect(URI)
    db.execute("CREATE TABLE account (name TEXT PRIMARY KEY, amount INTEGER NOT NULL)")
    db.executemany("INSERT INTO account VALUES (?, ?)", [("anna", 0), ("bob", 0)])
    db.execute("CREATE TABLE note (id INTEGER PRIMARY KEY, writer TEXT, text BLOB)")
    print(db.execute("SELECT count(*) FROM account").fetchone()[0])


def show():
    db = connect(URI)
    notes = db.execute("SELECT writer, count(*) FROM note GROUP BY 1 ORDER BY 1").fetchall()
    print(balance(db, "anna"), balance(db, "bob"), notes)
    assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def rollback():
    db = connect(URI)
    db.execute("BEGIN")
    db.execute("UPDATE account SET amount = 1000000")
    assert balance(db, "anna") == 1000000 and balance(connect(URI), "anna") == 0
    db.execute("ROLLBACK")
    print(balance(db, "anna"))


def conflict():
    """At COMMIT, with the transaction gone; then it is run again."""
    db, other = connect(URI), connect(URI)
    db.execute("BEGIN")
    deposit(1)(db)
    transact(other, deposit(10))
    try:
        db.execute("COMMIT")
    except sqlite3.OperationalError as error:
        print(error.sqlite_errorcode, db.in_transaction)

    attempts = []

    def work(db):
        attempts.append(1)
        deposit(1)(db)
        if len(attempts) == 1:
            transact(other, deposit(10))

    transact(db, work)
    print(len(attempts), balance(db, "anna"))


def statement():
    """A statement outside of a transaction loses, and SQLite runs it again."""
    db, other = connect(URI), connect(URI)
    attempts = []

    def meddle():
        attempts.append(1)
        if len(attempts) == 1:
            transact(other, deposit(10))
        return 1

    db.create_function("meddle", 0, meddle)
    db.execute("UPDATE account SET amount = amount + meddle() WHERE name = 'anna'")
    print(len(attempts), balance(db, "anna"))


def past():
    db = connect(URI)
    version = db.execute("SELECT verso_version()").fetchone()[0]
    transact(db, deposit(5))
    past = connect(f"{URI}&at={version}")
    print(balance(past, "anna"), balance(db, "anna"))
    try:
        past.execute("UPDATE account SET amount = 0")
    except sqlite3.OperationalError as error:
        print(error)


def work(writer, count):
    """One of several processes, with transactions and with single statements."""
    db = connect(URI)
    for number in range(int(count)):
        transact(db, deposit(1))
        db.execute("UPDATE account SET amount = amount + 1 WHERE name = 'bob'")
        db.execute("INSERT INTO note (writer, text) VALUES (?, ?)", [writer, bytes(number)])


def default_mode(writer, count):
    """Python's own transactions, which know of no conflict: the writers take turns."""
    db = sqlite3.connect(f"{URI}&writers=queued", uri=True, timeout=60)
    for _ in range(int(count)):
        with db:
            db.execute("UPDATE account SET amount = amount - 1 WHERE name = 'bob'")
            db.execute("UPDATE account SET amount = amount + 1 WHERE name = 'anna'")
            db.execute("INSERT INTO note (writer) VALUES (?)", [writer])


load(LIBRARY)
globals()[STEP](*ARGUMENTS)
