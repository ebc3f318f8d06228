# pyright: basic, reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
# (the stubs that pyright brings along describe kafka-python 2)
"""The log in a Kafka cluster, through kafka-python 3.0; the only file that imports it.

Its traps (reference/kafka.md, section 1.3) and where they are met:

* A batch that runs into the client's delivery time-out silences the producer for ever, and may be in the log all the
  same: so no batch ever times out here, and the deadline is `append`'s own, on the futures.
* `flush` tells nothing and `send` knows no back-pressure: every future is awaited, and what timed-out appends leave
  behind in the client's memory is counted and bounded.
* Offset resets are silent: `auto_offset_reset` is 'none', and each partition is sought explicitly.
* A client that gets no answer at first leaves a thread and sockets behind: so a plain socket asks before it.
* Transactions can lose records (Jepsen, KAFKA-17754): none are used; facts carry ids, and who reads drops repeats.
"""

import math
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any, Final, TypeVar

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition, errors
from kafka.admin import ConfigResource, ConfigResourceType, OffsetSpec
from kafka.consumer.subscription_state import ConsumerRebalanceListener
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.structs import OffsetAndMetadata

from shared.log import LogGap, LogMisfit, LogUnavailable, Position, Record, Span
from shared.log.rules import check_sizes, check_topic, first_positions, misfit
from shared.logs import logger
from shared.topics import Entry, Name, Topic

IN_DOUBT_BYTES: Final = 64 * 2**20
"""What timed-out appends may leave in the client's memory before further ones are refused at once: four of the
largest captures, or minutes of usual ones."""

_OVERHEAD: Final = 64 * 2**10
"""Bytes that key, record and batch headers may add to a value; `max.message.bytes` is of the batch."""

_ANSWER_S: Final = 5.0
"""Seconds that a broker may take to answer a question about topics and offsets before it counts as not available.
Measured: some 10 ms; a restarted single broker is back in 6 s."""

_CONNECT_S: Final = 2.0

_PUMP_S: Final = 1.0
"""Seconds that a member's consumer is polled at a time: what `close`, and a `commit` without records, may wait."""

_SAY_AGAIN_S: Final = 10.0
_LARGEST_REQUEST: Final = 64 * 2**20
_REPLICAS: Final = 3

_CLIENT: Final = {
    "bootstrap_timeout_ms": 5_000,
    "reconnect_backoff_ms": 50,
    "reconnect_backoff_max_ms": 1_000,  # a broker that is back is found again within about a second
    "metadata_max_age_ms": 10_000,  # partitions that were added are seen by a group within 10 s
}
_PRODUCER: Final = {
    "acks": "all",
    "enable_idempotence": True,  # explicitly, so that a setting in conflict with it raises
    "delivery_timeout_ms": 2_147_483_647,
    "request_timeout_ms": 10_000,
    "max_block_ms": 1_000,
    "batch_size": 256 * 2**10,
    "max_request_size": _LARGEST_REQUEST,
    "compression_type": None,  # captures are JPEG in base64, templates are noise
    "allow_auto_create_topics": False,
}
_CONSUMER: Final = {
    "enable_auto_commit": False,
    "auto_offset_reset": "none",
    "check_crcs": True,
    "fetch_max_bytes": 32 * 2**20,
    "max_partition_fetch_bytes": 16 * 2**20,  # a larger record comes alone
    "allow_auto_create_topics": False,
}
_MEMBER: Final = {
    # A killed member's partitions are taken over within this time; its heart beats in a thread of its own.
    "session_timeout_ms": 10_000,
    "heartbeat_interval_ms": 500,  # the answer to a heartbeat is what tells of a rebalance
    # A member may be busy with one batch for this long (extraction of hundreds of captures) and keep its partitions.
    "max_poll_interval_ms": 3_600_000,
    # Whoever joins or leaves disturbs only the partitions that move.
    "partition_assignment_strategy": [CooperativeStickyAssignor],
}

_WHICH_VERSIONS: Final = struct.pack(">ihhih", 10, 18, 0, 0, -1)
"""An ApiVersions request: length, API 18, version 0, correlation id 0, no client id. Every broker answers it first."""

T = TypeVar("T")


