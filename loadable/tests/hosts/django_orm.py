"""Django's ORM on Verso: django_orm.py LIBRARY STORE STEP [ARGUMENT...]"""

import itertools
import os
import sqlite3
import sys

import django
from django.core.management import call_command
from django.db import connections, transaction
from django.db.models import Count, F
from django.db.models.expressions import RawSQL
from django.db.utils import OperationalError

os.environ["VERSO_LIBRARY"], os.environ["SHOP_STORE"], STEP, *ARGUMENTS = sys.argv[1:]
os.environ["DJANGO_SETTINGS_MODULE"] = "shop.settings"
django.setup()

from shop.models import Account, Note


def transact(work):
    """Runs work(using) beside other writers, and again if one came in between."""
    for attempt in itertools.count():
        using = "beside" if attempt < 3 else "default"
        try:
            with transaction.atomic(using=using):
                return work(using)
        except OperationalError as error:
            code = getattr(error.__cause__, "sqlite_errorcode", 0)
            if code != sqlite3.SQLITE_BUSY_SNAPSHOT:
                raise


def at(version):
    """The name of a connection to the past, for using()."""
    alias = f"at {version}"
    if alias not in connections.settings:
        default = connections.settings["default"]
        connections.settings[alias] = default | {"NAME": default["NAME"] + f"&at={version}"}
    return alias


def amount(using="default", name="anna"):
    return Account.objects.using(using).get(name=name).amount


def deposit(count):
    def work(using):
        account = Account.objects.using(using).select_for_update().get(name="anna")
        account.amount = account.amount + count
        account.save()

    return work


def deposit_in_turn(count):
    with transaction.atomic():
        deposit(count)("default")


def migrate():
    call_command("migrate", verbosity=0)
    call_command("migrate", "shop", "0001", verbosity=0)
    call_command("migrate", verbosity=0)
    print([account.name for account in Account.objects.order_by("id")])


def rows():
    anna = Account.objects.get(name="anna")
    notes = [Note(account=anna, writer="bulk", number=number) for number in range(500)]
    Note.objects.bulk_create(notes, batch_size=100)
    Note.objects.filter(number__gte=400).delete()
    Note.objects.filter(number__lt=100).update(number=F("number") + 1000)
    print(Note.objects.count(), Note.objects.filter(account__name="anna", number__gte=1000).count())
    Note.objects.all().delete()


def rollback():
    try:
        with transaction.atomic():
            Account.objects.update(amount=1000000)
            try:
                with transaction.atomic():
                    Account.objects.update(amount=2000000)
                    raise KeyError
            except KeyError:
                assert amount() == 1000000
            raise ValueError
    except ValueError:
        print(amount())


def conflict():
    """At COMMIT; then the transaction is run again."""
    try:
        with transaction.atomic(using="beside"):
            deposit(1)("beside")
            deposit_in_turn(10)
    except OperationalError as error:
        print(error.__cause__.sqlite_errorcode)

    attempts = []

    def work(using):
        attempts.append(1)
        deposit(1)(using)
        if len(attempts) == 1:
            deposit_in_turn(10)

    transact(work)
    print(len(attempts), amount())


def statement():
    """A statement outside of a transaction loses, and SQLite runs it again."""
    attempts = []

    def meddle():
        attempts.append(1)
        if len(attempts) == 1:
            deposit_in_turn(10)
        return 1

    connections["beside"].ensure_connection()
    connections["beside"].connection.create_function("meddle", 0, meddle)
    anna = Account.objects.using("beside").filter(name="anna")
    anna.update(amount=F("amount") + RawSQL("meddle()", []))
    print(len(attempts), amount())


def past():
    with connections["default"].cursor() as cursor:
        version = cursor.execute("SELECT verso_version()").fetchone()[0]
    deposit_in_turn(5)
    print(amount(at(version)), amount())
    try:
        Account.objects.using(at(version)).update(amount=0)
    except OperationalError as error:
        print(error)


def work(writer, count):
    """One of several processes, with transactions and with single statements."""
    for number in range(int(count)):
        if number % 2:
            deposit_in_turn(1)
        else:
            transact(deposit(1))
        Account.objects.filter(name="bob").update(amount=F("amount") + 1)
        anna = Account.objects.get(name="anna")
        Note.objects.create(account=anna, writer=writer, number=number)


def queued(writer, count):
    """Transactions of a plain BEGIN that write first: the writers take turns."""
    for _ in range(int(count)):
        with transaction.atomic(using="queued"):
            accounts = Account.objects.using("queued")
            accounts.filter(name="bob").update(amount=F("amount") - 1)
            accounts.filter(name="anna").update(amount=F("amount") + 1)
            Note.objects.using("queued").create(account=accounts.get(name="anna"), writer=writer)


def show():
    notes = Note.objects.values_list("writer").annotate(Count("id")).order_by("writer")
    print(amount(), amount(name="bob"), list(notes))
    with connections["default"].cursor() as cursor:
        assert cursor.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert cursor.execute("PRAGMA foreign_key_check").fetchall() == []


globals()[STEP](*ARGUMENTS)
connections.close_all()
