"""Readers of the embedded log sleep while nothing happens, and wake when something does (F44)."""

import os
import threading
import time
from collections.abc import Generator
from pathlib import Path

import pytest

from shared.log import bell
from shared.log.file import FileLog
from shared.topics import Name
from tests.contract.backends import GALLERY, entries

AN_HOUR = 3600.0


@pytest.fixture
def log(tmp_path: Path) -> Generator[FileLog]:
    log = FileLog(tmp_path)
    log.ensure([GALLERY])
    yield log
    log.close()


@pytest.fixture
def idle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make readers idle at once; then nothing but the bell wakes them within a test's time."""
    monkeypatch.setattr("shared.log.file._IDLE_AFTER", 0.0)
    monkeypatch.setattr("shared.log.file._IDLE_WAIT", AN_HOUR)


def test_an_append_by_another_process_wakes_an_idle_reader(log: FileLog, tmp_path: Path, idle: None) -> None:
    reader = log.read(Name.GALLERY, {0: 0})
    # Stands for another process: it shares nothing with the first but the folder.
    other = FileLog(tmp_path)
    waits = threading.Timer(0.2, lambda: other.append(entries(1)))
    waits.start()
    assert [r.offset for r in reader.poll(1, AN_HOUR)] == [0]
    waits.join()
    reader.close()
    other.close()


def test_a_poll_that_is_woken_by_another_topic_ends_though_it_waits_longer_than_asked(
    log: FileLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.log.file._IDLE_AFTER", 0.0)
    reader = log.read(Name.GALLERY, {0: 0})
    reader.poll(1, 0.001)
    begin = time.monotonic()
    for _ in range(5):
        assert not reader.poll(1, 0.001)
    assert time.monotonic() - begin > 0.2  # 5 turns of a loop that asks for 1 ms each

    monkeypatch.setattr("shared.log.file._IDLE_WAIT", AN_HOUR)
    ringing = threading.Timer(0.2, bell.ring, [tmp_path / "bell"])
    ringing.start()
    assert not reader.poll(1, 0.001)
    ringing.join()
    reader.close()


def test_what_was_appended_before_a_reader_waits_is_not_missed(log: FileLog, idle: None) -> None:
    reader = log.read(Name.GALLERY, {0: 0})
    for offset in range(50):
        appending = threading.Thread(target=log.append, args=(entries(1),))
        appending.start()
        assert [r.offset for r in reader.poll(1, AN_HOUR)] == [offset]
        appending.join()
    reader.close()


def test_a_reader_whose_own_thread_appends_sees_it(log: FileLog) -> None:
    reader = log.read(Name.GALLERY, {0: 0})
    assert not reader.poll(1, 0)
    log.append(entries(1))
    assert reader.poll(1, 0)


def test_where_no_fifo_can_be_made_readers_look_by_themselves(log: FileLog, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr("os.mkfifo", refuse)
    monkeypatch.setattr("shared.log.file._IDLE_AFTER", 0.0)
    reader = log.read(Name.GALLERY, {0: 0})
    appending = threading.Timer(0.1, log.append, [entries(1)])
    appending.start()
    assert reader.poll(1, 30)
    appending.join()


def test_what_a_killed_reader_left_is_removed_and_stops_nobody(tmp_path: Path) -> None:
    left = tmp_path / "left"
    os.mkfifo(left)
    waiter = bell.Waiter(tmp_path)
    for _ in range(100):
        bell.ring(tmp_path)
    assert not left.exists()
    assert waiter.wait(0)
    assert not waiter.wait(0)
    waiter.close()
    assert list(tmp_path.iterdir()) == []


def test_a_bell_that_nobody_answers_never_blocks_who_rings(tmp_path: Path) -> None:
    waiter = bell.Waiter(tmp_path)
    for _ in range(70_000):  # beyond the 64 KiB that a FIFO holds
        bell.ring(tmp_path)
    assert waiter.wait(0)
    assert not waiter.wait(0)
    waiter.close()


def test_a_fifo_is_its_owners_alone(tmp_path: Path) -> None:
    waiter = bell.Waiter(tmp_path / "bell")
    found = next((tmp_path / "bell").iterdir())
    assert found.is_fifo()
    assert found.stat().st_mode & 0o077 == 0
    waiter.close()
