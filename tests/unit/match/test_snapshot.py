"""A snapshot is used whole and unharmed, or not at all, and the reason for refusing it is named (I5, R15, R19-R21)."""

import hashlib
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from services.match import snapshot as module
from services.match.bootstrap import recover
from services.match.gallery import Gallery
from services.match.matching import Matcher
from services.match.policy import Policy
from services.match.snapshot import SnapshotRefused, Snapshots
from shared.calibration import Calibration, Comparator, Prepared
from shared.events import EncounterRemoved, GalleryEvent, PersonsMerged
from shared.log.memory import MemoryLog
from shared.topics import TOPICS, Name, entry
from tests.facts import a_cohort, calibration, comparator, enrolled, request, template

LOG = "the-log"


def some_gallery(events: int = 6) -> Gallery:
    matcher = Matcher(Gallery(comparator()), Policy())
    facts: list[GalleryEvent] = [
        enrolled(0, "ada", [template(1), template(1, wobble=0.3)]),
        enrolled(1, "bob", [template(3)], galleries=["left-empty"]),
        enrolled(2, "cia", [template(4)], active=False),
        EncounterRemoved(request(3), "bob", "1"),
        enrolled(4, "ada", [template(5)], digest="new", replaces=True),
        enrolled(5, "dan", [template(6)], encounter_id="7"),
        PersonsMerged(request(6), "dan", "ada"),
    ]
    matcher.fold(list(enumerate(facts[:events])))
    return matcher.gallery


def test_what_is_loaded_is_what_was_written_and_goes_on_in_the_same_way(tmp_path: Path) -> None:
    gallery = some_gallery()
    snapshots = Snapshots(tmp_path / "s")
    loaded = snapshots.load(snapshots.write(gallery.view(), LOG), LOG, end=100, comparator=comparator())
    assert loaded.view().digest() == gallery.view().digest()
    assert loaded.rows < gallery.rows  # dead rows are left behind
    assert loaded.knows_gallery("left-empty")
    merge = [(6, PersonsMerged(request(6), "dan", "ada"))]
    for each in (loaded, gallery):
        Matcher(each, Policy()).fold(merge)
    assert loaded.view().digest() == gallery.view().digest()


def test_an_empty_gallery_has_a_snapshot_too(tmp_path: Path) -> None:
    snapshots = Snapshots(tmp_path)
    assert (
        len(snapshots.load(snapshots.write(Gallery(comparator()).view(), LOG), LOG, end=0, comparator=comparator()))
        == 0
    )


def test_the_newest_two_generations_are_kept(tmp_path: Path) -> None:
    snapshots = Snapshots(tmp_path)
    for events in (1, 3, 5):
        snapshots.write(some_gallery(events).view(), LOG)
    assert [p.name.lstrip("0") for p in snapshots.generations()] == ["5", "3"]


def test_every_flipped_byte_of_every_file_is_detected_and_its_file_named(tmp_path: Path) -> None:
    snapshots = Snapshots(tmp_path)
    generation = snapshots.write(some_gallery().view(), LOG)
    for path in sorted(generation.iterdir()):
        whole = path.read_bytes()
        for at in range(0, len(whole), 1 if path.name == "manifest.json" else 7):
            path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x10]) + whole[at + 1 :])
            with pytest.raises(SnapshotRefused, match=path.name):
                snapshots.load(generation, LOG, end=100, comparator=comparator())
        path.write_bytes(whole)
    snapshots.load(generation, LOG, end=100, comparator=comparator())


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "cut by one byte": (lambda p: p.write_bytes(p.read_bytes()[:-1]), "bytes, must be"),
    "emptied": (lambda p: p.write_bytes(b""), "0 bytes, must be"),
    "with a tail": (lambda p: p.write_bytes(p.read_bytes() + b"x" * 100), "bytes, must be"),
    "gone": (lambda p: p.unlink(), "No such file"),
    "another generation's": (
        lambda p: p.write_bytes(p.parent.with_name(f"{3:020d}").joinpath(p.name).read_bytes()),
        "must be|not the manifest's",
    ),
}


