"""What every log promises (shared/log/__init__.py), on each of the three."""

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path

import pytest

from shared.log import LogGap, LogMisfit, LogUnavailable, Member, Position, Span
from shared.topics import TOPICS, Entry, Name
from tests.contract.backends import (
    CAPTURES,
    GALLERY,
    MONTH,
    Addressed,
    Backend,
    Memory,
    entries,
    file_backend,
    kafka_backend,
    numbers,
    python,
    read_all,
    take,
    until,
)

BOTH = [GALLERY, CAPTURES]


@pytest.fixture(params=["memory", "file", pytest.param("kafka", marks=pytest.mark.kafka)])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Generator[Backend]:
    match request.param:
        case "memory":
            backend: Backend = Memory()
        case "file":
            backend = file_backend(tmp_path / "log")
        case _:
            backend = kafka_backend(request.getfixturevalue("kafka"))
    yield backend
    backend.close()


@pytest.fixture(params=["file", pytest.param("kafka", marks=pytest.mark.kafka)])
def durable(request: pytest.FixtureRequest, tmp_path: Path) -> Generator[Addressed]:
    """Those that outlive a process."""
    at_file = request.param == "file"
    backend = file_backend(tmp_path / "log") if at_file else kafka_backend(request.getfixturevalue("kafka"))
    yield backend
    backend.close()


# ---- append and read


def test_a_reader_sees_each_record_once_where_append_said_it_is(backend: Backend) -> None:
    log = backend.open()
    log.ensure([CAPTURES])
    sent = [Entry(Name.CAPTURES_BULK, str(i % 7).encode(), str(i).encode()) for i in range(100)]

    positions = log.append(sent)

    found = read_all(log, Name.CAPTURES_BULK)
    assert {Position(r.topic, r.partition, r.offset): (r.key, r.value) for r in found} == {
        position: (entry.key, entry.value) for position, entry in zip(positions, sent, strict=True)
    }
    assert len(found) == 100


def test_records_of_one_key_are_in_one_partition_in_the_order_of_appending(backend: Backend) -> None:
    log = backend.open()
    log.ensure([CAPTURES])
    for i in range(0, 60, 3):
        log.append([Entry(Name.CAPTURES_BULK, str(j % 5).encode(), str(j).encode()) for j in range(i, i + 3)])

    found = read_all(log, Name.CAPTURES_BULK)

    for key in {record.key for record in found}:
        mine = [record for record in found if record.key == key]
        assert len({record.partition for record in mine}) == 1
        assert numbers(mine) == sorted(numbers(mine))
        assert [r.offset for r in mine] == sorted(r.offset for r in mine)
    assert len({record.partition for record in found}) > 1