class KafkaLog:
    """A log on a cluster. Clients are made at first use, so a broker that is down delays and never prevents a start.

    `prefix` stands before all names of topics and groups: several logs on one cluster (tests, a rehearsal).
    """

    def __init__(self, bootstrap: Sequence[str], prefix: str = "") -> None:
        self._bootstrap = list(bootstrap)
        self._prefix = prefix
        self._making = threading.RLock()
        self._admin: KafkaAdminClient | None = None
        self._producer: KafkaProducer | None = None
        self._closed = False
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
            with _as_log_errors():
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

    def read(self, topic: Name, start: Mapping[int, int]) -> "_Reader":
        return _Reader(self, topic, start)

    def join(self, group: str, topic: Name) -> "_Member":
        return _Member(self, group, topic)

    def spans(self, topic: Name) -> Mapping[int, Span]:
        partitions = self.partitions_of(topic)
        starts = self._ask(lambda admin: admin.list_partition_offsets(dict.fromkeys(partitions, OffsetSpec.EARLIEST)))
        ends = self._ask(lambda admin: admin.list_partition_offsets(dict.fromkeys(partitions, OffsetSpec.LATEST)))
        return {p.partition: Span(starts[p].offset, ends[p].offset) for p in partitions}

    def committed(self, group: str, topic: Name) -> Mapping[int, int]:
        name = self.group_of(group, topic)
        partitions = self.partitions_of(topic)
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
            self._closed = True
            if self._admin is not None:
                self._admin.close()
            if self._producer is not None:
                _close_producer(self._producer)
            self._admin = self._producer = None

    # ---- for readers and members

    def name_of(self, topic: Name) -> str:
        return f"{self._prefix}{topic}"

    def group_of(self, group: str, topic: Name) -> str:
        """One Kafka group for each topic: a rebalance of one must not stop the other."""
        return f"{self._prefix}{group}.{topic}"

    def partitions_of(self, topic: Name) -> list[TopicPartition]:
        indices = sorted(p["partition_index"] for p in self._described(topic)["partitions"])
        return [TopicPartition(self.name_of(topic), index) for index in indices]

    def consumer(self, **settings: object) -> KafkaConsumer:
        self._connectable()
        with _as_log_errors():
            return KafkaConsumer(bootstrap_servers=self._bootstrap, **_CLIENT, **_CONSUMER, **settings)

    # ---- asking

    def _described(self, topic: Name) -> dict[str, Any]:
        name = self.name_of(topic)
        described = self._describe([name])
        if name not in described:
            raise LogMisfit(f"topic {name}: is not on the cluster; `ensure` creates it")
        return described[name]

    def _describe(self, names: Iterable[str]) -> dict[str, dict[str, Any]]:
        topics = self._ask(lambda admin: admin.describe_topics(list(names)))
        with _as_log_errors():
            for topic in topics:
                if topic["error_code"] not in (0, errors.UnknownTopicOrPartitionError.errno):
                    raise errors.for_code(topic["error_code"])(topic["name"])
        return {topic["name"]: topic for topic in topics if topic["error_code"] == 0}

    def _ask(self, question: Callable[[KafkaAdminClient], T]) -> T:
        """Ask the cluster, again while what fails is only temporary (a new leader, a group's first coordinator)."""
        until = time.monotonic() + _ANSWER_S
        while True:
            with self._making, _as_log_errors():
                if self._admin is None:
                    self._connectable()
                    self._admin = KafkaAdminClient(
                        bootstrap_servers=self._bootstrap, request_timeout_ms=int(_ANSWER_S * 1000), **_CLIENT
                    )
                admin = self._admin
            with _as_log_errors():
                try:
                    return question(admin)
                except errors.RetriableError:
                    if time.monotonic() >= until:
                        raise
            time.sleep(0.1)

    def _connectable(self, patience: float = _CONNECT_S) -> None:
        """Get some answer from some broker, through a socket that we close. Raises LogUnavailable."""
        if self._closed:
            raise LogUnavailable("this log is closed")
        reasons: list[str] = []
        for address in self._bootstrap:
            host, _, port = address.rpartition(":")
            try:
                with socket.create_connection((host.strip("[]"), int(port)), patience) as probe:
                    probe.settimeout(patience)
                    probe.sendall(_WHICH_VERSIONS)
                    if probe.recv(1):
                        return
                    raise ConnectionError("closed the connection")
            except (OSError, ValueError) as error:
                reasons.append(f"{address}: {error}")
        raise LogUnavailable(f"no broker answers ({'; '.join(reasons)})")

    # ---- appending

    def _send(self, entry: Entry, deadline: float) -> Any:
        """Hand an entry to the producer. What raises here was not sent."""
        say = time.monotonic() + _SAY_AGAIN_S
        while True:
            try:
                with _as_log_errors():
                    return self._ready_producer(deadline).send(
                        self.name_of(entry.topic), key=entry.key, value=entry.value
                    )
            except LogUnavailable as error:
                say = _wait_or_give_up(error, deadline, say, self._closed)
                time.sleep(0.1)

    def _ready_producer(self, deadline: float) -> KafkaProducer:
        if not self._making.acquire(timeout=min(max(0.0, deadline - time.monotonic()), threading.TIMEOUT_MAX)):
            raise LogUnavailable("no broker answered in time")
        try:
            if self._producer is None:
                self._connectable(min(_CONNECT_S, max(0.1, deadline - time.monotonic())))
                self._producer = KafkaProducer(bootstrap_servers=self._bootstrap, **_CLIENT, **_PRODUCER)
            return self._producer
        finally:
            self._making.release()

    def _acknowledged(self, future: Any, entry: Entry, deadline: float) -> Position:
        say = time.monotonic() + _SAY_AGAIN_S
        while True:
            try:
                with _as_log_errors():
                    stored = future.get(timeout=max(0.0, min(deadline, say) - time.monotonic()))
                return Position(entry.topic, stored.partition, stored.offset)
            except LogUnavailable as error:
                if future.is_done:
                    # The client has given up on a batch, and with it on its own sequence (D1b): it is of no more use.
                    self._discard_producer()
                    raise
                say = _wait_or_give_up(error, deadline, say, self._closed)

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


