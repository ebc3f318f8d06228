"""Names that mean something to a terminal, to rich or to no encoding are names like any other to `eyni evaluate`."""

import os
from pathlib import Path

import pytest

from services.evaluate.extracting import journal_path
from services.evaluate.report import Report
from services.eyni.common import Code
from services.eyni.evaluate import evaluate
from shared.model import BUILT_IN, load_model
from shared.settings import Settings
from tests.unit.eyni.test_evaluate import npz, toy


def test_a_folder_of_any_name_has_a_journal(tmp_path: Path) -> None:
    model = load_model(BUILT_IN / "dlib")
    odd, other = (tmp_path / os.fsdecode(name) for name in (b"\xff", b"\xfe"))
    assert journal_path(tmp_path, odd, model) != journal_path(tmp_path, other, model)


@pytest.mark.parametrize("name", [b"[red].npz", b"f\xffces.npz", b"\x1b[31m.npz"])
def test_data_of_any_name_are_evaluated_and_named(
    name: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = Settings(data=tmp_path / "data")
    where = tmp_path / os.fsdecode(name)
    npz(tmp_path / "x.npz").rename(where)
    monkeypatch.setattr("sys.argv", ["eyni", "evaluate", str(where)])
    out = tmp_path / os.fsdecode(b"r\xff")
    assert evaluate(settings, where, None, [toy(settings)], out, False, False) == Code.OK
    report = Report.model_validate_json((out / "report.json").read_bytes())
    shown = name.decode("ascii", "backslashreplace").replace("\x1b", r"\x1b")
    assert report.data.source == shown
    told = capsys.readouterr()
    assert shown in told.out
    assert "\x1b" not in told.out + told.err
