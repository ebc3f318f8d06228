# pyright: basic
"""Faces as dlib finds and encodes them; the only file that imports face_recognition and dlib."""

import contextlib
import functools
import hashlib
import sys
import types
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum, auto
from importlib import resources
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from shared.biometrics import Vector
from shared.model import MANIFEST, DlibLandmarks, DlibNetwork, ModelRefused

_INSTALL: Final = (
    "Install dlib-bin and face-recognition-models, then `pip install --no-deps face-recognition` (without --no-deps it "
    "compiles dlib)."
)


@contextlib.contextmanager
def _pkg_resources() -> Iterator[None]:
    """Stand in for `pkg_resources` while face_recognition_models is imported, which asks it for its files.

    setuptools no longer has that module (82), or warns when it is imported (67 to 81); Python 3.12 and later come
    without setuptools altogether. The one function needed is in the standard library under another name.
    """
    stand_in: Any = types.ModuleType("pkg_resources")
    stand_in.resource_filename = lambda package, name: str(resources.files(package).joinpath(name))
    before = sys.modules.get("pkg_resources")
    sys.modules["pkg_resources"] = stand_in
    try:
        yield
    finally:
        if before is None:
            del sys.modules["pkg_resources"]
        else:
            sys.modules["pkg_resources"] = before


try:
    with _pkg_resources():
        # By itself: face_recognition calls quit() where this import fails.
        import face_recognition_models  # isort: skip
        import dlib as untyped_dlib  # isort: skip
    _dlib: Any = untyped_dlib
    _five_points: Any = _dlib.shape_predictor(face_recognition_models.pose_predictor_five_point_model_location())
except (ImportError, RuntimeError) as error:
    raise ModelRefused(f"face_recognition cannot be loaded ({error}). {_INSTALL}") from error


@functools.cache
def _face_recognition() -> Any:
    """Load face_recognition: at first use, because it takes a second to load what a network of its own does not need.

    Raises ModelRefused.
    """
    try:
        from face_recognition import api
    except (ImportError, RuntimeError) as error:
        raise ModelRefused(f"face_recognition cannot be loaded ({error}). {_INSTALL}") from error
    return api


class Effort(Enum):
    """How small a face is searched for."""

    COARSE = auto()
    """Large ones only, at a fourth of the cost."""
    USUAL = auto()
    FINEST = auto()
    """Those also that are too far away to be used: to say so."""


DETECTION_SIDES: Final[dict[Effort, tuple[int, ...]]] = {
    Effort.COARSE: (500,),
    Effort.USUAL: (500, 1000),
    Effort.FINEST: (1600,),
}
"""Longest side, in pixels, of the pictures that are searched, one after the other until a large face is found. The
detector's smallest face is 80 pixels wide: 16 %, 8 %, or 5 % of the picture's long side. 22, 90 (extraction.md) and
230 ms; the last is the working size, and is searched only where there is no larger face."""

SMALLEST: Final[float] = 80 / DETECTION_SIDES[Effort.USUAL][-1]
"""Width of the smallest face searched for, as a share of the picture's long side."""

ENOUGH: Final = 160
"""Pixels of a face in the picture searched above which no finer search follows: twice the detector's smallest, so a
rival of half the size would have been seen, and a smaller one is no rival (`quality.Limits.second_face`)."""

SURE: Final = 1.5
"""Confidence that no face reaches that is upside down: 34 of 250 web photos are found so, one with 1.08, the others
with 0.82 at most. Half of the upright ones stay below; they are looked at upside down as well."""

LEVEL: Final = 0.45
"""Confidence that no face reaches that lies on its side: 4 of 500 are found so, with 0.23 at most. 5 % of upright ones
stay below; they are looked at on either side as well."""

CLEAR: Final = 0.12
"""Least confidence of a face that was found in a turned picture only: 99 % of upright ones have it."""

CHIP: Final = 150
"""Pixels of a side of the network's input."""


@dataclass(frozen=True, slots=True)
class Face:
    """One face found, in pixels of the picture it was found in."""

    left: float
    top: float
    right: float
    bottom: float
    confidence: float
    """The detector's margin; 0 is its own threshold, a clear frontal face has 1 to 3."""
    points: NDArray[np.float64] = field(repr=False)
    """Shape (5, 2), x and y: outer and inner corner of the eye at the right of the picture, the same at its left,
    base of the nose."""
    landmarks: NDArray[np.float64] = field(repr=False)
    """Shape (5, 2): what networks are aligned by, in the order of the model's detector; with dlib's, `points`."""

    @property
    def width(self) -> float:
        return self.right - self.left


