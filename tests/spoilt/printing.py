"""What printers, scanners and fax machines make of a picture: dots, lines, letters."""

import cv2
import numpy as np

from tests.spoilt.basis import (
    Floats,
    Picture,
    Spoil,
    blurred,
    clipped,
    colours_of,
    generator,
    grey_of,
    image_of,
    picture_of,
    resized,
    scaled,
)
from tests.spoilt.tones import posterised


def _raster(shape: tuple[int, ...], cell: float, degrees: float) -> Floats:
    """Return a printer's raster of dots, thresholds 0..1."""
    y, x = np.mgrid[0 : shape[0], 0 : shape[1]]
    a = np.radians(degrees)
    u, v = (x * np.cos(a) + y * np.sin(a)) / cell, (y * np.cos(a) - x * np.sin(a)) / cell
    dots: Floats = (np.cos(2 * np.pi * u) * np.cos(2 * np.pi * v) + 1) / 2
    return dots


def dithered(size: float = 1) -> Spoil:
    return lambda p: picture_of(image_of(scaled(p, size)).convert("1"))


def thresholded(level: float | None) -> Spoil:
    """Two levels, by a level of 0..1, or by Otsu's."""

    def spoil(p: Picture) -> Picture:
        grey = (grey_of(p) * 255).astype(np.uint8)
        if level is None:
            return clipped(np.asarray(cv2.threshold(grey, 0, 255, cv2.THRESH_OTSU)[1], dtype=np.float64) / 255)
        return clipped((grey > level * 255).astype(np.float64))

    return spoil


def adaptive(block: int) -> Spoil:
    def spoil(p: Picture) -> Picture:
        grey = (grey_of(p) * 255).astype(np.uint8)
        done = cv2.adaptiveThreshold(grey, 255, cv2.ADAPTIVE_THRESH_MEAN_C, cv2.THRESH_BINARY, block, 4)
        return clipped(np.asarray(done, dtype=np.float64) / 255)

    return spoil


def ordered(order: int) -> Spoil:
    """Bayer's matrix of 2^order."""
    matrix = np.zeros((1, 1))
    for _ in range(order):
        matrix = np.block([[4 * matrix, 4 * matrix + 2], [4 * matrix + 3, 4 * matrix + 1]])
    matrix = (matrix + 0.5) / matrix.size

    def spoil(p: Picture) -> Picture:
        grey = grey_of(p)
        side = len(matrix)
        tiles = np.tile(matrix, (grey.shape[0] // side + 1, grey.shape[1] // side + 1))
        return clipped((grey > tiles[: grey.shape[0], : grey.shape[1]]).astype(np.float64))

    return spoil


def random_dots() -> Spoil:
    return lambda p: clipped((grey_of(p) > generator().random(p.shape[:2])).astype(np.float64))


def halftone(cell: float, degrees: float = 45, blur: float = 1.0, size: int = 500) -> Spoil:
    def spoil(p: Picture) -> Picture:
        grey = grey_of(resized(p, size, size, cv2.INTER_CUBIC))
        dots = (grey > _raster(grey.shape, cell, degrees)).astype(np.float64)
        return clipped(blurred(dots, blur) if blur else dots)

    return spoil


def four_colours(cell: float, blur: float = 1.0, size: int = 500) -> Spoil:
    """Print in cyan, magenta and yellow, each raster at its angle."""

    def spoil(p: Picture) -> Picture:
        colours = colours_of(resized(p, size, size, cv2.INTER_CUBIC))
        rasters = np.stack([_raster(colours.shape, cell, a) for a in (15, 75, 0)], axis=2)
        dots = (colours > rasters).astype(np.float64)
        return clipped(blurred(dots, blur) if blur else dots)

    return spoil


def lines_screen(cell: float, degrees: float = 45, blur: float = 0.7) -> Spoil:
    """An engraving: lines that are thicker where it is darker."""

    def spoil(p: Picture) -> Picture:
        grey = grey_of(resized(p, 500, 500, cv2.INTER_CUBIC))
        y, x = np.mgrid[0:500, 0:500]
        a = np.radians(degrees)
        wave = (np.cos(2 * np.pi * (x * np.cos(a) + y * np.sin(a)) / cell) + 1) / 2
        return clipped(blurred((grey > wave).astype(np.float64), blur))

    return spoil


def faxed(fine: bool) -> Spoil:
    """204 x 98 or 204 x 196 dots per inch: wider than high, two levels, a line lost here and there."""

    def spoil(p: Picture) -> Picture:
        small = resized(p, 300, 300 if fine else 150)
        dots = np.asarray(image_of(small).convert("1"), dtype=np.float64)
        dots[generator().random(len(dots)) < 0.02] = 1.0
        return resized(clipped(dots), 300, 300, cv2.INTER_LINEAR)

    return spoil


def print_and_scan(cell: float, blur: float, out: int) -> Spoil:
    """A fine raster, printed large, spread by paper, scanned smaller."""

    def spoil(p: Picture) -> Picture:
        dots = four_colours(cell, blur, 1000)(p)
        scanned = colours_of(resized(dots, out, out)) * 0.85 + 0.08
        return clipped(scanned + generator().normal(0, 0.01, scanned.shape))

    return spoil


def thermal(levels: int) -> Spoil:
    """A receipt printer: few levels of dots, dark streaks along the paper."""

    def spoil(p: Picture) -> Picture:
        grey = grey_of(p) ** 0.7
        streaks = np.where(generator().random(len(grey[0])) < 0.08, 0.25, 0.0)
        return posterised(levels, grey=True)(clipped(grey + streaks + generator().normal(0, 0.15, grey.shape)))

    return spoil


def letters(block: int) -> Spoil:
    """A picture made of letters."""

    def spoil(p: Picture) -> Picture:
        side = 600
        small = grey_of(resized(p, side // block, side // block))
        done = np.full((side, side), 255, dtype=np.uint8)
        for row in range(small.shape[0]):
            for column in range(small.shape[1]):
                letter = "@#8&o+:. "[min(int(small[row, column] * 9), 8)]
                at = (column * block, row * block + block)
                cv2.putText(done, letter, at, cv2.FONT_HERSHEY_PLAIN, block / 11, 0, 1)
        return clipped(done.astype(np.float64) / 255)

    return spoil
