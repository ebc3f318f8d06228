"""`eyni calibrate`: labelled faces give a calibration beside the model; the workers here read templates off files."""

import json
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from services.enroll.pool import CannotStart
from services.eyni.__main__ import app
from shared.calibrating import fit
from shared.calibration import Calibration
from shared.model import CALIBRATION, MANIFEST, Model, find
from shared.settings import Settings
from tests.unit.eyni import folders
from tests.unit.eyni.folders import Workers, pictures


@dataclass
class Eyni:
    data: Path
    toy: Model
    workers: Workers

    def __call__(self, *words: str | Path) -> Result:
        return CliRunner().invoke(app, ["calibrate", *map(str, words)])

    @property
    def written(self) -> Calibration:
        return find("toy", self.data).calibration

    @property
    def journals(self) -> list[Path]:
        return list((self.data / "extractions").glob("*"))


@pytest.fixture
def eyni(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Eyni:
    monkeypatch.setenv("EYNI_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("EYNI_MODEL", "toy")
    toy = folders.model(tmp_path / "data" / "models" / "toy")
    found = Eyni(tmp_path / "data", toy, Workers(toy))
    monkeypatch.setattr("services.enroll.bootstrap.pool", found.workers.start)
    return found


def templates(path: Path, people: int = 40, dimension: int = 8) -> Path:
    vectors, persons = folders.faces(people, dimension=dimension)
    np.savez(path, templates=vectors, person=persons)
    return path


def test_a_folder_of_faces_gives_the_model_its_calibration(eyni: Eyni, tmp_path: Path) -> None:
    root = pictures(tmp_path / "faces")
    (root / "p0" / "dog.jpg").write_bytes(b"woof")
    (root / "p0" / "notes.txt").touch()
    result = eyni(root)
    assert result.exit_code == 0, result.output
    about = eyni.written.provenance
    assert (about["people"], about["pictures"], about["pictures refused"]) == (40, 81, 1)
    assert about["data"] == "faces"
    assert {"made", "eyni", "numpy", "onnxruntime", "opencv", "dlib"} <= set(about)
    assert [word for word in ("no_face 1", "no picture", "eyni models use toy") if word not in result.output] == []


def test_it_is_the_calibration_that_these_templates_have(eyni: Eyni, tmp_path: Path) -> None:
    eyni(pictures(tmp_path / "faces"))
    vectors, persons = folders.faces(40)
    expected = fit(vectors, persons, model=eyni.toy.id, normalised=False, unit=True)
    assert (eyni.written.table, eyni.written.misses, eyni.written.gate) == (
        expected.table,
        expected.misses,
        expected.gate,
    )


def test_templates_of_an_npz_are_taken_as_they_are(eyni: Eyni, tmp_path: Path) -> None:
    result = eyni(templates(tmp_path / "t.npz"), "--about", "ferry terminal, 2026")
    assert result.exit_code == 0, result.output
    assert eyni.written.provenance["data"] == "ferry terminal, 2026"
    # With what they were extracted is not known here.
    assert "onnxruntime" not in eyni.written.provenance
    assert (eyni.workers.seen, eyni.journals) == (0, [])


def test_templates_of_another_width_are_refused(eyni: Eyni, tmp_path: Path) -> None:
    result = eyni(templates(tmp_path / "t.npz", dimension=9))
    assert (result.exit_code, "templates of 9 numbers" in result.output) == (1, True)
    assert not eyni.toy.is_calibrated


def test_a_model_that_comes_with_eyni_gets_a_folder_with_its_manifest_alone(eyni: Eyni, tmp_path: Path) -> None:
    result = eyni(templates(tmp_path / "t.npz", dimension=128), "--model", "dlib")
    assert result.exit_code == 0, result.output
    folder = eyni.data / "models" / "dlib"
    assert {path.name for path in folder.iterdir()} == {MANIFEST, CALIBRATION}
    assert find("dlib", eyni.data).calibration.provenance["data"] == "t.npz"
    assert find("dlib", eyni.data).calibration.cohort is not None
    assert {path.name for path in eyni.data.iterdir()} == {"keys", "models", "models.lock"}


def test_the_result_may_be_written_elsewhere(eyni: Eyni, tmp_path: Path) -> None:
    result = eyni(templates(tmp_path / "t.npz"), "--output", tmp_path / "new" / "c.json")
    assert result.exit_code == 0
    assert Calibration.parse((tmp_path / "new" / "c.json").read_bytes()).model == eyni.toy.id
    assert not eyni.toy.is_calibrated


def test_templates_are_deleted_in_the_end_and_the_terminal_says_where_they_were(eyni: Eyni, tmp_path: Path) -> None:
    result = eyni(pictures(tmp_path / "faces"))
    assert eyni.journals == []
    assert str(eyni.data / "extractions") in result.output
    assert "templates are deleted" in result.output


def test_templates_that_are_kept_are_used_again(eyni: Eyni, tmp_path: Path) -> None:
    root = pictures(tmp_path / "faces")
    result = eyni(root, "--keep-templates")
    (journal,) = eyni.journals
    assert (str(journal) in result.output, journal.stat().st_mode & 0o777) == (True, 0o600)
    eyni(root, "--keep-templates")
    assert eyni.workers.seen == 80


def test_broken_off_it_goes_on_where_it_was(eyni: Eyni, tmp_path: Path) -> None:
    def interrupt(count: int) -> None:
        if count == 50:
            raise KeyboardInterrupt

    root = pictures(tmp_path / "faces")
    eyni.workers.before = interrupt
    assert eyni(root).exit_code == 130
    assert not eyni.toy.is_calibrated
    assert eyni(root).exit_code == 0
    assert eyni.workers.seen <= 80 + 2 * eyni.workers.size + 1


@pytest.mark.parametrize(
    ("people", "each", "told"),
    [(12, 2, "12 people; at least 30 are needed"), (40, 1, "no person has two pictures")],
)
def test_what_the_labels_say_is_too_little_is_told_before_anything_is_extracted(
    eyni: Eyni, tmp_path: Path, people: int, each: int, told: str
) -> None:
    result = eyni(pictures(tmp_path / "faces", people, each))
    assert (result.exit_code, told in result.output, "add" in result.output) == (1, True, True), result.output
    assert (eyni.workers.seen, eyni.journals, eyni.toy.is_calibrated) == (0, [], False)


def test_too_few_faces_in_enough_pictures_are_one_line(eyni: Eyni, tmp_path: Path) -> None:
    root = pictures(tmp_path / "faces", people=30)
    for path in (root / "p7").iterdir():
        path.write_bytes(b"woof")
    result = eyni(root)
    assert (result.exit_code, "29 people; at least 30" in result.output) == (1, True), result.output
    assert not eyni.toy.is_calibrated


@pytest.mark.parametrize("inside", ["", "c.json", "deeper/c.json"])
def test_a_place_that_takes_no_calibration_is_told_before_anything_is_extracted(
    eyni: Eyni, tmp_path: Path, inside: str
) -> None:
    place = tmp_path / "taken"
    if inside:
        place.write_text("a file")
    else:
        place.mkdir()
    result = eyni(pictures(tmp_path / "faces"), "--output", place / inside)
    assert (result.exit_code, eyni.workers.seen) == (1, 0)
    assert re.search(
        r"taken.*no calibration can be written there \((File exists|Is a directory|Not a directory)", result.output
    ), result.output


def test_a_calibration_that_is_there_stays_if_the_new_one_cannot_be_made(eyni: Eyni, tmp_path: Path) -> None:
    before = folders.calibrated(eyni.toy).calibration
    assert eyni(pictures(tmp_path / "faces", people=12)).exit_code == 1
    assert eyni.written == before


@pytest.mark.parametrize(
    ("words", "code", "advice"),
    [
        (["{}/nothing"], 1, "no such folder"),
        (["{}", "--labels", "{}/nothing.csv"], 1, "no such file"),
        (["{}"], 1, "person/picture.jpg"),
        (["{}/faces", "--model", "nobody"], 1, "no model 'nobody'"),
        (["{}/faces", "--model", "sface"], 1, "eyni models add sface"),
        ([], 2, "Missing argument"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line(
    eyni: Eyni, tmp_path: Path, words: list[str], code: int, advice: str
) -> None:
    pictures(tmp_path / "faces", people=2)
    (tmp_path / "empty").mkdir()
    here = tmp_path if "faces" in "".join(words) else tmp_path / "empty"
    result = eyni(*(word.format(here) for word in words))
    assert (result.exit_code, advice in result.output) == (code, True), result.output


def test_pictures_without_any_face_are_counted_by_reason(eyni: Eyni, tmp_path: Path) -> None:
    for path in pictures(tmp_path / "faces", people=30).glob("*/*"):
        path.write_bytes(path.name.encode())
    result = eyni(tmp_path / "faces")
    assert (result.exit_code, "none of the 60 pictures gave a template: no_face 60" in result.output) == (1, True)


def test_workers_that_do_not_start_are_said_in_a_line(
    eyni: Eyni, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(settings: Settings, model: Model) -> Workers:
        raise CannotStart("an extraction worker did not start: net.onnx is no network")

    monkeypatch.setattr("services.enroll.bootstrap.pool", fail)
    result = eyni(pictures(tmp_path / "faces"))
    assert (result.exit_code, "net.onnx is no network" in result.output) == (1, True)


def test_a_network_that_was_swapped_extracts_nothing(eyni: Eyni, tmp_path: Path) -> None:
    (eyni.toy.folder / "net.onnx").write_bytes(b"swapped")
    result = eyni(pictures(tmp_path / "faces", people=2))
    assert (result.exit_code, "SHA-256" in result.output, eyni.workers.seen) == (1, True, 0)


def test_for_scripts_standard_output_is_json_alone(eyni: Eyni, tmp_path: Path) -> None:
    result = eyni(pictures(tmp_path / "faces"), "--json")
    said = json.loads(result.stdout)
    assert said["model"] == eyni.toy.id
    assert said["file"] == str(eyni.data / "models" / "toy" / CALIBRATION)
    assert set(said["misses"]) == {"20", "30", "40", "50"}
