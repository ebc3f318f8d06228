"""A calibration counts if it comes with Eyni, was measured here, or an operator said so; an absurd one never (F22)."""

import json
import shutil
import stat
from pathlib import Path

import pytest

from shared.believed import objection, origin_of, seal
from shared.calibration import Calibration
from shared.model import BUILT_IN, CALIBRATION, ModelRefused, find, load_model
from tests.unit.eyni import folders
from tests.unit.eyni.folders import Eyni, command

SHIPPED = load_model(BUILT_IN / "dlib").calibration
OURS = SHIPPED.model_copy(update={"provenance": {"data": "our faces"}})


@pytest.fixture
def eyni(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Eyni:
    return command(tmp_path / "data", monkeypatch)


def absurd(found: Calibration) -> Calibration:
    """Every pair 90 dB, and nobody is missed."""
    return found.model_copy(update={"table": ((-1e6, 90.0), (0.0, 91.0)), "misses": ((0.0, 0.0), (100.0, 0.0))})


# ---- seals


def test_what_comes_with_eyni_counts_everywhere(tmp_path: Path) -> None:
    assert origin_of(SHIPPED, None) == origin_of(SHIPPED, tmp_path) == "Eyni"


def test_what_has_no_seal_does_not_count(tmp_path: Path) -> None:
    assert origin_of(OURS, tmp_path) is None
    assert origin_of(OURS, None) is None


def test_what_was_sealed_counts_in_that_folder_only_and_only_unchanged(tmp_path: Path) -> None:
    seal(OURS, tmp_path / "a", "here")
    seal(absurd(OURS), tmp_path / "b", "outside")
    assert origin_of(OURS, tmp_path / "a") == "here"
    assert origin_of(absurd(OURS), tmp_path / "b") == "outside"
    assert origin_of(absurd(OURS), tmp_path / "a") is None
    assert origin_of(OURS, tmp_path / "b") is None


def test_a_seal_of_another_folder_or_calibration_or_of_another_word_is_none(tmp_path: Path) -> None:
    one, other, edited = tmp_path / "a", tmp_path / "b", absurd(OURS)
    seal(OURS, one, "outside")
    seal(SHIPPED.model_copy(update={"provenance": {}}), other, "here")
    [sealed] = (one / "keys/calibrations").iterdir()
    shutil.copy(sealed, other / "keys/calibrations" / sealed.name)
    shutil.copy(sealed, one / "keys/calibrations" / edited.digest())
    assert origin_of(OURS, other) is None
    assert origin_of(edited, one) is None
    sealed.write_text(json.dumps(json.loads(sealed.read_text()) | {"origin": "here"}))
    assert origin_of(OURS, one) is None


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b"\xff", b'{"origin": "Eyni", "made": "", "mac": ""}'])
def test_a_damaged_seal_or_key_is_none(content: bytes, tmp_path: Path) -> None:
    seal(OURS, tmp_path, "here")
    [sealed] = (tmp_path / "keys/calibrations").iterdir()
    good = sealed.read_bytes()
    sealed.write_bytes(content)
    assert origin_of(OURS, tmp_path) is None
    sealed.write_bytes(good)
    (tmp_path / "keys/calibrations.key").write_bytes(content)
    assert origin_of(OURS, tmp_path) is None


def test_the_key_is_its_owners_only(tmp_path: Path) -> None:
    seal(OURS, tmp_path, "here")
    assert {stat.S_IMODE(path.stat().st_mode) & 0o077 for path in (tmp_path / "keys").rglob("*")} == {0}


# ---- what cannot be right


def test_nothing_is_said_against_the_calibrations_that_come_with_eyni() -> None:
    for name in ("dlib", "dlib-mirrored"):
        assert objection(load_model(BUILT_IN / name).calibration) is None


def test_a_calibration_by_which_noise_matches_is_seen() -> None:
    assert "everybody would match everybody" in (objection(absurd(OURS)) or "")


# ---- the command


def test_a_calibration_from_outside_is_left_out_and_told(eyni: Eyni, tmp_path: Path) -> None:
    result = eyni("add", folders.calibrated(folders.model(tmp_path / "toy")).folder)
    assert result.exit_code == 0, result.output
    assert "left out" in result.output
    assert "eyni calibrate" in result.output
    assert not find("toy", eyni.data).is_calibrated
    assert eyni("use", "toy").exit_code == 1


def test_one_accepted_by_word_counts_and_is_shown_as_from_outside(eyni: Eyni, tmp_path: Path) -> None:
    result = eyni("add", "--trust-calibration", folders.calibrated(folders.model(tmp_path / "toy")).folder)
    assert result.exit_code == 0, result.output
    assert "not measured here" in result.output
    assert find("toy", eyni.data).origin == "outside"
    assert "from outside" in eyni("list").output
    listed = {row["name"]: row for row in json.loads(eyni("list", "--json").output)}
    assert listed["toy"]["calibration"]["origin"] == "outside"
    assert listed["dlib"]["calibration"]["origin"] == "Eyni"
    assert eyni("use", "toy").exit_code == 0


def test_an_absurd_one_is_refused_even_so_and_nothing_is_added(eyni: Eyni, tmp_path: Path) -> None:
    path = folders.calibrated(folders.model(tmp_path / "toy")).folder / CALIBRATION
    path.write_text(absurd(Calibration.parse(path.read_bytes())).dump())
    for words in (["add"], ["add", "--trust-calibration"]):
        result = eyni(*words, path.parent)
        assert (result.exit_code, "random numbers" in result.output) == (1, True), result.output
    assert (eyni.added, eyni.leftovers) == ({}, [])


def test_one_that_was_put_into_the_data_folder_or_edited_there_is_refused_with_what_to_do(eyni: Eyni) -> None:
    model = folders.calibrated(folders.model(eyni.data / "models" / "toy"))
    assert model.calibration
    path = model.folder / CALIBRATION
    path.write_text(Calibration.parse(path.read_bytes()).model_copy(update={"provenance": {"data": "x"}}).dump())
    with pytest.raises(ModelRefused, match=r"was changed since.*eyni calibrate.*--trust-calibration"):
        _ = find("toy", eyni.data).calibration
    eyni("list")  # which closes the folder to others, and says so
    listed = {row["name"]: row for row in json.loads(eyni("list", "--json").output)}
    assert listed["toy"]["calibration"] is None
    assert "does not count" in listed["toy"]["problem"]


def test_one_that_an_earlier_version_made_here_is_taken_over_by_word(eyni: Eyni) -> None:
    model = folders.calibrated(folders.model(eyni.data / "models" / "toy"))
    shutil.rmtree(eyni.data / "keys")
    assert eyni("use", "toy").exit_code == 1
    assert eyni("add", "toy", "--trust-calibration").exit_code == 0
    assert find("toy", eyni.data).calibration == model.calibration


def test_a_model_added_again_keeps_the_calibration_that_was_made_here(eyni: Eyni, tmp_path: Path) -> None:
    made = folders.calibrated(folders.model(eyni.data / "models" / "toy"))
    other = folders.calibrated(folders.model(tmp_path / "toy"), seed=2).folder
    assert eyni("add", other).exit_code == 0
    assert find("toy", eyni.data).calibration == made.calibration
    assert find("toy", eyni.data).origin == "here"
