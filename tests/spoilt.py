"""Pictures of faces, spoilt on purpose: what printers, screens, fax machines, editors and bad links make of them.

Each kind in several strengths, from an RGB picture (height, width, 3) to another, for the gate's tests and
`tests.benchmarks.gate`. Same picture, same result.
"""

import io
from collections.abc import Callable, Iterator
from typing import Final, cast

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageFilter, ImageOps

Picture = NDArray[np.uint8]
Floats = NDArray[np.float64]
Spoil = Callable[[Picture], Picture]


def _random() -> np.random.Generator:
    return np.random.default_rng(8)


def _image(picture: Picture) -> Image.Image:
    return Image.fromarray(picture)


def _picture(image: Image.Image) -> Picture:
    return np.ascontiguousarray(np.asarray(image.convert("RGB"), dtype=np.uint8))


def _clipped(values: NDArray[np.floating]) -> Picture:
    """Turn 0..1, grey (h, w) or RGB, into a picture."""
    if values.ndim == 2:
        values = np.repeat(values[:, :, None], 3, axis=2)
    picture: Picture = np.clip(values * 255 + 0.5, 0, 255).astype(np.uint8)
    return picture


def _colours(picture: Picture) -> Floats:
    return picture.astype(np.float64) / 255


def _grey(picture: Picture) -> Floats:
    return np.asarray(_image(picture).convert("L"), dtype=np.float64) / 255


def _resized(picture: Picture, width: int, height: int, how: int = cv2.INTER_AREA) -> Picture:
    return np.asarray(cv2.resize(picture, (width, height), interpolation=how), dtype=np.uint8)


def _scaled(picture: Picture, times: float, how: int | None = None) -> Picture:
    height, width = picture.shape[:2]
    best = cv2.INTER_AREA if times < 1 else cv2.INTER_CUBIC
    return _resized(picture, round(width * times), round(height * times), best if how is None else how)


def _blurred(values: Floats, sigma: float) -> Floats:
    return np.asarray(cv2.GaussianBlur(values, (0, 0), sigma), dtype=np.float64)


def _raster(shape: tuple[int, ...], cell: float, degrees: float) -> Floats:
    """Return a printer's raster of dots, thresholds 0..1."""
    y, x = np.mgrid[0 : shape[0], 0 : shape[1]]
    a = np.radians(degrees)
    u, v = (x * np.cos(a) + y * np.sin(a)) / cell, (y * np.cos(a) - x * np.sin(a)) / cell
    dots: Floats = (np.cos(2 * np.pi * u) * np.cos(2 * np.pi * v) + 1) / 2
    return dots


def dithered(size: float = 1) -> Spoil:
    return lambda p: _picture(_image(_scaled(p, size)).convert("1"))


def thresholded(level: float | None) -> Spoil:
    """Two levels, by a level of 0..1, or by Otsu's."""

    def spoil(p: Picture) -> Picture:
        grey = (_grey(p) * 255).astype(np.uint8)
        if level is None:
            return _clipped(np.asarray(cv2.threshold(grey, 0, 255, cv2.THRESH_OTSU)[1], dtype=np.float64) / 255)
        return _clipped((grey > level * 255).astype(np.float64))

    return spoil


def adaptive(block: int) -> Spoil:
    def spoil(p: Picture) -> Picture:
        grey = (_grey(p) * 255).astype(np.uint8)
        done = cv2.adaptiveThreshold(grey, 255, cv2.ADAPTIVE_THRESH_MEAN_C, cv2.THRESH_BINARY, block, 4)
        return _clipped(np.asarray(done, dtype=np.float64) / 255)

    return spoil


def ordered(order: int) -> Spoil:
    """Bayer's matrix of 2^order."""
    matrix = np.zeros((1, 1))
    for _ in range(order):
        matrix = np.block([[4 * matrix, 4 * matrix + 2], [4 * matrix + 3, 4 * matrix + 1]])
    matrix = (matrix + 0.5) / matrix.size

    def spoil(p: Picture) -> Picture:
        grey = _grey(p)
        side = len(matrix)
        tiles = np.tile(matrix, (grey.shape[0] // side + 1, grey.shape[1] // side + 1))
        return _clipped((grey > tiles[: grey.shape[0], : grey.shape[1]]).astype(np.float64))

    return spoil


def random_dots() -> Spoil:
    return lambda p: _clipped((_grey(p) > _random().random(p.shape[:2])).astype(np.float64))


def halftone(cell: float, degrees: float = 45, blur: float = 1.0, size: int = 500) -> Spoil:
    def spoil(p: Picture) -> Picture:
        grey = _grey(_resized(p, size, size, cv2.INTER_CUBIC))
        dots = (grey > _raster(grey.shape, cell, degrees)).astype(np.float64)
        return _clipped(_blurred(dots, blur) if blur else dots)

    return spoil


def four_colours(cell: float, blur: float = 1.0, size: int = 500) -> Spoil:
    """Print in cyan, magenta and yellow, each raster at its angle."""

    def spoil(p: Picture) -> Picture:
        colours = _colours(_resized(p, size, size, cv2.INTER_CUBIC))
        rasters = np.stack([_raster(colours.shape, cell, a) for a in (15, 75, 0)], axis=2)
        dots = (colours > rasters).astype(np.float64)
        return _clipped(_blurred(dots, blur) if blur else dots)

    return spoil


def lines_screen(cell: float, degrees: float = 45, blur: float = 0.7) -> Spoil:
    """An engraving: lines that are thicker where it is darker."""

    def spoil(p: Picture) -> Picture:
        grey = _grey(_resized(p, 500, 500, cv2.INTER_CUBIC))
        y, x = np.mgrid[0:500, 0:500]
        a = np.radians(degrees)
        wave = (np.cos(2 * np.pi * (x * np.cos(a) + y * np.sin(a)) / cell) + 1) / 2
        return _clipped(_blurred((grey > wave).astype(np.float64), blur))

    return spoil


def faxed(fine: bool) -> Spoil:
    """204 x 98 or 204 x 196 dots per inch: wider than high, two levels, a line lost here and there."""

    def spoil(p: Picture) -> Picture:
        small = _resized(p, 300, 300 if fine else 150)
        dots = np.asarray(_image(small).convert("1"), dtype=np.float64)
        dots[_random().random(len(dots)) < 0.02] = 1.0
        return _resized(_clipped(dots), 300, 300, cv2.INTER_LINEAR)

    return spoil


def print_and_scan(cell: float, blur: float, out: int) -> Spoil:
    """A fine raster, printed large, spread by paper, scanned smaller."""

    def spoil(p: Picture) -> Picture:
        dots = four_colours(cell, blur, 1000)(p)
        scanned = _colours(_resized(dots, out, out)) * 0.85 + 0.08
        return _clipped(scanned + _random().normal(0, 0.01, scanned.shape))

    return spoil


def screen(pixels: float, degrees: float, out: int, blur: float = 0.6) -> Spoil:
    """Photograph a screen: stripes of red, green and blue with dark gaps, turned and tilted, sampled anew."""

    def spoil(p: Picture) -> Picture:
        side = 750
        lit = _colours(_resized(p, 250, 250)).repeat(3, axis=0).repeat(3, axis=1)
        mask = np.zeros_like(lit)
        for colour in range(3):
            mask[:, colour::3, colour] = 1.0
        mask[2::3] *= 0.3
        shown = cv2.GaussianBlur(lit * (0.25 + 2.0 * mask), (0, 0), blur)
        tilt = 0.04 * side
        corners = np.array([[0, 0], [side, 0], [side, side], [0, side]], dtype=np.float32)
        seen = np.array([[0, tilt], [side, 0], [side - tilt, side], [tilt, side]], dtype=np.float32)
        matrix = cv2.getPerspectiveTransform(corners, seen * np.float32(out / side))
        turn = np.vstack([cv2.getRotationMatrix2D((out / 2, out / 2), degrees, pixels), [0, 0, 1]])
        return _clipped(np.asarray(cv2.warpPerspective(shown, turn @ matrix, (out, out)), dtype=np.float64))

    return spoil


def waves(period: float, strength: float, degrees: float, coloured: bool = False) -> Spoil:
    """Moiré as cameras make it: bands of a few pixels over everything."""

    def spoil(p: Picture) -> Picture:
        y, x = np.mgrid[0 : p.shape[0], 0 : p.shape[1]]
        a = np.radians(degrees)
        along = x * np.cos(a) + y * np.sin(a) + (x - y) ** 2 / 3000
        phases = np.array([0, 2.1, 4.2]) if coloured else np.zeros(3)
        band = np.cos(2 * np.pi * along[:, :, None] / period + phases)
        return _clipped(_colours(p) * (1 + strength * band))

    return spoil


def interlaced(shift: int) -> Spoil:
    def spoil(p: Picture) -> Picture:
        done = p.copy()
        done[1::2] = np.roll(done[1::2], shift, axis=1)
        return done

    return spoil


def dark_lines(every: int, thick: int = 1, strength: float = 1.0, axis: int = 0) -> Spoil:
    """Scan lines, blinds."""

    def spoil(p: Picture) -> Picture:
        done = _colours(np.swapaxes(p, 0, 1) if axis else p)
        for row in range(thick):
            done[row::every] *= 1 - strength
        return _clipped(np.swapaxes(done, 0, 1) if axis else done)

    return spoil


def posterised(levels: int, grey: bool = False) -> Spoil:
    def spoil(p: Picture) -> Picture:
        values = _grey(p) if grey else _colours(p)
        return _clipped(np.minimum(np.floor(values * levels), levels - 1) / (levels - 1))

    return spoil


def negative(share: float = 1.0) -> Spoil:
    return lambda p: _clipped(_colours(p) * (1 - share) + (1 - _colours(p)) * share)


def negative_light(p: Picture) -> Picture:
    """Dark where it was bright, colours kept."""
    hue = np.asarray(_image(p).convert("HSV")).copy()
    hue[:, :, 2] = 255 - hue[:, :, 2]
    return _picture(Image.fromarray(hue, "HSV"))


def gaussian(sigma: float, coloured: bool = True, grain: float = 0.0) -> Spoil:
    """Noise, of grains so many pixels wide."""

    def spoil(p: Picture) -> Picture:
        noise = _random().normal(0, 1, p.shape if coloured else (*p.shape[:2], 1))
        if grain:
            noise = np.asarray(cv2.GaussianBlur(noise, (0, 0), grain), dtype=np.float64).reshape(noise.shape)
            noise /= noise.std()
        return _clipped(_colours(p) + noise * sigma / 255)

    return spoil


def salt_and_pepper(share: float, coloured: bool = False) -> Spoil:
    def spoil(p: Picture) -> Picture:
        chance = _random().random(p.shape if coloured else (*p.shape[:2], 1))
        return np.where(chance < share / 2, 0, np.where(chance > 1 - share / 2, 255, p)).astype(np.uint8)

    return spoil


def speckle(sigma: float) -> Spoil:
    return lambda p: _clipped(_colours(p) * (1 + _random().normal(0, sigma, p.shape)))


def poisson(peak: float) -> Spoil:
    return lambda p: _clipped(_random().poisson(_colours(p) * peak) / peak)


def uniform_noise(width: float) -> Spoil:
    return lambda p: _clipped(_colours(p) + _random().uniform(-width, width, p.shape))


def pencil(sigma: float) -> Spoil:
    """Colour dodge with the blurred negative: the well-known sketch filter."""

    def spoil(p: Picture) -> Picture:
        grey = _grey(p)
        return _clipped(np.minimum(grey / np.maximum(_blurred(grey, sigma), 0.02), 1.0))

    return spoil


def edges(dark: bool, coloured: bool = False) -> Spoil:
    def spoil(p: Picture) -> Picture:
        values = _colours(p) if coloured else _grey(p)
        across = np.asarray(cv2.Sobel(values, cv2.CV_64F, 1, 0), dtype=np.float64)
        down = np.asarray(cv2.Sobel(values, cv2.CV_64F, 0, 1), dtype=np.float64)
        found = np.minimum(np.hypot(across, down), 1.0)
        return _clipped(1 - found if dark else found)

    return spoil


def contours(dark: bool) -> Spoil:
    def spoil(p: Picture) -> Picture:
        found = np.asarray(cv2.Canny((_grey(p) * 255).astype(np.uint8), 60, 140), dtype=np.float64) / 255
        return _clipped(1 - found if dark else found)

    return spoil


def ink(sigma: float) -> Spoil:
    """Difference of Gaussians with a soft threshold (Winnemöller's XDoG)."""

    def spoil(p: Picture) -> Picture:
        grey = _grey(p)
        wide = _blurred(grey, 1.6 * sigma)
        sharp = _blurred(grey, sigma) * 11 - wide * 10
        return _clipped(np.where(sharp > 0.5, 1.0, 1 + np.tanh(8 * (sharp - 0.5))))

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
        grey = _grey(_resized(p, 500, 500, cv2.INTER_CUBIC))
        y, x = np.mgrid[0:500, 0:500]
        done = np.ones((500, 500))
        for level, line in ((0.75, x + y), (0.5, x - y), (0.25, x)):
            done[(grey < level) & (line % step < max(1, step // 4))] = 0.0
        return _clipped(_blurred(done, 0.7))

    return spoil


def embossed(p: Picture) -> Picture:
    return _picture(_image(p).filter(ImageFilter.EMBOSS))


def solarised(level: int) -> Spoil:
    return lambda p: _picture(ImageOps.solarize(_image(p), level))


def sharpened(radius: float, percent: int) -> Spoil:
    return lambda p: _picture(_image(p).filter(ImageFilter.UnsharpMask(radius, percent, 0)))


def local_contrast(limit: float, tiles: int) -> Spoil:
    def spoil(p: Picture) -> Picture:
        lab = cv2.cvtColor(p, cv2.COLOR_RGB2LAB)
        lab[:, :, 0] = cv2.createCLAHE(limit, (tiles, tiles)).apply(lab[:, :, 0])
        return np.asarray(cv2.cvtColor(lab, cv2.COLOR_LAB2RGB), dtype=np.uint8)

    return spoil


def mosaic(block: int) -> Spoil:
    def spoil(p: Picture) -> Picture:
        height, width = p.shape[:2]
        return _resized(_scaled(p, 1 / block), width, height, cv2.INTER_NEAREST)

    return spoil


def low_resolution(times: float) -> Spoil:
    def spoil(p: Picture) -> Picture:
        height, width = p.shape[:2]
        return _resized(_scaled(p, 1 / times), width, height, cv2.INTER_CUBIC)

    return spoil


def jpeg(quality: int, subsampling: int = 2) -> Spoil:
    def spoil(p: Picture) -> Picture:
        buffer = io.BytesIO()
        _image(p).save(buffer, "JPEG", quality=quality, subsampling=subsampling)
        return _picture(Image.open(buffer))

    return spoil


def webp(quality: int) -> Spoil:
    def spoil(p: Picture) -> Picture:
        buffer = io.BytesIO()
        _image(p).save(buffer, "WEBP", quality=quality)
        return _picture(Image.open(buffer))

    return spoil


def palette(colours: int, dither: bool) -> Spoil:
    how = Image.Dither.FLOYDSTEINBERG if dither else Image.Dither.NONE

    def spoil(p: Picture) -> Picture:
        chosen = _image(p).quantize(colours)
        return _picture(_image(p).quantize(colours, palette=chosen, dither=how))

    return spoil


def web_colours(p: Picture) -> Picture:
    """The 216 colours of old browsers, dithered."""
    return _picture(_image(p).convert("P", palette=Image.Palette.WEB, dither=Image.Dither.FLOYDSTEINBERG))


def swapped(order: tuple[int, int, int]) -> Spoil:
    return lambda p: np.ascontiguousarray(p[:, :, list(order)])


def heat(table: int) -> Spoil:
    def spoil(p: Picture) -> Picture:
        grey = (_grey(p) * 255).astype(np.uint8)
        return np.asarray(cv2.applyColorMap(grey, table), dtype=np.uint8)[:, :, ::-1].copy()

    return spoil


def tinted(colour: tuple[float, float, float]) -> Spoil:
    return lambda p: _clipped(_grey(p)[:, :, None] * np.array(colour))


def gamma(power: float) -> Spoil:
    return lambda p: _clipped(_colours(p) ** power)


def contrast(times: float, middle: float = 0.5) -> Spoil:
    return lambda p: _clipped((_colours(p) - middle) * times + middle)


def light(times: float) -> Spoil:
    return lambda p: _clipped(_colours(p) * times)


def equalised(p: Picture) -> Picture:
    return _picture(ImageOps.equalize(_image(p)))


def guilloche(strength: float, period: float = 10) -> Spoil:
    """Fine wavy lines over the face, as on visas and identity cards."""

    def spoil(p: Picture) -> Picture:
        y, x = np.mgrid[0 : p.shape[0], 0 : p.shape[1]]
        lines = np.zeros(p.shape[:2])
        for phase in (0, 2, 4):
            bend = y + 8 * np.sin(x / 17 + phase) + 3 * np.sin(x / 5 + phase)
            lines = np.maximum(lines, np.exp(-(((bend % period) - period / 2) ** 2) / 0.8))
        ink_colour = np.array([0.2, 0.45, 0.4])
        return _clipped(_colours(p) * (1 - strength * lines[:, :, None]) + ink_colour * strength * lines[:, :, None])

    return spoil


def lettered(strength: float) -> Spoil:
    """A watermark, again and again."""

    def spoil(p: Picture) -> Picture:
        mask = np.zeros(p.shape[:2], dtype=np.uint8)
        for row in range(-20, p.shape[0] + 40, 28):
            cv2.putText(mask, "SPECIMEN " * 4, (-(row % 50), row), cv2.FONT_HERSHEY_SIMPLEX, 0.7, 255, 2)
        cover = mask[:, :, None] / 255 * strength
        return _clipped(_colours(p) * (1 - cover) + cover)

    return spoil


def doubled(shift: int) -> Spoil:
    """Two exposures."""
    return lambda p: _picture(ImageChops.blend(_image(p), ImageChops.offset(_image(p), shift, shift // 3), 0.5))


def moved(pixels: int) -> Spoil:
    def spoil(p: Picture) -> Picture:
        return np.asarray(cv2.blur(p, (pixels, 1)), dtype=np.uint8)

    return spoil


def defocused(sigma: float) -> Spoil:
    return lambda p: _clipped(_blurred(_colours(p), sigma))


def thermal(levels: int) -> Spoil:
    """A receipt printer: few levels of dots, dark streaks along the paper."""

    def spoil(p: Picture) -> Picture:
        grey = _grey(p) ** 0.7
        streaks = np.where(_random().random(len(grey[0])) < 0.08, 0.25, 0.0)
        return posterised(levels, grey=True)(_clipped(grey + streaks + _random().normal(0, 0.15, grey.shape)))

    return spoil


def letters(block: int) -> Spoil:
    """A picture made of letters."""

    def spoil(p: Picture) -> Picture:
        side = 600
        small = _grey(_resized(p, side // block, side // block))
        done = np.full((side, side), 255, dtype=np.uint8)
        for row in range(small.shape[0]):
            for column in range(small.shape[1]):
                letter = "@#8&o+:. "[min(int(small[row, column] * 9), 8)]
                at = (column * block, row * block + block)
                cv2.putText(done, letter, at, cv2.FONT_HERSHEY_PLAIN, block / 11, 0, 1)
        return _clipped(done.astype(np.float64) / 255)

    return spoil


def woven(period: int, strength: float) -> Spoil:
    """Canvas, or a lens with a crosshatch."""

    def spoil(p: Picture) -> Picture:
        y, x = np.mgrid[0 : p.shape[0], 0 : p.shape[1]]
        weave = np.sin(2 * np.pi * x / period) * np.sin(2 * np.pi * y / period)
        return _clipped(_colours(p) * (1 + strength * weave[:, :, None]))

    return spoil


def glitched(most: int, rows: int) -> Spoil:
    def spoil(p: Picture) -> Picture:
        done, random = p.copy(), _random()
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
        off = np.asarray(_random().integers(-most, most + 1, (2, height, width)), dtype=np.int64)
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


def painted(size: int) -> Spoil:
    """Oil: the most frequent value nearby."""
    return lambda p: _picture(_image(posterised(12)(p)).filter(ImageFilter.ModeFilter(size)))


def median(size: int) -> Spoil:
    return lambda p: np.asarray(cv2.medianBlur(p, size), dtype=np.uint8)


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
    "painted": [painted(5), painted(9), painted(13)],
}  # fmt: skip
"""Kinds, each from several hands, weak and strong."""

CLEAN: Final[dict[str, Spoil]] = {
    "as it is": lambda p: p,
    "jpeg 95": jpeg(95),
    "jpeg 75": jpeg(75),
    "jpeg 50": jpeg(50),
    "webp 75": webp(75),
    "grey": lambda p: _clipped(_grey(p)),
    "sepia": tinted((1.0, 0.9, 0.75)),
    "half": lambda p: _scaled(p, 0.6),
    "twice": lambda p: _scaled(p, 2),
    "four times, linear": lambda p: _scaled(p, 4, cv2.INTER_LINEAR),
    "indoor noise 5": gaussian(5),
    "indoor noise 8": gaussian(8, True, 0.7),
    "dim": light(0.6),
    "dim and noisy": lambda p: gaussian(4)(light(0.6)(p)),
    "bright": light(1.15),
    "gamma 0.7": gamma(0.7),
    "gamma 1.4": gamma(1.4),
    "contrast 1.25": contrast(1.25),
    "contrast 0.75": contrast(0.75),
    "warm light": lambda p: _clipped(_colours(p) * np.array([1.0, 0.85, 0.65])),
    "cold light": lambda p: _clipped(_colours(p) * np.array([0.8, 0.95, 1.0])),
    "phone's sharpening": sharpened(1.0, 80),
    "turned by 8 degrees": lambda p: _picture(_image(p).rotate(8, Image.Resampling.BICUBIC, fillcolor=(128, 128, 128))),
    "mirrored": lambda p: np.ascontiguousarray(p[:, ::-1]),
}
"""What happens to good pictures, and has to pass as they do."""


def every() -> Iterator[tuple[str, int, Spoil]]:
    """Give each kind, its number within the kind, and what to do."""
    for kind, strengths in SPOILT.items():
        for number, spoil in enumerate(strengths):
            yield kind, number, spoil
