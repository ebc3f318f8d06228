"""The exact neighbour search over all rows of the gallery; the only file that imports FAISS."""
# pyright: basic

from collections.abc import Sequence
from typing import Final

import faiss
import numpy as np
from numpy.typing import NDArray

from shared.biometrics import Vector

Rows = NDArray[np.int64]

_SLACK: Final = 1e-5
"""FAISS adds up float32 squares, in another order for every batch size. Its squared distances differ from the true
ones by less than this times the squared norms (128 sums of rounding 6e-8, with a factor for BLAS); rows that close to
the radius are kept, and `exact_distances` decides."""


def use_threads(count: int) -> None:
    """Let each search use so many threads."""
    faiss.omp_set_num_threads(count)


class FaissIndex:
    """Rows of float32 vectors, numbered from 0 in the order in which they were added; a row never changes."""

    def __init__(self, dimension: int) -> None:
        self._flat = faiss.IndexFlatL2(dimension)
        self._largest = 0.0
        """The largest squared norm of any row."""

    def __len__(self) -> int:
        return int(self._flat.ntotal)

    def add(self, vectors: Vector) -> None:
        """Append rows; shape (n, dimension), float32."""
        self._flat.add(vectors)
        if len(vectors):
            self._largest = max(self._largest, float(np.max(np.einsum("ij,ij->i", vectors, vectors))))

    def near(self, probes: Vector, radius: float) -> Sequence[Rows]:
        """Return, for each probe, the rows within `radius` and perhaps a few just beyond, ascending.

        `probes` has shape (n, dimension), float32; `radius` is a Euclidean distance.
        """
        if not len(self) or not len(probes):
            return [np.empty(0, np.int64) for _ in probes]
        norms = float(np.max(np.einsum("ij,ij->i", probes, probes))) + self._largest
        limits, _, rows = self._flat.range_search(probes, radius * radius + _SLACK * norms)
        return [np.sort(rows[limits[i] : limits[i + 1]]) for i in range(len(probes))]

    def vectors(self, rows: Rows) -> Vector:
        """Return the vectors of some rows, shape (len(rows), dimension), float32."""
        found: Vector = self._flat.reconstruct_batch(rows)
        return found

    def all_vectors(self, count: int) -> Vector:
        """Copy the first `count` rows."""
        found: Vector = self._flat.reconstruct_n(0, count)
        return found


def exact_distances(probe: Vector, references: Vector) -> NDArray[np.float64]:
    """Return the Euclidean distance of `probe` (d,) to each of `references` (n, d), in float64.

    The same bits whatever else is compared in the same call: this, and not FAISS, is what decisions rest on (I3).
    """
    difference = references.astype(np.float64) - probe.astype(np.float64)
    distances: NDArray[np.float64] = np.sqrt((difference * difference).sum(axis=1))
    return distances
