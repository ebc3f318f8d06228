# pyright: basic, reportArgumentType=false
"""What the log on Kafka promises beyond the contract: topics' settings, and a broker that freezes, dies and returns."""

import gc
import threading
import time
from collections.abc import Callable, Generator
from uuid import uuid4

import pytest

from shared.log import LogMisfit, LogUnavailable
from shared.log.kafka import IN_DOUBT_BYTES, KafkaLog
from shared.topics import TOPICS, Entry, Name
from tests.brokers import Broker
from tests.contract.backends import GALLERY, entries, numbers, read_all, take

pytestmark = [
    pytest.mark.kafka,
    # kafka-python leaves the socket of a refused connection to the garbage collector.
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
]


@pytest.fixture(autouse=True)
def sockets_collected() -> Generator[None]:
    """Let the garbage come up here, where it is allowed."""
    yield
    gc.collect()


@pytest.fixture
def log(own_broker: Broker) -> Generator[KafkaLog]:
    log = KafkaLog([own_broker.bootstrap], f"t{uuid4().hex[:8]}-")
    log.ensure([GALLERY])
    yield log
    log.close()


def test_a_compacted_gallery_is_refused(own_broker: Broker) -> None:
    from kafka import KafkaAdminClient

    log = KafkaLog([own_broker.bootstrap], prefix := f"t{uuid4().hex[:8]}-")
    admin = KafkaAdminClient(bootstrap_servers=[own_broker.bootstrap])
    admin.create_topics(
        {f"{prefix}gallery": {"num_partitions": 1, "replication_factor": 1, "configs": {"cleanup.policy": "compact"}}}
    )
    admin.close()
    with pytest.raises(LogMisfit, match=r"gallery: cleanup\.policy must be delete, is compact"):
        log.ensure([GALLERY])
    log.close()


def test_a_topic_that_was_made_anew_has_another_identity(log: KafkaLog, own_broker: Broker) -> None:
    from kafka import KafkaAdminClient

    before = log.identity(Name.GALLERY)
    admin = KafkaAdminClient(bootstrap_servers=[own_broker.bootstrap])
    admin.delete_topics([log.name_of(Name.GALLERY)])
    admin.close()
    time.sleep(0.5)
    log.ensure([GALLERY])
    assert log.identity(Name.GALLERY) != before


def _while_appending(log: KafkaLog, count: int, trouble: Callable[[], None]) -> tuple[list[int], float]:
    """Append one after the other, with trouble in the middle; return the offsets acknowledged and the longest wait."""
    offsets: list[int] = []
    waits: list[float] = []

    def append() -> None:
        for i in range(count):
            began = time.monotonic()
            offsets.append(log.append(entries(1, first=i))[0].offset)
            waits.append(time.monotonic() - began)

    thread = threading.Thread(target=append)
    thread.start()
    while len(offsets) < count // 3:
        time.sleep(0.001)
    trouble()
    thread.join(timeout=60)
    assert not thread.is_alive()
    return offsets, max(waits)


def test_a_frozen_broker_delays_and_loses_nothing(log: KafkaLog, own_broker: Broker) -> None:
    def freeze() -> None:
        own_broker.freeze()
        time.sleep(4)
        own_broker.thaw()

    offsets, longest = _while_appending(log, 600, freeze)

    found = read_all(log)
    assert longest > 3, "the broker was not frozen while something was appended"
    assert numbers(found) == list(range(600))
    assert [record.offset for record in found] == offsets


def test_a_killed_broker_that_comes_back_has_lost_nothing(log: KafkaLog, own_broker: Broker) -> None:
    member = log.join("g", Name.GALLERY)
    member.poll(1, 1)

    def kill() -> None:
        own_broker.kill()
        time.sleep(1)
        own_broker.start()

    offsets, longest = _while_appending(log, 600, kill)

    found = read_all(log)
    assert longest > 1, "the broker was not away while something was appended"
    assert numbers(found) == list(range(600))
    assert [record.offset for record in found] == offsets
    assert sorted(set(numbers(take(member, 600)))) == list(range(600)), "the member has found back by itself"
    member.close()


def test_while_the_broker_is_away_callers_are_told_so_in_time(log: KafkaLog, own_broker: Broker) -> None:
    log.append(entries(1))
    reader = log.read(Name.GALLERY, {})
    take(reader, 1)
    own_broker.freeze()
    try:
        began = time.monotonic()
        with pytest.raises(LogUnavailable):
            log.append(entries(1, first=1), timeout=1.0)
        assert time.monotonic() - began < 2
        with pytest.raises(LogUnavailable):
            take(reader, 1, seconds=20)
        assert time.monotonic() - began < 12
    finally:
        own_broker.thaw()
    log.append(entries(1, first=2))

    assert numbers(take(reader, 2)) == [1, 2], "what was in doubt has become durable, once and in its place"
    reader.close()


def test_what_is_in_doubt_is_bounded(own_broker: Broker) -> None:
    log = KafkaLog([own_broker.bootstrap], f"t{uuid4().hex[:8]}-")
    log.ensure([TOPICS[Name.CAPTURES_BULK]])
    capture = Entry(Name.CAPTURES_BULK, b"k", bytes(16 * 2**20))
    log.append([capture])
    own_broker.freeze()
    try:
        for _ in range(1 + IN_DOUBT_BYTES // len(capture.value)):
            with pytest.raises(LogUnavailable):
                log.append([capture], timeout=0.2)
        began = time.monotonic()
        with pytest.raises(LogUnavailable, match="still in doubt"):
            log.append([capture], timeout=10)
        assert time.monotonic() - began < 1
    finally:
        own_broker.thaw()
    log.append([capture])
    log.append([capture], timeout=30)  # room again
    log.close()


def test_without_a_broker_nothing_hangs_and_no_thread_is_left() -> None:
    before = threading.active_count()
    log = KafkaLog(["127.0.0.1:1"])
    began = time.monotonic()
    for call in (
        lambda: log.ensure([GALLERY]),
        lambda: log.append(entries(1), timeout=0.5),
        lambda: log.read(Name.GALLERY, {}).poll(1, 0.1),
        lambda: log.spans(Name.GALLERY),
    ):
        with pytest.raises(LogUnavailable, match=r"127\.0\.0\.1:1"):
            call()
    log.close()
    assert time.monotonic() - began < 5
    assert threading.active_count() == before
