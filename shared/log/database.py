"""One SQLite file for several threads and processes: connections, waiting, and what each error means."""

import math
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeVar

from shared import files
from shared.log import LogMisfit, LogUnavailable
from shared.logs import logger

SCHEMA_VERSION: Final = 1
_APPLICATION: Final = 0x45594E49  # "EYNI", in the header of the file

_SCHEMA: Final = """
CREATE TABLE topics(topic TEXT PRIMARY KEY, identity TEXT NOT NULL, retention INTEGER, max_bytes INTEGER NOT NULL);
CREATE TABLE partitions(number INTEGER PRIMARY KEY, topic TEXT NOT NULL, partition INTEGER NOT NULL,
    start INTEGER NOT NULL, next INTEGER NOT NULL, UNIQUE(topic, partition));
CREATE TABLE records(id INTEGER PRIMARY KEY, at INTEGER NOT NULL, checksum INTEGER NOT NULL,
    key BLOB NOT NULL, value BLOB NOT NULL);
CREATE TABLE commits(grp TEXT NOT NULL, topic TEXT NOT NULL, partition INTEGER NOT NULL, next INTEGER NOT NULL,
    PRIMARY KEY(grp, topic, partition));
"""

_SETTINGS: Final = (
    "PRAGMA synchronous=FULL",  # on the disk at each commit; NORMAL may lose the last ones when power fails
    "PRAGMA fullfsync=ON",  # the same on macOS, whose fsync stops at the drive's cache
    "PRAGMA checkpoint_fullfsync=ON",
    "PRAGMA secure_delete=ON",  # what retention deletes is overwritten: it was somebody's face
    "PRAGMA journal_size_limit=67108864",  # after a burst the WAL file shrinks back to 64 MiB
)

PATIENCE: Final = 5.0
"""Seconds to wait for other writers where the caller gives no time-out. The longest transaction (64 large records
deleted, or one append of a batch) takes well under one."""

_BUSY_PAUSE: Final = 0.001
"""Seconds between two tries for the write lock. SQLite's own back-off goes up to 0.1 s, which would be our p99."""

_LONGEST_PAUSE: Final = 1.0
_SAY_AGAIN: Final = 10.0

_BUSY: Final = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_DAMAGED: Final = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)

Connection = sqlite3.Connection

T = TypeVar("T")