class _Consumption:
    """What readers and members have in common: polling, and knowing whether anybody answers."""

    def __init__(self, log: KafkaLog, topic: Name) -> None:
        self._log = log
        self._topic = topic
        self._consumer: KafkaConsumer | None = None
        self._heard = time.monotonic()

    def _polled(self, consumer: KafkaConsumer, limit: int, timeout: float) -> list[Any]:
        batches = consumer.poll(timeout_ms=int(timeout * 1000), max_records=limit)
        if not batches and time.monotonic() - self._heard > _ANSWER_S:
            # An empty poll looks the same with a broker that is gone: ask something that must be answered.
            one = TopicPartition(self._log.name_of(self._topic), 0)
            consumer.end_offsets([one], timeout_ms=int(_CONNECT_S * 1000))
            self._heard = time.monotonic()
        if batches:
            self._heard = time.monotonic()
        return [record for batch in batches.values() for record in batch]

    def _record(self, found: Any) -> Record:
        return Record(self._topic, found.partition, found.offset, found.key or b"", found.value or b"")

    def close(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            with suppress(errors.KafkaError):  # a broker that is gone notices by itself
                consumer.close(autocommit=False, timeout_ms=int(_CONNECT_S * 1000))


class _Reader(_Consumption):
    def __init__(self, log: KafkaLog, topic: Name, start: Mapping[int, int]) -> None:
        super().__init__(log, topic)
        self._start = start

    def poll(self, limit: int, timeout: float) -> Sequence[Record]:
        consumer = self._consumer or self._connect()
        with _as_log_errors():
            return [self._record(found) for found in self._polled(consumer, limit, timeout)]

    def _connect(self) -> KafkaConsumer:
        positions = first_positions(self._topic, self._start, self._log.spans(self._topic))
        consumer = self._log.consumer()
        with _as_log_errors():
            partitions = {p: TopicPartition(self._log.name_of(self._topic), p) for p in positions}
            consumer.assign(list(partitions.values()))
            for partition, offset in positions.items():
                consumer.seek(partitions[partition], offset)
        self._consumer = consumer
        return consumer


class _Member(_Consumption):
    """Polls its consumer on a thread of its own, for `_PUMP_S` at a time; `poll` only waits for what that brings.

    For kafka-python throws away a join that completes between two polls, and joins anew, which makes every other
    member join anew: two members polled in turn, for a short time each, as `enroll` does, would do nothing else.
    """

    def __init__(self, log: KafkaLog, group: str, topic: Name) -> None:
        super().__init__(log, topic)
        self._group = log.group_of(group, topic)
        self._reached: dict[int, tuple[int, int]] = {}
        """Of each partition that records came from since it was given to us: the next offset, and the last's epoch."""
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"member-{topic}")
        self._polling: Future[list[Record]] | None = None
        self._ready: deque[Record] = deque()

    def poll(self, limit: int, timeout: float) -> Sequence[Record]:
        if not self._ready:
            if self._polling is None:
                self._polling = self._thread.submit(self._pump, limit)
            if wait([self._polling], max(timeout, 0.01)).not_done:
                return []
            polled, self._polling = self._polling, None
            self._ready.extend(polled.result())
        return [self._ready.popleft() for _ in range(min(limit, len(self._ready)))]

    def _pump(self, limit: int) -> list[Record]:
        consumer = self._consumer or self._connect()
        with _as_log_errors():
            try:
                found = self._polled(consumer, limit, _PUMP_S)
            except errors.NoOffsetForPartitionError as error:
                self._begin(consumer, list(error.args[0]))
                found = self._polled(consumer, limit, _PUMP_S)
        for record in found:
            epoch = -1 if record.leader_epoch is None else record.leader_epoch
            self._reached[record.partition] = (record.offset + 1, epoch)
        return [self._record(record) for record in found]

    def commit(self, done: Mapping[int, int]) -> None:
        offsets: dict[TopicPartition, OffsetAndMetadata] = {}
        for partition, offset in done.items():
            reached = self._reached.get(partition)  # gone when the partition was taken away
            if reached is not None:
                # The epoch lets brokers notice a log that was cut off (KAFKA-20507); known for the last record only.
                epoch = reached[1] if reached[0] == offset else -1
                offsets[TopicPartition(self._log.name_of(self._topic), partition)] = OffsetAndMetadata(
                    offset, "", epoch
                )
        if offsets:
            self._thread.submit(self._commit, offsets).result()

    def _commit(self, offsets: dict[TopicPartition, OffsetAndMetadata]) -> None:
        with _as_log_errors(), suppress(*_NOT_OURS_ANY_MORE):
            if self._consumer is not None:
                self._consumer.commit(offsets, timeout_ms=int(_ANSWER_S * 1000))

    def close(self) -> None:
        self._thread.submit(super().close)
        self._thread.shutdown()

    def _connect(self) -> KafkaConsumer:
        name = self._log.name_of(self._topic)
        consumer = self._log.consumer(group_id=self._group, **_MEMBER)
        with _as_log_errors():
            # A member that joins before it knows the topic's partitions is given none, or, leading, gives none.
            known = consumer.partitions_for_topic(name)
            consumer.subscribe([name], listener=_Forget(self._reached))
        if not known:
            consumer.close(autocommit=False)
            raise LogUnavailable(f"topic {name}: no broker knows its partitions yet")
        self._consumer = consumer
        return consumer

    def _begin(self, consumer: KafkaConsumer, partitions: list[TopicPartition]) -> None:
        """Where the group never committed, start at the partition's start."""
        starts = consumer.beginning_offsets(partitions, timeout_ms=int(_ANSWER_S * 1000))
        for partition, offset in starts.items():
            with suppress(errors.IllegalStateError, AssertionError):  # taken away in the meantime
                consumer.seek(partition, offset)


