"""Faces and their five points by YuNet, a small network that OpenCV runs; its points hold on turned heads."""

from pathlib import Path
from typing import Final, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from services.enroll import faces
from services.enroll.faces import Effort, Face
from services.enroll.networks import checked
from shared.model import ModelRefused, YunetLandmarks

Picture = NDArray[np.uint8]

FINER: Final = {Effort.COARSE: (1,), Effort.USUAL: (1, 2, 4), Effort.FINEST: ()}
"""Times the manifest's height, one search after the other until a large face is found: 160, 320, 640 pixels.
That finds whatever is large enough to be used: finer, it took a dog for a face (0.903)."""

SMALLEST: Final = 10 / 640
"""Width of the smallest face searched for as usual, as a share of a picture's height: the detector needs 10 pixels."""

ENOUGH: Final = 40
"""Pixels across a face in the picture searched above which no finer search follows. A rival of half the size (20
pixels, twice what the detector needs) would have been seen; a smaller one is none (`quality.Limits.second_face`)."""

LARGEST_RATIO: Final = 2.0
"""Never more than twice as large: what is not in the picture, enlarging does not bring."""

CONFIDENCE: Final = 0.85
"""Least confidence, 0 to 1. Portraits reach 0.90 and more (985 web photos, also dark or blurred), 60 of 62 tilted by 30
degrees and 59 of 62 with half a face cut away 0.85; a dog's face, 640 pixels high, 0.82."""

SURE: Final = 0.93
"""Confidence that no face reaches that is upside down: at most 0.912 of 250 web photos. It sees nine of ten such faces,
and puts eyes where the mouth is. 30 % of upright ones stay below; they are looked at upside down as well, and all 985
were surer upright."""

LEVEL: Final = 0.92
"""Confidence that no face reaches that lies on its side: 82 of 500 are found so, with 0.892 at most."""

CLEAR: Final = 0.9
"""Least confidence of a face that was found in a turned picture only. Upright ones of 985 web photos have 0.904 and
more, a dog's face that was turned 0.891."""

OVERLAP: Final = 0.3
"""Of two boxes that share so much of their area, the surer one stays; OpenCV's default."""

MOST: Final = 100
"""Boxes that are weighed against each other: a group with more faces is a group."""

SIDE: Final = 0.964
SHIFT: Final = (-0.029, 0.046)
"""A dlib rectangle, from YuNet's box: a square with so many times the root of its area as side, whose centre lies so
many sides to the right and below (extraction.md, median over LFW)."""


class YuNet:
    """The detector, loaded. Needs no file once it is made."""

    def __init__(self, folder: Path, declared: YunetLandmarks) -> None:
        """Load and rehearse. Raises ModelRefused."""
        self._height = declared.height
        data = np.frombuffer(checked(folder, declared), dtype=np.uint8)
        cv2.setNumThreads(1)
        # It warns of a setting that nobody made.
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)
        try:
            self._detector = cv2.FaceDetectorYN.create(
                "onnx", data, np.empty(0, dtype=np.uint8), (320, 320), CONFIDENCE, OVERLAP, MOST
            )
            self._search(np.full((320, 320, 3), 128, dtype=np.uint8), 1.0)
        except cv2.error as error:
            raise ModelRefused(f"{folder / declared.file}: OpenCV does not run it as YuNet: {error.err}") from None

    def find(self, pixels: Picture, effort: Effort = Effort.USUAL) -> list[Face]:
        """Return the faces of an RGB picture, largest first."""
        found = np.empty((0, 15))
        ratio = 0.0
        for times in FINER[effort]:
            before, ratio = ratio, min(times * self._height / pixels.shape[0], LARGEST_RATIO)
            if ratio == before:
                break
            finer = self._search(pixels, ratio)
            found = finer if len(finer) else found
            if bool((_sides(found) * ratio >= ENOUGH).any()):
                break
        return faces.largest_first([_face(pixels, row, side) for row, side in zip(found, _sides(found), strict=True)])

    def _search(self, pixels: Picture, ratio: float) -> NDArray[np.float64]:
        """Return one row for each face, in pixels of the picture: left, top, width, height, five points, confidence."""
        height, width = (max(1, round(n * ratio)) for n in pixels.shape[:2])
        smooth = cv2.INTER_AREA if ratio < 1 else cv2.INTER_LINEAR
        searched = cv2.resize(pixels, (width, height), interpolation=smooth)
        self._detector.setInputSize((width, height))
        # None where there is none; its type hints don't know.
        rows = cast("NDArray[np.float32] | None", self._detector.detect(searched[:, :, ::-1])[1])
        if rows is None:
            return np.empty((0, 15))
        found = np.asarray(rows, dtype=np.float64)
        found[:, 0:14:2] *= pixels.shape[1] / width
        found[:, 1:14:2] *= pixels.shape[0] / height
        return found[np.isfinite(found).all(axis=1)]


def _sides(found: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how wide dlib's rectangles around these faces would be."""
    sides: NDArray[np.float64] = SIDE * np.sqrt(np.maximum(found[:, 2] * found[:, 3], 1.0))
    return sides


def _face(pixels: Picture, row: NDArray[np.float64], side: float) -> Face:
    left = row[0] + row[2] / 2 + SHIFT[0] * side - side / 2
    top = row[1] + row[3] / 2 + SHIFT[1] * side - side / 2
    box = float(left), float(top), float(left + side), float(top + side)
    return faces.face_at(pixels, box, float(row[14]), row[4:14].reshape(5, 2))
