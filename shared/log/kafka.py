# pyright: basic, reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
# (the stubs that pyright brings along describe kafka-python 2)
"""The log in a Kafka cluster, through kafka-python 3.0, which only this file and its two parts import.

Its traps (reference/kafka.md, section 1.3) and where they are met:

* A batch that runs into the client's delivery time-out silences the producer for ever, and may be in the log all the
  same: so no batch ever times out here, and the deadline is `append`'s own, on the futures.
* `flush` tells nothing and `send` knows no back-pressure: every future is awaited, and what timed-out appends leave
  behind in the client's memory is counted and bounded.
* Offset resets are silent: `auto_offset_reset` is 'none', and each partition is sought explicitly (kafka_readers.py).
* A client that gets no answer at first leaves a thread and sockets behind: so a plain socket asks before it
  (kafka_clients.py).
* Transactions can lose records (Jepsen, KAFKA-17754): none are used; facts carry ids, and who reads drops repeats.
"""

import math
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any, Final, TypeVar

from kafka import KafkaAdminClient, KafkaProducer, TopicPartition, errors
from kafka.admin import ConfigResource, ConfigResourceType, OffsetSpec
from kafka.structs import OffsetAndMetadata

from shared.log import LogMisfit, LogUnavailable, Position, Span
from shared.log.kafka_clients import ANSWER_S, CONNECT_S, Cluster, as_log_errors
from shared.log.kafka_readers import KafkaMember, KafkaReader
from shared.log.rules import check_sizes, check_topic, misfit
from shared.logs import logger
from shared.topics import Entry, Name, Topic

IN_DOUBT_BYTES: Final = 64 * 2**20
"""What timed-out appends may leave in the client's memory before further ones are refused at once: four of the
largest captures, or minutes of usual ones."""

_OVERHEAD: Final = 64 * 2**10
"""Bytes that key, record and batch headers may add to a value; `max.message.bytes` is of the batch."""

_SAY_AGAIN_S: Final = 10.0
_REPLICAS: Final = 3

T = TypeVar("T")


