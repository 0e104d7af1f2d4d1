"""What the programs beside this one share: the VFS in Python's own SQLite, and a main.

The VFS comes from a shared library, whose path is in the environment variable
VERSO_LIBRARY. It registers itself with the libsqlite3 that the module sqlite3 loaded.
"""

import ctypes
import os
import sqlite3
import sys
import threading
import traceback


def register(lease_ttl_ms=0):
    """Registers the VFS `verso`, once per process."""
    library = ctypes.CDLL(os.environ["VERSO_LIBRARY"])
    library.verso_tests_register.argtypes = [ctypes.c_uint64]
    if library.verso_tests_register(lease_ttl_ms) != 0:
        sys.exit("the VFS is not registered")


def connect(store, parameters="", timeout=60, isolation_level=None):
    """Opens the database `app.db` of a store, whose file is named.

    With `isolation_level=None` statements are in autocommit mode; Python's default is "".
    """
    url = f"sqlite:{store}"
    # Where a store is served by nodes, a file beside it says which.
    note = os.path.splitext(store)[0] + ".nodes"
    if os.path.exists(note):
        with open(note, encoding="utf-8") as file:
            url = file.read()
    uri = f"file:app.db?vfs=verso&store={url}{parameters}"
    db = sqlite3.connect(uri, uri=True, timeout=timeout, isolation_level=isolation_level)
    # What is tested is what writers see of each other, not what a power loss leaves.
    db.execute("PRAGMA synchronous = OFF")
    return db


def run_threads(count, work):
    """Runs `work(number)` in so many threads at once. Exits with 1 if one of them fails."""
    failed = threading.Event()
    start = threading.Barrier(count)

    def run(number):
        try:
            start.wait()
            work(number)
        except BaseException as error:
            failed.set()
            # The extended result code tells some errors of one message apart.
            code = getattr(error, "sqlite_errorname", None)
            text = "".join(traceback.format_exception(error))
            print(f"thread {number}: {code}\n{text}", file=sys.stderr, end="")

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed.is_set():
        sys.exit(1)
