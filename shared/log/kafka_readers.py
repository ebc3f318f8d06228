# pyright: basic, reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
# (the stubs that pyright brings along describe kafka-python 2)
"""Who reads from a Kafka cluster: readers, which keep their own position, and members, which share a group's."""

import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from typing import Any, Final

from kafka import KafkaConsumer, TopicPartition, errors
from kafka.consumer.subscription_state import ConsumerRebalanceListener
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.structs import OffsetAndMetadata

from shared.log import LogError, LogUnavailable, Record, Span
from shared.log.kafka_clients import ANSWER_S, CONNECT_S, Cluster, as_log_errors
from shared.log.rules import first_positions, no_gap_to_pass
from shared.logs import logger
from shared.topics import Name

_JOIN_S: Final = 1.0
"""Seconds that a member's consumer is polled at a time while it has no partitions: a join takes 0.4 s."""

_PUMP_S: Final = 0.1
"""The same once it has some: what a commit waits until the consumer is free, where no records come."""

_AT_ONCE: Final = 16
"""Records that a consumer is asked for at a time, at least: where some of a partition's are left in it, kafka-python
goes on to fetch the other partitions, and what comes in this one next waits up to half a second for that to end. Not
many more: while a member works them off it is not polled, and a rebalance waits for it."""

_MEMBER: Final = {
    # A killed member's partitions are taken over within this time; its heart beats in a thread of its own.
    "session_timeout_ms": 10_000,
    "heartbeat_interval_ms": 500,  # the answer to a heartbeat is what tells of a rebalance
    # A member may be busy with one batch for this long (extraction of hundreds of captures) and keep its partitions.
    "max_poll_interval_ms": 3_600_000,
    # Whoever joins or leaves disturbs only the partitions that move.
    "partition_assignment_strategy": [CooperativeStickyAssignor],
}


