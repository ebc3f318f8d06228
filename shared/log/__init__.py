"""The append-only log through which the services meet: one port, three backends, chosen by address.

    memory:                    in this process, for tests
    file:///var/lib/eyni       SQLite in a folder: one machine, several processes, survives kill -9 and power loss
    kafka://host:9092[,…]      a Kafka cluster

What holds for every backend is written down as tests in `tests/contract/test_log.py`:

* A record that `append` returned for is durable, and every reader sees it, once, at one offset that never changes.
* Records with one key are in one partition, in the order in which they were appended.
* Offsets of a partition grow; with Kafka there may be gaps between them.
* Nothing is read past or skipped in silence: a position that retention has passed raises `LogGap`.
* Group members share partitions; a partition has one member at a time, and starts where the group last committed,
  or at offset 0: what expired before the group ever committed is a gap as well.
  A crash before `commit` repeats records and loses none.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from shared.topics import Entry, Name, Topic


class LogError(Exception):
    """Something is wrong with the log.

    Three kinds, each with one meaning for the caller:

    LogError
     ├── LogUnavailable   try again later; an append in doubt may still become durable
     ├── LogGap           records that you need are gone: stop, and let an operator decide
     └── LogMisfit        the log is not the one you want (partitions, settings, size): stop, or refuse the record
    """


class LogUnavailable(LogError):
    """The log does not answer now."""


class LogGap(LogError):
    """The position asked for is below the first record kept, or beyond the end."""


class LogMisfit(LogError):
    """A topic that is not as it must be, or a record that is larger than its topic takes."""


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """Where a record is."""

    topic: Name
    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class Record:
    """One entry of one partition."""

    topic: Name
    partition: int
    offset: int
    key: bytes = field(repr=False)
    value: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Span:
    """What a partition holds: offsets from `start` up to, not including, `end`."""

    start: int
    end: int


class Reader(Protocol):
    """Follows all partitions of one topic from given offsets. For one thread."""

    def poll(self, limit: int, timeout: float) -> Sequence[Record]:
        """Return up to `limit` next records, each partition's in order; empty if `timeout` seconds pass without one.

        With a time-out, an idle log may take 0.05 s longer, as long as nothing is appended to any topic.

        Raises LogGap where retention has passed the position, LogUnavailable where the log does not answer.
        """
        ...

    def close(self) -> None: ...


class Member(Protocol):
    """Shares one topic's partitions with the other members of a group. For one thread."""

    def poll(self, limit: int, timeout: float) -> Sequence[Record]:
        """As `Reader.poll`, from where the group last committed in the partitions that are this member's."""
        ...

    def commit(self, done: Mapping[int, int]) -> None:
        """Say, by partition, which offset is next: everything before it is processed, and its output durable.

        It holds soon after, and at the latest when `close` returns; where the log would not take it, a later `commit`
        raises LogUnavailable. A partition that is no longer this member's is passed over: its new member repeats that
        work.
        """
        ...

    def pass_gap(self) -> int:
        """Go on at the first record kept, in each partition whose place retention has passed; say how many are gone.

        For topics whose records may be forgotten unread, after a LogGap from `poll`; never for gallery. The new places
        are committed, so that a restart does not count them again. Raises LogGap where it is another gap: a place
        beyond the end, a damaged record.
        """
        ...

    def close(self) -> None: ...


class Log(Protocol):
    """A log. Every method but those of readers and members may be called from any thread."""

    def ensure(self, topics: Sequence[Topic]) -> None:
        """Create what is missing, each topic with its own settings, and check what is there. Idempotent.

        Raises LogMisfit naming topic, setting, wanted and found.
        """
        ...

    def identity(self, topic: Name) -> str:
        """Return an id that changes when the topic is deleted and created anew: a snapshot must not outlive it."""
        ...

    def append(self, entries: Sequence[Entry], timeout: float | None = None) -> Sequence[Position]:
        """Append in order and return once every entry is durable.

        `timeout` (seconds): give up waiting with LogUnavailable; the entries may still become durable (they are in
        doubt, never half-written). None: wait as long as it takes.
        Raises LogMisfit for an entry larger than its topic takes; then nothing was appended.
        """
        ...

    def read(self, topic: Name, start: Mapping[int, int]) -> Reader:
        """Follow a topic from the given next offset of each partition; a partition not named starts at its start."""
        ...

    def join(self, group: str, topic: Name) -> Member:
        """Become a member of a group."""
        ...

    def spans(self, topic: Name) -> Mapping[int, Span]:
        """Return what each partition holds now. An append that has returned is inside."""
        ...

    def committed(self, group: str, topic: Name) -> Mapping[int, int]:
        """Return the next offset that a group has committed, by partition; 0 where it never did."""
        ...

    def mark(self, group: str, topic: Name, done: Mapping[int, int]) -> None:
        """Commit for a group that has no members: a reader that keeps its own position says how far its output is.

        What is marked is what `committed` returns. The group must never be joined. Raises LogUnavailable.
        """
        ...

    def close(self) -> None: ...
