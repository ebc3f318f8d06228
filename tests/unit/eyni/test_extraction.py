"""What becomes of extracted templates when `eyni calibrate` or `eyni evaluate` ends, each way that it may end."""

import errno
import fcntl
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from services.eyni.__main__ import app
from tests.unit.eyni import folders
from tests.unit.eyni.folders import Workers, pictures

COMMANDS = ("calibrate", "evaluate")


@dataclass
class Eyni:
    data: Path
    output: Path
    workers: Workers

    def __call__(self, command: str, faces: Path, *words: str) -> Result:
        if command == "evaluate":
            words = (*words, "--output", str(self.output))
        return CliRunner().invoke(app, [command, str(faces), *words])

    @property
    def journals(self) -> list[Path]:
        return sorted((self.data / "extractions").glob("*"))


@pytest.fixture
def eyni(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Eyni:
    monkeypatch.setenv("EYNI_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("EYNI_MODEL", "toy")
    toy = folders.calibrated(folders.model(tmp_path / "data" / "models" / "toy"))
    found = Eyni(tmp_path / "data", tmp_path / "out", Workers(toy))
    monkeypatch.setattr("services.enroll.bootstrap.pool", found.workers.start)
    return found


def at(wanted: int, act: Callable[[], None]) -> Callable[[int], None]:
    return lambda count: act() if count == wanted else None


def interrupt() -> None:
    raise KeyboardInterrupt


def fill_the_disk() -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def told(done: int, of: int, journal: Path) -> str:
    return f"the templates of {done} of {of} pictures are kept in {journal}. The same command goes on from there"


def one_face(faces: Path) -> Path:
    """Leave one picture with a face in it."""
    for path in sorted(faces.glob("*/*"))[1:]:
        path.write_bytes(path.name.encode())
    return faces


@pytest.mark.parametrize("command", COMMANDS)
def test_done_it_parts_with_the_templates(eyni: Eyni, tmp_path: Path, command: str) -> None:
    result = eyni(command, pictures(tmp_path / "faces"))
    assert (result.exit_code, eyni.journals) == (0, []), result.output
    assert "The extracted templates are deleted" in result.output


@pytest.mark.parametrize("command", COMMANDS)
def test_broken_off_it_says_how_many_are_kept_and_goes_on_from_there(eyni: Eyni, tmp_path: Path, command: str) -> None:
    faces = pictures(tmp_path / "faces")
    eyni.workers.before = at(50, interrupt)
    result = eyni(command, faces)
    (journal,) = eyni.journals
    done = len(journal.read_bytes().splitlines())
    assert (result.exit_code, 40 < done < 50) == (130, True)
    assert told(done, 80, journal) in result.output
    assert eyni(command, faces).exit_code == 0
    assert eyni.workers.seen == 50 + 80 - done


@pytest.mark.parametrize("command", COMMANDS)
def test_on_a_full_disk_it_says_that_and_where_they_are_kept(eyni: Eyni, tmp_path: Path, command: str) -> None:
    eyni.workers.before = at(50, fill_the_disk)
    result = eyni(command, pictures(tmp_path / "faces"))
    (journal,) = eyni.journals
    assert (result.exit_code, "No space left on device" in result.output) == (1, True)
    assert told(len(journal.read_bytes().splitlines()), 80, journal) in result.output


def test_where_the_report_cannot_be_written_in_the_end_nothing_is_lost(eyni: Eyni, tmp_path: Path) -> None:
    eyni.workers.before = at(80, (eyni.output / "report.html").mkdir)
    result = eyni("evaluate", pictures(tmp_path / "faces"))
    assert (result.exit_code, told(80, 80, *eyni.journals) in result.output) == (1, True), result.output


def test_while_another_command_is_at_the_models_nothing_is_lost(eyni: Eyni, tmp_path: Path) -> None:
    faces = pictures(tmp_path / "faces", dimension=128)
    with (eyni.data / "models.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        result = eyni("calibrate", faces, "--model", "dlib")
    assert (result.exit_code, told(80, 80, *eyni.journals) in result.output) == (1, True), result.output


@pytest.mark.parametrize("command", COMMANDS)
def test_faces_that_give_nothing_leave_no_templates_behind(eyni: Eyni, tmp_path: Path, command: str) -> None:
    result = eyni(command, one_face(pictures(tmp_path / "faces")))
    assert (result.exit_code, eyni.journals) == (1, []), result.output
    assert "The extracted templates are deleted" in result.output
    assert "goes on" not in result.output.replace("it goes on from there.", "")


@pytest.mark.parametrize("command", COMMANDS)
def test_unless_they_are_to_be_kept(eyni: Eyni, tmp_path: Path, command: str) -> None:
    result = eyni(command, one_face(pictures(tmp_path / "faces")), "--keep-templates")
    (journal,) = eyni.journals
    assert (result.exit_code, f"kept in {journal}: delete it" in result.output) == (1, True), result.output


def test_the_templates_of_every_model_are_told_of_and_parted_with(eyni: Eyni, tmp_path: Path) -> None:
    folders.calibrated(folders.model(eyni.data / "models" / "other", "other"))
    faces = pictures(tmp_path / "faces")
    eyni.workers.before = at(130, interrupt)
    result = eyni("evaluate", faces, "--model", "toy", "--model", "other")
    other, toy = eyni.journals
    assert result.exit_code == 130
    assert told(80, 80, toy) in result.output
    assert told(len(other.read_bytes().splitlines()), 80, other) in result.output
    assert eyni("evaluate", faces, "--model", "toy", "--model", "other").exit_code == 0
    assert eyni.journals == []
