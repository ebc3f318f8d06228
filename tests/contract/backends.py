# pyright: basic, reportAttributeAccessIssue=false
"""The logs that the contract is run on, with what a test needs besides the port."""

import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

from shared.log import Log, Member, Reader, Record
from shared.log.address import open_log
from shared.log.memory import MemoryLog
from shared.topics import TOPICS, Entry, Name

ROOT = Path(__file__).parents[2]
GALLERY = TOPICS[Name.GALLERY]
MONTH = timedelta(days=30)
CAPTURES = replace(TOPICS[Name.CAPTURES_BULK], partitions=4)


class Memory:
    """Opened again, it is the same log: there is no other process to open it."""

    durable = False

    def __init__(self) -> None:
        self._log = MemoryLog()

    def open(self) -> Log:
        return self._log

    def expire(self, name: Name, partition: int, start: int) -> None:
        """Let retention forget everything before `start`."""
        self._log.expire(name, partition, start)

    def close(self) -> None:
        self._log.close()


class Addressed:
    """A log that lives outside of this process, so that several may open it."""

    durable = True

    def __init__(self, address: str, expire: Callable[[Name, int, int], None]) -> None:
        self.address = address
        self.expire = expire
        self._opened: list[Log] = []

    def open(self) -> Log:
        log = open_log(self.address)
        self._opened.append(log)
        return log

    def close(self) -> None:
        for log in self._opened:
            log.close()


Backend = Memory | Addressed


def file_backend(folder: Path) -> Addressed:
    def expire(name: Name, partition: int, start: int) -> None:
        with sqlite3.connect(folder / "log.sqlite") as connection:
            query = "SELECT number FROM partitions WHERE topic = ? AND partition = ?"
            first = connection.execute(query, (name, partition)).fetchone()[0] << 40
            connection.execute("UPDATE records SET at = 0 WHERE id >= ? AND id < ?", (first, first + start))
        connection.close()
        log = open_log(folder.as_uri())
        log.ensure([CAPTURES if name is CAPTURES.name else TOPICS[name]])
        log.close()

    return Addressed(folder.as_uri(), expire)


def kafka_backend(bootstrap: str) -> Addressed:
    prefix = f"t{uuid4().hex[:8]}-"

    def expire(name: Name, partition: int, start: int) -> None:
        from kafka import KafkaAdminClient, TopicPartition

        admin = KafkaAdminClient(bootstrap_servers=[bootstrap])
        admin.delete_records({TopicPartition(prefix + name, partition): start})
        admin.close()

    return Addressed(f"kafka://{bootstrap}?prefix={prefix}", expire)


def entries(count: int, *, name: Name = Name.GALLERY, key: bytes = b"k", first: int = 0) -> list[Entry]:
    return [Entry(name, key, str(i).encode()) for i in range(first, first + count)]


def numbers(records: Sequence[Record]) -> list[int]:
    return [int(record.value) for record in records]


def take(reader: Reader | Member, count: int, seconds: float = 30.0) -> list[Record]:
    """Poll until so many records came, or the time is over."""
    found: list[Record] = []
    until = time.monotonic() + seconds
    while len(found) < count and time.monotonic() < until:
        found += reader.poll(count - len(found), 0.1)
    return found


def read_all(log: Log, name: Name = Name.GALLERY, start: Mapping[int, int] | None = None) -> list[Record]:
    reader = log.read(name, start or {})
    try:
        return take(reader, sum(s.end - (start or {}).get(p, s.start) for p, s in log.spans(name).items()))
    finally:
        reader.close()


def until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    """Wait for something that must come true."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come true in time"
        time.sleep(0.02)


def python(program: str, *arguments: str) -> subprocess.Popen[str]:
    """Run a program in a process of its own, with the project to import."""
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", program, *arguments], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
