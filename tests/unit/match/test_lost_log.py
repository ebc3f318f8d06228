"""A log that knows less than a snapshot clears nobody, until an operator says so (F17, I7)."""

import hashlib
import json
import threading
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from services.match import bootstrap
from services.match.bootstrap import recover, snapshots_in
from services.match.gallery import Gallery
from services.match.matching import Matcher
from services.match.policy import Policy
from services.match.snapshot import LostLog, Snapshots
from shared.biometrics import Template
from shared.envelope import decode
from shared.events import ServiceReported
from shared.log.file import FileLog
from shared.log.memory import MemoryLog
from shared.settings import Settings
from shared.topics import TOPICS, Name, entry
from tests.facts import comparator, enrolled, template


def a_log(people: int) -> MemoryLog:
    log = MemoryLog()
    log.ensure(list(TOPICS.values()))
    if people:
        log.append([entry(enrolled(n, f"p{n}", [template(n)])) for n in range(people)])
    return log


def gallery_of(people: int) -> Gallery:
    matcher = Matcher(Gallery(comparator()), Policy())
    matcher.fold([(n, enrolled(n, f"p{n}", [template(n)])) for n in range(people)])
    return matcher.gallery


def test_a_snapshot_of_another_log_stops_the_matcher_and_stays_where_it_is(tmp_path: Path) -> None:
    snapshots = Snapshots(tmp_path)
    kept = snapshots.write(gallery_of(3).view(), "the log that was lost")
    for _ in range(2):  # a restart believes no more than the first start
        with pytest.raises(LostLog, match=r"3 encounters at position 3 .* holds 1 records.*eyni log adopt"):
            recover(a_log(1), snapshots, comparator())
    assert snapshots.generations() == [kept]


def test_a_log_that_ends_before_a_snapshot_stops_the_matcher(tmp_path: Path) -> None:
    log = a_log(2)
    snapshots = Snapshots(tmp_path)
    snapshots.write(gallery_of(3).view(), log.identity(Name.GALLERY))
    with pytest.raises(LostLog, match=r"at position 3 .* holds 2 records"):
        recover(log, snapshots, comparator())


def test_a_snapshot_of_an_earlier_format_is_a_witness_too(tmp_path: Path) -> None:
    snapshots = Snapshots(tmp_path)
    generation = snapshots.write(gallery_of(3).view(), "the log that was lost")
    manifest = generation / "manifest.json"
    said = json.loads(manifest.read_bytes().partition(b"\n")[0])
    del said["calibration"]
    body = json.dumps(said | {"format": 1}).encode()
    manifest.write_bytes(body + b"\n" + hashlib.sha256(body).hexdigest().encode() + b"\n")
    with pytest.raises(LostLog):
        recover(a_log(1), snapshots, comparator())


def test_a_snapshot_that_holds_nothing_witnesses_nothing(tmp_path: Path) -> None:
    snapshots = Snapshots(tmp_path)
    snapshots.write(gallery_of(0).view(), "a log that nobody was enrolled on")
    assert recover(a_log(1), snapshots, comparator()).position == 0


def test_once_the_snapshots_are_put_aside_the_log_is_believed(tmp_path: Path) -> None:
    snapshots = Snapshots(tmp_path)
    log = a_log(1)
    snapshots.write(gallery_of(3).view(), "the log that was lost")
    for witness in snapshots.contradicting(log.identity(Name.GALLERY), 1):
        snapshots.set_aside(witness.folder)
    assert recover(log, snapshots, comparator()).position == 0


def test_a_matcher_says_why_it_is_not_ready_and_goes_on_once_the_operator_has_decided(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path, match_metrics_port=0)
    calibrated = bootstrap.comparator(settings)
    snapshots = snapshots_in(tmp_path)
    matcher = Matcher(Gallery(calibrated), Policy())
    of = calibrated.calibration
    face = Template(of.model, np.full(of.dimension, 0.1, np.float32))
    matcher.fold([(0, enrolled(1, "ada", [face]))])
    snapshots.write(matcher.gallery.view(), "the log that was lost")
    stop = threading.Event()
    with closing(FileLog(tmp_path / "log")) as log:
        log.ensure(list(TOPICS.values()))
        thread = threading.Thread(target=bootstrap.run, args=(settings, stop))
        thread.start()
        try:
            with closing(log.read(Name.HEARTBEATS, {0: 0})) as reader:
                said = report(reader.poll(1, 60)[0].value)
                assert (said.service, said.ready) == ("match", False)
                assert "eyni log adopt" in said.detail
                for witness in snapshots.contradicting(log.identity(Name.GALLERY), 0):
                    snapshots.set_aside(witness.folder)
                while not report(reader.poll(1, 60)[0].value).ready:
                    pass
        finally:
            stop.set()
            thread.join()


def report(value: bytes) -> ServiceReported:
    event = decode(value)
    assert isinstance(event, ServiceReported)
    return event