class KafkaLog:
    """A log on a cluster. Clients are made at first use, so a broker that is down delays and never prevents a start.

    `prefix` stands before all names of topics and groups: several logs on one cluster (tests, a rehearsal).
    `security` is what `Settings.kafka_security` returns.
    """

    def __init__(self, bootstrap: Sequence[str], prefix: str = "", security: Mapping[str, str] | None = None) -> None:
        self._cluster = Cluster(bootstrap, security or {})
        self._prefix = prefix
        self._making = threading.RLock()
        self._admin: KafkaAdminClient | None = None
        self._producer: KafkaProducer | None = None
        self._limits: dict[Name, int] = {}
        self._in_doubt = 0
        self._counting = threading.Lock()

    def ensure(self, topics: Sequence[Topic]) -> None:
        names = {self.name_of(topic.name): topic for topic in topics}
        described = self._describe(names)
        missing = [name for name in names if name not in described]
        if missing:
            brokers = self._ask(lambda admin: admin.describe_cluster())["brokers"]
            replicas = min(_REPLICAS, sum(not broker.get("is_fenced") for broker in brokers))
            wanted = {name: _creation(names[name], replicas) for name in missing}
            created = self._ask(lambda admin: admin.create_topics(wanted, raise_errors=False))
            with as_log_errors():
                for topic in created["topics"]:
                    if topic["error_code"] not in (0, errors.TopicAlreadyExistsError.errno):  # somebody was faster
                        raise errors.for_code(topic["error_code"])(f"{topic['name']}: {topic['error_message']}")
            self._ask(lambda admin: admin.wait_for_topics(missing, timeout_ms=10_000))
            described = self._describe(names)
        resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
        configs = self._ask(lambda admin: admin.describe_configs(resources, config_filter="all"))["topic"]
        for name, topic in names.items():
            found = {key: config["value"] for key, config in configs[name].items()}
            for setting, value in _CHECKED.items():
                if found[setting] != value:
                    raise misfit(topic.name, setting, value, found[setting])
            retention = None if found["retention.ms"] == "-1" else timedelta(milliseconds=int(found["retention.ms"]))
            room = int(found["max.message.bytes"]) - _OVERHEAD
            check_topic(topic, len(described[name]["partitions"]), retention, room)
            self._limits[topic.name] = topic.max_bytes

    def identity(self, topic: Name) -> str:
        cluster = self._ask(lambda admin: admin.describe_cluster())["cluster_id"]
        return f"{cluster}/{self._described(topic)['topic_id']}"

    def append(self, entries: Sequence[Entry], timeout: float | None = None) -> Sequence[Position]:
        check_sizes(entries, self._limits)
        deadline = math.inf if timeout is None else time.monotonic() + timeout
        if timeout is not None and self._in_doubt > IN_DOUBT_BYTES:
            raise LogUnavailable(f"{self._in_doubt} bytes of earlier appends are still in doubt")
        sent: list[tuple[Any, Entry]] = []
        try:
            for entry in entries:
                sent.append((self._send(entry, deadline), entry))  # noqa: PERF401  # the part sent counts if one fails
            return [self._acknowledged(future, entry, deadline) for future, entry in sent]
        except LogUnavailable:
            for future, entry in sent:
                self._leave_in_doubt(future, len(entry.value))
            raise

    def read(self, topic: Name, start: Mapping[int, int]) -> KafkaReader:
        return KafkaReader(self._cluster, topic, self.name_of(topic), start, lambda: self.spans(topic))

    def join(self, group: str, topic: Name) -> KafkaMember:
        return KafkaMember(self._cluster, topic, self.name_of(topic), self.group_of(group, topic))

    def spans(self, topic: Name) -> Mapping[int, Span]:
        partitions = self._partitions(topic)
        starts = self._ask(lambda admin: admin.list_partition_offsets(dict.fromkeys(partitions, OffsetSpec.EARLIEST)))
        ends = self._ask(lambda admin: admin.list_partition_offsets(dict.fromkeys(partitions, OffsetSpec.LATEST)))
        return {p.partition: Span(starts[p].offset, ends[p].offset) for p in partitions}

    def committed(self, group: str, topic: Name) -> Mapping[int, int]:
        name = self.group_of(group, topic)
        partitions = self._partitions(topic)
        offsets = self._ask(lambda admin: admin.list_group_offsets({name: partitions}))[name]
        return {p.partition: max(0, offsets[p].offset) if p in offsets else 0 for p in partitions}

    def mark(self, group: str, topic: Name, done: Mapping[int, int]) -> None:
        name = self.group_of(group, topic)
        offsets = {TopicPartition(self.name_of(topic), p): OffsetAndMetadata(o, "", -1) for p, o in done.items()}
        if not offsets:
            return
        for error in self._ask(lambda admin: admin.alter_group_offsets(name, offsets)).values():
            if error is not errors.NoError:
                raise LogUnavailable(f"group {name}: {error.__name__}")

    def close(self) -> None:
        with self._making:
            self._cluster.closed = True
            if self._admin is not None:
                self._admin.close()
            if self._producer is not None:
                _close_producer(self._producer)
            self._admin = self._producer = None

    # ---- names

    def name_of(self, topic: Name) -> str:
        return f"{self._prefix}{topic}"

    def group_of(self, group: str, topic: Name) -> str:
        """One Kafka group for each topic: a rebalance of one must not stop the other."""
        return f"{self._prefix}{group}.{topic}"

    # ---- asking

    def _partitions(self, topic: Name) -> list[TopicPartition]:
        indices = sorted(p["partition_index"] for p in self._described(topic)["partitions"])
        return [TopicPartition(self.name_of(topic), index) for index in indices]

    def _described(self, topic: Name) -> dict[str, Any]:
        name = self.name_of(topic)
        described = self._describe([name])
        if name not in described:
            raise LogMisfit(f"topic {name}: is not on the cluster; `ensure` creates it")
        return described[name]

    def _describe(self, names: Iterable[str]) -> dict[str, dict[str, Any]]:
        topics = self._ask(lambda admin: admin.describe_topics(list(names)))
        with as_log_errors():
            for topic in topics:
                if topic["error_code"] not in (0, errors.UnknownTopicOrPartitionError.errno):
                    raise errors.for_code(topic["error_code"])(topic["name"])
        return {topic["name"]: topic for topic in topics if topic["error_code"] == 0}

    def _ask(self, question: Callable[[KafkaAdminClient], T]) -> T:
        """Ask the cluster, again while what fails is only temporary (a new leader, a group's first coordinator)."""
        until = time.monotonic() + ANSWER_S
        while True:
            with self._making, as_log_errors():
                if self._admin is None:
                    self._admin = self._cluster.admin()
                admin = self._admin
            with as_log_errors():
                try:
                    return question(admin)
                except errors.RetriableError:
                    if time.monotonic() >= until:
                        raise
            time.sleep(0.1)

    # ---- appending

    def _send(self, entry: Entry, deadline: float) -> Any:
        """Hand an entry to the producer. What raises here was not sent."""
        say = time.monotonic() + _SAY_AGAIN_S
        while True:
            try:
                with as_log_errors():
                    return self._ready_producer(deadline).send(
                        self.name_of(entry.topic), key=entry.key, value=entry.value
                    )
            except LogUnavailable as error:
                say = _wait_or_give_up(error, deadline, say, self._cluster.closed)
                time.sleep(0.1)

    def _ready_producer(self, deadline: float) -> KafkaProducer:
        if not self._making.acquire(timeout=min(max(0.0, deadline - time.monotonic()), threading.TIMEOUT_MAX)):
            raise LogUnavailable("no broker answered in time")
        try:
            if self._producer is None:
                self._producer = self._cluster.producer(min(CONNECT_S, max(0.1, deadline - time.monotonic())))
            return self._producer
        finally:
            self._making.release()

    def _acknowledged(self, future: Any, entry: Entry, deadline: float) -> Position:
        say = time.monotonic() + _SAY_AGAIN_S
        while True:
            try:
                with as_log_errors():
                    stored = future.get(timeout=max(0.0, min(deadline, say) - time.monotonic()))
                return Position(entry.topic, stored.partition, stored.offset)
            except LogUnavailable as error:
                if future.is_done:
                    # The client has given up on a batch, and with it on its own sequence (D1b): it is of no more use.
                    self._discard_producer()
                    raise
                say = _wait_or_give_up(error, deadline, say, self._cluster.closed)

    def _leave_in_doubt(self, future: Any, size: int) -> None:
        with self._counting:
            self._in_doubt += size
        future.add_both(lambda _: self._settle(size))

    def _settle(self, size: int) -> None:
        with self._counting:
            self._in_doubt -= size

    def _discard_producer(self) -> None:
        with self._making:
            producer, self._producer = self._producer, None
        if producer is not None:
            _close_producer(producer)


