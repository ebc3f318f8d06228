"""Pictures of faces, spoilt on purpose: what printers, screens, fax machines, editors and bad links make of them.

Each kind in several strengths, from an RGB picture (height, width, 3) to another, for the gate's tests and
`tests.benchmarks.gate`. Same picture, same result.
"""

from collections.abc import Iterator
from typing import Final

import cv2
import numpy as np
from PIL import Image

from tests.spoilt.basis import Spoil, clipped, colours_of, grey_of, image_of, picture_of, scaled
from tests.spoilt.detail import defocused, jpeg, low_resolution, median, mosaic, moved, webp
from tests.spoilt.drawing import cartoon, contours, edges, embossed, hatched, ink, painted, pencil
from tests.spoilt.noise import gaussian, poisson, salt_and_pepper, speckle, uniform_noise
from tests.spoilt.patterns import dark_lines, guilloche, interlaced, lettered, screen, waves, woven
from tests.spoilt.places import doubled, frosted, glitched, mirrored_half, rippled, upright
from tests.spoilt.printing import (
    adaptive,
    dithered,
    faxed,
    four_colours,
    halftone,
    letters,
    lines_screen,
    ordered,
    print_and_scan,
    random_dots,
    thermal,
    thresholded,
)
from tests.spoilt.tones import (
    contrast,
    equalised,
    gamma,
    heat,
    light,
    local_contrast,
    negative,
    negative_light,
    palette,
    posterised,
    sharpened,
    solarised,
    swapped,
    tinted,
    web_colours,
)

SPOILT: Final[dict[str, list[Spoil]]] = {
    "bilevel, dithered": [dithered(), dithered(2), ordered(1), ordered(2), ordered(3), random_dots()],
    "bilevel, threshold": [thresholded(0.5), thresholded(0.35), thresholded(None), adaptive(11), adaptive(31)],
    "halftone": [
        halftone(6 * 2**0.5), halftone(4), halftone(6, 30), halftone(8, 15), halftone(10, 45, 2), halftone(14, 75),
        halftone(6, 45, 0), halftone(5, 45, 2.0), halftone(8, 45, 3.0),
    ],
    "halftone, colour": [four_colours(4), four_colours(6), four_colours(9), four_colours(6, 2), four_colours(8, 3)],
    "engraving": [lines_screen(5), lines_screen(8), lines_screen(12, 0), lines_screen(8, 90, 2.0)],
    "fax": [faxed(True), faxed(False)],
    "print and scan": [
        print_and_scan(6, 2, 250), print_and_scan(10, 2, 333), print_and_scan(14, 3, 500), print_and_scan(20, 4, 400),
    ],
    "screen": [screen(1.0, 0, 250), screen(1.0, 7, 333), screen(1.2, 3, 500), screen(0.95, 15, 421), screen(1, 4, 640)],
    "moiré": [
        waves(3, 0.3, 20), waves(4.5, 0.3, 70), waves(7, 0.4, 10), waves(12, 0.5, 45), waves(6, 0.2, 0),
        waves(5, 0.4, 30, True), waves(9, 0.5, 60, True),
    ],
    "interlaced": [interlaced(3), interlaced(6), interlaced(12), interlaced(24)],
    "lines": [
        dark_lines(2), dark_lines(3), dark_lines(4, 2), dark_lines(4, 1, 0.5), dark_lines(8, 3), dark_lines(12, 6, 0.7),
        dark_lines(2, 1, 1.0, 1), dark_lines(6, 3, 1.0, 1), dark_lines(2, 1, 0.4), dark_lines(16, 5),
    ],
    "posterised": [posterised(2), posterised(3), posterised(4), posterised(5), posterised(6), posterised(8)],
    "posterised, grey": [posterised(n, True) for n in (2, 3, 4, 5, 6, 8)],
    "negative": [negative(), negative(0.8), negative(0.65), negative_light],
    "noise, gaussian": [gaussian(s) for s in (15, 25, 40, 60, 90)] + [gaussian(s, False) for s in (20, 40, 70)],
    "noise, grain": [gaussian(30, False, 1), gaussian(50, False, 1), gaussian(40, True, 1.5), gaussian(40, False, 2)],
    "noise, salt and pepper": [salt_and_pepper(s) for s in (0.02, 0.05, 0.1, 0.25, 0.5)] + [salt_and_pepper(0.1, True)],
    "noise, speckle": [speckle(0.15), speckle(0.3), speckle(0.5), speckle(0.9)],
    "noise, photons": [poisson(50), poisson(20), poisson(8), poisson(3), uniform_noise(0.2), uniform_noise(0.5)],
    "drawing": [
        pencil(3), pencil(8), pencil(20), edges(True), edges(True, True), contours(True), ink(1.0), ink(2.0),
        cartoon(6), cartoon(12), hatched(6), hatched(10),
    ],
    "edges": [edges(False), edges(False, True), contours(False), embossed],
    "solarised": [solarised(64), solarised(100), solarised(128), solarised(180)],
    "sharpened": [
        sharpened(1, 300), sharpened(1, 600), sharpened(2, 300), sharpened(2, 600), sharpened(4, 400),
        sharpened(8, 800),
    ],
    "local contrast": [local_contrast(4, 8), local_contrast(10, 8), local_contrast(40, 16), equalised],
    "mosaic": [mosaic(3), mosaic(4), mosaic(6), mosaic(8), mosaic(12), mosaic(16)],
    "few pixels": [low_resolution(3), low_resolution(5), low_resolution(8), low_resolution(12)],
    "jpeg": [jpeg(1), jpeg(3), jpeg(5), jpeg(10), jpeg(15), webp(1)],
    "palette": [
        palette(4, True), palette(8, True), palette(16, True), palette(4, False), palette(8, False), web_colours,
    ],
    "false colour": [
        swapped((2, 1, 0)), swapped((1, 0, 2)), swapped((1, 2, 0)), heat(cv2.COLORMAP_JET), heat(cv2.COLORMAP_HOT),
        heat(cv2.COLORMAP_HSV), heat(cv2.COLORMAP_VIRIDIS), tinted((1, 0.1, 0.1)), tinted((0.1, 1, 0.1)),
    ],
    "gamma": [gamma(0.2), gamma(0.35), gamma(2.5), gamma(4), gamma(6)],
    "contrast": [contrast(2.5), contrast(5), contrast(10, 0.4), contrast(0.3), contrast(0.15), contrast(0.3, 0.9)],
    "guilloche": [
        guilloche(0.25), guilloche(0.5), guilloche(0.9), guilloche(0.5, 6), guilloche(0.8, 18), lettered(0.5),
    ],
    "doubled": [doubled(6), doubled(12), doubled(30)],
    "blurred": [moved(9), moved(15), moved(25), defocused(2), defocused(3), defocused(5), median(7), median(13)],
    "thermal": [thermal(2), thermal(4), thermal(8)],
    "letters": [letters(6), letters(10), letters(14)],
    "woven": [woven(3, 0.4), woven(5, 0.4), woven(8, 0.5), woven(4, 0.8), woven(14, 0.6)],
    "glitched": [glitched(3, 1), glitched(8, 4), glitched(20, 10), glitched(6, 2)],
    "mirrored half": [mirrored_half(True), mirrored_half(False)],
    "frosted": [frosted(1), frosted(2), frosted(4), frosted(7)],
    "rippled": [rippled(2, 8), rippled(3, 15), rippled(6, 40)],
    "glitched, upright": [upright(glitched(8, 4)), upright(glitched(20, 10))],
    "rippled, upright": [upright(rippled(2, 8)), upright(rippled(3, 15)), upright(rippled(6, 40))],
    "painted": [painted(5), painted(9), painted(13)],
}  # fmt: skip
"""Kinds, each from several hands, weak and strong."""

