"""`eyni evaluate` of pictures: the faces that its report shows, by workers that read "templates" off files."""

import base64
import subprocess
import sys
from pathlib import Path

import pytest

from services.enroll.pool import CannotStart
from services.evaluate.report import Report
from services.eyni.common import Code
from services.eyni.evaluate import evaluate
from shared.settings import Settings
from tests.unit.eyni import folders
from tests.unit.eyni.folders import Workers, pictures


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data=tmp_path / "data")


@pytest.fixture
def workers(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Workers:
    found = Workers(folders.calibrated(folders.model(settings.data / "models" / "toy")))
    monkeypatch.setattr("services.enroll.bootstrap.pool", found.start)
    return found


def report(settings: Settings, faces: Path, keep: bool = False) -> tuple[Report, str]:
    out = faces.parent / "out"
    assert evaluate(settings, faces, None, ["toy"], out, keep, True) == Code.OK
    return Report.model_validate_json((out / "report.json").read_bytes()), (out / "report.html").read_text()


def face(path: Path) -> str:
    return base64.b64encode(b"\xff\xd8\xff" + path.read_bytes()).decode()


def test_the_worst_pairs_are_shown_as_the_workers_cut_them_out(
    settings: Settings, workers: Workers, tmp_path: Path
) -> None:
    found, html = report(settings, pictures(tmp_path / "faces"))
    [model] = found.models
    for pair in (*model.worst_genuine, *model.worst_impostor):
        assert face(tmp_path / "faces" / pair.first) in html
        assert face(tmp_path / "faces" / pair.second) in html


def test_the_workers_that_extracted_cut_the_faces_out_and_end(
    settings: Settings, workers: Workers, tmp_path: Path
) -> None:
    report(settings, pictures(tmp_path / "faces"))
    assert (workers.starts, workers.closed) == (1, 1)


def test_where_everything_is_extracted_already_workers_start_for_the_faces(
    settings: Settings, workers: Workers, tmp_path: Path
) -> None:
    faces = pictures(tmp_path / "faces")
    report(settings, faces, keep=True)
    _, html = report(settings, faces)
    assert (workers.seen, workers.starts, workers.closed) == (80, 2, 2)
    assert "data:image/jpeg" in html


def test_a_picture_that_is_gone_by_then_costs_the_report_nothing_but_its_pairs(
    settings: Settings, workers: Workers, tmp_path: Path
) -> None:
    faces = pictures(tmp_path / "faces")
    first, _ = report(settings, faces)
    gone = faces / first.models[0].worst_genuine[0].first
    address = face(gone)
    workers.before = lambda count: gone.unlink() if count == 160 else None
    found, html = report(settings, faces)
    assert found.models[0].worst_genuine == first.models[0].worst_genuine
    assert (address in html, "data:image/jpeg" in html) == (False, True)


def test_where_no_worker_can_be_had_any_more_the_report_goes_without_faces_and_says_so(
    settings: Settings, workers: Workers, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(image: bytes) -> None:
        raise CannotStart("an extraction worker did not start: no memory")

    workers.before_portrait = fail
    _, html = report(settings, pictures(tmp_path / "faces"))
    assert "data:image/jpeg" not in html
    assert "The report shows no faces: an extraction worker did not start: no memory" in capsys.readouterr().err


def test_a_file_that_cannot_be_read_is_told_in_the_systems_words(
    settings: Settings, workers: Workers, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    faces = pictures(tmp_path / "faces")
    last = sorted(faces.glob("*/*"))[-1]
    workers.before = lambda count: last.unlink(missing_ok=True)
    found, html = report(settings, faces)
    reason = "cannot be read: No such file or directory"
    assert [(r.reason, r.pictures) for r in found.models[0].acquisition.acquire_reasons] == [(reason, 1)]
    assert f"toy refuses it, {reason}: 1 ({last.relative_to(faces)})" in capsys.readouterr().err
    assert reason in html


def test_the_command_loads_nothing_that_decodes_a_picture_or_searches_it() -> None:
    """Design D7: only enroll touches pixels, in a process that can be thrown away."""
    code = (
        "import sys, services.eyni.evaluate\n"
        "print({'cv2', 'dlib', 'onnxruntime', 'PIL'} & {*sys.modules})\n"
        "import services.evaluate.html.page  # matplotlib brings PIL\n"
        "print({'cv2', 'dlib', 'onnxruntime', 'services.enroll.decoding'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.stdout.split("\n"), done.stderr) == (["set()", "set()", ""], "")