def test_threads_that_append_at_once_lose_nothing_and_keep_their_own_order(backend: Backend) -> None:
    log = backend.open()
    log.ensure([GALLERY])

    def append(thread: int) -> None:
        for i in range(20):
            log.append(entries(1, key=str(thread).encode(), first=i))

    threads = [threading.Thread(target=append, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    found = read_all(log)
    for n in range(4):
        assert numbers([r for r in found if r.key == str(n).encode()]) == list(range(20))


def test_any_bytes_come_back_as_they_were(backend: Backend) -> None:
    log = backend.open()
    log.ensure([GALLERY])
    values = [b"", b"\0", bytes(range(256)), b"\xff" * 300_000]

    log.append([Entry(Name.GALLERY, b"\0\xff", value) for value in values])

    assert [(r.key, r.value) for r in read_all(log)] == [(b"\0\xff", value) for value in values]


def test_the_largest_capture_fits_and_one_byte_more_is_refused(backend: Backend) -> None:
    log = backend.open()
    log.ensure([CAPTURES])
    largest = os.urandom(CAPTURES.max_bytes)

    log.append([Entry(Name.CAPTURES_BULK, b"k", largest)])
    with pytest.raises(LogMisfit, match=r"16777217 bytes.*captures-bulk takes 16777216"):
        log.append([Entry(Name.CAPTURES_BULK, b"k", b"small"), Entry(Name.CAPTURES_BULK, b"k", largest + b"+")])

    assert [r.value == largest for r in read_all(log, Name.CAPTURES_BULK)] == [True]


def test_appending_nothing_is_nothing(backend: Backend) -> None:
    log = backend.open()
    log.ensure([GALLERY])
    assert list(log.append([])) == []


def test_a_waiting_reader_wakes_for_what_another_appends(backend: Backend) -> None:
    reading, writing = backend.open(), backend.open()
    reading.ensure([GALLERY])
    reader = reading.read(Name.GALLERY, {})
    assert list(reader.poll(10, 0.2)) == []
    timer = threading.Timer(0.3, lambda: writing.append(entries(1)))

    timer.start()
    began = time.monotonic()
    found = reader.poll(10, 20)

    assert numbers(found) == [0]
    assert time.monotonic() - began < 5
    timer.join()
    reader.close()


def test_a_poll_ends_after_its_timeout_and_an_impatient_one_at_once(backend: Backend) -> None:
    log = backend.open()
    log.ensure([GALLERY])
    reader = log.read(Name.GALLERY, {})
    reader.poll(1, 0)  # a first poll may have to connect

    began = time.monotonic()
    assert list(reader.poll(1, 0.3)) == []
    assert 0.25 < time.monotonic() - began < 2
    began = time.monotonic()
    assert list(reader.poll(1, 0)) == []
    assert time.monotonic() - began < 0.2
    reader.close()


def test_a_poll_gives_no_more_than_its_limit_and_the_next_goes_on_there(backend: Backend) -> None:
    log = backend.open()
    log.ensure([GALLERY])
    log.append(entries(10))
    reader = log.read(Name.GALLERY, {})

    polls = [numbers(take(reader, n)) for n in (3, 3, 4)]

    assert polls == [[0, 1, 2], [3, 4, 5], [6, 7, 8, 9]]
    reader.close()


def test_a_reader_starts_where_it_is_told_to(backend: Backend) -> None:
    log = backend.open()
    log.ensure([GALLERY])
    positions = log.append(entries(10))

    assert numbers(read_all(log, start={0: positions[7].offset})) == [7, 8, 9]


# ---- gaps


def test_what_retention_has_passed_is_a_gap_and_the_rest_is_still_there(backend: Backend) -> None:
    log = backend.open()
    log.ensure([CAPTURES])
    partition = log.append(entries(5, name=Name.CAPTURES_BULK))[0].partition
    before = log.spans(Name.CAPTURES_BULK)

    backend.expire(Name.CAPTURES_BULK, partition, 2)

    assert log.spans(Name.CAPTURES_BULK) == {**before, partition: Span(2, 5)}
    reader = log.read(Name.CAPTURES_BULK, {partition: 1})
    with pytest.raises(LogGap):
        take(reader, 1)
    reader.close()
    assert numbers(read_all(log, Name.CAPTURES_BULK)) == [2, 3, 4]


def test_a_position_beyond_the_end_is_a_gap(backend: Backend) -> None:
    log = backend.open()
    log.ensure([GALLERY])
    log.append(entries(3))
    reader = log.read(Name.GALLERY, {0: 100})
    with pytest.raises(LogGap):
        take(reader, 1)
    reader.close()


def test_a_partition_that_is_not_there_is_a_gap(backend: Backend) -> None:
    log = backend.open()
    log.ensure([GALLERY])
    with pytest.raises(LogGap, match="no such partition"):
        take(log.read(Name.GALLERY, {1: 0}), 1)


def test_offsets_go_on_after_everything_has_expired(backend: Backend) -> None:
    log = backend.open()
    log.ensure([CAPTURES])
    partition = log.append(entries(5, name=Name.CAPTURES_BULK))[0].partition
    backend.expire(Name.CAPTURES_BULK, partition, 5)
    log.close()
    again = backend.open()
    assert again.append(entries(1, name=Name.CAPTURES_BULK)) == [Position(Name.CAPTURES_BULK, partition, 5)]


# ---- topics


def test_ensure_may_be_repeated_and_run_by_several_at_once(backend: Backend) -> None:
    logs = [backend.open() for _ in range(4)]
    failed: list[BaseException] = []

    def ensure(n: int) -> None:
        try:
            logs[n].ensure(BOTH)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=ensure, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    logs[0].append(entries(1))
    logs[1].ensure(BOTH)

    assert failed == []
    assert len({log.identity(Name.GALLERY) for log in logs}) == 1
    assert numbers(read_all(logs[2])) == [0]


def test_each_topic_has_an_identity_that_stays(backend: Backend) -> None:
    log = backend.open()
    log.ensure(BOTH)
    assert log.identity(Name.GALLERY) == backend.open().identity(Name.GALLERY) != log.identity(Name.CAPTURES_BULK)


def test_a_gallery_with_two_partitions_is_refused(backend: Backend) -> None:
    log = backend.open()
    log.ensure([replace(GALLERY, partitions=2)])
    with pytest.raises(LogMisfit, match="gallery: partitions must be exactly 1, is 2"):
        log.ensure([GALLERY])


def test_more_partitions_than_wanted_are_welcome_and_fewer_refused(backend: Backend) -> None:
    log = backend.open()
    log.ensure([CAPTURES])
    log.ensure([replace(CAPTURES, partitions=3)])
    with pytest.raises(LogMisfit, match="captures-bulk: partitions must be 5 or more, is 4"):
        log.ensure([replace(CAPTURES, partitions=5)])


def test_a_gallery_that_forgets_is_refused(backend: Backend) -> None:
    log = backend.open()
    log.ensure([replace(GALLERY, retention=MONTH)])
    with pytest.raises(LogMisfit, match="gallery: retention must be for ever, is 30 days"):
        log.ensure([GALLERY])


def test_a_topic_that_takes_only_smaller_records_is_refused(backend: Backend) -> None:
    log = backend.open()
    log.ensure([replace(GALLERY, max_bytes=1_000_000)])
    with pytest.raises(LogMisfit, match="gallery: largest record must be 4194304 bytes or more, is 1000000"):
        log.ensure([GALLERY])


def test_a_span_holds_every_append_that_has_returned(backend: Backend) -> None:
    log = backend.open()
    log.ensure([CAPTURES])
    assert all(span.start == span.end for span in log.spans(Name.CAPTURES_BULK).values())
    for position in log.append([Entry(Name.CAPTURES_BULK, str(i).encode(), b"") for i in range(20)]):
        span = log.spans(Name.CAPTURES_BULK)[position.partition]
        assert span.start <= position.offset < span.end


# ---- groups


def test_a_group_goes_on_where_it_committed_and_repeats_what_it_had_not(backend: Backend) -> None:
    log = backend.open()
    log.ensure([GALLERY])
    log.append(entries(10))
    first = log.join("g", Name.GALLERY)
    assert numbers(take(first, 6)) == [0, 1, 2, 3, 4, 5]
    assert log.committed("g", Name.GALLERY) == {0: 0}
    first.commit({0: 4})
    first.close()

    second = backend.open().join("g", Name.GALLERY)

    assert numbers(take(second, 6)) == [4, 5, 6, 7, 8, 9]
    assert log.committed("g", Name.GALLERY) == {0: 4}
    second.close()


def test_groups_do_not_disturb_each_other(backend: Backend) -> None:
    log = backend.open()
    log.ensure([GALLERY])
    log.append(entries(3))
    one, two = log.join("one", Name.GALLERY), log.join("two", Name.GALLERY)
    take(one, 3)
    one.commit({0: 3})

    assert numbers(take(two, 3)) == [0, 1, 2]
    assert log.committed("two", Name.GALLERY) == {0: 0}
    one.close()
    two.close()


def test_a_partition_has_one_member_and_its_commit_is_the_only_one_that_counts(backend: Backend) -> None:
    log = backend.open()
    log.ensure([GALLERY])
    log.append(entries(5))
    holder, other = log.join("g", Name.GALLERY), backend.open().join("g", Name.GALLERY)
    assert len(take(holder, 5)) == 5

    assert take(other, 1, seconds=1.5) == []
    other.commit({0: 5})
    assert log.committed("g", Name.GALLERY) == {0: 0}
    holder.poll(1, 0.1)
    holder.commit({0: 2})
    holder.close()

    assert numbers(take(other, 3)) == [2, 3, 4]
    other.commit({0: 5})
    until(lambda: log.committed("g", Name.GALLERY) == {0: 5})
    other.close()


def test_two_members_together_get_every_record(backend: Backend) -> None:
    log = backend.open()
    log.ensure([CAPTURES])
    members = [log.join("g", Name.CAPTURES_BULK), backend.open().join("g", Name.CAPTURES_BULK)]
    for _ in range(10):
        for member in members:
            member.poll(1, 0.05)
    log.append([Entry(Name.CAPTURES_BULK, str(i).encode(), str(i).encode()) for i in range(40)])

    found: set[int] = set()

    def poll_both() -> bool:
        for member in members:
            records = member.poll(10, 0.05)
            found.update(numbers(records))
            member.commit({record.partition: record.offset + 1 for record in records})
        return len(found) == 40

    until(poll_both)
    ends = {partition: span.end for partition, span in log.spans(Name.CAPTURES_BULK).items()}
    for member in members:
        member.close()
    assert log.committed("g", Name.CAPTURES_BULK) == ends


def test_a_group_without_members_is_marked(backend: Backend) -> None:
    log = backend.open()
    log.ensure([CAPTURES])
    log.append([Entry(Name.CAPTURES_BULK, str(i).encode(), b"") for i in range(40)])
    log.mark("follower", Name.CAPTURES_BULK, {1: 3, 2: 1})
    assert backend.open().committed("follower", Name.CAPTURES_BULK) == {0: 0, 1: 3, 2: 1, 3: 0}


def test_a_group_whose_place_retention_has_passed_is_told_so(backend: Backend) -> None:
    log = backend.open()
    log.ensure([CAPTURES])
    partition = log.append(entries(6, name=Name.CAPTURES_BULK))[0].partition
    member = log.join("g", Name.CAPTURES_BULK)
    take(member, 1)
    member.commit({partition: 1})
    member.close()

    backend.expire(Name.CAPTURES_BULK, partition, 3)

    late = log.join("g", Name.CAPTURES_BULK)
    with pytest.raises(LogGap):
        take(late, 1)
    late.close()


def test_a_member_that_may_passes_over_what_has_expired_and_says_how_much_that_was(backend: Backend) -> None:
    log = backend.open()
    log.ensure([CAPTURES])
    sent = log.append([Entry(Name.CAPTURES_BULK, str(i).encode(), str(i).encode()) for i in range(40)])
    held = Counter(position.partition for position in sent)
    (begun, _), (never, _) = held.most_common(2)
    member = log.join("g", Name.CAPTURES_BULK)
    take(member, 40)
    member.commit({begun: 1})
    member.close()
    backend.expire(Name.CAPTURES_BULK, begun, 3)
    backend.expire(Name.CAPTURES_BULK, never, 2)

    late = log.join("g", Name.CAPTURES_BULK)
    found: list[int] = []
    gone: list[int] = []

    def poll() -> bool:
        try:
            found.extend(numbers(late.poll(40, 0.1)))
        except LogGap:
            gone.append(late.pass_gap())
        return len(found) >= 40 - 3 - 2

    until(poll)
    late.close()
    assert gone == [(3 - 1) + (2 - 0)]
    assert len(set(found)) == len(found) == 40 - 3 - 2
    # The new places are the group's: who comes next is told of no gap.
    after = backend.open().join("g", Name.CAPTURES_BULK)
    assert len(take(after, 40 - 3 - 2)) == 40 - 3 - 2
    after.close()


def test_a_member_goes_on_in_a_partition_of_which_everything_has_expired(backend: Backend) -> None:
    log = backend.open()
    log.ensure([CAPTURES])
    partition = log.append(entries(3, name=Name.CAPTURES_BULK))[0].partition
    backend.expire(Name.CAPTURES_BULK, partition, 3)
    member = log.join("g", Name.CAPTURES_BULK)
    with pytest.raises(LogGap):
        take(member, 1)

    assert member.pass_gap() == 3

    log.append(entries(1, name=Name.CAPTURES_BULK, first=3))
    assert numbers(take(member, 1)) == [3]
    member.close()


def test_a_place_beyond_the_end_is_a_gap_that_is_not_passed(backend: Backend) -> None:
    log = backend.open()
    log.ensure([GALLERY])
    log.append(entries(3))
    log.mark("g", Name.GALLERY, {0: 100})
    member = log.join("g", Name.GALLERY)
    with pytest.raises(LogGap):
        take(member, 1)
    with pytest.raises(LogGap, match="another"):
        member.pass_gap()
    member.close()


# ---- processes

APPENDER = """
import sys
from shared.log.address import open_log
from shared.topics import *
log = open_log(sys.argv[1])
log.ensure([TOPICS[Name.GALLERY]])
for i in range(int(sys.argv[3])):
    batch = [Entry(Name.GALLERY, sys.argv[2].encode(), f"{2 * i + j}".encode()) for j in (0, 1)]
    positions = log.append(batch)
    print(positions[0].offset, positions[1].offset, flush=True)
log.close()
"""

MEMBER = """
import sys
from shared.log.address import open_log
from shared.topics import *
member = open_log(sys.argv[1]).join("g", Name.GALLERY)
while True:
    for record in member.poll(1, 0.1):
        member.commit({record.partition: record.offset + 1})
        print(record.offset, flush=True)
"""


def test_what_was_appended_is_there_when_the_log_is_opened_again(durable: Addressed) -> None:
    log = durable.open()
    log.ensure([GALLERY])
    log.append(entries(5))
    identity = log.identity(Name.GALLERY)
    log.close()

    again = durable.open()

    assert numbers(read_all(again)) == [0, 1, 2, 3, 4]
    assert again.identity(Name.GALLERY) == identity
    with pytest.raises(LogUnavailable, match="closed"):
        log.append(entries(1))


def test_two_processes_append_at_once(durable: Addressed) -> None:
    processes = [python(APPENDER, durable.address, key, "100") for key in ("a", "b")]
    acknowledged = [process.communicate(timeout=60)[0].split() for process in processes]

    found = read_all(durable.open())

    for key, offsets in zip((b"a", b"b"), acknowledged, strict=True):
        mine = [record for record in found if record.key == key]
        assert numbers(mine) == list(range(200))
        assert [record.offset for record in mine] == [int(offset) for offset in offsets]


def test_after_kill_9_of_an_appender_everything_acknowledged_is_there_once(durable: Addressed) -> None:
    process = python(APPENDER, durable.address, "k", "1000000")
    assert process.stdout
    acknowledged = [process.stdout.readline() for _ in range(50)]
    process.send_signal(signal.SIGKILL)
    acknowledged += process.stdout.readlines()
    process.wait()
    process.stdout.close()

    found = read_all(durable.open())

    offsets = [int(offset) for line in acknowledged if line.endswith("\n") for offset in line.split()]
    assert [record.offset for record in found][: len(offsets)] == offsets
    assert numbers(found) == list(range(len(found)))
    assert len(found) - len(offsets) <= 2, "one append at most was in flight"
    if durable.address.startswith("file"):
        assert len(found) % 2 == 0, "half of an append is there"


def test_a_killed_members_partition_is_taken_over_where_it_committed(durable: Addressed) -> None:
    log = durable.open()
    log.ensure([GALLERY])
    log.append(entries(3))
    process = python(MEMBER, durable.address)
    assert process.stdout
    for i in range(3):
        assert process.stdout.readline() == f"{i}\n"
    heir: Member = log.join("g", Name.GALLERY)
    assert take(heir, 1, seconds=1) == []
    until(lambda: log.committed("g", Name.GALLERY) == {0: 3})

    process.kill()
    process.wait()
    process.stdout.close()
    log.append(entries(2, first=3))

    assert numbers(take(heir, 2)) == [3, 4]
    heir.close()


def test_the_topics_of_the_project_can_all_be_made(backend: Backend) -> None:
    log = backend.open()
    log.ensure(list(TOPICS.values()))
    assert {name: len(log.spans(name)) for name in TOPICS} == {n: t.partitions for n, t in TOPICS.items()}
