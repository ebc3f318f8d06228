"""`eyni evaluate`: from labelled faces to a report, on templates and on pictures; what is asked wrongly is told."""

import json
import stat
from pathlib import Path

import numpy as np
import pytest

from services.evaluate.labelled import CannotRead
from services.evaluate.measuring import NothingToCompare
from services.evaluate.report import Report
from services.eyni.common import Code, Failed
from services.eyni.evaluate import evaluate
from shared.believed import seal
from shared.model import CALIBRATION, MANIFEST, ModelRefused, load_model, user_models
from shared.settings import Settings
from tests.unit.evaluate.making import DIMENSION, calibration, crowd

FACES = Path(__file__).resolve().parents[4] / "shared" / "faces" / "dev"

TOY = f"""
format = 1
name = "NAME"
title = "A toy"
licence = "none"
provenance = "tests"
recipe = "plain"
[landmarks]
detector = "dlib"
sha256 = "{"0" * 64}"
[[networks]]
kind = "onnx"
file = "toy.onnx"
sha256 = "{"0" * 64}"
width = 16
height = 16
colour = "RGB"
points = [[1, 1], [2, 1], [1.5, 2], [1, 3], [2, 3]]
dimension = {DIMENSION}
norm = "free"
[comparison]
normalised = NORMALISED
unit = false
"""


def toy(settings: Settings, name: str = "toy", normalised: bool = False, calibrated: bool = True) -> str:
    """Put a model into the data folder that knows templates only."""
    folder = user_models(settings.data) / name
    folder.mkdir(parents=True)
    text = TOY.replace("NAME", name).replace("NORMALISED", "true" if normalised else "false")
    (folder / MANIFEST).write_text(text)
    if calibrated:
        made = calibration(normalised, model=load_model(folder).id)
        seal(made, settings.data, "here")
        (folder / CALIBRATION).write_text(made.dump())
    return name


def npz(path: Path, people: int = 130, pictures: int = 2) -> Path:
    vectors, names = crowd(people, pictures)
    np.savez(path, templates=vectors, person=np.array(names))
    return path


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data=tmp_path / "data")


