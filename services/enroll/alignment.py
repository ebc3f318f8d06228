"""From a face in a picture to a network's input: turned, scaled and moved so that five points lie where they should."""

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
Points = NDArray[np.float64]
"""Five points, x and y: shape (5, 2)."""

_LEAST: Final = 1e-6
"""Pixels²: five points this close together are none of a face; it keeps a division from 0."""


def similarity(points: Points, places: Points) -> NDArray[np.float64]:
    """Return the turn, scale and shift (2, 3) that bring `points` nearest to `places` in least squares, unmirrored.

    With points as complex numbers it is z → a·z + b, whose least squares have this closed form: Umeyama's, without
    his reflection.
    """
    z, w = points[:, 0] + 1j * points[:, 1], places[:, 0] + 1j * places[:, 1]
    from_middle = z - z.mean()
    a = (from_middle.conj() * (w - w.mean())).sum() / max(float((abs(from_middle) ** 2).sum()), _LEAST)
    b = w.mean() - a * z.mean()
    return np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]])


def align(pixels: Picture, points: Points, places: Points, width: int, height: int) -> Picture:
    """Cut a face out, (height, width, 3), its `points` at `places`; black where the picture has ended."""
    matrix = similarity(points, places)
    scale = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    # Bilinear interpolation skips pixels below a half: average first, by 2, 4, ..., and look for the points there.
    shrink = 1
    while scale * shrink <= 0.5 and 2 * shrink <= min(pixels.shape[:2]):
        shrink *= 2
    if shrink > 1:
        rows, columns = pixels.shape[0] // shrink, pixels.shape[1] // shrink
        even = pixels[: rows * shrink, : columns * shrink]
        pixels = np.asarray(cv2.resize(even, (columns, rows), interpolation=cv2.INTER_AREA), dtype=np.uint8)
        matrix = similarity((points + 0.5) / shrink - 0.5, places)
    cut = cv2.warpAffine(
        pixels, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=(0, 0, 0)
    )
    return np.asarray(cut, dtype=np.uint8)


def mirrored(chip: Picture) -> Picture:
    """Return the picture as in a mirror."""
    return np.ascontiguousarray(chip[:, ::-1])
