"""SQLAlchemy on Verso: alchemy.py LIBRARY STORE STEP [ARGUMENT...]"""

import itertools
import sqlite3
import sys

from sqlalchemy import ForeignKey, create_engine, event, func, insert, select, text, update
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship

LIBRARY, STORE, STEP, *ARGUMENTS = sys.argv[1:]
URL = f"sqlite:///file:app.db?vfs=verso&store=sqlite:{STORE}&uri=true"


def load(library):
    """Registers the VFS, once for all connections of the process."""
    loader = sqlite3.connect(":memory:")
    loader.enable_load_extension(True)
    loader.load_extension(library)
    loader.close()


def make_engine(url):
    engine = create_engine(url, connect_args={"timeout": 60})

    @event.listens_for(engine, "connect")
    def no_begin_of_python(connection, _record):
        connection.isolation_level = None

    @event.listens_for(engine, "begin")
    def begin(connection):
        options = connection.get_execution_options()
        if options.get("isolation_level") != "AUTOCOMMIT":
            connection.exec_driver_sql(options.get("begin", "BEGIN"))

    return engine


def transact(engine, work):
    """Runs work(session) in a transaction, and again if another one came in between."""
    for attempt in itertools.count():
        begin = "BEGIN" if attempt < 3 else "BEGIN IMMEDIATE"
        try:
            with Session(engine.execution_options(begin=begin)) as session:
                with session.begin():
                    return work(session)
        except OperationalError as error:
            if error.orig.sqlite_errorcode != sqlite3.SQLITE_BUSY_SNAPSHOT:
                raise


class Base(DeclarativeBase):
    pass


class Account(Base):
    __tablename__ = "account"
    name: Mapped[str] = mapped_column(primary_key=True)
    amount: Mapped[int] = mapped_column(default=0)
    notes: Mapped[list["Note"]] = relationship(back_populates="account")


class Note(Base):
    __tablename__ = "note"
    id: Mapped[int] = mapped_column(primary_key=True)
    writer: Mapped[str]
    name: Mapped[str] = mapped_column(ForeignKey("account.name"))
    account: Mapped[Account] = relationship(back_populates="notes")


def amount(engine, name):
    with Session(engine) as session:
        return session.get(Account, name).amount


def deposit(count):
    def work(session):
        account = session.get(Account, "anna")
        account.amount = account.amount + count

    return work


def create():
    engine = make_engine(URL)
    Base.metadata.create_all(engine)
    transact(engine, lambda session: session.add_all([Account(name="anna"), Account(name="bob")]))
    print(amount(engine, "anna"))


def show():
    engine = make_engine(URL)
    with Session(engine) as session:
        notes = session.execute(
            select(Note.writer, func.count()).group_by(Note.writer).order_by(Note.writer)
        )
        print(amount(engine, "anna"), amount(engine, "bob"), [tuple(note) for note in notes])
        assert session.scalar(text("PRAGMA integrity_check")) == "ok"


def rollback():
    engine = make_engine(URL)
    with Session(engine) as session:
        session.get(Account, "anna").amount = 1000000
        session.flush()
        with session.begin_nested() as savepoint:
            session.get(Account, "anna").amount = 2000000
            session.flush()
            savepoint.rollback()
        assert session.get(Account, "anna").amount == 1000000
        session.rollback()
    print(amount(engine, "anna"))


def conflict():
    """At COMMIT; then the transaction is run again."""
    engine = make_engine(URL)
    try:
        with Session(engine) as session, session.begin():
            deposit(1)(session)
            session.flush()
            transact(engine, deposit(10))
    except OperationalError as error:
        print(error.orig.sqlite_errorcode)

    attempts = []

    def work(session):
        attempts.append(1)
        deposit(1)(session)
        if len(attempts) == 1:
            transact(engine, deposit(10))

    transact(engine, work)
    print(len(attempts), amount(engine, "anna"))


def statement():
    """A statement outside of a transaction loses, and SQLite runs it again."""
    engine = make_engine(URL)
    attempts = []

    def meddle():
        attempts.append(1)
        if len(attempts) == 1:
            transact(make_engine(URL), deposit(10))
        return 1

    @event.listens_for(engine, "connect")
    def add_function(connection, _record):
        connection.create_function("meddle", 0, meddle)

    more = update(Account).where(Account.name == "anna")
    autocommit(engine, more.values(amount=Account.amount + func.meddle()))
    print(len(attempts), amount(engine, "anna"))


def past():
    engine = make_engine(URL)
    with engine.connect() as connection:
        version = connection.scalar(text("SELECT verso_version()"))
    transact(engine, deposit(5))
    past = make_engine(f"{URL}&at={version}")
    print(amount(past, "anna"), amount(engine, "anna"))
    try:
        transact(past, deposit(1))
    except OperationalError as error:
        print(error.orig)


def autocommit(engine, statement):
    """A transaction of one statement: a conflict makes it run again unseen."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        return connection.execute(statement)


def work(writer, count):
    """One of several processes, with transactions and with single statements."""
    engine = make_engine(URL)

    def note(session):
        deposit(1)(session)
        session.add(Note(writer=writer, account=session.get(Account, "anna")))

    more = update(Account).where(Account.name == "bob").values(amount=Account.amount + 1)
    for _ in range(int(count)):
        transact(engine, note)
        autocommit(engine, more)


def default_mode(writer, count):
    """An application that runs nothing again: its writers take turns."""
    engine = create_engine(f"{URL}&writers=queued", connect_args={"timeout": 60})
    for _ in range(int(count)):
        with engine.begin() as connection:
            for name, change in [("bob", -1), ("anna", 1)]:
                connection.execute(
                    update(Account)
                    .where(Account.name == name)
                    .values(amount=Account.amount + change)
                )
            connection.execute(insert(Note).values(writer=writer, name="bob"))


load(LIBRARY)
globals()[STEP](*ARGUMENTS)
