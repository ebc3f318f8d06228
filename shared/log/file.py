"""The embedded log: one SQLite database in a folder, for one machine with several processes.

`append` is one transaction (WAL, synchronous=FULL): all of its entries or none, on the disk when it returns, whatever
is killed or unplugged in between. Members hold a partition by a lock that the kernel frees when their process ends
(`shared.log.locks`), so there are no leases to expire and no zombies that still believe in theirs. The first member
of a group takes all partitions; the others stand by, and take over when they poll after it closed or died.

The records are clear biometrics: files are readable by their owner only, and what retention deletes is overwritten.
"""

import time
import zlib
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Final
from urllib.parse import quote
from uuid import uuid4

from shared.log import LogGap, LogMisfit, LogUnavailable, Position, Record, Span
from shared.log.bell import Waiter, ring
from shared.log.database import Connection, Database, snapshot, transaction
from shared.log.locks import Locks
from shared.log.rules import check_position, check_sizes, check_topic, first_positions, no_gap_to_pass
from shared.logs import logger
from shared.topics import Entry, Name, Topic

_OFFSET_BITS: Final = 40
"""A record's row id is its partition's number and its offset, side by side: one B-tree in reading order, no second
index. Room for 2^40 records a partition (at 10,000 a second: three years and a half) and 2^23 partitions."""

_POLL_BYTES: Final = 32 * 2**20
"""A poll stops taking records once they hold this much: bounds memory, as Kafka's fetch size does."""

_LOOK: Final = 0.003
"""Seconds between two looks for new records: what a hop through the log may cost."""

_IDLE_AFTER: Final = 1.0
"""Seconds without a record after which a reader waits for the bell instead of looking."""

_IDLE_WAIT: Final = 0.05
"""Seconds that an idle reader waits at least, also where less was asked for: any append ends it, so that nobody loses
time by it, and a loop over several topics turns 20 times a second instead of 300. Looks at intervals by itself too, in
case that the bell was not heard: a record then comes so much later."""

_LOOK_DEAF: Final = 0.01
"""Seconds between two looks of an idle reader where there is no bell: it takes half a percent of a core."""

_BELL: Final = "bell"
"""Folder of the FIFOs by which readers are woken."""

_STAND_BY: Final = 0.05
"""Seconds between two tries to take a partition that another member holds."""

_SWEEP: Final = 2000
"""Appended records between two sweeps for what retention has passed."""

_CHUNK: Final = 64
"""Records deleted in one transaction: of 1 MB each, it keeps other writers waiting for less than a second."""


@dataclass(frozen=True, slots=True)
class _Topic:
    identity: str
    numbers: Sequence[int]
    """For each partition, its number in the database."""
    retention: timedelta | None
    max_bytes: int


