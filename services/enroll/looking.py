"""Looks for the face that counts and, where there is none to be used, for the cause: how the picture lies, how far off.

A detector finds upright faces. What it takes for a face in a picture that is upside down gives a template of nobody,
and of what lies on its side it says that there is no face. So whatever it is not sure of is looked at turned, too.
"""

from typing import Final, Protocol

import numpy as np

from services.enroll.alignment import Picture
from services.enroll.faces import Effort, Face
from services.enroll.quality import NO_FACE
from shared.biometrics import Defect, RetakeReason

MARGIN: Final = 0.25
"""Grey that is put around a picture without a face, as a share of its long side: detectors want to see where a face
ends. Of faces 1.2 to 1.4 times as wide as their picture, HOG misses 16 %; with this it finds 12 of 13 of those. With
half or the whole side it finds fewer."""

GREY: Final = 128

NEAR: Final = 0.75
"""Width of a face found by that margin, as a share of the picture's short side, from which on it was too close."""


ALL_TURNS: Final = (1, 3, 2)
"""Quarter turns to the left. Most cameras are turned by one of the first two."""


class Detector(Protocol):
    """What finds faces: `services.enroll.extractor.Extractor`."""

    @property
    def sure(self) -> float:
        """Confidence that no face that is upside down reaches."""
        ...

    @property
    def level(self) -> float:
        """Confidence that no face that lies on its side reaches."""
        ...

    @property
    def clear(self) -> float:
        """Confidence from which on a face that was found in a turned picture only says that it is turned."""
        ...

    @property
    def smallest(self) -> float:
        """Width of the smallest face that is searched for as usual, as a share of the picture's long side."""
        ...

    def find(self, pixels: Picture, effort: Effort = Effort.USUAL) -> list[Face]: ...


def look(pixels: Picture, detector: Detector) -> list[Face] | Defect:
    """Return the faces of an RGB picture, largest first, one at least; or why there is none."""
    found = detector.find(pixels)
    if found and found[0].confidence >= detector.sure:
        return found
    if found:
        possible = (2,) if found[0].confidence >= detector.level else ALL_TURNS
        turns, confidence = _turned(pixels, detector, Effort.COARSE, possible)
        return _turned_picture(turns) if confidence > found[0].confidence else found
    turns, confidence = _turned(pixels, detector, Effort.USUAL, ALL_TURNS)
    if confidence >= detector.clear:
        return _turned_picture(turns)
    return _too_close(pixels, detector) or _too_far(pixels, detector) or NO_FACE


def _turned(pixels: Picture, detector: Detector, effort: Effort, possible: tuple[int, ...]) -> tuple[int, float]:
    """Return the quarter turns to the left, of those possible, that show the clearest face, and its confidence."""
    best = possible[0], -np.inf
    for turns in possible:
        for face in detector.find(np.ascontiguousarray(np.rot90(pixels, turns)), effort)[:1]:
            best = max(best, (turns, face.confidence), key=lambda one: one[1])
        if best[1] >= detector.sure:
            break
    return best


def _turned_picture(turns: int) -> Defect:
    lies, turn = {
        1: ("lies on its side", "90 degrees to the left"),
        2: ("is upside down", "180 degrees"),
        3: ("lies on its side", "90 degrees to the right"),
    }[turns]
    return Defect(
        RetakeReason.TURNED_PICTURE,
        f"The picture {lies}. Turn it by {turn}, or leave in it what the camera says about that (EXIF orientation).",
        90.0 * turns,
        0.0,
    )


def _too_close(pixels: Picture, detector: Detector) -> Defect | None:
    height, width = pixels.shape[:2]
    edge = round(MARGIN * max(height, width))
    framed = np.pad(pixels, ((edge, edge), (edge, edge), (0, 0)), constant_values=GREY)
    found = detector.find(framed, Effort.COARSE)
    share = found[0].width / min(height, width) if found else 0.0
    if share < NEAR:
        return None
    return Defect(
        RetakeReason.TOO_CLOSE,
        f"The face is {share:.0%} as wide as the picture, at most {NEAR:.0%} fits. Too close: step back.",
        round(share, 4),
        NEAR,
    )


def _too_far(pixels: Picture, detector: Detector) -> Defect | None:
    found, least = detector.find(pixels, Effort.FINEST), detector.smallest
    share = found[0].width / max(pixels.shape[:2]) if found else 1.0
    if share >= least:  # large enough to have been found before: no face
        return None
    return Defect(
        RetakeReason.TOO_FAR,
        f"The face is {share:.1%} as wide as the picture is long, {least:.0%} is needed. Too far away: come closer.",
        round(share, 4),
        least,
    )
