"""What the embedded log promises beyond the contract: the folder, the locks, and what is wrong said clearly."""

import os
import resource
import signal
import sqlite3
import stat
import threading
import time
from collections.abc import Generator
from pathlib import Path

import pytest

from shared.log import LogGap, LogMisfit, LogUnavailable
from shared.log.file import FileLog
from shared.topics import TOPICS, Entry, Name
from tests.contract.backends import GALLERY, entries, numbers, python, read_all, take

BULK = TOPICS[Name.CAPTURES_BULK]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture
def log(folder: Path) -> Generator[FileLog]:
    log = FileLog(folder)
    yield log
    log.close()


def test_only_the_owner_may_read_the_files(log: FileLog, folder: Path) -> None:
    log.ensure([GALLERY])
    log.append(entries(1))
    member = log.join("g", Name.GALLERY)
    member.poll(1, 0)

    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in [folder, *folder.rglob("*")]}

    assert {mode for name, mode in modes.items() if name not in ("log", "locks")} == {0o600}
    assert modes["log"] == modes["locks"] == 0o700
    member.close()


def test_a_file_in_the_folders_place_is_named(folder: Path) -> None:
    folder.write_text("in the way")
    with pytest.raises(LogMisfit, match=str(folder)):
        FileLog(folder).ensure([GALLERY])


def test_a_folder_that_cannot_be_made_is_named() -> None:
    with pytest.raises((LogUnavailable, LogMisfit), match="/dev/null"):
        FileLog(Path("/dev/null/log")).ensure([GALLERY])


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody who may not write")
def test_a_folder_without_the_right_to_write_is_named(log: FileLog) -> None:
    nobody = FileLog(Path("/eyni-log-of-nobody"))
    os.seteuid(65534)
    try:
        with pytest.raises(LogUnavailable, match=r"/eyni-log-of-nobody: Permission denied"):
            nobody.ensure([GALLERY])
    finally:
        os.seteuid(0)


@pytest.mark.parametrize(
    "content", [b"not a database, but long enough to be read as one" * 100, b"SQLite format 3\0bad"]
)
def test_a_damaged_database_is_named_and_not_touched(folder: Path, content: bytes) -> None:
    folder.mkdir()
    (folder / "log.sqlite").write_bytes(content)
    log = FileLog(folder)
    with pytest.raises(LogMisfit, match=r"log\.sqlite is damaged or no log"):
        log.ensure([GALLERY])
    log.close()
    assert (folder / "log.sqlite").read_bytes() == content


def _with_database(folder: Path, *statements: str) -> None:
    with sqlite3.connect(folder / "log.sqlite") as connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()


def test_another_programs_database_is_refused(folder: Path) -> None:
    folder.mkdir()
    _with_database(folder, "CREATE TABLE cookies(taste)")
    log = FileLog(folder)
    with pytest.raises(LogMisfit, match="another program"):
        log.ensure([GALLERY])
    log.close()


def test_a_later_versions_log_is_refused(log: FileLog, folder: Path) -> None:
    log.ensure([GALLERY])
    log.close()
    _with_database(folder, "PRAGMA user_version = 2")
    later = FileLog(folder)
    with pytest.raises(LogMisfit, match="schema 2; this version of Eyni reads up to 1"):
        later.append(entries(1))
    later.close()


def test_a_flipped_bit_is_noticed(log: FileLog, folder: Path) -> None:
    log.ensure([GALLERY])
    log.append(entries(3))
    _with_database(folder, "UPDATE records SET value = CAST('9' AS BLOB) WHERE id % 3 = 1")
    reader = log.read(Name.GALLERY, {})
    with pytest.raises(LogGap, match=r"gallery-0: the record at offset \d is damaged"):
        take(reader, 3)