CLEAN: Final[dict[str, Spoil]] = {
    "as it is": lambda p: p,
    "jpeg 95": jpeg(95),
    "jpeg 75": jpeg(75),
    "jpeg 50": jpeg(50),
    "webp 75": webp(75),
    "grey": lambda p: clipped(grey_of(p)),
    "sepia": tinted((1.0, 0.9, 0.75)),
    "half": lambda p: scaled(p, 0.6),
    "twice": lambda p: scaled(p, 2),
    "four times, linear": lambda p: scaled(p, 4, cv2.INTER_LINEAR),
    "indoor noise 5": gaussian(5),
    "indoor noise 8": gaussian(8, True, 0.7),
    "dim": light(0.6),
    "dim and noisy": lambda p: gaussian(4)(light(0.6)(p)),
    "bright": light(1.15),
    "gamma 0.7": gamma(0.7),
    "gamma 1.4": gamma(1.4),
    "contrast 1.25": contrast(1.25),
    "contrast 0.75": contrast(0.75),
    "warm light": lambda p: clipped(colours_of(p) * np.array([1.0, 0.85, 0.65])),
    "cold light": lambda p: clipped(colours_of(p) * np.array([0.8, 0.95, 1.0])),
    "phone's sharpening": sharpened(1.0, 80),
    "turned by 8 degrees": lambda p: picture_of(
        image_of(p).rotate(8, Image.Resampling.BICUBIC, fillcolor=(128, 128, 128))
    ),
    "mirrored": lambda p: np.ascontiguousarray(p[:, ::-1]),
}
"""What happens to good pictures, and has to pass as they do."""


def every() -> Iterator[tuple[str, int, Spoil]]:
    """Give each kind, its number within the kind, and what to do."""
    for kind, strengths in SPOILT.items():
        for number, spoil in enumerate(strengths):
            yield kind, number, spoil