def find(pixels: NDArray[np.uint8], effort: Effort = Effort.USUAL) -> list[Face]:
    """Return the faces of an RGB picture, largest first."""
    height, width = pixels.shape[:2]
    found: list[Any] = []
    ratio = 0.0
    for side in DETECTION_SIDES[effort]:
        # Never more than twice as large: what is not in the picture, enlarging does not bring.
        before, ratio = ratio, min(side / max(height, width), 2.0)
        if ratio == before:
            break
        searched = _resized(pixels, ratio)
        rectangles, confidences, _ = _face_recognition().face_detector.run(searched, 0, 0.0)
        found = list(zip(rectangles, confidences, strict=True))
        if any(r.width() >= ENOUGH for r, _ in found):
            break
    faces = [_found(pixels, rectangle, confidence, ratio) for rectangle, confidence in found]
    return largest_first(faces)


def largest_first(faces: list[Face]) -> list[Face]:
    """Return faces in an order that depends on nothing but where they are."""
    return sorted(faces, key=lambda face: (-face.width, face.left, face.top))


def _resized(pixels: NDArray[np.uint8], ratio: float) -> NDArray[np.uint8]:
    if ratio == 1.0:
        return pixels
    rows, columns = (max(1, round(n * ratio)) for n in pixels.shape[:2])
    while pixels.shape[0] >= 2 * rows and pixels.shape[1] >= 2 * columns:
        # Bilinear interpolation skips pixels below a half: average first.
        even = pixels[: pixels.shape[0] // 2 * 2, : pixels.shape[1] // 2 * 2].astype(np.uint16)
        pixels = ((even[::2, ::2] + even[1::2, ::2] + even[::2, 1::2] + even[1::2, 1::2] + 2) // 4).astype(np.uint8)
    resized: NDArray[np.uint8] = _dlib.resize_image(pixels, rows, columns)
    return resized


def _found(pixels: NDArray[np.uint8], rectangle: Any, confidence: float, ratio: float) -> Face:
    left, top, right, bottom = (
        v / ratio for v in (rectangle.left(), rectangle.top(), rectangle.right() + 1, rectangle.bottom() + 1)
    )
    return face_at(pixels, (left, top, right, bottom), float(confidence))


def face_at(
    pixels: NDArray[np.uint8],
    box: tuple[float, float, float, float],
    confidence: float,
    landmarks: NDArray[np.float64] | None = None,
) -> Face:
    """Make a face of a box (left, top, right, bottom) as dlib draws them; `landmarks`: another detector's points."""
    points = np.array([(p.x, p.y) for p in _shape(pixels, box).parts()], dtype=np.float64)
    return Face(*box, confidence, points, points if landmarks is None else landmarks)


def _shape(pixels: NDArray[np.uint8], box: tuple[float, float, float, float]) -> Any:
    return _five_points(pixels, _rectangle(*box))


def _rectangle(left: float, top: float, right: float, bottom: float) -> Any:
    return _dlib.rectangle(round(left), round(top), round(right) - 1, round(bottom) - 1)


def chip(pixels: NDArray[np.uint8], face: Face) -> NDArray[np.uint8]:
    """Cut out what dlib's network sees: the face upright, CHIP x CHIP x 3, black where the picture has ended."""
    shape = _shape(pixels, (face.left, face.top, face.right, face.bottom))
    cut: NDArray[np.uint8] = _dlib.get_face_chip(pixels, shape, CHIP, 0.25)
    return cut


def encode(pixels: NDArray[np.uint8], face: Face) -> Vector:
    """Return what dlib's network makes of a face (128,), by way of face_recognition."""
    place = _rectangle(face.left, face.top, face.right, face.bottom)
    location = (place.top(), place.right(), place.bottom(), place.left())
    encoding = _face_recognition().face_encodings(pixels, [location], num_jitters=1, model="small")[0]
    return np.asarray(encoding, dtype=np.float32)


def encode_mirrored(pixels: NDArray[np.uint8], face: Face) -> Vector:
    """Return what dlib's network makes of the face (128,) as in a mirror."""
    seen = np.ascontiguousarray(chip(pixels, face)[:, ::-1])
    return np.asarray(_face_recognition().face_encoder.compute_face_descriptor(seen), dtype=np.float32)


def check(part: DlibLandmarks | DlibNetwork) -> None:
    """Load face_recognition. Raises ModelRefused where it can't be, or its models hold another file than is meant."""
    _face_recognition()
    locate = (
        face_recognition_models.pose_predictor_five_point_model_location
        if isinstance(part, DlibLandmarks)
        else face_recognition_models.face_recognition_model_location
    )
    path = Path(locate())
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != part.sha256:
        raise ModelRefused(f"{path}: its SHA-256 is {found}; {MANIFEST} says {part.sha256}")


def anywhere(pixels: NDArray[np.uint8]) -> Face:
    """Take a whole picture for a face: for a rehearsal, where there is none."""
    height, width = pixels.shape[:2]
    return face_at(pixels, (0.0, 0.0, float(width), float(height)), 0.0)
