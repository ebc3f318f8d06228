"""A log in this process's memory, for tests: the port's promises but durability."""

import threading
import zlib
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from uuid import uuid4

from shared.log import Position, Record, Span
from shared.log.rules import check_position, check_sizes, check_topic, first_positions, no_gap_to_pass
from shared.topics import Entry, Name, Topic


class MemoryLog:
    """Topics as lists, gone when the process ends."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._topics: dict[Name, Topic] = {}
        self._identities: dict[Name, str] = {}
        self._records: dict[tuple[Name, int], list[Record]] = {}
        self._starts: dict[tuple[Name, int], int] = defaultdict(int)
        self._committed: dict[tuple[str, Name], dict[int, int]] = defaultdict(dict)
        self._owners: dict[tuple[str, Name, int], _MemoryReader] = {}

    def ensure(self, topics: Sequence[Topic]) -> None:
        with self._changed:
            for topic in topics:
                present = self._topics.setdefault(topic.name, topic)
                check_topic(topic, present.partitions, present.retention, present.max_bytes)
                self._identities.setdefault(topic.name, str(uuid4()))
                for partition in range(present.partitions):
                    self._records.setdefault((topic.name, partition), [])

    def identity(self, topic: Name) -> str:
        return self._identities[topic]

    def append(self, entries: Sequence[Entry], timeout: float | None = None) -> Sequence[Position]:
        check_sizes(entries, {name: topic.max_bytes for name, topic in self._topics.items()})
        positions: list[Position] = []
        with self._changed:
            for entry in entries:
                partition = zlib.crc32(entry.key) % self._topics[entry.topic].partitions
                records = self._records[entry.topic, partition]
                offset = self._starts[entry.topic, partition] + len(records)
                records.append(Record(entry.topic, partition, offset, entry.key, entry.value))
                positions.append(Position(entry.topic, partition, offset))
            self._changed.notify_all()
        return positions

    def read(self, topic: Name, start: Mapping[int, int]) -> "_MemoryReader":
        positions = first_positions(topic, start, self.spans(topic))
        return _MemoryReader(self, topic, lambda: positions)

    def join(self, group: str, topic: Name) -> "_MemoryMember":
        return _MemoryMember(self, group, topic)

    def spans(self, topic: Name) -> Mapping[int, Span]:
        with self._changed:
            return {
                p: Span(s := self._starts[topic, p], s + len(self._records[topic, p]))
                for p in range(self._topics[topic].partitions)
            }

    def committed(self, group: str, topic: Name) -> Mapping[int, int]:
        with self._changed:
            return dict.fromkeys(range(self._topics[topic].partitions), 0) | self._committed[group, topic]

    def mark(self, group: str, topic: Name, done: Mapping[int, int]) -> None:
        with self._changed:
            self._committed[group, topic].update(done)

    def expire(self, topic: Name, partition: int, start: int) -> None:
        """Forget everything before `start`, as retention does."""
        with self._changed:
            gone = start - self._starts[topic, partition]
            del self._records[topic, partition][:gone]
            self._starts[topic, partition] = start

    def close(self) -> None:
        pass


class _MemoryReader:
    def __init__(self, log: MemoryLog, topic: Name, positions: Callable[[], dict[int, int]]) -> None:
        self._log = log
        self._topic = topic
        self._positions = positions

    def poll(self, limit: int, timeout: float) -> Sequence[Record]:
        log = self._log
        with log._changed:  # pyright: ignore[reportPrivateUsage]
            found = self._take(limit)
            if not found and timeout > 0:
                log._changed.wait(timeout)  # pyright: ignore[reportPrivateUsage]
                found = self._take(limit)
            return found

    def _take(self, limit: int) -> list[Record]:
        log, found = self._log, list[Record]()
        positions = self._positions()
        for partition, offset in positions.items():
            start = log._starts[self._topic, partition]  # pyright: ignore[reportPrivateUsage]
            records = log._records[self._topic, partition]  # pyright: ignore[reportPrivateUsage]
            check_position(Position(self._topic, partition, offset), Span(start, start + len(records)))
            found += records[offset - start : offset - start + limit - len(found)]
        for record in found:  # only now: a gap in the last partition must not cost what the first has given
            positions[record.partition] = record.offset + 1
        return found

    def close(self) -> None:
        pass


class _MemoryMember:
    """Takes every partition that no other member of its group holds, when it polls."""

    def __init__(self, log: MemoryLog, group: str, topic: Name) -> None:
        self._log = log
        self._group = group
        self._topic = topic
        self._held: dict[int, int] = {}
        self._reader = _MemoryReader(log, topic, self._hold)

    def _hold(self) -> dict[int, int]:
        for partition in range(self._log._topics[self._topic].partitions):  # pyright: ignore[reportPrivateUsage]
            owners = self._log._owners  # pyright: ignore[reportPrivateUsage]
            owner = owners.setdefault((self._group, self._topic, partition), self._reader)
            if owner is self._reader and partition not in self._held:
                committed = self._log._committed[self._group, self._topic]  # pyright: ignore[reportPrivateUsage]
                self._held[partition] = committed.get(partition, 0)
        return self._held

    def poll(self, limit: int, timeout: float) -> Sequence[Record]:
        return self._reader.poll(limit, timeout)

    def commit(self, done: Mapping[int, int]) -> None:
        with self._log._changed:  # pyright: ignore[reportPrivateUsage]
            committed = self._log._committed[self._group, self._topic]  # pyright: ignore[reportPrivateUsage]
            committed.update({p: offset for p, offset in done.items() if p in self._held})

    def pass_gap(self) -> int:
        starts = {partition: span.start for partition, span in self._log.spans(self._topic).items()}
        gone = {p: starts[p] - place for p, place in self._held.items() if place < starts[p]}
        if not gone:
            raise no_gap_to_pass(self._topic)
        self._held.update({p: starts[p] for p in gone})
        self.commit({p: starts[p] for p in gone})
        return sum(gone.values())

    def close(self) -> None:
        owners = self._log._owners  # pyright: ignore[reportPrivateUsage]
        with self._log._changed:  # pyright: ignore[reportPrivateUsage]
            for key in [key for key, owner in owners.items() if owner is self._reader]:
                del owners[key]
            self._held.clear()
