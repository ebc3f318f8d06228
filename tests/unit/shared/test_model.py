"""A model folder: what its id covers, what is refused and in which words, which of two of one name serves."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from shared.model import (
    BUILT_IN,
    CALIBRATION,
    IN_USE,
    MANIFEST,
    Model,
    ModelRefused,
    find,
    in_use,
    load_model,
    names,
    parse_manifest,
)

DLIB = (BUILT_IN / "dlib" / MANIFEST).read_text()
SFACE = (BUILT_IN / "sface" / MANIFEST).read_text()


def changed(text: str, before: str, after: str) -> str:
    assert before in text
    return text.replace(before, after)


def test_the_default_model_is_in_order_and_its_calibration_is_its_own(tmp_path: Path) -> None:
    model = in_use(tmp_path)

    assert model.name == "dlib"
    assert model.calibration.model == model.id
    assert model.calibration.dimension == model.manifest.dimension == 128
    model.check_files()


def test_the_id_of_the_default_model_is_for_ever() -> None:
    # Every template of every gallery bears it: a change of it is a new model, and nobody enrolled is found.
    assert parse_manifest(DLIB).model_id == "dlib-7168ddcb359a"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('recipe = "plain"', 'recipe = "mirrored"'),
        ('sha256 = "0ba9', 'sha256 = "1ba9'),
        ('sha256 = "c4b1', 'sha256 = "d4b1'),
        ('colour = "RGB"', 'colour = "BGR"'),
        ("width = 112", "width = 96"),
        ("53.10", "53.20"),
        ('norm = "free"', 'norm = "free"\nsubtract = 127.5'),
        ('norm = "free"', 'norm = "free"\ndivide = 128'),
        ("dimension = 128", "dimension = 256"),
        ('name = "sface"', 'name = "sface2"'),
    ],
)
def test_whatever_changes_a_template_changes_the_id(before: str, after: str) -> None:
    assert parse_manifest(changed(SFACE, before, after)).model_id != parse_manifest(SFACE).model_id


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("Apache-2.0", "MIT"),
        ("title = ", 'title = "other" # '),
        ("normalised = false", "normalised = true"),
        ('file = "face_recognition_sface_2021dec.onnx"', 'file = "s.onnx"'),
        ("https://github.com", "https://example.org"),
        ("width = 112", "width   = 112 # pixels"),
    ],
)
def test_what_changes_no_template_leaves_the_id(before: str, after: str) -> None:
    assert parse_manifest(changed(SFACE, before, after)).model_id == parse_manifest(SFACE).model_id


@pytest.mark.parametrize(
    ("before", "after", "because"),
    [
        ("format = 1", "format = 2", "format: Input should be 1"),
        ("format = 1", "format = [", "is not TOML"),
        ("format = 1", f"format = {'[' * 50_000}", "is not TOML"),
        ("format = 1", f"format = {'1' * 5_000}", "is not TOML"),
        ('name = "sface"', 'name = "../dlib"', "name: .*'../dlib'"),
        ('name = "sface"', 'name = "SFace"', "name: "),
        ('recipe = "plain"', 'recipe = "best"', "recipe: .*'best'"),
        ('recipe = "plain"', 'recipe = "concatenated"', ": recipe concatenated is of 2 networks, and there are 1"),
        ('recipe = "plain"', "", "recipe: Field required"),
        ('recipe = "plain"', 'recipe = "plain"\ncolor = "RGB"', "color: Extra inputs"),
        ("dimension = 128", "dimension = 100000", "dimension: .*4096.*100000"),
        ("dimension = 128", "dimension = 128.5", "dimension: "),
        ("width = 112", "width = 0", "width: .*16.*0"),
        ('norm = "free"', 'norm = "free"\ndivide = 0', "divide: "),
        ('norm = "free"', 'norm = "free"\nsubtract = nan', "subtract: "),
        ("[66.55, 53.10], ", "", "points"),
        ('sha256 = "0ba9', 'sha256 = "XYZ', "sha256: "),
        ('file = "face', 'file = "/etc/face', "file: "),
        ("https://github", "file:///github", "address: "),
    ],
)
def test_a_manifest_that_is_wrong_is_refused_with_the_field_and_the_value(
    before: str, after: str, because: str, tmp_path: Path
) -> None:
    (tmp_path / MANIFEST).write_text(changed(SFACE, before, after))

    with pytest.raises(ModelRefused, match=because) as refused:
        load_model(tmp_path)

    assert str(tmp_path / MANIFEST) in str(refused.value)
    assert "\n" not in str(refused.value)


def a_copy(data: Path, spoil: Callable[[Path], None] | None = None) -> Model:
    """Put a copy of the default model into a data folder, and spoil it."""
    folder = data / "models" / "dlib"
    shutil.copytree(BUILT_IN / "dlib", folder)
    if spoil:
        spoil(folder)
    return find("dlib", data)


def test_a_model_of_the_data_folder_stands_in_for_the_one_that_comes_with_eyni(tmp_path: Path) -> None:
    model = a_copy(tmp_path)

    assert model.folder == tmp_path / "models" / "dlib"
    assert model.id == find("dlib", tmp_path / "other").id
    assert names(tmp_path) == ["dlib", "dlib-mirrored", "sface"]


def test_a_model_without_a_calibration_does_not_serve(tmp_path: Path) -> None:
    model = a_copy(tmp_path, lambda folder: (folder / CALIBRATION).unlink())

    with pytest.raises(ModelRefused, match=r"dlib has no calibration.*eyni calibrate"):
        _ = model.calibration


@pytest.mark.parametrize(
    ("change", "because"),
    [
        ({"model": "dlib-000000000000"}, "of model 'dlib-000000000000', not of 'dlib-7168ddcb359a'"),
        ({"unit": True}, "another comparison"),
        ({"cohort": None}, "another comparison"),
        ({"format": 2}, "format 1"),
    ],
)
def test_a_calibration_of_another_model_or_comparison_is_refused(
    change: dict[str, object], because: str, tmp_path: Path
) -> None:
    def spoil(folder: Path) -> None:
        file = folder / CALIBRATION
        file.write_text(json.dumps(json.loads(file.read_text()) | change))

    with pytest.raises(ModelRefused, match=re.escape(because)):
        _ = a_copy(tmp_path, spoil).calibration


def test_a_model_file_that_is_not_the_one_meant_is_refused(tmp_path: Path) -> None:
    (tmp_path / MANIFEST).write_text(SFACE)
    file = tmp_path / "face_recognition_sface_2021dec.onnx"
    model = load_model(tmp_path)

    with pytest.raises(ModelRefused, match=r"No such file.*eyni models add sface"):
        model.check_files()
    file.write_bytes(b"not the network")
    with pytest.raises(ModelRefused, match=r"its SHA-256 is [0-9a-f]{64}; model\.toml says 0ba9fbfa01b5"):
        model.check_files()


def test_the_model_in_use_is_the_settings_else_the_one_chosen_else_the_default(tmp_path: Path) -> None:
    assert in_use(tmp_path).name == "dlib"

    (tmp_path / "models").mkdir()
    (tmp_path / "models" / IN_USE).write_text("sface\n")
    assert in_use(tmp_path).name == "sface"
    assert in_use(tmp_path, "dlib").name == "dlib"

    with pytest.raises(ModelRefused, match="no model 'gone'; there are dlib, dlib-mirrored, sface"):
        in_use(tmp_path, "gone")


def test_a_folder_under_another_name_than_its_manifests_is_refused(tmp_path: Path) -> None:
    shutil.copytree(BUILT_IN / "dlib", tmp_path / "models" / "mine")

    with pytest.raises(ModelRefused, match="name = 'dlib'; its folder is 'mine'"):
        find("mine", tmp_path)


@pytest.mark.parametrize("name", ["dlib", "dlib-mirrored"])
def test_a_committed_calibration_is_its_models_and_as_its_code_writes_it(name: str, tmp_path: Path) -> None:
    path = BUILT_IN / name / CALIBRATION

    assert find(name, tmp_path).calibration.dump() == path.read_text()
