"""The registry's tables, and how its database is opened: SQLite by default, PostgreSQL in production.

Every text column sorts by code point (PostgreSQL: collation "C"), so that both databases, and Python, agree on order.
"""

import os
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote_to_bytes

from sqlalchemy import (
    URL,
    BigInteger,
    Boolean,
    Column,
    Connection,
    DateTime,
    Dialect,
    Engine,
    Index,
    Insert,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    TypeDecorator,
    create_engine,
    event,
    inspect,
    make_url,
    select,
    text,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import ArgumentError, DatabaseError, OperationalError

from shared import files

SCHEMA: Final = 1
"""Version of the tables below. Raise it with every change of them."""

_BUSY_MS: Final = 10_000
"""Milliseconds SQLite waits for another process's transaction. The longest is a batch of 1,000 facts: below 1 s."""

_CREATING: Final = 0x65796E69
"""PostgreSQL's advisory lock ("eyni" in ASCII) under which tables are made: two processes may start at once."""


class RegistryError(Exception):
    """Something is wrong with the registry.

    RegistryError
     ├── RegistryUnavailable   the database does not answer now: try again later (HTTP 503)
     └── RegistryMisfit        not the registry that is wanted: stop, and do what the message says
    """


class RegistryUnavailable(RegistryError):
    """The database does not answer now."""


class RegistryMisfit(RegistryError):
    """The database, its tables or what it followed is not as it must be. The message says what to do."""


class Utc(TypeDecorator[datetime]):
    """A moment, in UTC on both sides; SQLite keeps no time zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            return value.replace(tzinfo=UTC)
        try:
            return value.astimezone(UTC)
        except OverflowError:  # an hour before year 1 or after year 9999: nonsense, but no reason to stop the service
            return value.replace(tzinfo=UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Verbatim(TypeDecorator[str]):
    """Text that anybody may have put anything into: PostgreSQL's own text refuses U+0000."""

    impl = LargeBinary
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> bytes | None:
        return None if value is None else value.encode("utf-8", "surrogatepass")

    def process_result_value(self, value: bytes | None, dialect: Dialect) -> str | None:
        return None if value is None else bytes(value).decode("utf-8", "surrogatepass")


_text: Final = Text().with_variant(Text(collation="C"), "postgresql")

metadata: Final = MetaData()

meta: Final = Table(
    "meta", metadata, Column("name", _text, primary_key=True), Column("value", Verbatim, nullable=False)
)
"""schema: of these tables · identity:<topic>: the log followed · acceptance: which references are taken · rebuilding"""

positions: Final = Table(
    "positions",
    metadata,
    Column("topic", _text, primary_key=True),
    Column("partition", Integer, primary_key=True, autoincrement=False),
    Column("next", BigInteger, nullable=False),
)
"""Every record before `next` is in the tables: written in the transaction that puts it there."""

encounters: Final = Table(
    "encounters",
    metadata,
    Column("person_id", _text, primary_key=True),
    Column("encounter_id", _text, primary_key=True),
    Column("galleries", _text, nullable=False),  # JSON array, in the order given
    Column("active", Boolean, nullable=False),
    Column("body_digest", Verbatim, nullable=False),
    Column("request_id", _text, nullable=False),
    Column("created_at", Utc, nullable=False),
    Column("updated_at", Utc, nullable=False),
    Column("document", _text, nullable=False),
    Column("qualities", _text, nullable=False),  # JSON array of Quality
)

filings: Final = Table(
    "filings",
    metadata,
    Column("gallery", _text, primary_key=True),
    Column("person_id", _text, primary_key=True),
    Column("encounter_id", _text, primary_key=True),
)
"""Which encounters are in which gallery; its key is the order in which a gallery is read, so no page is sorted."""

galleries: Final = Table("galleries", metadata, Column("gallery", _text, primary_key=True))
"""Every gallery ever used, also when it is empty now."""

applied: Final = Table("applied", metadata, Column("event_id", _text, primary_key=True))
"""Gallery events that were taken into account (whatever came of it): a copy of one changes nothing."""

decisions: Final = Table(
    "decisions",
    metadata,
    Column("request_id", _text, primary_key=True),
    Column("received_at", Utc, nullable=False),
    Column("as_of", BigInteger, nullable=False),
    Column("decided", LargeBinary, nullable=False),  # shared.envelope
    Index("decisions_by_age", "received_at"),
)

dead_letters: Final = Table("dead_letters", metadata, Column("source", _text, primary_key=True))
"""Captures that ended as dead letters, so that a copy is not counted twice."""

counters: Final = Table(
    "counters",
    metadata,
    Column("family", _text, primary_key=True),
    Column("name", _text, primary_key=True),
    Column("value", BigInteger, nullable=False),
)
"""Sums that would be slow to count, kept in the transaction that changes them."""

tasks: Final = Table(
    "tasks",
    metadata,
    Column("task_id", _text, primary_key=True),
    Column("request_id", _text),
    Column("client", Verbatim, nullable=False),
    Column("operation", _text, nullable=False),
    Column("transaction_id", Verbatim, nullable=False),
    Column("callback", Verbatim, nullable=False),
    Column("state", _text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("created_at", Utc, nullable=False),
    Column("next_attempt_at", Utc),
    Column("status", Integer),
    Column("content_type", _text),
    Column("body", LargeBinary),
    Column("headers", _text, nullable=False),  # JSON object
    Index("tasks_by_request", "request_id"),
    Index("tasks_due", "state", "next_attempt_at"),
    Index("tasks_by_age", "created_at"),
)
"""Asynchronous calls and their answers: the only thing here that is not on the log."""


def open_engine(address: str) -> Engine:
    """Open the database, create what is missing, and check that it is one that this version understands.

    Every OperationalError of the returned engine comes out as RegistryUnavailable, and damage to an SQLite file, found
    whenever it is read, as RegistryMisfit. Raises RegistryMisfit also for an address that is none, tables of a later
    version, or a PostgreSQL database that is not in UTF-8.
    """
    engine = _engine(address)
    event.listen(engine, "handle_error", _translate)
    try:
        with writing(engine) as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _CREATING})
                encoding = connection.execute(text("SHOW server_encoding")).scalar_one()
                if encoding != "UTF8":
                    raise RegistryMisfit(
                        f"the PostgreSQL database is encoded in {encoding}; "
                        "create it with ENCODING 'UTF8' (names have any letters)"
                    )
            _create(connection)
    except BaseException:
        engine.dispose()
        raise
    return engine


