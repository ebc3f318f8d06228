"""Models at work: what each makes of real faces, how its parts go together, and which model is refused."""

import importlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from services.enroll import decoding, extraction, faces
from services.enroll.alignment import align, mirrored
from services.enroll.extractor import Extractor, joined
from services.enroll.networks import Network
from shared.biometrics import Vector
from shared.model import MANIFEST, Model, ModelRefused, OnnxNetwork, load_model
from tests import models
from tests.unit.enroll.making import HOPPER, LIMITS, PIXELS, encoded, extracted, extractor, hopper

Picture = NDArray[np.uint8]

# Once services.enroll.faces has made it importable.
face_recognition: Any = importlib.import_module("face_recognition")

DEV = Path(__file__).resolve().parents[4] / "shared" / "faces" / "dev"

MODELS: dict[str, Callable[[Path], Model]] = {
    "dlib": lambda _: models.default(),
    "dlib mirrored": lambda folder: models.put(
        folder, models.manifest("d", models.DLIB_POINTS, models.DLIB_NETWORK, recipe="mirrored", unit=False)
    ),
    "dlib by YuNet": lambda folder: models.put(
        folder, models.manifest("d", models.yunet(), models.DLIB_NETWORK, unit=False), models.YUNET
    ),
    "y1": models.y1,
    "EdgeFace-XS by YuNet": models.edgeface,
    "EdgeFace-XS by YuNet mirrored": lambda folder: models.edgeface(folder, "mirrored"),
    "dlib and y1": models.dlib_and_y1,
}


def pixels(image: bytes) -> Picture:
    picture = decoding.decode(image, PIXELS)
    assert isinstance(picture, decoding.Picture)
    return picture.pixels


PORTRAIT = pixels(HOPPER)


