"""What makes a picture coarse: few pixels, compression, blur."""

import io

import cv2
import numpy as np
from PIL import Image

from tests.spoilt.basis import Picture, Spoil, blurred, clipped, colours_of, image_of, picture_of, resized, scaled


def mosaic(block: int) -> Spoil:
    def spoil(p: Picture) -> Picture:
        height, width = p.shape[:2]
        return resized(scaled(p, 1 / block), width, height, cv2.INTER_NEAREST)

    return spoil


def low_resolution(times: float) -> Spoil:
    def spoil(p: Picture) -> Picture:
        height, width = p.shape[:2]
        return resized(scaled(p, 1 / times), width, height, cv2.INTER_CUBIC)

    return spoil


def jpeg(quality: int, subsampling: int = 2) -> Spoil:
    def spoil(p: Picture) -> Picture:
        buffer = io.BytesIO()
        image_of(p).save(buffer, "JPEG", quality=quality, subsampling=subsampling)
        return picture_of(Image.open(buffer))

    return spoil


def webp(quality: int) -> Spoil:
    def spoil(p: Picture) -> Picture:
        buffer = io.BytesIO()
        image_of(p).save(buffer, "WEBP", quality=quality)
        return picture_of(Image.open(buffer))

    return spoil


def moved(pixels: int) -> Spoil:
    def spoil(p: Picture) -> Picture:
        return np.asarray(cv2.blur(p, (pixels, 1)), dtype=np.uint8)

    return spoil


def defocused(sigma: float) -> Spoil:
    return lambda p: clipped(blurred(colours_of(p), sigma))


def median(size: int) -> Spoil:
    return lambda p: np.asarray(cv2.medianBlur(p, size), dtype=np.uint8)