def writing(engine: Engine) -> AbstractContextManager[Connection]:
    """Begin a transaction that will write: committed at the end of `with`, rolled back if it raises.

    SQLite must know from the start, or two writers that have both read would be refused instead of queued.
    """
    return engine.execution_options(writes=True).begin()


def insert_or_ignore(connection: Connection, table: Table) -> Insert:
    """Insert rows, but for those whose key is there already: the one statement that SQL has no common words for."""
    make = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    return make(table).on_conflict_do_nothing()


def _engine(address: str) -> Engine:
    try:
        url = make_url(address)
    except ArgumentError:  # whose message repeats the address, and that may hold a password
        raise RegistryMisfit("EYNI_REGISTRY is no SQLAlchemy URL; see `eyni api --help`") from None
    match url.get_backend_name():
        case "sqlite" if url.database and url.database != ":memory:":
            if "?" in address:
                # It would be another file than the one that was meant.
                raise RegistryMisfit("EYNI_REGISTRY: write ? as %3F and % as %25 where an SQLite file's name has them")
            # Not as SQLAlchemy has unquoted it: a file's name is bytes, which need not be UTF-8.
            file = Path(os.fsdecode(unquote_to_bytes(address.partition("://")[2].removeprefix("/"))))
            return _sqlite(url.set(database=str(file)), file)
        case "postgresql":
            # Ten connections stay open; bursts (FastAPI runs up to 40 calls at once) may open more.
            return create_engine(
                url.set(drivername="postgresql+psycopg"),
                hide_parameters=True,
                pool_pre_ping=True,
                pool_size=10,
                max_overflow=40,
                connect_args={"options": "-c timezone=UTC", "client_encoding": "utf8", "connect_timeout": 10},
            )
        case other:
            raise RegistryMisfit(
                f"EYNI_REGISTRY: {other} is not served; use sqlite:////folder/registry.sqlite or "
                "postgresql+psycopg://user:password@host/name"
            )


def _sqlite(url: URL, file: Path) -> Engine:
    files.database(file.absolute())
    engine = create_engine(url, hide_parameters=True, pool_size=10, max_overflow=40)

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _: object) -> None:
        connection.isolation_level = None  # the driver begins nothing by itself; `begin` below does
        cursor = connection.cursor()
        # WAL: readers never wait for the writer. FULL: a commit survives power loss. What is deleted is overwritten: it
        # was somebody's name.
        for pragma in (f"busy_timeout={_BUSY_MS}", "journal_mode=WAL", "synchronous=FULL", "secure_delete=ON"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get("writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _translate(context: ExceptionContext) -> None:
    reason = str(context.original_exception).strip().partition("\n")[0]
    if isinstance(context.sqlalchemy_exception, OperationalError):
        raise RegistryUnavailable(f"the registry's database does not answer: {reason}")
    # Exactly this class: its subclasses are about statements.
    if context.dialect.name == "sqlite" and type(context.sqlalchemy_exception) is DatabaseError:
        raise RegistryMisfit(
            f"the registry is damaged ({reason}): stop every api, move its file (EYNI_REGISTRY) and those beside it "
            "that end in -wal and -shm elsewhere, and run `eyni registry rebuild`; only tasks are lost"
        )


def _create(connection: Connection) -> None:
    if inspect(connection).has_table(meta.name):
        found = connection.execute(select(meta.c.value).where(meta.c.name == "schema")).scalar_one()
        if int(found) != SCHEMA:
            raise RegistryMisfit(
                f"the registry has tables of version {found}; this Eyni knows version {SCHEMA}. Use the Eyni that "
                "wrote it, or give EYNI_REGISTRY an empty database and run `eyni registry rebuild`"
            )
    else:
        metadata.create_all(connection)
        connection.execute(meta.insert(), {"name": "schema", "value": str(SCHEMA)})