def test_a_locked_database_is_unavailable_after_the_timeout_and_waited_for_without_one(
    log: FileLog, folder: Path
) -> None:
    log.ensure([GALLERY])
    other = sqlite3.connect(folder / "log.sqlite", isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")

    began = time.monotonic()
    with pytest.raises(LogUnavailable, match=r"log\.sqlite: database is locked"):
        log.append(entries(1), timeout=0.3)
    assert 0.25 < time.monotonic() - began < 2

    timer = threading.Timer(0.3, lambda: other.execute("ROLLBACK"))
    timer.start()
    log.append(entries(1))
    timer.join()
    other.close()
    assert numbers(read_all(log)) == [0]


def test_a_full_disk_is_unavailable_and_nothing_is_half_written(log: FileLog, folder: Path) -> None:
    log.ensure([BULK])
    log.append(entries(3, name=Name.CAPTURES_BULK))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, hard))
    try:
        with pytest.raises(LogUnavailable, match=r"log\.sqlite"):
            log.append(
                [*entries(1, name=Name.CAPTURES_BULK, first=3), Entry(Name.CAPTURES_BULK, b"k", bytes(8_000_000))],
                timeout=5,
            )
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    log.append(entries(1, name=Name.CAPTURES_BULK, first=3), timeout=5)

    assert numbers(read_all(log, Name.CAPTURES_BULK)) == [0, 1, 2, 3]


def test_retention_deletes_what_is_too_old_and_keeps_the_rest(log: FileLog, folder: Path) -> None:
    log.ensure([BULK])
    log.append(entries(200, name=Name.CAPTURES_BULK))
    _with_database(folder, "UPDATE records SET at = 0 WHERE CAST(value AS INTEGER) < 150")

    log.ensure([BULK])

    assert numbers(read_all(log, Name.CAPTURES_BULK)) == list(range(150, 200))


def test_appending_sweeps_now_and_then(log: FileLog, folder: Path) -> None:
    log.ensure([BULK])
    partition = log.append(entries(100, name=Name.CAPTURES_BULK))[0].partition
    _with_database(folder, "UPDATE records SET at = 0")
    log.append(entries(2000, name=Name.CAPTURES_BULK))
    assert log.spans(Name.CAPTURES_BULK)[partition].start == 100


def test_a_member_that_stands_by_costs_next_to_nothing(log: FileLog) -> None:
    log.ensure([BULK])
    holder, other = log.join("g", Name.CAPTURES_BULK), log.join("g", Name.CAPTURES_BULK)
    holder.poll(1, 0)
    before = time.process_time()

    assert list(other.poll(1, 1.0)) == []

    assert time.process_time() - before < 0.1
    holder.close()
    other.close()


FORKING_MEMBER = """
import os, sys, time
from shared.log.address import open_log
from shared.topics import *
log = open_log(sys.argv[1])
member = log.join("g", Name.GALLERY)
member.poll(1, 1)
if child := os.fork():
    print(child, flush=True)
time.sleep(60)
"""


def test_a_child_of_a_killed_member_does_not_keep_its_partition(log: FileLog, folder: Path) -> None:
    log.ensure([GALLERY])
    log.append(entries(1))
    process = python(FORKING_MEMBER, folder.as_uri())
    assert process.stdout
    child = int(process.stdout.readline())
    heir = log.join("g", Name.GALLERY)
    assert list(heir.poll(1, 0.2)) == []

    process.kill()
    process.wait()

    assert numbers(take(heir, 1, seconds=5)) == [0]
    os.kill(child, signal.SIGKILL)
    process.stdout.close()
    heir.close()


READER = """
import sys
from shared.log.address import open_log
from shared.topics import Name
log = open_log(sys.argv[1])
print(log.spans(Name.GALLERY)[0].end)
log.close()
"""


def test_a_process_that_comes_and_goes_does_not_take_the_wal_from_one_that_stays(log: FileLog, folder: Path) -> None:
    log.ensure([GALLERY])
    # A second thread's connection: whatever it does to the file, the first one's locks must outlive.
    second = threading.Thread(target=log.spans, args=[Name.GALLERY])
    second.start()
    second.join()

    ends: list[str] = []
    for _ in range(2):
        log.append(entries(1))
        with python(READER, folder.as_uri()) as reader:
            ends.append(reader.communicate()[0].strip())

    assert ends == ["1", "2"]
    assert (folder / "log.sqlite-wal").exists()
