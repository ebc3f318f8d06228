"""Model folders for tests, made from the given networks in ../shared/models, which are no part of the project."""

import hashlib
import os
import shutil
from pathlib import Path
from typing import Final

import pytest

from shared.model import BUILT_IN, DEFAULT, MANIFEST, Model, load_model

GIVEN: Final = Path(__file__).resolve().parents[2] / "shared" / "models"

YUNET: Final = "yunet_n_dynamic.onnx"
EDGEFACE: Final = "edgeface_xs.onnx"
Y1: Final = "mobilefacenet_y1.onnx"

ARCFACE_YUNET: Final = "[[38.29, 51.70], [73.53, 51.50], [56.03, 71.74], [41.55, 92.37], [70.73, 92.20]]"
ARCFACE_DLIB: Final = "[[80.35, 52.77], [66.55, 53.10], [31.36, 53.11], [45.22, 53.26], [56.06, 79.62]]"
"""ArcFace's alignment to 112 x 112 pixels for either detector's points (../shared/models/README.md)."""

DLIB_POINTS: Final = """
[landmarks]
detector = "dlib"
sha256 = "c4b1e9804792707d3a405c2c16a80a20269e6675021f64a41d30fffafbc41888"
"""
DLIB_NETWORK: Final = """
[[networks]]
kind = "face_recognition"
sha256 = "55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30"
dimension = 128
"""


def given(*files: str) -> None:
    """Skip the test, or fail where the environment promises these files (CI), unless they are all there."""
    if missing := [name for name in files if not (GIVEN / name).is_file()]:
        reason = f"{', '.join(missing)}: not in {GIVEN}; these networks are given apart"
        if os.environ.get("EYNI_REQUIRE_SHARED") == "1":
            pytest.fail(reason)
        pytest.skip(reason)


def sha256(file: str) -> str:
    return hashlib.sha256((GIVEN / file).read_bytes()).hexdigest()


def yunet(height: int = 160) -> str:
    return f'\n[landmarks]\ndetector = "yunet"\nfile = "{YUNET}"\nsha256 = "{sha256(YUNET)}"\nheight = {height}\n'


def network(file: str, dimension: int, points: str, weight: float = 1.0) -> str:
    return f"""
[[networks]]
kind = "onnx"
file = "{file}"
sha256 = "{sha256(file)}"
width = 112
height = 112
colour = "RGB"
points = {points}
dimension = {dimension}
norm = "free"
weight = {weight}
"""


def manifest(name: str, *parts: str, recipe: str = "plain", normalised: bool = False, unit: bool = True) -> str:
    """Return a model.toml of these parts (landmarks, networks)."""
    head = f'format = 1\nname = "{name}"\ntitle = "{name}, for tests"\nlicence = "for tests only"\n'
    tail = f"\n[comparison]\nnormalised = {str(normalised).lower()}\nunit = {str(unit).lower()}\n"
    return f'{head}provenance = "../shared/models"\nrecipe = "{recipe}"\n{"".join(parts)}{tail}'


def put(folder: Path, text: str, *files: str) -> Model:
    """Write a manifest and copy the given networks beside it, into a folder of the model's name in `folder`."""
    name = text.split('name = "', 1)[1].split('"', 1)[0]
    place = folder / name
    place.mkdir(parents=True)
    for file in files:
        shutil.copyfile(GIVEN / file, place / file)
    (place / MANIFEST).write_text(text, encoding="utf-8")
    return load_model(place)


def edgeface(folder: Path, recipe: str = "plain") -> Model:
    """EdgeFace-XS, 512 numbers, aligned by YuNet's points, compared by cosine."""
    given(YUNET, EDGEFACE)
    text = manifest("edgeface-xs", yunet(), network(EDGEFACE, 512, ARCFACE_YUNET), recipe=recipe)
    return put(folder, text, YUNET, EDGEFACE)


def y1(folder: Path, recipe: str = "plain") -> Model:
    """MobileFaceNet "y1", 128 numbers, aligned by dlib's points, compared by cosine."""
    given(Y1)
    text = manifest("mobilefacenet-y1", DLIB_POINTS, network(Y1, 128, ARCFACE_DLIB), recipe=recipe)
    return put(folder, text, Y1)


def dlib_and_y1(folder: Path, recipe: str = "concatenated") -> Model:
    """Two networks, dlib's and "y1", one after the other: 256 numbers, of equal weight, normalised comparison."""
    given(Y1)
    parts = DLIB_POINTS, DLIB_NETWORK, network(Y1, 128, ARCFACE_DLIB)
    return put(folder, manifest("dlib-and-y1", *parts, recipe=recipe, normalised=True), Y1)


def default() -> Model:
    """The model that comes with Eyni."""
    return load_model(BUILT_IN / DEFAULT)