class _Consumption(ABC):
    """What readers and members have in common: a consumer that is polled on a thread of its own.

    `poll` only waits for what that brings. For one thing, a poll of kafka-python costs half a millisecond of processor
    time whether or not it finds anything, which adds up where a loop looks at several topics in turn, for 3 ms each.
    For another, it throws away a join that completes between two polls, and joins anew, which makes every other member
    join anew: two members polled in turn, as `enroll` does, would do nothing else.

    `name` is the topic's on the cluster.
    """

    def __init__(self, cluster: Cluster, topic: Name, name: str) -> None:
        self._cluster = cluster
        self._topic = topic
        self._name = name
        self._consumer: KafkaConsumer | None = None
        self._heard = time.monotonic()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"follow-{topic}")
        self._polling: Future[list[Record]] | None = None
        self._ready: deque[Record] = deque()
        self._changing = threading.Lock()
        """Held by whoever changes what several threads see: the caller's, ours, and the client's own."""

    def poll(self, limit: int, timeout: float) -> Sequence[Record]:
        until = time.monotonic() + timeout
        while not self._ready:
            if self._polling is None:
                self._polling = self._thread.submit(self._pump, max(limit, _AT_ONCE))
            if wait([self._polling], max(until - time.monotonic(), 0.001)).not_done:
                return []
            polled, self._polling = self._polling, None
            found = polled.result()
            with self._changing:
                self._ready.extend(found)
            if time.monotonic() >= until:
                break
        with self._changing:
            return [self._ready.popleft() for _ in range(min(limit, len(self._ready)))]

    def close(self) -> None:
        closed = self._thread.submit(self._leave)
        self._thread.shutdown()
        closed.result()

    # ---- on the thread

    @abstractmethod
    def _pump(self, limit: int) -> list[Record]:
        """Connect where needed, and take what there is."""

    def _polled(self, consumer: KafkaConsumer, limit: int, timeout: float) -> list[Any]:
        batches = consumer.poll(timeout_ms=int(timeout * 1000), max_records=limit)
        if not batches and time.monotonic() - self._heard > ANSWER_S:
            # An empty poll looks the same with a broker that is gone: ask something that must be answered.
            one = TopicPartition(self._name, 0)
            consumer.end_offsets([one], timeout_ms=int(CONNECT_S * 1000))
            self._heard = time.monotonic()
        if batches:
            self._heard = time.monotonic()
        return [record for batch in batches.values() for record in batch]

    def _record(self, found: Any) -> Record:
        return Record(self._topic, found.partition, found.offset, found.key or b"", found.value or b"")

    def _leave(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            with suppress(errors.KafkaError):  # a broker that is gone notices by itself
                consumer.close(autocommit=False, timeout_ms=int(CONNECT_S * 1000))


class KafkaReader(_Consumption):
    def __init__(
        self,
        cluster: Cluster,
        topic: Name,
        name: str,
        start: Mapping[int, int],
        spans: Callable[[], Mapping[int, Span]],
    ) -> None:
        super().__init__(cluster, topic, name)
        self._start = start
        self._spans = spans

    def poll(self, limit: int, timeout: float) -> Sequence[Record]:
        if self._consumer is None:
            # Whatever the caller's patience, which is meant for records: a first poll may have to connect.
            self._thread.submit(self._connect).result()
        return super().poll(limit, timeout)

    def _connect(self) -> KafkaConsumer:
        self._consumer = self._cluster.consumer()
        return self._consumer

    def _pump(self, limit: int) -> list[Record]:
        consumer = self._consumer or self._connect()
        with as_log_errors():
            mine = consumer.assignment()
            # Partitions may be added while we read: what is in them must not be passed over.
            if not mine or len(mine) < len(consumer.partitions_for_topic(self._name)):
                self._assign(consumer, mine)
            return [self._record(found) for found in self._polled(consumer, limit, _PUMP_S)]

    def _assign(self, consumer: KafkaConsumer, mine: Set[TopicPartition]) -> None:
        """Read all partitions that the topic has: those that are `mine` go on, the others begin."""
        positions = first_positions(self._topic, self._start, self._spans())
        partitions = {TopicPartition(self._name, p): offset for p, offset in positions.items()}
        consumer.assign(list(partitions))
        for partition in partitions.keys() - mine:
            consumer.seek(partition, partitions[partition])


class KafkaMember(_Consumption):
    """Commits on its thread too: a caller that waited for each commit would do little else on a quiet topic."""

    def __init__(self, cluster: Cluster, topic: Name, name: str, group: str) -> None:
        super().__init__(cluster, topic, name)
        self._group = group
        self._reached: dict[int, tuple[int, int]] = {}
        """Of each partition that records came from since it was given to us: the next offset, and the last's epoch."""
        self._committing: Future[None] | None = None
        self._uncommitted: dict[TopicPartition, OffsetAndMetadata] = {}

    def poll(self, limit: int, timeout: float) -> Sequence[Record]:
        self._commit_soon()
        return super().poll(limit, timeout)

    def _pump(self, limit: int) -> list[Record]:
        consumer = self._consumer or self._connect()
        with as_log_errors():
            seconds = _PUMP_S if consumer.assignment() else _JOIN_S
            try:
                found = self._polled(consumer, limit, seconds)
            except errors.NoOffsetForPartitionError as error:
                for partition in error.args[0]:  # the group never committed in them
                    with suppress(ValueError):  # taken away in the meantime
                        consumer.seek(partition, 0)
                found = self._polled(consumer, limit, seconds)
        with self._changing:
            for record in found:
                epoch = -1 if record.leader_epoch is None else record.leader_epoch
                self._reached[record.partition] = (record.offset + 1, epoch)
        return [self._record(record) for record in found]

    def commit(self, done: Mapping[int, int]) -> None:
        with self._changing:
            for partition, offset in done.items():
                reached = self._reached.get(partition)  # gone when the partition was taken away
                if reached is not None:
                    # It lets brokers notice a log that was cut off (KAFKA-20507); known for the last record only.
                    epoch = reached[1] if reached[0] == offset else -1
                    self._uncommitted[TopicPartition(self._name, partition)] = OffsetAndMetadata(offset, "", epoch)
        self._commit_soon()

    def _commit_soon(self) -> None:
        if self._committing is not None and self._committing.done():
            # What the log would not take then, the caller hears now.
            last, self._committing = self._committing, None
            last.result()
        if self._uncommitted and self._committing is None:
            self._committing = self._thread.submit(self._commit)

    def _commit(self) -> None:
        with self._changing:
            offsets = self._uncommitted.copy()
        if not offsets or self._consumer is None:
            return
        with as_log_errors():
            try:
                self._consumer.commit(offsets, timeout_ms=int(ANSWER_S * 1000))
            except _REBALANCING:
                return  # polling ends it; then `_forget` has thrown away what is not ours any more, and we try again
        with self._changing:
            for partition, offset in offsets.items():
                if self._uncommitted.get(partition) is offset:
                    del self._uncommitted[partition]

    def _forget(self, revoked: Iterable[TopicPartition]) -> None:
        with self._changing:
            for partition in revoked:
                self._reached.pop(partition.partition, None)
                self._uncommitted.pop(partition, None)
            gone = {partition.partition for partition in revoked}
            self._ready = deque(record for record in self._ready if record.partition not in gone)

    def pass_gap(self) -> int:
        return self._thread.submit(self._pass_gap).result()

    def _pass_gap(self) -> int:
        consumer = self._consumer or self._connect()
        gone = 0
        with as_log_errors():
            starts = consumer.beginning_offsets(list(consumer.assignment()), timeout_ms=int(ANSWER_S * 1000))
            for partition, start in starts.items():
                place = consumer.position(partition, timeout_ms=int(ANSWER_S * 1000))
                if place is not None and place < start:
                    consumer.seek(partition, start)
                    with self._changing:
                        self._uncommitted[partition] = OffsetAndMetadata(start, "", -1)
                    gone += start - place
        if not gone:
            raise no_gap_to_pass(self._topic)
        return gone

    def _leave(self) -> None:
        until = time.monotonic() + ANSWER_S
        try:
            with as_log_errors():
                self._commit()
                while self._uncommitted and self._consumer is not None and time.monotonic() < until:
                    with suppress(errors.KafkaError):  # whatever is wrong with reading on, it is not for us any more
                        self._consumer.poll(timeout_ms=int(_PUMP_S * 1000), max_records=1)
                    self._commit()
        except LogError as error:
            # No loss: who comes next repeats the work.
            logger("log").warning("a last commit was not taken", topic=self._topic, error=str(error))
        finally:
            super()._leave()

    def _connect(self) -> KafkaConsumer:
        consumer = self._cluster.consumer(group_id=self._group, **_MEMBER)
        with as_log_errors():
            # A member that joins before it knows the topic's partitions is given none, or, leading, gives none.
            known = consumer.partitions_for_topic(self._name)
            consumer.subscribe([self._name], listener=_Forget(self._forget))
        if not known:
            consumer.close(autocommit=False)
            raise LogUnavailable(f"topic {self._name}: no broker knows its partitions yet")
        self._consumer = consumer
        return consumer


_REBALANCING: Final = (
    errors.CommitFailedError,
    errors.RebalanceInProgressError,
    errors.IllegalGenerationError,
    errors.UnknownMemberIdError,
)


class _Forget(ConsumerRebalanceListener):  # type: ignore[misc]  # kafka-python has no types
    """Runs on the client's own thread, and does no more than it may there."""

    def __init__(self, forget: Callable[[Iterable[TopicPartition]], None]) -> None:
        self._forget = forget

    def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        self._forget(revoked)

    def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        pass
