"""The exact search over all rows of the gallery; the only file that imports FAISS."""
# pyright: basic

from collections.abc import Sequence
from typing import Final

import faiss
import numpy as np
from numpy.typing import NDArray

from shared.biometrics import Vector
from shared.calibration import Comparator, Prepared
from shared.mixture import Floats

Rows = NDArray[np.int64]

_JUST_BELOW_ONE: Final = float(np.nextafter(np.float32(1), np.float32(0)))


def use_threads(count: int) -> None:
    """Let each search use so many threads."""
    faiss.omp_set_num_threads(count)


class FaissIndex:
    """Rows numbered from 0 in the order in which they were added; a row never changes.

    FAISS holds them widened by one number (`Comparator.widened_references`), of which all others are the template's
    own: so each vector is kept once. A row takes 4·(d + 1) + 8 bytes, 524 for 128 dimensions.
    """

    def __init__(self, comparator: Comparator) -> None:
        self._comparator = comparator
        self._flat = faiss.IndexFlatIP(comparator.calibration.dimension + 1)
        self._nearness: Floats = np.empty(1024)
        """Those of the rows, and room for more."""
        self._lift = np.float32(comparator.calibration.unit)
        """Added to every product: templates of unit length that are less alike than 60° apart have a negative one."""
        self._longest = 0.0
        """The greatest length of any widened row."""

    def __len__(self) -> int:
        return int(self._flat.ntotal)

    def add(self, references: Prepared) -> None:
        """Append rows."""
        if not len(references):
            return
        start, end = len(self), len(self) + len(references)
        if end > len(self._nearness):
            grown = np.empty(max(end, len(self._nearness) * 3 // 2))
            grown[:start] = self._nearness[:start]
            self._nearness = grown
        self._nearness[start:end] = references.nearness
        widened = self._comparator.widened_references(references)
        widened[:, -1] += self._lift
        self._flat.add(widened)
        lengths = np.sqrt((widened.astype(np.float64) ** 2).sum(axis=1))
        self._longest = max(self._longest, float(lengths.max()))

    def near(self, probes: Prepared, limits: Sequence[float]) -> Sequence[Rows]:
        """Return, for each probe, the rows that compare with it at its limit or above, and perhaps a few just below.

        Ascending. FAISS multiplies in float32, in another order for every batch size; rows in doubt are kept, and
        `Comparator.similarity` decides.
        """
        if not len(self) or not len(probes):
            return [np.empty(0, np.int64) for _ in range(len(probes))]
        asked = [self._asked(probes[n : n + 1], limit) for n, limit in enumerate(limits)]
        found: dict[int, Rows] = {}
        # One pass has one radius, so probes are stretched to have the same; seldom is there one that can't be.
        for radius in {radius for _, radius in asked}:
            some = [n for n, (_, own) in enumerate(asked) if own == radius]
            ends, _, rows = self._flat.range_search(np.stack([asked[n][0] for n in some]), radius)
            found |= {n: np.sort(rows[ends[at] : ends[at + 1]]) for at, n in enumerate(some)}
        return [found[n] for n in range(len(probes))]

    def _asked(self, probe: Prepared, limit: float) -> tuple[Vector, float]:
        """Return what to multiply rows with, (d + 1,), and a number that the product exceeds where they are near."""
        widened = self._comparator.widened_probe(probe)
        # Twice: lifting and stretching round once more each.
        slack = 2 * self._comparator.slack(widened, self._longest)
        floor = limit - self._comparator.offset(probe) + float(self._lift) - slack
        if floor > slack:
            return (widened / floor).astype(np.float32), _JUST_BELOW_ONE
        return widened, float(np.nextafter(np.float32(floor), np.float32(-np.inf)))

    def references(self, rows: Rows) -> Prepared:
        """Return some rows as they were added, bit for bit."""
        return Prepared(self._narrowed(self._flat.reconstruct_batch(rows)), self._nearness[rows])

    def first(self, count: int) -> Prepared:
        """Copy the first `count` rows."""
        return Prepared(self._narrowed(self._flat.reconstruct_n(0, count)), self._nearness[:count].copy())

    @staticmethod
    def _narrowed(widened: Vector) -> Vector:
        return np.ascontiguousarray(widened[:, :-1])
