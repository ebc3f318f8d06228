"""Small pictures of faces, all at one scale, for people to look at. Runs in a worker."""

from typing import Final, cast

import cv2
import numpy as np

from services.enroll import decoding
from services.enroll.alignment import Picture
from services.enroll.extractor import Extractor
from services.enroll.faces import Face
from services.enroll.frames import Portrait
from shared.biometrics import Defect

SIDE: Final = 176
"""Pixels of a side: sharp on the page at a width of 8 rem, 6 kB as a JPEG."""
_AROUND: Final = 1.9
"""Widths of the face that a side takes in: hair and chin help a person to tell people apart."""
_QUALITY: Final = 82

cv2.setNumThreads(1)  # a locked-down worker gets no more of them


def portray(picture: decoding.Picture | Defect, extractor: Extractor) -> Portrait:
    """Go on from what decoding gave."""
    if not isinstance(picture, decoding.Picture):
        return Portrait(None)
    return Portrait(encoded(cropped(picture.pixels, extractor.find(picture.pixels))))


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


def encoded(pixels: Picture) -> bytes:
    """Return an RGB picture as a JPEG."""
    done, jpeg = cv2.imencode(".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    assert done
    return jpeg.tobytes()


def rehearse() -> Portrait:
    """Go through all that is done with a face, without one, so that nothing is left to be loaded later."""
    return Portrait(encoded(cropped(np.full((3 * SIDE, 3 * SIDE, 3), 128, dtype=np.uint8), [])))
