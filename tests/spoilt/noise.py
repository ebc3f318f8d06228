"""What bad light and bad sensors add."""

import cv2
import numpy as np

from tests.spoilt.basis import Picture, Spoil, clipped, colours_of, generator


def gaussian(sigma: float, coloured: bool = True, grain: float = 0.0) -> Spoil:
    """Noise, of grains so many pixels wide."""

    def spoil(p: Picture) -> Picture:
        noise = generator().normal(0, 1, p.shape if coloured else (*p.shape[:2], 1))
        if grain:
            noise = np.asarray(cv2.GaussianBlur(noise, (0, 0), grain), dtype=np.float64).reshape(noise.shape)
            noise /= noise.std()
        return clipped(colours_of(p) + noise * sigma / 255)

    return spoil


def salt_and_pepper(share: float, coloured: bool = False) -> Spoil:
    def spoil(p: Picture) -> Picture:
        chance = generator().random(p.shape if coloured else (*p.shape[:2], 1))
        return np.where(chance < share / 2, 0, np.where(chance > 1 - share / 2, 255, p)).astype(np.uint8)

    return spoil


def speckle(sigma: float) -> Spoil:
    return lambda p: clipped(colours_of(p) * (1 + generator().normal(0, sigma, p.shape)))


def poisson(peak: float) -> Spoil:
    return lambda p: clipped(generator().poisson(colours_of(p) * peak) / peak)


def uniform_noise(width: float) -> Spoil:
    return lambda p: clipped(colours_of(p) + generator().uniform(-width, width, p.shape))
