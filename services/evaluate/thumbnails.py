"""Small pictures of faces for the report, all at one scale."""

import base64
import contextlib
from collections.abc import Mapping
from typing import Final, Protocol, cast

import cv2
import numpy as np

from services.enroll import faces
from services.enroll.alignment import Picture
from services.enroll.decoding import decode
from services.enroll.faces import Face
from services.enroll.landmarks import YuNet
from services.evaluate.acquisition import Item
from shared.biometrics import Defect
from shared.model import DlibLandmarks, Model

SIDE: Final = 176
"""Pixels of a side: sharp on the page at a width of 8 rem, 6 kB as a JPEG."""
_AROUND: Final = 1.9
"""Widths of the face that a side takes in: hair and chin help a person to tell people apart."""
_QUALITY: Final = 82


class _Finds(Protocol):
    def __call__(self, pixels: Picture, /) -> list[Face]: ...


def detector(model: Model) -> _Finds:
    """Load what finds the faces of a model. Raises ModelRefused."""
    landmarks = model.manifest.landmarks
    if isinstance(landmarks, DlibLandmarks):
        faces.check(landmarks)
        return faces.find
    return YuNet(model.folder, landmarks).find


def thumbnails(model: Model, pairs: Mapping[str, tuple[Item, Item]], pixel_limit: int) -> dict[str, tuple[str, str]]:
    """Return each pair as two `data:` addresses; a pair of which a picture is gone since is left out."""
    find = detector(model)
    made: dict[str, str | None] = {}
    found: dict[str, tuple[str, str]] = {}
    for key, items in pairs.items():
        for item in items:
            if str(item.path) not in made:
                made[str(item.path)] = _thumbnail(item, find, pixel_limit)
        first, second = (made[str(item.path)] for item in items)
        if first is not None and second is not None:
            found[key] = first, second
    return found


def _thumbnail(item: Item, find: _Finds, pixel_limit: int) -> str | None:
    if item.path is None:
        return None
    image = b""
    with contextlib.suppress(OSError):
        image = item.path.read_bytes()
    picture = decode(image, pixel_limit)
    if isinstance(picture, Defect):
        return None
    return address(cropped(picture.pixels, find(picture.pixels)))


def cropped(pixels: Picture, found: list[Face]) -> Picture:
    """Cut out the largest face, or the middle where none is found; what lies outside of the picture is grey."""
    height, width = pixels.shape[:2]
    if found:
        face = found[0]
        x, y, side = (face.left + face.right) / 2, (face.top + face.bottom) / 2, face.width * _AROUND
    else:
        x, y, side = width / 2, height / 2, float(min(height, width))
    scale = SIDE / side
    place = np.array([[scale, 0, SIDE / 2 - x * scale], [0, scale, SIDE / 2 - y * scale]])
    if scale < 0.5:  # as much smaller as it gets without blotches
        pixels = cast(Picture, cv2.GaussianBlur(pixels, (0, 0), 0.4 / scale))
    border = cv2.BORDER_CONSTANT
    grey = (128, 128, 128)
    return cast(Picture, cv2.warpAffine(pixels, place, (SIDE, SIDE), None, cv2.INTER_LINEAR, border, grey))


def address(pixels: Picture) -> str:
    """Return an RGB picture as a `data:` address."""
    done, jpeg = cv2.imencode(".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    assert done
    return "data:image/jpeg;base64," + base64.b64encode(jpeg.tobytes()).decode("ascii")
