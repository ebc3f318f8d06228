"""How a picture lies and how far off its face is: with a pretended detector, and with the real ones."""

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from services.enroll.alignment import Picture
from services.enroll.extractor import Extractor
from services.enroll.faces import Effort, Face
from services.enroll.looking import look
from services.enroll.quality import NO_FACE, Extracted
from shared.biometrics import Defect, RetakeReason
from tests import models
from tests.unit.enroll.making import encoded, extracted, extractor, hopper

FACES = Path(__file__).parents[4] / "shared" / "faces" / "dev"

LANDSCAPE: Picture = np.zeros((60, 100, 3), dtype=np.uint8)
LANDSCAPE[0, 0] = 255  # where up is


def a_face(confidence: float, width: float = 20.0) -> Face:
    return Face(0.0, 0.0, width, width, confidence, np.zeros((5, 2)), np.zeros((5, 2)))


@dataclass
class Pretended:
    """Finds a face of the confidence given for so many quarter turns to the left; `margin`, `finest`: only then."""

    by_turn: Sequence[float | None] = (None, None, None, None)
    margin: float | None = None
    finest: float | None = None
    sure: float = 1.0
    level: float = 0.7
    clear: float = 0.3
    smallest: float = 0.08
    efforts: list[Effort] = field(default_factory=list[Effort])

    def find(self, pixels: Picture, effort: Effort = Effort.USUAL) -> list[Face]:
        self.efforts.append(effort)
        if pixels.shape not in ((60, 100, 3), (100, 60, 3)):
            return [] if self.margin is None else [a_face(0.5, self.margin)]
        if effort is Effort.FINEST:
            return [] if self.finest is None else [a_face(0.5, self.finest)]
        found = self.by_turn[next(n for n in range(4) if np.array_equal(np.rot90(LANDSCAPE, n), pixels))]
        return [] if found is None else [a_face(found)]


def test_a_face_that_the_detector_is_sure_of_is_looked_at_once() -> None:
    detector = Pretended((1.5, None, None, None))
    found = look(LANDSCAPE, detector)
    assert not isinstance(found, Defect)
    assert detector.efforts == [Effort.USUAL]


def test_a_face_that_surely_does_not_lie_on_its_side_may_still_be_upside_down() -> None:
    detector = Pretended((0.8, 0.9, 0.9, 0.9))
    found = look(LANDSCAPE, detector)
    assert isinstance(found, Defect)
    assert (found.measured, detector.efforts) == (180.0, [Effort.USUAL, Effort.COARSE])


def test_a_face_that_it_is_not_sure_of_counts_where_it_is_no_surer_turned() -> None:
    detector = Pretended((0.5, None, 0.4, 0.1))
    found = look(LANDSCAPE, detector)
    assert not isinstance(found, Defect)
    assert detector.efforts == [Effort.USUAL, *[Effort.COARSE] * 3]


@pytest.mark.parametrize("upright", [0.5, None])
@pytest.mark.parametrize(
    ("turns", "said"),
    [
        (1, "The picture lies on its side. Turn it by 90 degrees to the left"),
        (2, "The picture is upside down. Turn it by 180 degrees"),
        (3, "The picture lies on its side. Turn it by 90 degrees to the right"),
    ],
)
def test_a_picture_in_which_the_face_is_surer_turned_is_named_with_how_to_turn_it(
    upright: float | None, turns: int, said: str
) -> None:
    found = look(LANDSCAPE, Pretended(tuple(upright if n == 0 else 0.9 if n == turns else None for n in range(4))))
    assert isinstance(found, Defect)
    assert (found.reason, found.measured) == (RetakeReason.TURNED_PICTURE, 90.0 * turns)
    assert found.advice.startswith(said)


def test_something_that_looks_a_little_like_a_face_when_turned_is_no_turned_picture() -> None:
    assert look(LANDSCAPE, Pretended((None, 0.1, 0.2, None))) == NO_FACE


def test_a_face_that_a_margin_brings_to_light_was_too_close() -> None:
    found = look(LANDSCAPE, Pretended(margin=72.0))
    assert isinstance(found, Defect)
    assert (found.reason, found.measured) == (RetakeReason.TOO_CLOSE, 1.2)
    assert "step back" in found.advice
    assert look(LANDSCAPE, Pretended(margin=20.0)) == NO_FACE


def test_a_face_that_only_the_finest_search_finds_is_too_far_away() -> None:
    found = look(LANDSCAPE, Pretended(finest=6.0))
    assert isinstance(found, Defect)
    assert (found.reason, found.measured, found.limit) == (RetakeReason.TOO_FAR, 0.06, 0.08)
    assert "come closer" in found.advice


# ---- the real detectors


@pytest.fixture(scope="module", params=["dlib", "yunet"])
def real(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Extractor:
    if request.param == "dlib":
        return extractor()
    return Extractor(models.edgeface(tmp_path_factory.mktemp("models")))


def reasons(result: Extracted) -> set[RetakeReason]:
    return {defect.reason for defect in result.quality.defects}


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_a_turned_portrait_is_refused_with_how_to_turn_it(real: Extractor, degrees: int) -> None:
    (defect,) = extracted(encoded(hopper().rotate(-degrees, expand=True)), real).quality.defects
    assert (defect.reason, defect.measured) == (RetakeReason.TURNED_PICTURE, degrees)


@pytest.mark.parametrize("width", [0.037, 0.045])
def test_a_face_of_a_sixteenth_of_a_large_picture_is_never_just_missing(real: Extractor, width: float) -> None:
    scene = Image.new("RGB", (2000, 1500), "lightgray")
    face = hopper().crop((60, 0, 460, 480))
    scene.paste(face.resize((round(2.6 * width * 1500), round(3.12 * width * 1500))), (900, 600))
    result = extracted(encoded(scene), real)
    # YuNet sees faces that small, and at this size their pixels are enough.
    assert reasons(result) == {RetakeReason.TOO_FAR} or (result.template is not None and real is not extractor())


def test_a_face_that_does_not_fit_into_the_picture_is_told_to_step_back(real: Extractor) -> None:
    (face,) = real.find(np.asarray(hopper()))
    side = face.width / 1.35
    x, y = (face.left + face.right) / 2, (face.top + face.bottom) / 2
    close = hopper().crop((round(x - side / 2), round(y - side / 2), round(x + side / 2), round(y + side / 2)))
    assert RetakeReason.TOO_CLOSE in reasons(extracted(encoded(close.resize((600, 600))), real))


def sampled() -> list[Image.Image]:
    files = sorted(FACES.glob("*.jpg"))[::160]
    if not files:
        pytest.skip(f"no pictures in {FACES}: faces are no part of this project")
    return [Image.open(io.BytesIO(file.read_bytes())) for file in files]


def test_of_web_photos_none_that_is_upright_is_called_turned(real: Extractor) -> None:
    results = [extracted(encoded(image), real) for image in sampled()]
    assert not any(RetakeReason.TURNED_PICTURE in reasons(result) for result in results)


@pytest.mark.parametrize("turn", ["ROTATE_90", "ROTATE_180", "ROTATE_270"])
def test_of_web_photos_none_that_is_turned_is_taken_and_the_cause_is_named(real: Extractor, turn: str) -> None:
    results = [extracted(encoded(image.transpose(Image.Transpose[turn])), real) for image in sampled()]
    assert [result.template for result in results] == [None] * len(results)
    assert sum(RetakeReason.TURNED_PICTURE in reasons(result) for result in results) >= 0.95 * len(results)
