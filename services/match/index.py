"""The exact search over all rows of the gallery; the only file that imports FAISS."""
# pyright: basic

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final

import faiss
import numpy as np
from numpy.typing import NDArray

from shared.biometrics import Vector
from shared.calibration import Comparator, Prepared
from shared.mixture import Floats

Rows = NDArray[np.int64]

_BLOCK: Final = 65536
"""Rows that lie together, 34 MB for 128 dimensions: memory that is taken in pieces is never copied to grow. numpy asks
the kernel for huge pages where it takes 4 MB or more, and FAISS's own indexes don't: through these a search is 15 to
25 % faster (tests/benchmarks/search_cost.py)."""
_NUMBERS_FOR_BLAS: Final = 1024
"""Numbers in all probes of a search together from which BLAS multiplies: 8 probes of 129, or 3 of 513, take as long
either way, 64 a quarter (measured on 65,536 rows). FAISS 1.15 comes with 128,000, so that a thousand probes would be
searched one after the other."""
faiss.cvar.distance_compute_blas_threshold = _NUMBERS_FOR_BLAS


def use_threads(count: int) -> None:
    """Let each search use so many threads."""
    faiss.omp_set_num_threads(count)


class FaissIndex:
    """Rows numbered from 0 in the order in which they were added; a row never changes.

    FAISS searches them widened by one number (`Comparator.widened_references`), of which all others are the template's
    own: so each vector is kept once. A row takes 4·(d + 1) + 8 bytes, 524 for 128 dimensions.
    """

    def __init__(self, comparator: Comparator) -> None:
        self._comparator = comparator
        self._width = comparator.calibration.dimension + 1
        self._blocks: list[Vector] = []
        """(_BLOCK, d + 1) each; the last one has room for more."""
        self._count = 0
        self._nearness: Floats = np.empty(1024)
        """Those of the rows, and room for more."""
        self._lift = np.float32(comparator.calibration.unit)
        """Added to every product: templates of unit length that are less alike than 60° apart have a negative one."""
        self._longest = 0.0
        """The greatest length of any widened row."""

    def __len__(self) -> int:
        return self._count

    def add(self, references: Prepared) -> None:
        """Append rows."""
        start, end = len(self), len(self) + len(references)
        if end > len(self._nearness):
            grown = np.empty(max(end, len(self._nearness) * 3 // 2))
            grown[:start] = self._nearness[:start]
            self._nearness = grown
        self._nearness[start:end] = references.nearness
        while self._count < end:
            number, at = divmod(self._count, _BLOCK)
            if number == len(self._blocks):
                self._blocks.append(np.empty((_BLOCK, self._width), np.float32))
            # Not more at once than the block takes: a whole gallery comes back from a snapshot, and float64 is double.
            begin = self._count - start
            part = self._comparator.widened_references(references[begin : begin + _BLOCK - at])
            part[:, -1] += self._lift
            lengths = np.sqrt((part.astype(np.float64) ** 2).sum(axis=1))
            self._longest = max(self._longest, float(lengths.max()))
            self._blocks[number][at : at + len(part)] = part
            self._count += len(part)

    def near(self, probes: Prepared, limits: Sequence[float]) -> Sequence[Rows]:
        """Return, for each probe, the rows that compare with it at its limit or above, and perhaps a few just below.

        Ascending. FAISS multiplies in float32, in another order for every batch size; rows in doubt are kept, and
        `Comparator.similarity` decides.
        """
        asked = [self._asked(probes[n : n + 1], limit) for n, limit in enumerate(limits)]
        found: list[list[Rows]] = [[np.empty(0, np.int64)] for _ in asked]
        # One pass has one radius, so probes are stretched to have the same; seldom is there one that can't be.
        for radius in {radius for _, radius in asked}:
            some = [n for n, (_, own) in enumerate(asked) if own == radius]
            stacked = np.stack([asked[n][0] for n in some])
            for at, block in zip(range(0, self._count, _BLOCK), self._blocks, strict=True):
                for n, rows in zip(some, _products_above(radius, stacked, block[: self._count - at]), strict=True):
                    found[n].append(rows + at)
        return [np.concatenate(rows) for rows in found]

    def _asked(self, probe: Prepared, limit: float) -> tuple[Vector, float]:
        """Return what to multiply rows with, (d + 1,), and a number that the product exceeds where they are near."""
        widened = self._comparator.widened_probe(probe)
        # Twice: lifting, stretching and the number itself round once more each.
        slack = 2 * self._comparator.slack(widened, self._longest)
        floor = limit - self._comparator.offset(probe) + float(self._lift) - slack
        if floor > slack:
            return (widened / floor).astype(np.float32), 1.0
        return widened, floor

    def references(self, rows: Rows) -> Prepared:
        """Return some rows as they were added, bit for bit; in any thread, also while others are added."""
        vectors = np.empty((len(rows), self._width - 1), np.float32)
        blocks, within = np.divmod(rows, _BLOCK)
        for number in np.unique(blocks):
            here = blocks == number
            vectors[here] = self._blocks[number][within[here], :-1]
        return Prepared(vectors, self._nearness[rows])


def _products_above(radius: float, probes: Vector, rows: Vector) -> Iterator[Rows]:
    """Yield, for each probe, the rows whose inner product with it is greater, ascending."""
    result = faiss.RangeSearchResult(len(probes))
    pointers = faiss.swig_ptr(probes), faiss.swig_ptr(rows)
    faiss.range_search_inner_product(*pointers, rows.shape[1], len(probes), len(rows), radius, result)
    ends = faiss.rev_swig_ptr(result.lims, len(probes) + 1)
    labels = faiss.rev_swig_ptr(result.labels, int(ends[-1]))
    for start, end in pairwise(ends.tolist()):
        yield np.sort(labels[start:end])