class FileLog:
    """A log in a folder. Threads and processes may share the folder; forked children must open their own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._database = Database(folder / "log.sqlite")
        self._topics: dict[Name, _Topic] = {}
        self._since_sweep = 0

    def ensure(self, topics: Sequence[Topic]) -> None:
        for topic in topics:
            self._database.write(partial(_create, topic=topic))
            found = self._topic(topic.name)
            check_topic(topic, len(found.numbers), found.retention, found.max_bytes)
        self._sweep()

    def identity(self, topic: Name) -> str:
        return self._topic(topic).identity

    def append(self, entries: Sequence[Entry], timeout: float | None = None) -> Sequence[Position]:
        topics = {name: self._topic(name, timeout) for name in {entry.topic for entry in entries}}
        check_sizes(entries, {name: topic.max_bytes for name, topic in topics.items()})
        if not entries:
            return []
        positions = self._database.write(lambda connection: _insert(connection, entries, topics), timeout)
        ring(self._folder / _BELL)
        self._since_sweep += len(entries)
        if self._since_sweep >= _SWEEP:
            self._sweep()
        return positions

    def read(self, topic: Name, start: Mapping[int, int]) -> "_FileReader":
        positions = first_positions(topic, start, self.spans(topic))
        return _FileReader(self._database, self._folder / _BELL, topic, positions)

    def join(self, group: str, topic: Name) -> "_FileMember":
        reader = _FileReader(self._database, self._folder / _BELL, topic, {})
        return _FileMember(self, reader, Locks(self._folder / "locks"), group, topic)

    def spans(self, topic: Name) -> Mapping[int, Span]:
        self._topic(topic)
        return self._database.read(lambda connection: _spans(connection, topic))

    def committed(self, group: str, topic: Name) -> Mapping[int, int]:
        query = "SELECT partition, next FROM commits WHERE grp = ? AND topic = ?"
        found = self._database.read(lambda connection: connection.execute(query, (group, topic)).fetchall())
        return dict.fromkeys(range(len(self._topic(topic).numbers)), 0) | dict(found)

    def mark(self, group: str, topic: Name, done: Mapping[int, int]) -> None:
        rows = [(group, topic, partition, offset) for partition, offset in done.items()]
        if rows:
            self._database.write(lambda connection: _commit(connection, rows))

    def close(self) -> None:
        self._database.close()

    def _topic(self, name: Name, timeout: float | None = None) -> _Topic:
        if name not in self._topics:
            found = self._database.read(lambda connection: _find(connection, name), timeout)
            if found is None:
                raise LogMisfit(f"topic {name}: is not in {self._folder}; `ensure` creates it")
            self._topics[name] = found
        return self._topics[name]

    def _sweep(self) -> None:
        """Delete what retention has passed. Trouble is only told: the append that came along here has succeeded."""
        self._since_sweep = 0
        try:
            while self._database.write(_delete_expired):
                pass
        except LogUnavailable as error:
            logger("log").warning("retention has to wait", error=str(error))


class _FileReader:
    def __init__(self, database: Database, bell: Path, topic: Name, positions: dict[int, int]) -> None:
        self.positions = positions
        """Next offsets. Who changes them from outside calls `moved`."""
        self._database = database
        self._bell = bell
        self._topic = topic
        self._turn = 0
        self._last = time.monotonic()
        self._seen: object = None
        """The database's version at which there was nothing to read."""
        self._waiter: Waiter | None = None

    def poll(self, limit: int, timeout: float) -> Sequence[Record]:
        until = time.monotonic() + timeout
        while True:
            if (version := self._database.version()) != self._seen:
                found = self._database.read(lambda connection: self._take(connection, limit))
                if found:
                    self._last = time.monotonic()
                    return found
                self._seen = version
            now = time.monotonic()
            if now >= until:
                return []
            if now < self._last + _IDLE_AFTER:
                time.sleep(min(until - now, _LOOK))
            else:
                self._wait()

    def moved(self) -> None:
        """Look again, though nothing was appended."""
        self._seen = None

    def _wait(self) -> None:
        """Wait for an append to any topic, for `_IDLE_WAIT` at most."""
        if self._waiter is None:
            try:
                self._waiter = Waiter(self._bell)
            except OSError:
                time.sleep(_LOOK_DEAF)
        else:  # not at once: what came before there was a bell to ring is looked for first
            self._waiter.wait(_IDLE_WAIT)

    def _take(self, connection: Connection, limit: int) -> list[Record]:
        found: list[Record] = []
        room = _POLL_BYTES
        # One snapshot, so that retention cannot slip in between a partition's span and its rows.
        with snapshot(connection):
            spans = _spans(connection, self._topic)
            numbers = _numbers(connection, self._topic)
            self._turn += 1  # begins with another partition each time: a long backlog must not starve the others
            for i in range(len(numbers)):
                partition = (self._turn + i) % len(numbers)
                offset = self.positions.get(partition)
                if offset is None:
                    continue
                check_position(Position(self._topic, partition, offset), spans[partition])
                if offset < spans[partition].end and len(found) < limit and room > 0:
                    taken = self._fetch(connection, numbers[partition], partition, limit - len(found), room)
                    room -= sum(len(record.value) for record in taken)
                    found += taken
        for record in found:
            self.positions[record.partition] = record.offset + 1
        return found

    def _fetch(self, connection: Connection, number: int, partition: int, limit: int, room: int) -> list[Record]:
        found: list[Record] = []
        first = _row(number, self.positions[partition])
        query = "SELECT id, checksum, key, value FROM records WHERE id >= ? AND id < ? ORDER BY id LIMIT ?"
        with closing(connection.execute(query, (first, _row(number + 1, 0), limit))) as rows:
            for row, checksum, key, value in rows:
                offset = row & (1 << _OFFSET_BITS) - 1
                if checksum != _checksum(key, value):
                    raise LogGap(f"{self._topic}-{partition}: the record at offset {offset} is damaged on the disk")
                found.append(Record(self._topic, partition, offset, key, value))
                room -= len(value)
                if room <= 0:
                    break
        return found

    def close(self) -> None:
        if self._waiter is not None:
            self._waiter.close()
            self._waiter = None


class _FileMember:
    def __init__(self, log: FileLog, reader: _FileReader, locks: Locks, group: str, topic: Name) -> None:
        self._log = log
        self._reader = reader
        self._locks = locks
        self._group = group
        self._topic = topic
        self._partitions = len(log.spans(topic))
        self._positions = reader.positions
        """Of the partitions held."""

    def poll(self, limit: int, timeout: float) -> Sequence[Record]:
        until = time.monotonic() + timeout
        while True:
            self._take_over()
            left = max(0.0, until - time.monotonic())
            pause = left if len(self._positions) == self._partitions else min(left, _STAND_BY)
            found: Sequence[Record] = []
            if self._positions:
                found = self._reader.poll(limit, pause)
            else:
                time.sleep(pause)
            if found or time.monotonic() >= until:
                return found

    def _take_over(self) -> None:
        for partition in range(self._partitions):
            if partition in self._positions:
                continue
            try:
                held = self._locks.take(f"{quote(self._group, safe='')}-{self._topic}-{partition}")
            except OSError as error:
                raise LogUnavailable(f"{error.filename}: {error.strerror}") from error
            if held:
                # Read only now that nobody else can commit.
                self._positions[partition] = self._log.committed(self._group, self._topic)[partition]
                self._reader.moved()

    def commit(self, done: Mapping[int, int]) -> None:
        self._log.mark(self._group, self._topic, {p: offset for p, offset in done.items() if p in self._positions})

    def pass_gap(self) -> int:
        starts = {partition: span.start for partition, span in self._log.spans(self._topic).items()}
        gone = {p: starts[p] - place for p, place in self._positions.items() if place < starts[p]}
        if not gone:
            raise no_gap_to_pass(self._topic)
        self.commit({p: starts[p] for p in gone})
        self._positions.update({p: starts[p] for p in gone})
        self._reader.moved()
        return sum(gone.values())

    def close(self) -> None:
        self._positions.clear()
        self._reader.close()
        self._locks.release()