@pytest.fixture(scope="module", params=MODELS)
def by(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Extractor:
    models.given(models.YUNET, models.EDGEFACE, models.Y1)
    return Extractor(MODELS[str(request.param)](tmp_path_factory.mktemp("models")))


def raw(by: Extractor, picture: Picture) -> Vector:
    return by.template(picture, by.find(picture)[0]).vector


def compared(by: Extractor, picture: Picture) -> Vector:
    vector = raw(by, picture)
    return vector / np.float32(np.linalg.norm(vector)) if by.model.manifest.comparison.unit else vector


def test_two_pictures_of_one_person_are_nearer_than_any_of_two(by: Extractor) -> None:
    if not DEV.is_dir():
        pytest.skip(f"{DEV} is not there: the real faces are given apart")
    people = ["p0012", "p0040", "p0041", "p0064"]
    found = [[compared(by, pixels((DEV / f"{p}_{n}.jpg").read_bytes())) for n in (1, 2)] for p in people]
    genuine = [float(np.linalg.norm(a - b)) for a, b in found]
    strangers = [float(np.linalg.norm(a - b)) for i, x in enumerate(found) for y in found[:i] for a in x for b in y]
    assert max(genuine) < min(strangers)


def test_a_template_is_of_the_model_and_finite_and_the_same_again(by: Extractor) -> None:
    (face,) = by.find(PORTRAIT)
    first, again = by.template(PORTRAIT, face), by.template(PORTRAIT, face)
    assert (first.model, first.vector.shape) == (by.model.id, (by.model.manifest.dimension,))
    assert first.vector.dtype == np.float32
    assert np.isfinite(first.vector).all()
    assert first == again


def test_the_pictures_size_hardly_moves_the_template(by: Extractor) -> None:
    large = encoded(hopper().resize((3072, 3600)), "JPEG", quality=90)
    moved = float(np.linalg.norm(compared(by, pixels(large)) - compared(by, PORTRAIT)))
    assert moved < (0.4 if by.model.manifest.comparison.unit else 0.2)  # strangers: 1.3 and 0.8


def test_the_whole_way_from_bytes_gives_a_template_by_every_model(by: Extractor) -> None:
    result = extracted(HOPPER, by)
    assert result.template is not None
    assert result.quality.score > 25  # a scanned portrait of 1984: its grain keeps it lower
    assert {"sharpness", "yaw", "grain", "pattern", "likeness"} <= set(result.quality.measures)


def test_the_default_model_is_face_recognition_to_the_last_bit() -> None:
    (face,) = faces.find(PORTRAIT)
    place = tuple(round(v) for v in (face.top, face.right, face.bottom, face.left))
    location = (place[0], place[1] - 1, place[2] - 1, place[3])
    (wanted,) = face_recognition.face_encodings(PORTRAIT, [location], num_jitters=1, model="small")
    assert extractor().template(PORTRAIT, face).vector.tolist() == np.asarray(wanted, dtype=np.float32).tolist()


def test_dlibs_network_sees_the_mirrored_chip_when_mirrored(tmp_path: Path) -> None:
    by = Extractor(MODELS["dlib mirrored"](tmp_path))
    (face,) = by.find(PORTRAIT)
    plain = faces.encode(PORTRAIT, face)
    encoder = face_recognition.api.face_encoder
    assert np.asarray(encoder.compute_face_descriptor(faces.chip(PORTRAIT, face)), dtype=np.float32) == pytest.approx(
        plain, abs=1e-6
    )
    seen = np.asarray(encoder.compute_face_descriptor(mirrored(faces.chip(PORTRAIT, face))), dtype=np.float32)
    assert raw(by, PORTRAIT) == pytest.approx((plain + seen) / 2, abs=1e-6)


def test_an_onnx_network_sees_the_face_by_its_detectors_points_and_then_the_mirrored_one(tmp_path: Path) -> None:
    plain, both = Extractor(models.edgeface(tmp_path / "a")), Extractor(models.edgeface(tmp_path / "b", "mirrored"))
    (declared,) = plain.model.manifest.networks
    assert isinstance(declared, OnnxNetwork)
    (face,) = plain.find(PORTRAIT)
    chip = align(PORTRAIT, face.landmarks, np.array(declared.points), 112, 112)
    network = Network(plain.model.folder, declared)
    assert np.array_equal(raw(plain, PORTRAIT), network.template(chip))
    assert raw(both, PORTRAIT) == pytest.approx(
        (network.template(chip) + network.template(chip[:, ::-1])) / 2, abs=1e-5
    )


def test_concatenated_parts_are_the_networks_own_each_with_its_share(tmp_path: Path) -> None:
    by = Extractor(models.dlib_and_y1(tmp_path))
    vector = raw(by, PORTRAIT)
    (face,) = by.find(PORTRAIT)
    first = faces.encode(PORTRAIT, face)
    assert vector[:128] == pytest.approx(first / np.linalg.norm(first) * np.sqrt(0.5), abs=1e-6)
    assert [np.linalg.norm(vector[:128]), np.linalg.norm(vector[128:])] == pytest.approx([np.sqrt(0.5)] * 2, abs=1e-6)


def test_weights_are_shares_of_the_squared_length() -> None:
    found = joined([np.array([3, 4], dtype=np.float32), np.array([0, 0, 2], dtype=np.float32)], [1.0, 3.0])
    assert found == pytest.approx([0.3, 0.4, 0, 0, np.sqrt(0.75)])
    assert found.dtype == np.float32


def test_a_part_without_length_gives_zeros_which_the_gate_knows() -> None:
    found = joined([np.zeros(2, dtype=np.float32), np.ones(1, dtype=np.float32)], [1.0, 1.0])
    assert found == pytest.approx([0, 0, np.sqrt(0.5)])


def test_every_sound_model_passes_its_rehearsal(by: Extractor) -> None:
    assert extraction.rehearse(by, LIMITS).vector.size == by.model.manifest.dimension


def changed(model: Model, old: str, new: str) -> Model:
    """The same folder with another manifest."""
    text = (model.folder / MANIFEST).read_text()
    assert old in text
    (model.folder / MANIFEST).write_text(text.replace(old, new))
    return load_model(model.folder)


def test_a_manifest_that_lies_about_the_dimension_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ModelRefused, match=r"edgeface_xs\.onnx: its output is .*512\]; model\.toml declares float N x 256"
    ):
        Extractor(changed(models.edgeface(tmp_path), "dimension = 512", "dimension = 256"))


def test_a_manifest_that_lies_about_the_size_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelRefused, match=r"its input is .*112, 112\]; model\.toml declares float N x 3 x 112 x 96"):
        Extractor(changed(models.y1(tmp_path), "width = 112", "width = 96"))


def test_a_manifest_that_lies_about_the_length_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelRefused, match="not of length 1"):
        Extractor(changed(models.y1(tmp_path), 'norm = "free"', 'norm = "unit"'))


@pytest.mark.parametrize("file", [models.YUNET, models.EDGEFACE])
def test_a_corrupt_file_is_refused_by_its_digest_and_a_missing_one_by_its_name(file: str, tmp_path: Path) -> None:
    model = models.edgeface(tmp_path)
    corrupt = bytearray((model.folder / file).read_bytes())
    corrupt[len(corrupt) // 2] ^= 1
    (model.folder / file).write_bytes(corrupt)
    with pytest.raises(ModelRefused, match=f"{file}: its SHA-256 is"):
        Extractor(model)
    (model.folder / file).unlink()
    with pytest.raises(ModelRefused, match=f"{file}: No such file"):
        Extractor(model)


@pytest.mark.parametrize("part", [models.DLIB_POINTS, models.DLIB_NETWORK], ids=["points", "network"])
def test_dlibs_own_files_are_checked_as_well(part: str, tmp_path: Path) -> None:
    shutil.copytree(models.default().folder, tmp_path / "dlib")
    digest = part.split('sha256 = "')[1][:64]
    model = changed(load_model(tmp_path / "dlib"), digest, "0" * 64)
    with pytest.raises(ModelRefused, match=rf"\.dat: its SHA-256 is {digest}; model.toml says 0000"):
        Extractor(model)
