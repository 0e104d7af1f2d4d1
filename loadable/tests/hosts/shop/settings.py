import os
import sqlite3


def load(library):
    """Registers the VFS, once for all connections of the process."""
    loader = sqlite3.connect(":memory:")
    loader.enable_load_extension(True)
    loader.load_extension(library)
    loader.close()


LIBRARY, STORE = os.environ["VERSO_LIBRARY"], os.environ["SHOP_STORE"]

load(LIBRARY)

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": f"file:app.db?vfs=verso&store=sqlite:{STORE}",
        "OPTIONS": {"timeout": 60, "transaction_mode": "IMMEDIATE"},
    },
}
# The same database, with writers beside each other; and with Django's own kind of transaction.
DATABASES["beside"] = DATABASES["default"] | {"OPTIONS": {"timeout": 60}}
DATABASES["queued"] = DATABASES["beside"] | {
    "NAME": DATABASES["default"]["NAME"] + "&writers=queued"
}
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth", "shop"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
