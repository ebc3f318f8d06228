"""What all kinds are made of: pictures, their light and colours as numbers of 0 to 1, and back."""

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

Picture = NDArray[np.uint8]
Floats = NDArray[np.float64]
Spoil = Callable[[Picture], Picture]


def generator() -> np.random.Generator:
    return np.random.default_rng(8)


def image_of(picture: Picture) -> Image.Image:
    return Image.fromarray(picture)


def picture_of(image: Image.Image) -> Picture:
    return np.ascontiguousarray(np.asarray(image.convert("RGB"), dtype=np.uint8))


def clipped(values: NDArray[np.floating]) -> Picture:
    """Turn 0..1, grey (h, w) or RGB, into a picture."""
    if values.ndim == 2:
        values = np.repeat(values[:, :, None], 3, axis=2)
    picture: Picture = np.clip(values * 255 + 0.5, 0, 255).astype(np.uint8)
    return picture


def colours_of(picture: Picture) -> Floats:
    return picture.astype(np.float64) / 255


def grey_of(picture: Picture) -> Floats:
    return np.asarray(image_of(picture).convert("L"), dtype=np.float64) / 255


def resized(picture: Picture, width: int, height: int, how: int = cv2.INTER_AREA) -> Picture:
    return np.asarray(cv2.resize(picture, (width, height), interpolation=how), dtype=np.uint8)


def scaled(picture: Picture, times: float, how: int | None = None) -> Picture:
    height, width = picture.shape[:2]
    best = cv2.INTER_AREA if times < 1 else cv2.INTER_CUBIC
    return resized(picture, round(width * times), round(height * times), best if how is None else how)


def blurred(values: Floats, sigma: float) -> Floats:
    return np.asarray(cv2.GaussianBlur(values, (0, 0), sigma), dtype=np.float64)