def test_two_models_side_by_side_are_one_report(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [toy(settings), toy(settings, "other", normalised=True)]
    out = tmp_path / "report"
    assert evaluate(settings, npz(tmp_path / "faces.npz"), None, names, out, False, False) == Code.OK
    report = Report.model_validate_json((out / "report.json").read_bytes())
    assert [model.name for model in report.models] == names
    assert report.data.people == 130
    html = (out / "report.html").read_text()
    assert "toy" in html
    assert "other" in html
    told = capsys.readouterr().out
    assert "FNMR at FMR 1e-3" in told
    assert "report.html" in told


def test_the_report_is_for_its_owner_only(settings: Settings, tmp_path: Path) -> None:
    out = tmp_path / "report"
    evaluate(settings, npz(tmp_path / "faces.npz"), None, [toy(settings)], out, False, False)
    assert {stat.S_IMODE((out / name).stat().st_mode) for name in ("report.html", "report.json")} == {0o600}


def test_scripts_get_json(settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evaluate(settings, npz(tmp_path / "faces.npz"), None, [toy(settings)], tmp_path / "r", False, True)
    told = json.loads(capsys.readouterr().out)
    assert told["json"] == str(tmp_path / "r" / "report.json")
    assert 0 <= told["models"][0]["figures"]["FNMR at FMR 1e-3"] <= 1
    assert told["models"][0]["declared"]["20.0"]["holds"] in ("yes", "no", "unclear")


def test_the_systems_own_targets_are_what_is_measured(settings: Settings, tmp_path: Path) -> None:
    own = settings.model_copy(update={"verification_target": 25.0, "identification_target": 15.0})
    evaluate(own, npz(tmp_path / "faces.npz"), None, [toy(settings)], tmp_path / "r", False, True)
    [model] = Report.model_validate_json((tmp_path / "r" / "report.json").read_bytes()).models
    assert [p.threshold for p in model.verification.at_threshold if p.verification_target] == [25.0]
    assert model.identification is not None
    assert model.identification.as_set[0].threshold == pytest.approx(45.0)


def test_a_model_without_a_calibration_is_refused_before_anything_is_extracted(
    settings: Settings, tmp_path: Path
) -> None:
    with pytest.raises(ModelRefused, match="eyni calibrate"):
        evaluate(
            settings,
            npz(tmp_path / "faces.npz"),
            None,
            [toy(settings), toy(settings, "raw", calibrated=False)],
            tmp_path / "r",
            False,
            False,
        )
    assert not (tmp_path / "r").exists()


def test_templates_of_another_width_are_told(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(Failed, match="24 numbers; those of model dlib have 128"):
        evaluate(settings, npz(tmp_path / "faces.npz"), None, ["dlib"], tmp_path / "r", False, False)


def test_templates_that_no_face_has_are_told(settings: Settings, tmp_path: Path) -> None:
    vectors, names = crowd(10)
    np.savez(tmp_path / "odd.npz", templates=vectors * 1e4, person=np.array(names))
    with pytest.raises(NothingToCompare, match="model toy: 0 of 20"):
        evaluate(settings, tmp_path / "odd.npz", None, [toy(settings)], tmp_path / "r", False, False)


def no_second_picture(folder: Path) -> Path:
    for number in range(3):
        (folder / f"p{number}").mkdir(parents=True)
        (folder / f"p{number}" / "1.jpg").write_bytes(b"picture")
    return folder


def test_people_without_a_second_picture_are_told_before_anything_is_extracted(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    faces, name = no_second_picture(tmp_path / "faces"), toy(settings)
    with pytest.raises(ModelRefused, match=r"toy\.onnx"):  # the first thing that extraction looks at
        evaluate(settings, faces, None, [name], tmp_path / "r", False, False)
    assert "None of the 3 people has two pictures" in capsys.readouterr().err


def test_people_without_a_second_picture_are_measured_as_strangers(settings: Settings, tmp_path: Path) -> None:
    source = npz(tmp_path / "faces.npz", people=130, pictures=1)
    assert evaluate(settings, source, None, [toy(settings)], tmp_path / "r", False, False) == Code.OK
    [model] = Report.model_validate_json((tmp_path / "r" / "report.json").read_bytes()).models
    assert (model.trials.genuine, model.trials.impostor) == (0, 130 * 129 // 2)


def test_a_second_picture_is_not_asked_for_where_there_is_one(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluate(settings, npz(tmp_path / "faces.npz"), None, [toy(settings)], tmp_path / "r", False, False)
    assert "two pictures" not in capsys.readouterr().err


def test_one_person_only_is_told_before_anything_is_extracted_or_written(settings: Settings, tmp_path: Path) -> None:
    faces = no_second_picture(tmp_path / "faces")
    for number in (1, 2):
        (faces / f"p{number}" / "1.jpg").rename(faces / "p0" / f"{number + 1}.jpg")
    with pytest.raises(CannotRead, match=r"one person only: .* takes two people or more"):
        evaluate(settings, faces, None, [toy(settings)], tmp_path / "r", False, False)
    assert not (tmp_path / "r").exists()
    assert not (settings.data / "extractions").exists()


@pytest.mark.parametrize("inside", ["", "deeper"])
def test_a_folder_that_takes_no_report_is_told_before_anything_is_extracted(
    settings: Settings, tmp_path: Path, inside: str
) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(Failed, match=r"taken.*no report can be written there .*--output"):
        evaluate(
            settings,
            no_second_picture(tmp_path / "faces"),
            None,
            [toy(settings)],
            tmp_path / "taken" / inside,
            False,
            False,
        )


def test_a_folder_that_is_there_and_takes_no_file_is_told_before_anything_is_extracted(
    settings: Settings, tmp_path: Path
) -> None:
    closed = Path("/proc/self")  # root may write to any other
    if not closed.is_dir():
        pytest.skip("/proc is not here, and no other folder is closed to root")
    with pytest.raises(Failed, match=r"no report can be written there .*--output"):
        evaluate(settings, no_second_picture(tmp_path / "faces"), None, [toy(settings)], closed, False, False)


def test_a_report_of_before_stays_whole_where_a_new_one_fails(settings: Settings, tmp_path: Path) -> None:
    out, name = tmp_path / "report", toy(settings)
    evaluate(settings, npz(tmp_path / "faces.npz"), None, [name], out, False, True)
    before = (out / "report.html").read_bytes()
    vectors, names = crowd(10)
    np.savez(tmp_path / "odd.npz", templates=vectors * 1e4, person=np.array(names))
    with pytest.raises(NothingToCompare):
        evaluate(settings, tmp_path / "odd.npz", None, [name], out, False, True)
    assert (out / "report.html").read_bytes() == before
    assert {path.name for path in out.iterdir()} == {"report.html", "report.json"}


@pytest.fixture
def few(tmp_path: Path) -> Path:
    """Five people with their pictures, and what goes wrong in such folders."""
    if not FACES.is_dir():
        pytest.skip(f"no faces in {FACES}; they are given apart")
    found: dict[str, list[Path]] = {}
    for path in sorted(FACES.glob("*.jpg")):
        found.setdefault(path.name.split("_")[0], []).append(path)
    folder = tmp_path / "faces"
    for person in [person for person, paths in found.items() if len(paths) > 1][:5]:
        (folder / person).mkdir(parents=True)
        for path in found[person][:2]:
            (folder / person / path.name).write_bytes(path.read_bytes())
    (folder / "broken").mkdir()
    (folder / "broken" / "a.jpg").write_bytes(b"\xff\xd8\xff nothing")
    (folder / "empty").mkdir()
    return folder


def test_pictures_are_extracted_measured_and_shown(settings: Settings, few: Path, tmp_path: Path) -> None:
    settings = settings.model_copy(update={"workers": 2})
    assert evaluate(settings, few, None, ["dlib"], tmp_path / "r", False, True) == Code.OK
    report = Report.model_validate_json((tmp_path / "r" / "report.json").read_bytes())
    [model] = report.models
    assert model.acquisition.pictures == 11
    assert [(r.reason, r.pictures) for r in model.acquisition.acquire_reasons] == [("undecodable", 1)]
    assert model.acquisition.people_lost.hits >= 1
    assert [problem.what for problem in report.data.problems] == ["person without a picture"]
    assert model.seconds["extraction"] > 0
    html = (tmp_path / "r" / "report.html").read_text()
    assert html.count("data:image/jpeg;base64,") >= 4
    assert model.worst_genuine[0].first in html
    # Templates are gone with the journal.
    assert [*(settings.data / "extractions").iterdir()] == []
