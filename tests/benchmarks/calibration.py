"""How much a calibration lowers misses, and how well it holds on people that it never saw.

python -m tests.benchmarks.calibration ../shared/faces/dev-embeddings.npz --splits 4
python -m tests.benchmarks.calibration ... --write shared/models/dlib/calibration.json --model ID

The .npz holds `templates` (n, d), `person` (n,) and, perhaps, `detected` (n,). People are split in halves; one half
calibrates, the other is measured, and the other way round. At most five pictures of a person; a pair of people counts
once for the false match rate, whatever their pictures.
"""

import argparse
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shared.biometrics import Vector
from shared.calibrating import Names, fit
from shared.calibration import Comparator, Prepared

RATES = (1e-2, 1e-3, 1e-4, 1e-5)
PICTURES = 5
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Faces:
    templates: Vector
    person: Names

    def of(self, rows: NDArray[np.bool_] | NDArray[np.int64]) -> "Faces":
        return Faces(self.templates[rows], np.asarray(self.person)[rows])


@dataclass(frozen=True)
class Measured:
    """Errors on people outside the calibration, at RATES."""

    misses: list[float]
    """FNMR at the threshold that gives this FMR on these very pairs."""
    declared_over: list[float]
    """Measured FMR at the threshold that the calibration declares for it, as a multiple of what it declares."""
    misses_declared: list[float]
    expected: list[float]


def read(path: Path) -> Faces:
    with np.load(path, allow_pickle=False) as held:
        rows = held["detected"] if "detected" in held else np.ones(len(held["person"]), bool)
        return Faces(held["templates"][rows].astype(np.float32), held["person"][rows])


def halves(faces: Faces, splits: int) -> Iterator[tuple[Faces, Faces]]:
    """Give (fit on, measure on), both ways for each split: no person on both sides."""
    people = np.unique(faces.person)
    for seed in range(splits):
        some = np.random.default_rng(seed).permutation(people)[: len(people) // 2]
        inside = np.isin(faces.person, some)
        for side in (inside, ~inside):
            yield faces.of(side), faces.of(~side)


def few_of_each(faces: Faces, most: int = PICTURES, seed: int = 0) -> Faces:
    order = np.random.default_rng(seed).permutation(len(faces.person))
    seen: dict[str, int] = {}
    rows: list[int] = []
    for n in order.tolist():
        name = str(faces.person[n])
        seen[name] = seen.get(name, 0) + 1
        if seen[name] <= most:
            rows.append(n)
    return faces.of(np.array(sorted(rows), dtype=np.int64))


def compare(prepared: Prepared, person: Names) -> tuple[Floats, Floats, Floats]:
    """Return the genuine comparisons, those of strangers, and the weight of each of these."""
    vectors = prepared.vectors.astype(np.float64)
    squares = (vectors * vectors).sum(axis=1)
    s = 2 * vectors @ vectors.T - squares[:, None] - squares + prepared.nearness[:, None] + prepared.nearness
    _, who, counts = np.unique(person, return_inverse=True, return_counts=True)
    first, second = np.triu_indices(len(person), 1)
    same = who[first] == who[second]
    weight = 1.0 / (counts[who[first[~same]]] * counts[who[second[~same]]])
    return s[first[same], second[same]], s[first[~same], second[~same]], weight


def measure(comparator: Comparator, faces: Faces) -> Measured:
    genuine, strangers, weight = compare(comparator.prepare(faces.templates), faces.person)
    order = np.argsort(-strangers)
    fmr = np.cumsum(weight[order]) / weight.sum()
    at = [comparator.similarity_at(-10 * np.log10(rate)) for rate in RATES]
    return Measured(
        [float((genuine <= strangers[order[np.searchsorted(fmr, rate)]]).mean()) for rate in RATES],
        [float(weight[strangers >= s].sum() / weight.sum() / rate) for s, rate in zip(at, RATES, strict=True)],
        [float((genuine < s).mean()) for s in at],
        [comparator.expected_misses(-10 * np.log10(rate)) for rate in RATES],
    )


def table(faces: Faces, splits: int, *, unit: bool, normalised: tuple[bool, ...] = (False, True)) -> None:
    kinds = {way: "normalised" if way else "plain" for way in normalised}
    results: dict[bool, list[Measured]] = {way: [] for way in normalised}
    for some, others in halves(faces, splits):
        tested = few_of_each(others)
        for way in normalised:
            done = fit(some.templates, some.person, model="benchmark", normalised=way, unit=unit)
            results[way].append(measure(Comparator(done), tested))
    print(f"{len(faces.person)} templates, {len(np.unique(faces.person))} people, {2 * splits} halves measured")
    print(f"{'':12}{'':34}" + "".join(f"{f'FMR {rate:.0e}':>18}" for rate in RATES))
    for way, name in kinds.items():
        for field, words in (
            ("misses", "FNMR at the measured FMR"),
            ("misses_declared", "FNMR at the declared FMR"),
            ("expected", "FNMR as declared"),
            ("declared_over", "FMR measured / declared"),
        ):
            values = np.array([getattr(result, field) for result in results[way]])
            cells = [
                f"{m:.3f} ({a:.2f}-{b:.2f})"
                for m, a, b in zip(values.mean(0), values.min(0), values.max(0), strict=True)
            ]
            print(f"{name:12}{words:34}" + "".join(f"{cell:>18}" for cell in cells))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("npz", type=Path)
    parser.add_argument("--splits", type=int, default=2, help="each is measured both ways")
    parser.add_argument("--unit", action="store_true", help="compare at unit length")
    parser.add_argument("--write", type=Path, help="calibrate on all people, write the file, and measure nothing")
    parser.add_argument("--plain", action="store_true", help="with --write: without cohort normalisation")
    parser.add_argument("--model", default="benchmark", help="with --write: the model's id")
    parser.add_argument("--data", default="", help="with --write: what the provenance calls the data")
    asked = parser.parse_args()
    faces = read(asked.npz)
    if asked.write is None:
        table(faces, asked.splits, unit=asked.unit)
        return
    done = fit(
        faces.templates,
        faces.person,
        model=asked.model,
        normalised=not asked.plain,
        unit=asked.unit,
        about={"data": asked.data or asked.npz.name, "made": datetime.now(UTC).date().isoformat()},
    )
    os.makedirs(asked.write.parent, exist_ok=True)
    asked.write.write_text(done.dump(), encoding="utf-8")
    print(f"{asked.write}: {asked.write.stat().st_size} bytes, measured to {done.measured_to:.1f} dB")


if __name__ == "__main__":
    main()
