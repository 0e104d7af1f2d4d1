# Verso in a Python that uses it wrongly. loadable/tests/bad_input.rs runs
# `python3 misuse.py LIBRARY STEP` in an empty folder, and compares what is printed.
import ctypes
import os
import shutil
import sys
import threading

LIBRARY, STEP = sys.argv[1:]
SQLITE = ctypes.CDLL("libsqlite3.so.0")
NULL = ctypes.c_void_p()

# SQLite is configured before it starts, which importing the module makes it do.
SQLITE_CONFIG_SINGLETHREAD, SQLITE_CONFIG_URI = 1, 17
if STEP == "single_thread":
    assert SQLITE.sqlite3_config(SQLITE_CONFIG_SINGLETHREAD) == 0
if STEP == "without_uris":
    assert SQLITE.sqlite3_config(SQLITE_CONFIG_URI, 0) == 0

import sqlite3  # noqa: E402


def load(connection):
    connection.enable_load_extension(True)
    connection.load_extension(LIBRARY)
    connection.enable_load_extension(False)


def loaded():
    connection = sqlite3.connect(":memory:")
    load(connection)
    return connection


def open_database(name="app.db", **options):
    return sqlite3.connect(f"file:{name}?vfs=verso", uri=True, **options)


def failure(work):
    try:
        work()
    except sqlite3.Error as error:
        return str(error)
    raise AssertionError("it went well")


def last_error():
    return loaded().execute("SELECT verso_last_error()").fetchone()[0]


def stores():
    """Each line of the input is the URL of a store that cannot be opened."""
    load(sqlite3.connect(":memory:"))
    for url in sys.stdin.read().splitlines():
        uri = f"file:app.db?vfs=verso&store={url}"

        def work():
            sqlite3.connect(uri, uri=True).execute("SELECT 1 FROM sqlite_schema")

        print(failure(work), "|", last_error())


def without_uris():
    os.environ["VERSO_DEFAULT_VFS"] = "1"
    loaded()
    uri = "file:app.db?mode=ro"
    print(failure(lambda: sqlite3.connect(uri)))
    print(last_error())
    print(os.path.exists("verso.db"))
    db = sqlite3.connect("app.db")
    db.execute("CREATE TABLE t (n)")
    print(failure(lambda: db.execute("ATTACH ? AS other", [uri])))
    print(db.execute("SELECT name FROM verso_databases").fetchall())
    print(sqlite3.connect(uri, uri=True).execute("SELECT count(*) FROM t").fetchone())


def not_allowed():
    db = sqlite3.connect(":memory:")
    db.enable_load_extension(False)
    print(failure(lambda: db.load_extension(LIBRARY)))


def single_thread():
    print(failure(loaded))


def threads():
    def work():
        load(sqlite3.connect(":memory:"))
        db = open_database(timeout=60, isolation_level=None)
        db.execute("CREATE TABLE IF NOT EXISTS t (n)")
        load(db)
        db.execute("INSERT INTO t VALUES (1)")
        db.close()

    workers = [threading.Thread(target=work) for _ in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    load(sqlite3.connect(":memory:"))
    print(open_database().execute("SELECT count(*) FROM t").fetchone())


def forked(prepare):
    prepare()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            load(sqlite3.connect(":memory:"))
            db = open_database()
            db.execute("CREATE TABLE t (n)")
            db.execute("INSERT INTO t VALUES (1)")
            db.commit()
            db.close()
            code = 0
        finally:
            os._exit(code)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    load(sqlite3.connect(":memory:"))
    print(open_database().execute("SELECT count(*) FROM t").fetchone())


def entry_point():
    entry = ctypes.CDLL(LIBRARY + ".so").sqlite3_verso_init
    print(entry(NULL, NULL, NULL))
    # A host that is too old, and has no place for the message.
    number = ctypes.CFUNCTYPE(ctypes.c_int)(lambda: 3_036_000)
    table = (ctypes.c_void_p * 300)()
    table[67] = ctypes.cast(number, ctypes.c_void_p)
    print(entry(NULL, NULL, table))


def prepare(db, sql):
    statement = ctypes.c_void_p()
    code = SQLITE.sqlite3_prepare_v2(db, sql, -1, ctypes.byref(statement), None)
    assert code == 0, code
    return statement


def closed():
    """A connection is closed while a statement on a table of Verso runs."""
    keep = loaded()
    keep.close()
    db = ctypes.c_void_p()
    flags = 0x2 | 0x4 | 0x40
    assert SQLITE.sqlite3_open_v2(b"file:app.db?vfs=verso", ctypes.byref(db), flags, None) == 0
    assert SQLITE.sqlite3_exec(db, b"CREATE TABLE t (n); CREATE TABLE u (n)", None, None, None) == 0
    statement = prepare(db, b"SELECT * FROM verso_log, verso_databases")
    print(SQLITE.sqlite3_step(statement))
    print(SQLITE.sqlite3_close(db))
    print(SQLITE.sqlite3_close_v2(db))
    print(SQLITE.sqlite3_step(statement))
    print(SQLITE.sqlite3_finalize(statement))


def path_of(name):
    """The path of a library that this process has loaded."""
    with open("/proc/self/maps") as maps:
        return next(line.split()[-1] for line in maps if name in line)


def execute(library, db, sql):
    library.sqlite3_errmsg.restype = ctypes.c_char_p
    library.sqlite3_exec(db, sql, None, None, None)
    return library.sqlite3_errmsg(db).decode()


def two_libraries():
    """Another SQLite of the same process loads Verso too."""
    shutil.copy(path_of("libsqlite3"), "other.so")
    other = ctypes.CDLL(os.path.abspath("other.so"))
    first = loaded()
    db = ctypes.c_void_p()
    flags = 0x2 | 0x4 | 0x40
    assert other.sqlite3_open_v2(b":memory:", ctypes.byref(db), flags, None) == 0
    assert other.sqlite3_enable_load_extension(db, 1) == 0
    print(other.sqlite3_load_extension(db, LIBRARY.encode(), None, None))
    print(execute(other, db, b"SELECT verso_last_error()"))
    print(execute(other, db, b"ATTACH 'file:app.db?vfs=verso' AS app"))
    print(execute(other, db, b"CREATE TABLE app.t (n); PRAGMA app.verso_version"))
    print(execute(other, db, b"PRAGMA app.verso_at = nonsense").split(":")[0])
    print(other.sqlite3_close(db))
    print(first.execute("SELECT verso_last_error()").fetchall())
    print(open_database().execute("SELECT count(*), verso_info() ->> 'name' FROM t").fetchone())


def not_utf_8():
    loaded()
    db = ctypes.c_void_p()
    flags = 0x2 | 0x4 | 0x40
    assert SQLITE.sqlite3_open_v2(b"file:app.db?vfs=verso", ctypes.byref(db), flags, None) == 0
    print(execute(SQLITE, db, b"PRAGMA verso_writers = '\xff'"))
    print(execute(SQLITE, db, b"PRAGMA verso_at = '\xff'"))


def authorizer():
    loaded()
    db = open_database()
    forbidden = {"verso_info", "verso_log"}

    def decide(_action, *names):
        return sqlite3.SQLITE_DENY if forbidden & set(names) else sqlite3.SQLITE_OK

    db.set_authorizer(decide)
    print(failure(lambda: db.execute("SELECT verso_info()")))
    print(failure(lambda: db.execute("SELECT * FROM verso_log")))
    print(db.execute("SELECT length(verso_version()), count(*) FROM verso_databases").fetchone())


def utf_16():
    loaded()
    db = open_database()
    db.execute("PRAGMA encoding = 'UTF-16'")
    db.execute("CREATE TABLE t (n)")
    print(db.execute("PRAGMA encoding").fetchone()[0][:6])
    info = "SELECT verso_info(?) ->> 'name', length(verso_version('main'))"
    print(db.execute(info, ["main"]).fetchone())
    print(db.execute("SELECT DISTINCT schema FROM verso_log('main')").fetchall())
    print(failure(lambda: db.execute("SELECT verso_version('schön')")))


STEPS = {
    "stores": stores,
    "without_uris": without_uris,
    "not_allowed": not_allowed,
    "single_thread": single_thread,
    "threads": threads,
    "load_in_a_child": lambda: forked(lambda: None),
    "load_before_a_child": lambda: forked(loaded),
    "entry_point": entry_point,
    "closed": closed,
    "not_utf_8": not_utf_8,
    "two_libraries": two_libraries,
    "authorizer": authorizer,
    "utf_16": utf_16,
}
STEPS[STEP]()
