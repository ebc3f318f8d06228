"""Extraction of many pictures, with workers that are none: order, resuming, bounded memory, what cannot be read."""

import errno
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from services.enroll.quality import NO_FACE, Extracted, refused
from services.evaluate import extracting
from services.evaluate.extracting import Journal, Sample, Stopped, extract
from services.evaluate.labelled import Picture
from shared.biometrics import Quality, RetakeReason, Template
from shared.model import BUILT_IN, Model, load_model
from shared.settings import Settings

MODEL = load_model(BUILT_IN / "dlib")


def face(image: bytes, model: Model = MODEL) -> Extracted:
    if b"nobody" in image:
        return refused(NO_FACE)
    vector = np.frombuffer(image.ljust(128, b"."), np.uint8)[:128].astype(np.float32)
    return Extracted(Template(model.id, vector), Quality(70, {"sharpness": 20.0}))


@dataclass
class Workers:
    """Answers at once, or when let; remembers what it was given."""

    size: int = 2
    seen: list[bytes] = field(default_factory=list[bytes])
    flying: int = 0
    most: int = 0
    starts: int = 0
    closed: int = 0
    before: Callable[[bytes], None] = lambda _: None

    def submit(self, image: bytes) -> Future[Extracted]:
        self.before(image)
        self.seen.append(image)
        future = Future[Extracted]()
        self.flying += 1
        self.most = max(self.most, self.flying)
        threading.Timer(0.002, self._answer, (future, image)).start()
        return future

    def _answer(self, future: Future[Extracted], image: bytes) -> None:
        self.flying -= 1
        future.set_result(face(image))

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def workers(monkeypatch: pytest.MonkeyPatch) -> Workers:
    found = Workers()

    def start(settings: Settings, model: Model) -> Workers:
        found.starts += 1
        return found

    monkeypatch.setattr("services.enroll.bootstrap.pool", start)
    return found


def pictures(folder: Path, *contents: bytes) -> list[Picture]:
    for number, content in enumerate(contents):
        (folder / f"{number}.jpg").write_bytes(content)
    return [Picture(folder / f"{number}.jpg", f"p{number}") for number in range(len(contents))]


def run(
    what: list[Picture],
    journal: Path,
    progress: Callable[[int, int], None] = lambda done, of: None,
    stop: Callable[[], bool] = lambda: False,
    settings: dict[str, object] | None = None,
) -> list[Sample]:
    with closing(extracting.Workers(MODEL, Settings.model_validate(settings or {}))) as workers:
        return extract(what, workers, journal, progress=progress, stop=stop)


def test_samples_come_in_the_pictures_order_with_what_came_of_each(tmp_path: Path, workers: Workers) -> None:
    what = pictures(tmp_path, *(b"face %d" % n for n in range(20)), b"nobody")
    heard: list[tuple[int, int]] = []
    samples = run(what, tmp_path / "j", lambda done, of: heard.append((done, of)))
    assert [sample.picture for sample in samples] == what
    assert [s.template for s in samples] == [face(p.path.read_bytes()).template for p in what]
    assert [sample.reason for sample in samples] == [None] * 20 + ["no_face"]
    assert heard == [(n, 21) for n in range(1, 22)]
    assert workers.closed == 1


def test_no_more_than_twice_the_workers_pictures_are_in_memory(tmp_path: Path, workers: Workers) -> None:
    run(pictures(tmp_path, *(b"face %d" % n for n in range(30))), tmp_path / "j")
    assert workers.most <= 4


def test_what_was_done_is_not_done_again_and_no_worker_starts_for_it(tmp_path: Path, workers: Workers) -> None:
    what = pictures(tmp_path, b"face 1", b"nobody", b"face 2")
    first = run(what, tmp_path / "j")
    again = run(what, tmp_path / "j")
    assert (again, len(workers.seen), workers.starts) == (first, 3, 1)


def test_a_picture_taken_anew_is_extracted_anew(tmp_path: Path, workers: Workers) -> None:
    what = pictures(tmp_path, b"face 1", b"face 2")
    run(what, tmp_path / "j")
    what[0].path.write_bytes(b"face 3")
    run(what, tmp_path / "j")
    assert workers.seen == [b"face 1", b"face 2", b"face 3"]


@pytest.mark.parametrize("changed", [{"quality_yaw": 0.2}, {"pixel_limit": 1000}, {"time_limit": 1.0}])
def test_other_settings_of_the_extraction_are_other_results(
    tmp_path: Path, workers: Workers, changed: dict[str, object]
) -> None:
    what = pictures(tmp_path, b"face 1")
    run(what, tmp_path / "j")
    run(what, tmp_path / "j", settings=changed)
    assert len(workers.seen) == 2