# ---- in the database, inside of one transaction each


def _create(connection: Connection, topic: Topic) -> None:
    retention = None if topic.retention is None else topic.retention // timedelta(milliseconds=1)
    with transaction(connection):
        created = connection.execute(
            "INSERT INTO topics VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
            (topic.name, str(uuid4()), retention, topic.max_bytes),
        )
        if created.rowcount:
            connection.executemany(
                "INSERT INTO partitions (topic, partition, start, next) VALUES (?, ?, 0, 0)",
                [(topic.name, partition) for partition in range(topic.partitions)],
            )


def _find(connection: Connection, name: Name) -> _Topic | None:
    row = connection.execute("SELECT identity, retention, max_bytes FROM topics WHERE topic = ?", (name,)).fetchone()
    if row is None:
        return None
    retention = None if row[1] is None else timedelta(milliseconds=row[1])
    return _Topic(row[0], _numbers(connection, name), retention, row[2])


def _numbers(connection: Connection, topic: Name) -> list[int]:
    query = "SELECT number FROM partitions WHERE topic = ? ORDER BY partition"
    return [number for (number,) in connection.execute(query, (topic,))]


def _spans(connection: Connection, topic: Name) -> dict[int, Span]:
    query = "SELECT partition, start, next FROM partitions WHERE topic = ? ORDER BY partition"
    return {partition: Span(start, end) for partition, start, end in connection.execute(query, (topic,))}


def _insert(connection: Connection, entries: Sequence[Entry], topics: Mapping[Name, _Topic]) -> list[Position]:
    now = time.time_ns() // 1_000_000
    following: dict[int, int] = {}
    positions: list[Position] = []
    rows: list[tuple[int, int, int, bytes, bytes]] = []
    with transaction(connection):
        for entry in entries:
            numbers = topics[entry.topic].numbers
            partition = zlib.crc32(entry.key) % len(numbers)
            number = numbers[partition]
            if number not in following:
                query = "SELECT next FROM partitions WHERE number = ?"
                following[number] = connection.execute(query, (number,)).fetchone()[0]
            offset = following[number]
            following[number] += 1
            rows.append((_row(number, offset), now, _checksum(entry.key, entry.value), entry.key, entry.value))
            positions.append(Position(entry.topic, partition, offset))
        connection.executemany("INSERT INTO records VALUES (?, ?, ?, ?, ?)", rows)
        connection.executemany(
            "UPDATE partitions SET next = ? WHERE number = ?",
            [(offset, number) for number, offset in following.items()],
        )
    return positions


def _delete_expired(connection: Connection) -> bool:
    """Delete the first chunk found of what is too old; say whether there may be more."""
    now = time.time_ns() // 1_000_000
    query = (
        "SELECT number, start, retention FROM partitions JOIN topics USING (topic) "
        "WHERE retention IS NOT NULL AND start < next"
    )
    for number, start, retention in connection.execute(query).fetchall():
        first = _row(number, start)
        oldest = connection.execute(
            "SELECT id, at FROM records WHERE id >= ? AND id < ? ORDER BY id LIMIT ?",
            (first, _row(number + 1, 0), _CHUNK),
        ).fetchall()
        expired = 0
        while expired < len(oldest) and oldest[expired][1] < now - retention:
            expired += 1
        if expired:
            with transaction(connection):
                connection.execute("DELETE FROM records WHERE id >= ? AND id < ?", (first, first + expired))
                connection.execute(
                    "UPDATE partitions SET start = max(start, ?) WHERE number = ?", (start + expired, number)
                )
            return True
    return False


def _commit(connection: Connection, rows: Sequence[tuple[str, Name, int, int]]) -> None:
    with transaction(connection):
        connection.executemany(
            "INSERT INTO commits VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET next = excluded.next", rows
        )


def _row(number: int, offset: int) -> int:
    return number << _OFFSET_BITS | offset


def _checksum(key: bytes, value: bytes) -> int:
    """SQLite checks its pages' structure, not their content: a flipped bit in a template would go unseen."""
    return zlib.crc32(value, zlib.crc32(key))