@pytest.mark.parametrize("file", ["vectors.f32", "nearness.f64", "encounters.jsonl", "applied.bin"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_refused_with_the_reason(tmp_path: Path, file: str, damage: str) -> None:
    snapshots = Snapshots(tmp_path)
    snapshots.write(some_gallery(3).view(), LOG)
    generation = snapshots.write(some_gallery(6).view(), LOG)
    harm, reason = DAMAGES[damage]
    harm(generation / file)
    with pytest.raises(SnapshotRefused, match=f"{file}.*({reason})"):
        snapshots.load(generation, LOG, end=100, comparator=comparator())


def test_a_foreign_snapshot_is_refused_with_the_reason(tmp_path: Path) -> None:
    snapshots = Snapshots(tmp_path)
    generation = snapshots.write(some_gallery().view(), LOG)
    with pytest.raises(SnapshotRefused, match="another log"):
        snapshots.load(generation, "another", end=100, comparator=comparator())
    with pytest.raises(SnapshotRefused, match="beyond the log's end, 5"):
        snapshots.load(generation, LOG, end=5, comparator=comparator())


def test_a_later_format_is_refused_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    snapshots = Snapshots(tmp_path)
    monkeypatch.setattr(module, "FORMAT", 99)
    generation = snapshots.write(some_gallery().view(), LOG)
    monkeypatch.undo()
    with pytest.raises(SnapshotRefused, match=f"format 99; this version reads {module.FORMAT}"):
        snapshots.load(generation, LOG, end=100, comparator=comparator())


FIRST_FORMAT = (
    b'{"format":1,"log":"the-log","position":1,"model":"test-model","dimension":16,"encounters":1,"rows":1,'
    b'"galleries":["all-of-us"],"state":"00","files":{"vectors.f32":[64,"00"]}}'
)
"""A manifest as Eyni wrote it before scores were calibrated."""


def test_a_snapshot_from_before_calibration_is_refused_and_the_log_replayed(tmp_path: Path) -> None:
    log = MemoryLog()
    log.ensure(list(TOPICS.values()))
    log.append([entry(enrolled(1, "ada", [template(1)]))])
    generation = tmp_path / f"{1:020d}"
    generation.mkdir()
    body = FIRST_FORMAT.replace(b"the-log", log.identity(Name.GALLERY).encode())
    (generation / "manifest.json").write_bytes(body + b"\n" + hashlib.sha256(body).hexdigest().encode() + b"\n")
    snapshots = Snapshots(tmp_path)
    with pytest.raises(SnapshotRefused, match=f"format 1; this version reads {module.FORMAT}"):
        snapshots.load(generation, LOG, end=100, comparator=comparator())

    recovered = recover(log, snapshots, comparator())

    assert recovered.position == 0
    assert [p.name for p in tmp_path.iterdir()] == [f"{1:020d}.refused"]


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        (calibration().model_copy(update={"unit": True}), "another calibration of test-model"),
        (calibration().model_copy(update={"provenance": {"data": "other"}}), "another calibration of test-model"),
        (calibration("other-model"), "of model test-model; in use is other-model"),
        (calibration(dimension=17), "of model"),
    ],
)
def test_what_another_calibration_made_is_refused(tmp_path: Path, changed: Calibration, reason: str) -> None:
    snapshots = Snapshots(tmp_path)
    generation = snapshots.write(some_gallery().view(), LOG)
    with pytest.raises(SnapshotRefused, match=reason):
        snapshots.load(generation, LOG, end=100, comparator=Comparator(changed))


def test_how_near_strangers_come_is_state_and_comes_back_to_the_last_bit(tmp_path: Path) -> None:
    normalised = Comparator(calibration(cohort=a_cohort(1)))
    gallery = Gallery(normalised)
    facts = [enrolled(n, f"p{n}", [template(n), template(n, 0.2)]) for n in range(9)]
    Matcher(gallery, Policy()).fold(list(enumerate(facts)))
    snapshots = Snapshots(tmp_path)
    loaded = snapshots.load(snapshots.write(gallery.view(), LOG), LOG, end=9, comparator=normalised)
    references, view = loaded.view().references(), gallery.view()
    assert references.nearness.tolist() == view.references().nearness.tolist()
    assert len(set(references.nearness.tolist())) == 9
    moved = Prepared(references.vectors, np.nextafter(references.nearness, 1))
    assert replace(view, references=lambda: moved).digest() != view.digest()


def test_what_is_written_is_the_state_it_was_taken_of_though_the_fold_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.match.index._BLOCK", 4)
    gallery = some_gallery()
    before, view = gallery.view().digest(), gallery.view()
    # More than there is room for, so that the index grows, and in place of some who are there.
    facts: list[GalleryEvent] = [enrolled(10 + n, f"p{n}", [template(10 + n)]) for n in range(2000)]
    facts += [
        enrolled(9, "ada", [template(9)], digest="newer", replaces=True),
        EncounterRemoved(request(8), "dan", "7"),
    ]
    Matcher(gallery, Policy()).fold(list(enumerate(facts, 6)), decide_from=len(facts) + 6)
    assert gallery.view().digest() != before

    written = Snapshots(tmp_path).write(view, LOG)

    loaded = Snapshots(tmp_path).load(written, LOG, end=100, comparator=comparator())
    assert loaded.view().digest() == before


@pytest.mark.parametrize("operation", range(1, 14))
def test_a_disk_that_fails_at_any_operation_leaves_the_older_generation_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, operation: int
) -> None:
    snapshots = Snapshots(tmp_path)
    older = snapshots.write(some_gallery(3).view(), LOG)
    count = 0

    def fails_at_its_turn(real: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object, **options: object) -> object:
            nonlocal count
            count += 1
            if count == operation:
                raise OSError(28, "No space left on device")
            return real(*arguments, **options)

        return call

    monkeypatch.setattr(os, "fsync", fails_at_its_turn(os.fsync))
    monkeypatch.setattr(os, "open", fails_at_its_turn(os.open))
    with pytest.raises(OSError, match="No space left"):
        snapshots.write(some_gallery(6).view(), LOG)
    monkeypatch.undo()
    valid = [g for g in snapshots.generations() if snapshots.load(g, LOG, end=100, comparator=comparator())]
    # After the rename only the folder's own fsync is left to fail: then the new generation may be there, whole.
    assert older in valid
    assert not list(tmp_path.glob("*.writing"))


def test_a_half_written_generation_is_never_looked_at(tmp_path: Path) -> None:
    snapshots = Snapshots(tmp_path)
    generation = snapshots.write(some_gallery().view(), LOG)
    shutil.copytree(generation, tmp_path / f"{99:020d}.writing")
    assert snapshots.generations() == [generation]


def test_what_a_killed_writer_left_is_swept_and_what_is_refused_is_set_aside_and_takes_no_place(tmp_path: Path) -> None:
    snapshots = Snapshots(tmp_path)
    for events in (5, 6):
        snapshots.set_aside(snapshots.write(some_gallery(events).view(), "another log"))
    (tmp_path / f"{9:020d}.writing").mkdir()
    snapshots.sweep()
    new = snapshots.write(some_gallery(2).view(), LOG)
    assert snapshots.generations() == [new]
    assert not list(tmp_path.glob("*.writing"))
    assert len(list(tmp_path.glob("*.refused"))) == 2