_NOT_OURS_ANY_MORE: Final = (
    errors.CommitFailedError,
    errors.RebalanceInProgressError,
    errors.IllegalGenerationError,
    errors.UnknownMemberIdError,
)


class _Forget(ConsumerRebalanceListener):  # type: ignore[misc]  # kafka-python has no types
    """Runs on the client's own thread, and does no more than it may there."""

    def __init__(self, reached: dict[int, tuple[int, int]]) -> None:
        self._reached = reached

    def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        for partition in revoked:
            self._reached.pop(partition.partition, None)

    def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        pass


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
        producer.close(timeout=_CONNECT_S)


@contextmanager
def _as_log_errors() -> Generator[None]:
    """Say in the port's words what kafka-python raises."""
    try:
        yield
    except (errors.OffsetOutOfRangeError, errors.LogTruncationError, errors.CorruptRecordError) as error:
        raise LogGap(str(error)) from error
    except (errors.MessageSizeTooLargeError, errors.RecordListTooLargeError) as error:
        raise LogMisfit(f"a record is larger than the topic or the broker takes ({error})") from error
    except (errors.AuthorizationError, errors.UnsupportedVersionError, errors.InvalidTopicError) as error:
        raise LogMisfit(str(error)) from error
    except (errors.IllegalArgumentError, errors.KafkaConfigurationError):
        raise  # ours
    except errors.KafkaError as error:
        raise LogUnavailable(str(error) or type(error).__name__) from error
