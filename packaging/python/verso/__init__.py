"""Verso for Python's module ``sqlite3``: the extension, and how to load it.

>>> import sqlite3, verso
>>> loader = sqlite3.connect(":memory:")
>>> verso.load(loader)  # once in each process
>>> loader.close()
>>> db = sqlite3.connect("file:app.db?vfs=verso", uri=True, timeout=60)
"""

from __future__ import annotations

import os
import sqlite3
from importlib.metadata import version as _version

__all__ = ["__version__", "load", "loadable_path"]

__version__: str = _version("verso")


def loadable_path() -> str:
    """Returns the path of the extension, as ``load_extension`` takes it.

    It has no suffix: SQLite adds that of the system.
    """
    folder = os.path.dirname(os.path.abspath(__file__))
    name = "verso" if os.name == "nt" else "libverso"
    return os.path.join(folder, name)


def load(connection: sqlite3.Connection) -> None:
    """Loads the extension, which registers the VFS for all connections of the process.

    The connection may be any, also one to ``:memory:``, and may be closed afterwards. It cannot
    load further extensions then, until ``enable_load_extension`` allows it again.

    Raises ``sqlite3.NotSupportedError`` if this Python cannot load extensions, and
    ``sqlite3.OperationalError`` if its SQLite refuses this one.
    """
    if not hasattr(connection, "enable_load_extension"):
        raise sqlite3.NotSupportedError(
            "the module sqlite3 of this Python was built without loadable extensions: use a "
            "Python that has them, such as Debian's, or build it with the option "
            "--enable-loadable-sqlite-extensions"
        )
    connection.enable_load_extension(True)
    try:
        connection.load_extension(loadable_path())
    finally:
        connection.enable_load_extension(False)
