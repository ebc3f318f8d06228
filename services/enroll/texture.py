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


def luminance(chip: Chip) -> Light:
    """Return the light of the face (105, 90), 0 to 255."""
    light: Light = (chip[FACE].astype(np.float32) @ _REC_601).astype(np.float32)
    return light


def levelled(light: Light) -> Light:
    """Bring the light to one level."""
    level: Light = light * np.float32(LEVEL / max(float(np.percentile(light, 95)), 1.0))
    return level


def texture(chip: Chip) -> dict[str, float]:
    """Measure a chip (150, 150, 3) RGB, the face upright. Each value has its limit in `shared.texture_settings`."""
    light = levelled(luminance(chip))
    finest, coarser = _details(light)
    across, down = float((finest[1] ** 2).mean()), float((finest[2] ** 2).mean())
    power = float((coarser**2).mean(axis=(1, 2)).sum())
    return {
        "fine": float((finest**2).mean(axis=(1, 2)).sum()) / (power + 1.0),
        "grain": float(np.median(np.abs(finest))),
        "relief": power,
        "lines": (across + 0.1) / (down + 0.1),
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


def _spectrum(light: Light) -> dict[str, float]:
    spectrum = np.fft.fft2((light - light.mean()) * _WINDOW, (_SIDE, _SIDE))
    power = spectrum.real**2 + spectrum.imag**2
    whole = float(power[_CYCLES > 2].sum()) + 1.0
    log = np.log(power + 1e3)
    around = np.max([np.roll(log, shift, (0, 1)) for shift in _RING], axis=0)
    return {
        "middle": float(power[_MIDDLE].sum()) / whole,
        "high": float(power[_HIGH].sum()) / whole,
        "pattern": float((log - around)[_CYCLES > _SLOW].max()),
    }


_WINDOW: Final = np.outer(np.hanning(105), np.hanning(90))
_CYCLES: Final = np.hypot(*np.meshgrid(np.fft.fftfreq(_SIDE, 1 / _SIDE), np.fft.fftfreq(_SIDE, 1 / _SIDE)))
_MIDDLE: Final = (_CYCLES > 16) & (_CYCLES <= 40)
_HIGH: Final = _CYCLES > 40
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
