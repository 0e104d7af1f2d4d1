"""Checks the installed wheel: every file against RECORD, and what the module promises."""

import base64
import hashlib
import importlib.metadata
import os
import sqlite3
import sys

import verso

distribution = importlib.metadata.distribution("verso")
assert verso.__version__ == distribution.version == sys.argv[1], verso.__version__
assert distribution.metadata["License-Expression"] == "MIT OR Apache-2.0"
assert "verso.load(loader)" in distribution.metadata.get_payload()

checked = 0
for file in distribution.files:
    if file.hash:
        digest = hashlib.new(file.hash.mode, file.read_binary()).digest()
        found = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        assert found == file.hash.value, file
        assert file.size == os.path.getsize(file.locate()), file
        checked += 1
names = {os.path.basename(str(file)) for file in distribution.files}
assert {"LICENSE-MIT", "LICENSE-APACHE", "METADATA", "py.typed"} <= names, names
assert checked >= 7, checked

path = verso.loadable_path()
assert os.path.isabs(path) and not os.path.exists(path) and os.path.exists(path + ".so"), path


def refused(connection):
    """What loading says to a connection that may not."""
    try:
        connection.execute("SELECT load_extension(?)", (path,))
    except sqlite3.OperationalError as error:
        return str(error)
    raise AssertionError("it is allowed")


for _ in range(2):  # the second time it is there already
    loader = sqlite3.connect(":memory:")
    verso.load(loader)
    assert refused(loader) == "not authorized"
    loader.close()

store = "file:app.db?vfs=verso&store=sqlite:store.db"
for value in (1, 2):
    db = sqlite3.connect(store, uri=True, timeout=60, isolation_level=None)
    db.execute("CREATE TABLE IF NOT EXISTS t(x)")
    db.execute("INSERT INTO t VALUES (?)", (value,))
    db.close()
db = sqlite3.connect(store, uri=True)
print(db.execute("SELECT sum(x), length(verso_version()) FROM t").fetchone())


class WithoutExtensions:
    """As connections are where Python was built without them."""


try:
    verso.load(WithoutExtensions())
except sqlite3.NotSupportedError as error:
    assert "--enable-loadable-sqlite-extensions" in str(error), error
else:
    raise AssertionError("it is loaded")
