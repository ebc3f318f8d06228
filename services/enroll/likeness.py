"""How much a picture is like a photograph of a face, by which way its light falls: a negative's falls the other way.

Directions of the light's slope, with their sign, in 10 x 10 cells of a chip (Dalal and Triggs' histograms, 2005), and a
linear classifier. `tests.benchmarks.likeness` fitted it by least squares to 2,300 photographs of faces (LFW, 2026-12;
some as 24 kinds of good pictures are), and to negatives, solarised pictures, drawings and reliefs of them;
docs/quality.md has the figures. The weights say nothing of any single person.
"""

import json
from pathlib import Path
from typing import Final, cast

import numpy as np
from numpy.typing import NDArray

from services.enroll.texture import WHOLE, Chip, luminance

Floats = NDArray[np.float64]

CELL: Final = 12
CELLS: Final = 10
DIRECTIONS: Final = 8
WEAK: Final = 1.5
"""Slope, in levels a pixel, that counts as much as what is measured: noise in a smooth cell has no direction."""

WEIGHTS: Final = Path(__file__).with_name("likeness.json")


def slopes(chip: Chip) -> Floats:
    """Return the directions of a chip (150, 150, 3), (800,): shares of the slope in each cell, 0 to 1, square roots."""
    light = luminance(chip, WHOLE)
    softer = (light[:-2] + 2 * light[1:-1] + light[2:]) / 4
    soft = (softer[:, :-2] + 2 * softer[:, 1:-1] + softer[:, 2:]) / 4
    across, down = soft[1:-1, 2:] - soft[1:-1, :-2], soft[2:, 1:-1] - soft[:-2, 1:-1]
    side = CELL * CELLS
    edge = (len(across) - side) // 2
    inner = (slice(edge, edge + side), slice(edge, edge + side))
    across, down = across[inner], down[inner]
    steep = np.hypot(across, down)
    direction = np.arctan2(down, across) / (2 * np.pi) * DIRECTIONS % DIRECTIONS
    lower = np.floor(direction).astype(np.int64) % DIRECTIONS
    share = direction - np.floor(direction)
    bins = CELLS * CELLS * DIRECTIONS
    first = np.bincount((_PLACES + lower).ravel(), (steep * (1 - share)).ravel(), bins)
    second = np.bincount((_PLACES + (lower + 1) % DIRECTIONS).ravel(), (steep * share).ravel(), bins)
    cells = (first + second).reshape(-1, DIRECTIONS)
    shares: Floats = np.sqrt(cells / (cells.sum(axis=1, keepdims=True) + CELL * CELL * WEAK)).ravel()
    return shares


_CELL_OF: Final = np.arange(CELL * CELLS) // CELL
_PLACES: Final = (_CELL_OF[:, None] * CELLS + _CELL_OF) * DIRECTIONS


def likeness(chip: Chip) -> float:
    """Return 1 for what is like a photograph of a face, -1 for what is like none; faces have 0.8 in the median."""
    return float(slopes(chip) @ _weights) + _bias


def _read() -> tuple[Floats, float]:
    found = cast(dict[str, list[float]], json.loads(WEIGHTS.read_text(encoding="utf-8")))
    return np.array(found["weights"]), found["bias"][0]


_weights, _bias = _read()