def test_a_result_of_another_model_is_not_taken_for_this_ones(tmp_path: Path, workers: Workers) -> None:
    what = pictures(tmp_path, b"face 1")
    run(what, tmp_path / "j")
    other = MODEL.manifest.model_copy(update={"recipe": "mirrored"})
    with Journal(tmp_path / "j") as journal:
        (key,) = journal.done
        journal.add(key, face(b"x", Model(MODEL.folder, other)))
    run(what, tmp_path / "j")
    assert len(workers.seen) == 2


def test_the_same_bytes_are_extracted_once(tmp_path: Path, workers: Workers) -> None:
    samples = run(pictures(tmp_path, b"face 1", b"face 1", b"face 2", b"face 1"), tmp_path / "j")
    assert len(workers.seen) == 2
    assert samples[0].template == samples[1].template == samples[3].template != samples[2].template


def test_broken_off_it_keeps_what_was_done_and_goes_on_from_there(tmp_path: Path, workers: Workers) -> None:
    what = pictures(tmp_path, *(b"face %d" % n for n in range(20)))
    done: list[int] = []
    with pytest.raises(Stopped):
        run(what, tmp_path / "j", lambda count, _: done.append(count), stop=lambda: len(done) >= 10)
    assert workers.closed == 1
    first = list(workers.seen)
    assert len(run(what, tmp_path / "j")) == 20
    again = [image for image in workers.seen[len(first) :] if image in first]
    assert len(again) <= 2 * workers.size


def test_killed_it_keeps_every_result_that_it_was_told_of(tmp_path: Path, workers: Workers) -> None:
    # What is on disk at the moment of a kill -9 is what a copy taken then holds.
    def copy(done: int, _: int) -> None:
        with Journal(tmp_path / "j") as journal:
            assert len(journal.done) == done

    run(pictures(tmp_path, b"1", b"2", b"3"), tmp_path / "j", copy)


@pytest.mark.parametrize("kept", [1, 20, -1, -30])
def test_a_line_cut_off_counts_as_not_done_and_spoils_no_other(tmp_path: Path, workers: Workers, kept: int) -> None:
    what = pictures(tmp_path, b"face 1", b"face 2")
    run(what, tmp_path / "j")
    first, second = (tmp_path / "j").read_bytes().splitlines(keepends=True)
    (tmp_path / "j").write_bytes(first + second[:kept])
    run(what, tmp_path / "j")
    run(what, tmp_path / "j")
    # Without its line's end alone, a result is whole.
    assert len(workers.seen) == (2 if kept == -1 else 3)


def test_a_file_that_cannot_be_read_is_a_sample_with_the_systems_reason(tmp_path: Path, workers: Workers) -> None:
    what = pictures(tmp_path, b"face 1", b"face 2", b"face 3")
    what[0].path.unlink()
    what[1].path.unlink()
    what[1].path.mkdir()
    heard: list[int] = []
    gone, folder, good = run(what, tmp_path / "j", lambda done, _: heard.append(done))
    assert (gone.template, gone.reason) == (None, "cannot be read: No such file or directory")
    assert (folder.template, folder.reason) == (None, "cannot be read: Is a directory")
    assert good.template is not None
    assert heard == [1, 2, 3]


def test_a_picture_that_is_not_for_this_user_is_told_so_and_not_taken_for_a_broken_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> object:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    what = pictures(tmp_path, b"face 1")
    with monkeypatch.context() as patch:
        patch.setattr(extracting, "opened", refuse)  # root may read any file
        assert extracting.image_of(what[0].path) == extracting.Unread("cannot be read: Permission denied")


def test_a_file_too_large_for_any_picture_is_not_read_into_memory(tmp_path: Path, workers: Workers) -> None:
    what = pictures(tmp_path, b"")
    with what[0].path.open("wb") as file:
        file.truncate(extracting.FILE_LIMIT + 1)
    (sample,) = run(what, tmp_path / "j")
    assert (sample.reason, workers.seen) == (RetakeReason.TOO_LARGE, [])


def test_the_journal_is_for_its_owner_alone_even_if_it_was_not(tmp_path: Path, workers: Workers) -> None:
    journal = tmp_path / "new" / "j"
    journal.parent.mkdir()
    journal.touch(0o644)
    run(pictures(tmp_path, b"face 1"), journal)
    assert journal.stat().st_mode & 0o777 == 0o600


def test_a_journal_is_not_written_through_a_link(tmp_path: Path, workers: Workers) -> None:
    (tmp_path / "target").touch()
    (tmp_path / "j").symlink_to(tmp_path / "target")
    with pytest.raises(OSError, match="symbolic"):
        run(pictures(tmp_path, b"face 1"), tmp_path / "j")


def test_workers_are_ended_when_a_bug_ends_the_run(tmp_path: Path, workers: Workers) -> None:
    def fail(image: bytes) -> None:
        raise AssertionError(image)

    workers.before = fail
    with pytest.raises(AssertionError):
        run(pictures(tmp_path, b"face 1"), tmp_path / "j")
    assert workers.closed == 1