class Database:
    """Opens the file at first use; one connection for each thread that comes along."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._process = os.getpid()
        self._closed = False
        self._guard = threading.Lock()
        self._writing = threading.Lock()
        self._writes = 0
        self._connections: dict[threading.Thread, sqlite3.Connection] = {}

    def read(self, work: Callable[[sqlite3.Connection], T], timeout: float | None = PATIENCE) -> T:
        """Do the work, waiting until SQLite lets us. `timeout` seconds; None: as long as it takes.

        Raises LogUnavailable when the time is over, or at once (with a time-out) when the disk is full or broken;
        LogMisfit when this is no log, a later version's log, or damaged.
        """
        until = math.inf if timeout is None else time.monotonic() + timeout
        pause, say = _BUSY_PAUSE, time.monotonic() + _SAY_AGAIN
        while True:
            try:
                return work(self._connection())
            except (sqlite3.Error, LogUnavailable) as error:
                busy = isinstance(error, sqlite3.Error) and _code(error) in _BUSY
                trouble = error if isinstance(error, LogUnavailable) else self._trouble(error)
                if self._closed or time.monotonic() >= until or not (busy or timeout is None):
                    raise trouble from error
            if not busy:
                pause = min(2 * pause, _LONGEST_PAUSE)
                self._forget()
            if time.monotonic() >= say:
                logger("log").warning("the log does not answer; still trying", error=str(trouble))
                say = time.monotonic() + _SAY_AGAIN
            time.sleep(pause)

    def write(self, work: Callable[[sqlite3.Connection], T], timeout: float | None = PATIENCE) -> T:
        """As `read`, for work that takes the write lock: this process's threads queue up here instead of colliding."""
        until = None if timeout is None else time.monotonic() + timeout
        if not self._writing.acquire(timeout=-1 if timeout is None else max(0.0, timeout)):
            raise LogUnavailable(f"{self._path}: other threads have been writing for {timeout} s")
        try:
            return self.read(work, None if until is None else until - time.monotonic())
        finally:
            self._writes += 1
            self._writing.release()

    def version(self) -> tuple[int, int, int]:
        """Return what changes when anybody has committed, in this process or another."""
        # SQLite's own number is of one connection, and leaves out what that connection commits itself.
        return self.read(lambda connection: (id(connection), _data_version(connection), self._writes))

    def close(self) -> None:
        with self._guard:
            self._closed = True
            while self._connections:
                self._connections.popitem()[1].close()

    def _connection(self) -> sqlite3.Connection:
        if os.getpid() != self._process:
            raise RuntimeError("a log was carried over a fork; open it anew in the child (SQLite, how to corrupt 2.6)")
        thread = threading.current_thread()
        found = self._connections.get(thread)
        if found is not None:
            return found
        with self._guard:
            if self._closed:
                raise LogUnavailable(f"{self._path} is closed")
            for ended in [t for t in self._connections if not t.is_alive()]:
                self._connections.pop(ended).close()
            self._connections[thread] = opened = self._open()
            return opened

    def _forget(self) -> None:
        """Drop this thread's connection: after an error of the disk, the next try starts afresh."""
        with self._guard:
            connection = self._connections.pop(threading.current_thread(), None)
        if connection is not None:
            connection.close()

    def _open(self) -> sqlite3.Connection:
        folder = self._path.parent
        try:
            files.database(self._path)
        except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
            raise LogMisfit(f"the log wants a folder at {folder} with a file {self._path.name} in it; "
                            f"{error.filename} is in its way") from error  # fmt: skip
        except OSError as error:
            raise LogUnavailable(f"{error.filename}: {error.strerror}") from error
        connection = sqlite3.connect(self._path, timeout=0, isolation_level=None, check_same_thread=False)
        try:
            self._prepare(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        with snapshot(connection):  # or somebody's first tables might be seen without their application_id
            _check_version(connection, self._path)
        if connection.execute("PRAGMA journal_mode=WAL").fetchone()[0] != "wal":
            raise LogMisfit(f"{self._path}: this file system cannot carry an embedded log (a network drive?)")
        for setting in _SETTINGS:
            connection.execute(setting)
        if _pragma(connection, "user_version") == 0:
            with transaction(connection):
                if _pragma(connection, "user_version") == 0:  # nobody was faster
                    for statement in _SCHEMA.split(";"):
                        connection.execute(statement)
                    connection.execute(f"PRAGMA application_id={_APPLICATION}")
                    connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")

    def _trouble(self, error: sqlite3.Error) -> LogUnavailable:
        """Say what an error means. Raises LogMisfit where waiting does not help."""
        if self._closed:
            return LogUnavailable(f"{self._path} is closed")
        if _code(error) in _DAMAGED:
            raise LogMisfit(f"{self._path} is damaged or no log ({error}); restore it from a backup") from error
        if isinstance(error, sqlite3.ProgrammingError | sqlite3.IntegrityError) or not isinstance(
            error, sqlite3.DatabaseError
        ):
            raise error  # ours
        return LogUnavailable(f"{self._path}: {error}")


@contextmanager
def transaction(connection: sqlite3.Connection) -> Generator[None]:
    """Write: all or nothing."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


@contextmanager
def snapshot(connection: sqlite3.Connection) -> Generator[None]:
    """Read one state of the whole file, whatever is written meanwhile."""
    connection.execute("BEGIN")
    try:
        yield
    finally:
        connection.execute("ROLLBACK")


def _check_version(connection: sqlite3.Connection, path: Path) -> None:
    application, version = _pragma(connection, "application_id"), _pragma(connection, "user_version")
    if (application, version) == (0, 0) and not connection.execute("SELECT 1 FROM sqlite_master").fetchone():
        return
    if application != _APPLICATION:
        raise LogMisfit(f"{path} is a database of another program")
    if version > SCHEMA_VERSION:
        raise LogMisfit(f"{path} has schema {version}; this version of Eyni reads up to {SCHEMA_VERSION}: upgrade it")


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    value: int = connection.execute(f"PRAGMA {name}").fetchone()[0]
    return value


def _data_version(connection: sqlite3.Connection) -> int:
    return _pragma(connection, "data_version")


def _code(error: sqlite3.Error) -> int:
    """Return SQLite's primary result code."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF
