"""What a face's pixels are made of: of a photograph's, or of dots, lines, noise or few tones.

Scores are calibrated on photographs, and mean nothing on other pictures: networks see dots before they see people, so
that all strangers on pictures with dots are alike. A photograph of a face has little of its detail at the finest scale,
none of it repeats, no direction has most of it, its tones are many and its colours go together. Each measure tells one
of these. Pure: numbers in, numbers out. What was measured on which pictures: docs/quality.md.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

Chip = NDArray[np.uint8]
Light = NDArray[np.float32]

FACE: Final = (slice(25, 130), slice(30, 120))
"""The part of a chip (150, 150, 3) that is skin, eyes and mouth, not hair, neck and background."""

WHOLE: Final = (slice(None), slice(None))

LEVEL: Final = 180.0
"""Luminance to which a face's bright parts (95th percentile) are brought first: a dim picture is no smooth one."""

_REC_601: Final = np.array([0.299, 0.587, 0.114], dtype=np.float32)
_FLAT: Final = 0.6
"""Steps between neighbours, in levels of 255, below which both have the same tone: rounding moves them by 0.5."""
_TONES: Final = 16
_SIDE: Final = 128
"""Side of the spectrum: the next power of two, in cycles along it."""
_SLOW: Final = 14
"""Cycles up to which a pattern is the face itself: 9 pixels and more from one to the next."""
_AROUND: Final = 6
"""Cycles from a pattern's peak to where its neighbourhood is looked at: beyond the window's own width (3)."""


def luminance(chip: Chip, part: tuple[slice, slice] = FACE) -> Light:
    """Return the light of the face (105, 90), or of the whole chip, 0 to 255."""
    light: Light = (chip[part].astype(np.float32) @ _REC_601).astype(np.float32)
    return light


def levelled(light: Light) -> Light:
    """Bring the light to one level."""
    level: Light = light * np.float32(_gain(light))
    return level


def _gain(light: Light) -> float:
    return LEVEL / max(float(np.percentile(light, 95)), 1.0)


def texture(chip: Chip) -> dict[str, float]:
    """Measure a chip (150, 150, 3) RGB, the face upright. Each value has its limit in `shared.settings_gate`."""
    whole = luminance(chip, WHOLE)
    light = levelled(whole[FACE])
    finest, coarser = _details(light)
    power = float((coarser**2).mean(axis=(1, 2)).sum())
    return {
        "fine": float((finest**2).mean(axis=(1, 2)).sum()) / (power + 1.0),
        "grain": float(np.median(np.abs(finest))),
        "relief": power,
        "lines": _lines(light),
        "mirror": _mirror(light),
        "echo": _echo(levelled(whole)),
        **_displaced(whole * np.float32(_gain(whole[FACE]))),
        **_spectrum(light),
        **_tones(light),
        **_colours(chip),
    }


def _details(light: Light) -> tuple[Light, Light]:
    """Return what distinguishes neighbours, (3, h, w): along both diagonals, between rows, between columns.

    At the finest scale, and at that of twice as large pixels: Haar's wavelets, each of unit length.
    """
    found: list[Light] = []
    for _ in range(2):
        rows, columns = light.shape[0] // 2 * 2, light.shape[1] // 2 * 2
        even = light[:rows, :columns]
        a, b, c, d = even[::2, ::2], even[::2, 1::2], even[1::2, ::2], even[1::2, 1::2]
        details: Light = (np.stack([a - b - c + d, a + b - c - d, a - b + c - d]) / 2).astype(np.float32)
        found.append(details)
        light = ((a + b + c + d) / 2).astype(np.float32)
    return found[0], found[1]


def _lines(light: Light) -> float:
    """Return how much rougher the steps from row to row are than those from column to column: 1 is equal.

    Mean and median together: the first sees a few torn rows, the second lines over everything.
    """
    down = np.abs(light[:-2] - 2 * light[1:-1] + light[2:])
    across = np.abs(light[:, :-2] - 2 * light[:, 1:-1] + light[:, 2:])
    means = float(down.mean() + 0.1) / float(across.mean() + 0.1)
    return float(np.sqrt(means * float(np.median(down) + 0.1) / float(np.median(across) + 0.1)))


def _mirror(light: Light) -> float:
    """Return how alike (correlation) the face is to itself in a mirror, at best: no half of a face is the other's."""
    fine = (_blurred(light, 1) - _blurred(light, 5)) * _WINDOW
    seen, mirrored = (np.fft.rfft2(half, (_SIDE, _SIDE)) for half in (fine, fine[:, ::-1]))
    together = np.fft.irfft2(seen * np.conj(mirrored), (_SIDE, _SIDE))
    near = np.roll(together, (_MOVED // 2, _MOVED_ACROSS // 2), (0, 1))[:_MOVED, :_MOVED_ACROSS]
    return float(near.max()) / max(float((fine**2).sum()), 1.0)


def _echo(light: Light) -> float:
    """Return the highest peak of the power cepstrum (Bogert, Healy and Tukey, 1963) of a whole chip, in thousandths.

    It shows what comes twice, however far away it comes again: two exposures, lines, letters.
    """
    log = np.log(np.abs(np.fft.rfft2((light - light.mean()) * _WHOLE_WINDOW)) ** 2 + 1e3)
    return 1000 * float(np.fft.irfft2(log, light.shape)[_AWAY].max())


def _displaced(light: Light) -> dict[str, float]:
    """Measure how rows and columns of a whole chip lie beside their neighbours, in pixels.

    In a photograph a few edges slant, and most rows lie straight below each other. Where rows were shifted, the slant
    changes from each row to the next (torn); where a wave bends them, it changes over some rows and back (waved).
    """
    rows, columns, of_face = _slants(light), _slants(light.T), _slants(light[FACE].T)
    return {
        "torn": max(_change(rows), _UPRIGHT * _change(columns)),
        "waved": max(_swing(slants, rows_apart) for slants in (rows, of_face) for rows_apart in _APART),
    }


def _slants(light: Light) -> Light:
    """Return by how many pixels each row lies to the left of the one above, by least squares (Lucas, Kanade, 1981)."""
    smooth = (light[:, :-2] + 2 * light[:, 1:-1] + light[:, 2:]) / 4
    across = (smooth[:, 2:] - smooth[:, :-2]) / 2
    across = (across[1:] + across[:-1]) / 2
    down = np.diff(smooth, axis=0)[:, 1:-1]
    return np.asarray((across * down).sum(axis=1) / ((across**2).sum(axis=1) + across.shape[1]), dtype=np.float32)


def _change(slants: Light) -> float:
    return float(np.abs(np.diff(slants)).mean())


def _swing(slants: Light, apart: int) -> float:
    """Return the usual change over so many rows, noise taken out; as a random walk's, it grows with their root."""
    smooth = np.convolve(slants, np.full(3, 1 / 3), mode="valid")
    return float(np.median(np.abs(smooth[apart:] - smooth[:-apart]))) * float(np.sqrt(_APART[0] / apart))


def _blurred(light: Light, radius: int) -> Light:
    """Return the mean of each pixel's square neighbourhood, the edges repeated."""
    size = 2 * radius + 1
    sums = np.pad(np.pad(light, radius, mode="edge").cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    means = sums[size:, size:] - sums[:-size, size:] - sums[size:, :-size] + sums[:-size, :-size]
    return np.asarray(means / size**2, dtype=np.float32)


def _spectrum(light: Light) -> dict[str, float]:
    half = np.fft.rfft2((light - light.mean()) * _WINDOW, (_SIDE, _SIDE))
    power: Light = (half.real**2 + half.imag**2).astype(np.float32)
    whole = float((power * _SHAPE).sum()) + 1.0
    return {
        "middle": float((power * _MIDDLE).sum()) / whole,
        "high": float((power * _HIGH).sum()) / whole,
        "pattern": _standing_out(np.log(power + np.float32(1e3))),
    }


def _standing_out(log: Light) -> float:
    """Return by how much a wave stands out of those around it: a pattern is a peak, an edge goes on as a streak."""
    n = _AROUND
    opposite = np.roll(log[::-1], 1, axis=0)  # the half that is not kept: the same, turned about
    wide = np.hstack([opposite[:, n:0:-1], log, opposite[:, -2 : -2 - n : -1]])
    wide = np.vstack([wide[-n:], wide, wide[:n]])
    rows, columns = log.shape
    around = np.full_like(log, -np.inf)
    for down, across in _RING:
        np.maximum(around, wide[n + down : n + down + rows, n + across : n + across + columns], out=around)
    return float((log - around)[_CYCLES > _SLOW].max())


_WINDOW: Final = np.outer(np.hanning(105), np.hanning(90)).astype(np.float32)
_CYCLES: Final = np.hypot(np.fft.fftfreq(_SIDE, 1 / _SIDE)[:, None], np.fft.rfftfreq(_SIDE, 1 / _SIDE))
_TWICE: Final = np.where(np.arange(_SIDE // 2 + 1) % (_SIDE // 2), 2, 1).astype(np.float32)
"""All columns of half a spectrum but the first and the last stand for two."""
_SHAPE: Final = (_CYCLES > 2) * _TWICE
_WHOLE_WINDOW: Final = np.outer(np.hanning(150), np.hanning(150)).astype(np.float32)
_AWAY: Final = np.hypot(*np.meshgrid(np.fft.fftfreq(150, 1 / 150), np.fft.fftfreq(150, 1 / 150))) > 8
"""Pixels from which on an echo is none of a face's own lines."""
_MOVED: Final = 8
_MOVED_ACROSS: Final = 24
"""Pixels by which the middle of a mirrored face may lie off the middle of the chip, half of them to each side."""
_UPRIGHT: Final = 0.6
"""Weight of columns: faces, doors and shelves have more upright edges, so that columns change more. Clean: at most 0.18
for rows, 0.30 for columns."""
_APART: Final = (8, 12, 16)
"""Rows over which a wave is looked for: half of one of 16 to 32 pixels, and odd multiples of it."""
_MIDDLE: Final = ((_CYCLES > 16) & (_CYCLES <= 40)) * _TWICE
_HIGH: Final = (_CYCLES > 40) * _TWICE
_RING: Final = [
    (round(_AROUND * float(np.sin(angle))), round(_AROUND * float(np.cos(angle))))
    for angle in np.arange(16) * np.pi / 8
]


def _tones(light: Light) -> dict[str, float]:
    across, down = np.abs(np.diff(light, axis=1))[:-1], np.abs(np.diff(light, axis=0))[:, :-1]
    frequent = np.sort(np.bincount(np.clip(light, 0, 255).astype(np.uint8).ravel(), minlength=256))
    return {
        "flat": float((np.maximum(across, down) < _FLAT).mean()),
        "tones": float(frequent[-_TONES:].sum()) / light.size,
    }


def _colours(chip: Chip) -> dict[str, float]:
    red, green, blue = np.moveaxis(chip[FACE].astype(np.float32), 2, 0)
    return {
        "colours": min(_together(red, green), _together(green, blue)),
        "tint": float(red.mean() - green.mean()) / max(float(red.mean() + green.mean() + blue.mean()) / 3, 1.0),
    }


def _together(a: Light, b: Light) -> float:
    """Return how two colours go together: correlation, -1 to 1; 1 where one of them does not change at all."""
    a, b = a - a.mean(), b - b.mean()
    lengths = float(np.sqrt((a * a).mean() * (b * b).mean()))
    return float((a * b).mean()) / lengths if lengths > 1.0 else 1.0