_CHECKED: Final = {"cleanup.policy": "delete", "retention.bytes": "-1", "unclean.leader.election.enable": "false"}


def _creation(topic: Topic, replicas: int) -> dict[str, object]:
    retention = -1 if topic.retention is None else topic.retention // timedelta(milliseconds=1)
    configs = {
        **_CHECKED,
        "retention.ms": str(retention),
        "max.message.bytes": str(topic.max_bytes + _OVERHEAD),
        "min.insync.replicas": str(min(2, replicas)),
    }
    if retention > 0:
        # Only closed segments are deleted: four to the retention time, so nothing outlives it by more than a quarter.
        configs["segment.ms"] = str(retention // 4)
    if replicas == 1:
        # A page cache is no durable place when there is no other broker: to the disk before it is acknowledged.
        configs["flush.messages"] = "1"
    return {"num_partitions": topic.partitions, "replication_factor": replicas, "configs": configs}


def _wait_or_give_up(error: LogUnavailable, deadline: float, say: float, closed: bool) -> float:
    """Go on (and return when to complain next), or raise the error."""
    now = time.monotonic()
    if now >= deadline or closed:
        raise error
    if now < say:
        return say
    logger("log").warning("the log does not take records; still trying", error=str(error))
    return now + _SAY_AGAIN_S


def _close_producer(producer: KafkaProducer) -> None:
    with suppress(errors.KafkaError):
        producer.close(timeout=CONNECT_S)
