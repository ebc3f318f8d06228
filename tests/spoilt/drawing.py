"""What filters make of a photograph so that it looks drawn or painted."""

import cv2
import numpy as np
from PIL import ImageFilter

from tests.spoilt.basis import Picture, Spoil, blurred, clipped, colours_of, grey_of, image_of, picture_of, resized
from tests.spoilt.printing import adaptive
from tests.spoilt.tones import posterised


def pencil(sigma: float) -> Spoil:
    """Colour dodge with the blurred negative: the well-known sketch filter."""

    def spoil(p: Picture) -> Picture:
        grey = grey_of(p)
        return clipped(np.minimum(grey / np.maximum(blurred(grey, sigma), 0.02), 1.0))

    return spoil


def edges(dark: bool, coloured: bool = False) -> Spoil:
    def spoil(p: Picture) -> Picture:
        values = colours_of(p) if coloured else grey_of(p)
        across = np.asarray(cv2.Sobel(values, cv2.CV_64F, 1, 0), dtype=np.float64)
        down = np.asarray(cv2.Sobel(values, cv2.CV_64F, 0, 1), dtype=np.float64)
        found = np.minimum(np.hypot(across, down), 1.0)
        return clipped(1 - found if dark else found)

    return spoil


def contours(dark: bool) -> Spoil:
    def spoil(p: Picture) -> Picture:
        found = np.asarray(cv2.Canny((grey_of(p) * 255).astype(np.uint8), 60, 140), dtype=np.float64) / 255
        return clipped(1 - found if dark else found)

    return spoil


def ink(sigma: float) -> Spoil:
    """Difference of Gaussians with a soft threshold (Winnemöller's XDoG)."""

    def spoil(p: Picture) -> Picture:
        grey = grey_of(p)
        wide = blurred(grey, 1.6 * sigma)
        sharp = blurred(grey, sigma) * 11 - wide * 10
        return clipped(np.where(sharp > 0.5, 1.0, 1 + np.tanh(8 * (sharp - 0.5))))

    return spoil


def cartoon(levels: int) -> Spoil:
    def spoil(p: Picture) -> Picture:
        smooth = p
        for _ in range(4):
            smooth = np.asarray(cv2.bilateralFilter(smooth, 9, 40, 7), dtype=np.uint8)
        flat = posterised(levels)(smooth)
        return np.where(adaptive(9)(np.asarray(cv2.medianBlur(p, 5), dtype=np.uint8)) > 127, flat, 0).astype(np.uint8)

    return spoil


def hatched(step: int) -> Spoil:
    """Hatching: one, two, three directions of lines as it gets darker."""

    def spoil(p: Picture) -> Picture:
        grey = grey_of(resized(p, 500, 500, cv2.INTER_CUBIC))
        y, x = np.mgrid[0:500, 0:500]
        done = np.ones((500, 500))
        for level, line in ((0.75, x + y), (0.5, x - y), (0.25, x)):
            done[(grey < level) & (line % step < max(1, step // 4))] = 0.0
        return clipped(blurred(done, 0.7))

    return spoil


def embossed(p: Picture) -> Picture:
    return picture_of(image_of(p).filter(ImageFilter.EMBOSS))


def painted(size: int) -> Spoil:
    """Oil: the most frequent value nearby."""
    return lambda p: picture_of(image_of(posterised(12)(p)).filter(ImageFilter.ModeFilter(size)))
