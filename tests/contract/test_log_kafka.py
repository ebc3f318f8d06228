# pyright: basic, reportArgumentType=false, reportAttributeAccessIssue=false
"""What the log on Kafka promises beyond the contract: topics' settings, and a broker that freezes, dies and returns."""

import gc
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from kafka import TopicPartition
from kafka.errors import RebalanceInProgressError
from kafka.structs import OffsetAndMetadata

from shared.log import LogMisfit, LogUnavailable, Record, kafka_clients
from shared.log.kafka import IN_DOUBT_BYTES, KafkaLog
from shared.log.kafka_clients import Cluster
from shared.log.kafka_readers import KafkaMember
from shared.settings import Settings
from shared.topics import TOPICS, Entry, Name
from tests.brokers import Broker, why_none
from tests.contract.backends import CAPTURES, GALLERY, ROOT, entries, numbers, read_all, take, until

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


def test_a_reader_goes_on_into_partitions_that_are_added(own_broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    from kafka import KafkaAdminClient

    monkeypatch.setitem(kafka_clients._CLIENT, "metadata_max_age_ms", 500)
    log = KafkaLog([own_broker.bootstrap], f"t{uuid4().hex[:8]}-")
    log.ensure([CAPTURES])
    log.append(entries(3, name=CAPTURES.name))
    reader = log.read(CAPTURES.name, {})
    assert numbers(take(reader, 3)) == [0, 1, 2]

    admin = KafkaAdminClient(bootstrap_servers=[own_broker.bootstrap])
    admin.create_partitions({log.name_of(CAPTURES.name): CAPTURES.partitions + 4})
    admin.close()
    time.sleep(1)
    found: set[int] = set()
    appended = 3
    while found != set(log.spans(CAPTURES.name)) and appended < 1000:
        key = str(appended).encode()
        found |= {p.partition for p in log.append(entries(1, name=CAPTURES.name, key=key, first=appended))}
        appended += 1

    read = take(reader, appended - 3)
    assert {record.partition for record in read} == set(range(CAPTURES.partitions + 4))
    assert sorted(numbers(read)) == list(range(3, appended)), "each once: those it had been reading went on"
    reader.close()
    log.close()


def test_tls_with_certificates_and_a_password_are_shown_to_the_broker(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    if reason := why_none() or (None if shutil.which("openssl") else "no openssl to make certificates with"):
        pytest.skip(reason)
    made = "openssl req -x509 -nodes -newkey ec -pkeyopt ec_paramgen_curve:P-256 -subj /CN=eyni -days 2"
    names = [
        "-addext",
        "subjectAltName=IP:127.0.0.1",
        "-keyout",
        str(tmp_path / "key.pem"),
        "-out",
        str(tmp_path / "cert.pem"),
    ]
    subprocess.run([*made.split(), *names], check=True, capture_output=True)
    (tmp_path / "both.pem").write_text((tmp_path / "key.pem").read_text() + (tmp_path / "cert.pem").read_text())
    (tmp_path / "more").write_text(
        "listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:SASL_SSL\n"  # PLAINTEXT is but a name here
        "listener.name.plaintext.ssl.client.auth=required\n"
        "sasl.enabled.mechanisms=PLAIN\nsasl.mechanism.inter.broker.protocol=PLAIN\n"
        "listener.name.plaintext.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule "
        'required username="eyni" password="right" user_eyni="right";\n'
        f"ssl.keystore.type=PEM\nssl.keystore.location={tmp_path / 'both.pem'}\n"
        f"ssl.truststore.type=PEM\nssl.truststore.location={tmp_path / 'cert.pem'}\n"
    )
    right: dict[str, Any] = {
        "kafka_security_protocol": "SASL_SSL",
        "kafka_ca_file": tmp_path / "cert.pem",
        "kafka_cert_file": tmp_path / "cert.pem",
        "kafka_key_file": tmp_path / "key.pem",
        "kafka_sasl_mechanism": "PLAIN",
        "kafka_sasl_username": "eyni",
        "kafka_sasl_password": "right",
    }
    without = {name: value for name, value in right.items() if name not in ("kafka_cert_file", "kafka_key_file")}
    wrong: dict[str, dict[str, Any]] = {
        "EYNI_KAFKA_SECURITY_PROTOCOL|reset": {},
        "CERTIFICATE_VERIFY_FAILED": {**right, "kafka_ca_file": None},
        "(?i)certificate.required|bad.certificate|reset": without,
        "Unable to bootstrap": {**right, "kafka_sasl_password": "wrong"},
    }
    broker = Broker(tmp_path, tmp_path / "more")
    broker.start()
    try:
        log = KafkaLog([broker.bootstrap], "", Settings(**right).kafka_security)
        log.ensure([GALLERY])
        log.append(entries(3))
        assert numbers(read_all(log)) == [0, 1, 2]
        member = log.join("g", Name.GALLERY)
        assert numbers(take(member, 3)) == [0, 1, 2]
        member.close()
        log.close()
        for message, given in wrong.items():
            stranger = KafkaLog([broker.bootstrap], "", Settings(**given).kafka_security)
            with closing(stranger), pytest.raises(LogUnavailable, match=message):
                stranger.spans(Name.GALLERY)
        assert "Invalid username or password" in caplog.text, "the client itself has logged why"
    finally:
        broker.stop()


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


COMPLAINS = """
import sys, threading
from contextlib import suppress
from shared.log import LogError
from shared.log.address import open_log
from shared.logs import configure
from shared.topics import Entry, Name

configure()
log = open_log(sys.argv[1])
log.append([Entry(Name.GALLERY, b"k", b"v")])
reader, member = log.read(Name.GALLERY, {}), log.join("g", Name.GALLERY)
while not (reader.poll(1, 1) or member.poll(1, 1)):
    pass
print("ready", flush=True)
ended = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
while not ended.is_set():
    for call in (lambda: log.append([Entry(Name.GALLERY, b"k", b"v")], 0.2), lambda: reader.poll(1, 0.2),
                 lambda: member.poll(1, 0.2), lambda: member.commit({0: 1})):
        with suppress(LogError):
            call()
"""


def test_a_broker_that_stops_is_told_in_a_line_and_no_traceback(log: KafkaLog, own_broker: Broker) -> None:
    address = f"kafka://{own_broker.bootstrap}?prefix={log.name_of(Name.GALLERY).removesuffix('gallery')}"
    process = subprocess.Popen(
        [sys.executable, "-c", COMPLAINS, address],
        cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        own_broker.kill()
        with suppress(subprocess.TimeoutExpired):
            process.wait(5)
        assert process.poll() is None, "it ended with the broker"
    finally:
        own_broker.start()
        _, told = process.communicate(timeout=60)
    lines = [line for line in told.splitlines() if line.strip()]
    assert "Traceback" not in told
    assert [line for line in lines if "the Kafka client is in trouble" not in line] == []
    assert len(lines) == 1


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


class RebalancingConsumer:
    """A consumer in the middle of a rebalance, which only polling it ends; until then it takes no commit."""

    def __init__(self) -> None:
        self.polls_left = 3
        self.committed: dict[TopicPartition, int] = {}

    def commit(self, offsets: dict[TopicPartition, OffsetAndMetadata], timeout_ms: int) -> None:
        if self.polls_left > 0:
            raise RebalanceInProgressError
        self.committed |= {partition: offset.offset for partition, offset in offsets.items()}

    def poll(self, timeout_ms: int, max_records: int) -> dict[TopicPartition, list[object]]:
        self.polls_left -= 1
        return {}

    def assignment(self) -> set[TopicPartition]:
        return {TopicPartition("gallery", 0)}

    def close(self, autocommit: bool, timeout_ms: int) -> None:
        pass


def _member(consumer: object) -> KafkaMember:
    member = KafkaMember(Cluster([], {}), Name.GALLERY, "gallery", "g")
    member._consumer = consumer
    member._reached[0] = (5, -1)
    return member


def test_a_commit_that_a_rebalance_holds_up_is_made_after_it() -> None:
    consumer = RebalancingConsumer()
    member = _member(consumer)
    member.commit({0: 5})

    until(lambda: member.poll(1, 0.01) == [] and consumer.committed == {TopicPartition("gallery", 0): 5}, 5)
    member.close()


def test_a_commit_that_a_rebalance_holds_up_is_made_before_the_member_is_closed() -> None:
    consumer = RebalancingConsumer()
    member = _member(consumer)
    member.commit({0: 5})

    member.close()

    assert consumer.committed == {TopicPartition("gallery", 0): 5}


def test_a_partition_that_was_taken_away_before_its_commit_was_made_is_passed_over() -> None:
    consumer = RebalancingConsumer()
    member = _member(consumer)
    member.commit({0: 5})
    member._forget([TopicPartition("gallery", 0)])
    consumer.polls_left = 0

    member.close()

    assert consumer.committed == {}


def test_records_of_a_partition_that_was_taken_away_are_not_handed_out_any_more() -> None:
    member = _member(RebalancingConsumer())
    member._ready.extend(Record(Name.PROBES, partition, 0, b"", b"") for partition in (0, 1, 0))

    member._forget([TopicPartition("gallery", 0)])

    assert [record.partition for record in member.poll(3, 0)] == [1]
    member.close()


def test_a_burst_in_one_partition_does_not_hold_up_what_comes_after_it(log: KafkaLog) -> None:
    log.ensure([CAPTURES])
    member = log.join("g", CAPTURES.name)
    log.append(entries(1, name=CAPTURES.name))
    take(member, 1)
    waits: list[float] = []
    for first in range(1, 40, 4):
        log.append(entries(3, name=CAPTURES.name, first=first))
        for _ in range(3):
            until(lambda: len(member.poll(1, 0.02)) == 1)
        began = time.monotonic()
        log.append(entries(1, name=CAPTURES.name, first=first + 3))
        until(lambda: len(member.poll(1, 0.02)) == 1)
        waits.append(time.monotonic() - began)
    member.close()
    assert sorted(waits)[len(waits) // 2] < 0.15, "0.5 s: it had to wait for a fetch of the other partitions"


def test_without_a_broker_nothing_hangs_and_no_thread_is_left() -> None:
    before = threading.active_count()
    log = KafkaLog(["127.0.0.1:1"])
    reader = log.read(Name.GALLERY, {})
    began = time.monotonic()
    for call in (
        lambda: log.ensure([GALLERY]),
        lambda: log.append(entries(1), timeout=0.5),
        lambda: reader.poll(1, 0.1),
        lambda: log.spans(Name.GALLERY),
    ):
        with pytest.raises(LogUnavailable, match=r"127\.0\.0\.1:1"):
            call()
    reader.close()
    log.close()
    assert time.monotonic() - began < 5
    assert threading.active_count() == before
