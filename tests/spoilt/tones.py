"""What editors do to light and colours."""

import cv2
import numpy as np
from PIL import Image, ImageFilter, ImageOps

from tests.spoilt.basis import Picture, Spoil, clipped, colours_of, grey_of, image_of, picture_of


def posterised(levels: int, grey: bool = False) -> Spoil:
    def spoil(p: Picture) -> Picture:
        values = grey_of(p) if grey else colours_of(p)
        return clipped(np.minimum(np.floor(values * levels), levels - 1) / (levels - 1))

    return spoil


def negative(share: float = 1.0) -> Spoil:
    return lambda p: clipped(colours_of(p) * (1 - share) + (1 - colours_of(p)) * share)


def negative_light(p: Picture) -> Picture:
    """Dark where it was bright, colours kept."""
    hue = np.asarray(image_of(p).convert("HSV")).copy()
    hue[:, :, 2] = 255 - hue[:, :, 2]
    return picture_of(Image.fromarray(hue, "HSV"))


def solarised(level: int) -> Spoil:
    return lambda p: picture_of(ImageOps.solarize(image_of(p), level))


def sharpened(radius: float, percent: int) -> Spoil:
    return lambda p: picture_of(image_of(p).filter(ImageFilter.UnsharpMask(radius, percent, 0)))


def local_contrast(limit: float, tiles: int) -> Spoil:
    def spoil(p: Picture) -> Picture:
        lab = cv2.cvtColor(p, cv2.COLOR_RGB2LAB)
        lab[:, :, 0] = cv2.createCLAHE(limit, (tiles, tiles)).apply(lab[:, :, 0])
        return np.asarray(cv2.cvtColor(lab, cv2.COLOR_LAB2RGB), dtype=np.uint8)

    return spoil


def palette(colours: int, dither: bool) -> Spoil:
    how = Image.Dither.FLOYDSTEINBERG if dither else Image.Dither.NONE

    def spoil(p: Picture) -> Picture:
        chosen = image_of(p).quantize(colours)
        return picture_of(image_of(p).quantize(colours, palette=chosen, dither=how))

    return spoil


def web_colours(p: Picture) -> Picture:
    """The 216 colours of old browsers, dithered."""
    return picture_of(image_of(p).convert("P", palette=Image.Palette.WEB, dither=Image.Dither.FLOYDSTEINBERG))


def swapped(order: tuple[int, int, int]) -> Spoil:
    return lambda p: np.ascontiguousarray(p[:, :, list(order)])


def heat(table: int) -> Spoil:
    def spoil(p: Picture) -> Picture:
        grey = (grey_of(p) * 255).astype(np.uint8)
        return np.asarray(cv2.applyColorMap(grey, table), dtype=np.uint8)[:, :, ::-1].copy()

    return spoil


def tinted(colour: tuple[float, float, float]) -> Spoil:
    return lambda p: clipped(grey_of(p)[:, :, None] * np.array(colour))


def gamma(power: float) -> Spoil:
    return lambda p: clipped(colours_of(p) ** power)


def contrast(times: float, middle: float = 0.5) -> Spoil:
    return lambda p: clipped((colours_of(p) - middle) * times + middle)


def light(times: float) -> Spoil:
    return lambda p: clipped(colours_of(p) * times)


def equalised(p: Picture) -> Picture:
    return picture_of(ImageOps.equalize(image_of(p)))
