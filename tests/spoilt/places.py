"""What puts parts of a picture where they do not belong: torn rows, waves, mirrors, two exposures."""

from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import ImageChops

from tests.spoilt.basis import Picture, Spoil, generator, image_of, picture_of


def doubled(shift: int) -> Spoil:
    """Two exposures."""
    return lambda p: picture_of(ImageChops.blend(image_of(p), ImageChops.offset(image_of(p), shift, shift // 3), 0.5))


def glitched(most: int, rows: int) -> Spoil:
    def spoil(p: Picture) -> Picture:
        done, random = p.copy(), generator()
        for top in range(0, len(p), rows):
            done[top : top + rows] = np.roll(done[top : top + rows], int(random.integers(-most, most + 1)), axis=1)
        return done

    return spoil


def mirrored_half(left: bool) -> Spoil:
    def spoil(p: Picture) -> Picture:
        half = p[:, : p.shape[1] // 2] if left else p[:, p.shape[1] - p.shape[1] // 2 :]
        return np.ascontiguousarray(np.concatenate([half, half[:, ::-1]] if left else [half[:, ::-1], half], axis=1))

    return spoil


def frosted(most: int) -> Spoil:
    """Each pixel from somewhere near."""

    def spoil(p: Picture) -> Picture:
        height, width = p.shape[0], p.shape[1]
        off = np.asarray(generator().integers(-most, most + 1, (2, height, width)), dtype=np.int64)
        down, across = np.indices((height, width))
        rows, columns = np.clip(down + off[0], 0, height - 1), np.clip(across + off[1], 0, width - 1)
        return np.ascontiguousarray(p[rows, columns])

    return spoil


def rippled(pixels: float, period: float) -> Spoil:
    def spoil(p: Picture) -> Picture:
        y, x = np.mgrid[0 : p.shape[0], 0 : p.shape[1]].astype(np.float32)
        wave = (pixels * np.sin(2 * np.pi * y / period)).astype(np.float32)
        across = cast("NDArray[np.float32]", x + wave)
        return np.asarray(cv2.remap(p, across, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT), dtype=np.uint8)

    return spoil


def upright(spoil: Spoil) -> Spoil:
    """Do to columns what is done to rows."""
    return lambda p: np.ascontiguousarray(spoil(np.ascontiguousarray(p.swapaxes(0, 1))).swapaxes(0, 1))
