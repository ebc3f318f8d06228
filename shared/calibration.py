"""What two templates' likeness means: from a comparison to a ComparisonScore in dB, and from a target to a threshold.

A `Calibration` belongs to one model and is measured on labelled faces (`shared.calibrating`). It is one small file
that a person can read: an estimate of the population (for cohort normalisation), a gate, the measured curve of false
match rates, what follows beyond it, and where all of it comes from. A `Comparator` is a calibration ready for use.

    s(p, r) = -|p - r|² + w·(m(p) + m(r))          m(x): how near strangers come to x (`shared.mixture.nearness`)
    score   = -10·log10(share of pairs of strangers with a comparison of s or more)

What was tried, with figures: docs/calibration.md.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import combinations, pairwise
from pathlib import Path
from typing import Annotated, Final, Literal, NamedTuple, Self, cast

import numpy as np
from pydantic import BaseModel, Field, ValidationError, model_validator

from shared.biometrics import MAX_DIMENSION, STRICT, ComparisonScore, Vector
from shared.mixture import Floats, Mixture, Nearness, Row

FORMAT: Final = 1
FAR: Final = 1e4
"""dB up to which the curve goes on: no score comes near it."""

VERIFICATION_TARGET: Final = ComparisonScore(-10 * math.log10(0.0005))
"""33 dB, a false match in 2,000 impostors: the FMR of 0.05 % that the European Entry/Exit System asks of a face
comparison (Commission Implementing Decision (EU) 2019/329)."""
SEARCH_TARGET: Final = 30.0
"""dB. One search of strangers in 1,000 names anybody: MOSIP's default for an ABIS, `targetFPIR` 30."""

SPREAD: Final = 0.5
"""Share of the variance of several templates that is taken off their mean's comparisons, so that declared error rates
hold: dlib's, not of unit length. Measured, as is ..."""
SPREAD_UNIT: Final = 0.75
"""... that of EdgeFace-XS's and MobileFaceNet's, made unit length, whose mean is not (docs/calibration.md)."""

UNALIKE: Final = 20.0
"""dB. Two pictures that score less are taken to show two people: 99 % of strangers do, by what a score is (measured:
99.0 % of 397,000 pairs), and 0.8 % of 3,552 pairs of web photos of one person, taken years apart (dlib, LFW's
development half). Two pictures of one visit are far more alike."""


class CalibrationRefused(ValueError):
    """A file that is not the calibration wanted; the message says why, and shows no number of it."""


_FROZEN: Final = STRICT | {"frozen": True, "hide_input_in_errors": True}
Point = Annotated[tuple[float, float], Field(strict=False)]
Points = Annotated[tuple[Point, ...], Field(min_length=2, max_length=10_000, strict=False)]
Count = Annotated[int, Field(ge=0)]


class Cohort(BaseModel):
    """Strangers, as far as a normalised comparison needs to know them."""

    model_config = _FROZEN
    mixture: Mixture
    softness: Annotated[float, Field(gt=0, description="t of `shared.mixture.nearness`, a squared distance.")]
    weight: Annotated[float, Field(ge=0, le=0.5, description="w of s(p, r).")]


class Gate(BaseModel):
    """What no real face of this model looks like. A vector near everybody is a master key."""

    model_config = _FROZEN
    centre: Annotated[Row, Field(description="The population's mean (d,); of unit length where the model compares so.")]
    distance: Annotated[float, Field(ge=0, description="Least distance to `centre`, as compared.")]
    norm: Annotated[Point, Field(description="Least and largest length of a template, before it is made unit length.")]

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        if not 0 <= self.norm[0] < self.norm[1]:
            raise ValueError("the gate's norms are no range")
        return self


class Tail(BaseModel):
    """The false match rate beyond the last measured point falls exponentially."""

    model_config = _FROZEN
    slope: Annotated[float, Field(gt=0, description="dB for 1 of s.")]
    fitted_to: Annotated[Count, Field(description="Pairs of strangers that it is fitted to.")]


class Calibration(BaseModel):
    """One model's, as it is in the file."""

    model_config = _FROZEN
    format: Literal[1]
    model: Annotated[str, Field(min_length=1, max_length=200)]
    dimension: Annotated[int, Field(ge=1, le=MAX_DIMENSION)]
    unit: Annotated[bool, Field(description="Templates are made unit length before they are compared.")]
    cohort: Annotated[Cohort | None, Field(description="None: plain comparison, s = -|p - r|².")]
    gate: Gate
    table: Annotated[Points, Field(description="(s, dB), both ascending: measured.")]
    tail: Tail
    misses: Annotated[Points, Field(description="(dB, FNMR at that threshold), ascending: measured, genuine pairs.")]
    provenance: Annotated[
        dict[str, str | int | float], Field(description="Data, date, software, and counts of people and pairs.")
    ]

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        for width in (len(self.gate.centre), self.cohort.mixture.dimension if self.cohort else self.dimension):
            if width != self.dimension:
                raise ValueError(f"it says {self.dimension} dimensions and holds {width}")
        if not (_ascends(s for s, _ in self.table) and _ascends(db for _, db in self.table)):
            raise ValueError("the score table does not ascend")
        if self.table[0][1] < 0:
            raise ValueError("the score table starts below 0 dB, a rate above one")
        if not _ascends(db for db, _ in self.misses) or not all(0 <= rate <= 1 for _, rate in self.misses):
            raise ValueError("the expected misses are no rates over ascending scores")
        if any(b[1] < a[1] for a, b in pairwise(self.misses)):
            raise ValueError("the expected misses fall where the threshold rises")
        return self

    @property
    def measured_to(self) -> ComparisonScore:
        """The highest score that was measured; beyond it, the tail."""
        return ComparisonScore(self.table[-1][1])

    def dump(self) -> str:
        """Return the file: JSON, sorted, one row of numbers a line. The same calibration gives the same bytes."""
        return _laid_out(self.model_dump(mode="json")) + "\n"

    def digest(self) -> str:
        """SHA-256 (hex) of the file: its name wherever it is told which calibration something was made with."""
        return hashlib.sha256(self.dump().encode()).hexdigest()

    @classmethod
    def parse(cls, text: str | bytes, *, model: str | None = None, dimension: int | None = None) -> "Calibration":
        """Read a file that has to be `model`'s, of so many dimensions, where told. Raises CalibrationRefused."""
        try:
            head: object = json.loads(text)
        except (ValueError, RecursionError):
            raise CalibrationRefused("the calibration is not JSON") from None
        if not isinstance(head, dict) or cast(dict[str, object], head).get("format") != FORMAT:
            raise CalibrationRefused(f"the calibration is not of format {FORMAT}, the one that this version reads")
        try:
            found = cls.model_validate_json(text)
        except ValidationError as error:
            wrong = error.errors(include_input=False, include_url=False, include_context=False)[0]
            where = ".".join(map(str, wrong["loc"])) or "as a whole"
            what = wrong["msg"].removeprefix("Value error, ")
            raise CalibrationRefused(
                f"the calibration is corrupt ({where}): {what}; run `eyni calibrate` anew"
            ) from None
        if model is not None and found.model != model:
            raise CalibrationRefused(f"the calibration is of model {found.model!r}, not of {model!r}")
        if dimension is not None and found.dimension != dimension:
            raise CalibrationRefused(
                f"the calibration is for {found.dimension} dimensions; the model's templates have {dimension}"
            )
        return found


def load(path: Path, *, model: str | None = None, dimension: int | None = None) -> Calibration:
    """Read a calibration file; see `Calibration.parse`."""
    return Calibration.parse(path.read_bytes(), model=model, dimension=dimension)


class Score(NamedTuple):
    """What a comparison means."""

    db: ComparisonScore
    extrapolated: bool
    """Beyond what was measured: the rate is the fitted tail's."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """Templates ready to be compared."""

    vectors: Vector = field(repr=False)
    """(n, d) float32, of unit length where the model compares so."""
    nearness: Floats = field(repr=False)
    """(n,) w·m(x): what each adds to a comparison; part of a gallery's state."""

    def __len__(self) -> int:
        return len(self.vectors)

    def __getitem__(self, rows: slice) -> "Prepared":
        return Prepared(self.vectors[rows], self.nearness[rows])


class Comparator:
    """A calibration at work. Immutable; every result depends on its arguments alone, not on batch or order."""

    def __init__(self, calibration: Calibration) -> None:
        self.calibration = calibration
        self._centre = np.array(calibration.gate.centre)
        cohort = calibration.cohort
        self._nearness = None if cohort is None else Nearness(cohort.mixture, cohort.softness)
        last, top = calibration.table[-1]
        curve = (*calibration.table, (last + FAR / calibration.tail.slope, top + FAR))
        self._s: Floats = np.array([s for s, _ in curve])
        self._db: Floats = np.array([db for _, db in curve])
        self._rise = float((self._db[1] - self._db[0]) / (self._s[1] - self._s[0]))
        self._thresholds: Floats = np.array([db for db, _ in calibration.misses])
        self._misses: Floats = np.array([share for _, share in calibration.misses])

    def refusal(self, vector: Vector) -> str | None:
        """Return why this can't be the template (d,) of a face, in words without a number of it; None: it can."""
        gate = self.calibration.gate
        if vector.shape != (self.calibration.dimension,):
            return f"has shape {vector.shape}, not {self.calibration.dimension} numbers"
        if not bool(np.isfinite(vector).all()):
            return "holds a NaN or an infinity"
        with np.errstate(over="ignore"):
            norm = float(np.sqrt((vector.astype(np.float64) ** 2).sum()))
        if not gate.norm[0] <= norm <= gate.norm[1]:
            return "has a length that no face has"
        if self.resembles_everybody(self._compared(vector[None])[0]):
            return "is nearer to the average face than any face is: it would resemble everybody"
        return None

    def resembles_everybody(self, compared: Vector) -> bool:
        """Tell whether a vector (d,), as compared, is nearer to the average face than any face is: a master key."""
        away = compared.astype(np.float64) - self._centre
        return float(np.sqrt((away * away).sum())) < self.calibration.gate.distance

    def prepare(self, vectors: Vector) -> Prepared:
        """Make templates (n, d), which passed the gate, ready. Normalised, it costs 25 µs each (64 x 128 numbers)."""
        if vectors.ndim != 2 or vectors.shape[1] != self.calibration.dimension:
            raise ValueError(f"templates of shape {vectors.shape}; wanted is (n, {self.calibration.dimension})")
        compared = self._compared(vectors)
        cohort = self.calibration.cohort
        if cohort is None or self._nearness is None:
            return Prepared(compared, np.zeros(len(compared)))
        return Prepared(compared, cohort.weight * self._nearness(compared.astype(np.float64)))

    def fused(self, templates: Prepared) -> Prepared:
        """Make one of several templates of one person (n ≥ 1): their mean, n = 1 unchanged.

        A mean lies nearer to strangers than a template does: two to five times the declared false matches would come.
        A share of the templates' variance is taken off for it. Fewer misses than with the best or the mean of the
        scores, and the declared false matches within 0.9 to 1.4 of them (docs/calibration.md).
        """
        if len(templates) == 1:
            return templates
        wide = templates.vectors.astype(np.float64)
        mean = wide.mean(axis=0)
        variance = float(((wide - mean) ** 2).sum(axis=1).mean())
        taken_off = (SPREAD_UNIT if self.calibration.unit else SPREAD) * variance
        return Prepared(mean[None].astype(np.float32), np.array([templates.nearness.mean() - taken_off]))

    def similarity(self, probe: Prepared, references: Prepared) -> Floats:
        """Compare one probe with references (n): s, exactly (float64), higher is more alike. The truth for a search."""
        away = references.vectors.astype(np.float64) - probe.vectors[0]
        s: Floats = probe.nearness[0] + references.nearness - (away * away).sum(axis=1)
        return s

    def people(self, vectors: Sequence[Vector]) -> list[list[int]]:
        """Sort templates (d,) by whom they show, into groups of positions in `vectors`, ascending.

        Groups are joined, the most alike first, while two reach `UNALIKE`. By their average: of two people with many
        pictures each some pair is alike by chance, and of one person's many pictures some pair is not. Refused of 150
        sets of web photos of one person: 2 % of sets of 3, 1 % of 5, 2 % of 10 (where every pair had to be alike: 3, 2
        and 13 %); passed of 150 sets that show two people: 2.7, 1.3 and 0.7 % (dlib, LFW's development half).
        """
        groups: list[list[int]] = [[n] for n in range(len(vectors))]
        if len(groups) < 2:
            return groups
        prepared, least = self.prepare(np.stack(vectors)), self.similarity_at(UNALIKE)
        s = np.stack([self.similarity(prepared[n : n + 1], prepared) for n in range(len(vectors))])
        while len(groups) > 1:
            alike, one, other = max([(float(s[np.ix_(a, b)].mean()), a, b) for a, b in combinations(groups, 2)])
            if alike < least:
                break
            groups.remove(one)
            groups.remove(other)
            groups = sorted([*groups, sorted(one + other)])
        return groups

    def widened_references(self, references: Prepared) -> Vector:
        """Return rows (n, d + 1) whose inner product with a widened probe orders them as s does.

        The first d numbers are the reference's own, so that a search keeps no vector twice.
        """
        wide = references.vectors.astype(np.float64)
        last = references.nearness - (wide * wide).sum(axis=1)
        return np.hstack([references.vectors, last[:, None].astype(np.float32)])

    def widened_probe(self, probe: Prepared) -> Vector:
        """Return the probe (d + 1,) to search widened references with."""
        return np.append(2 * probe.vectors[0], np.float32(1))

    def offset(self, probe: Prepared) -> float:
        """Return what turns an inner product of widened vectors into s, for this probe: s = product + offset."""
        wide = probe.vectors[0].astype(np.float64)
        return float(probe.nearness[0] - (wide * wide).sum())

    def slack(self, widened_probe: Vector, longest: float) -> float:
        """Return how far a float32 inner product may lie from s, for widened references of length `longest` at most.

        Rows whose order or side of a threshold is in doubt by that much are compared exactly. d + 1 products are
        rounded and added, each step by 2^-24, in whatever order: (d + 3)·2^-24 bounds it by Cauchy and Schwarz.
        """
        length = float(np.sqrt((widened_probe.astype(np.float64) ** 2).sum()))
        return (len(widened_probe) + 2) * 2.0**-24 * length * longest

    def decibels(self, s: Floats) -> Floats:
        """Return scores in dB for comparisons of any shape; never below 0, the rate of one."""
        below = np.maximum(self._db[0] + (s - self._s[0]) * self._rise, 0.0)
        db: Floats = np.where(s < self._s[0], below, np.interp(s, self._s, self._db))
        return db

    def score(self, s: float) -> Score:
        """Return what comparison `s` means."""
        return Score(ComparisonScore(float(self.decibels(np.array(s)))), bool(s > self._s[-2]))

    def similarity_at(self, db: float) -> float:
        """Return the comparison at which a score is reached: the inverse of `score`, above 0 dB."""
        if db < self._db[0]:
            return float(self._s[0] + (max(db, 0.0) - self._db[0]) / self._rise)
        return float(np.interp(db, self._db, self._s))

    def expected_misses(self, db: float) -> float:
        """Return the share of genuine pairs below this threshold (FNMR, and FNIR of a search), as measured."""
        return float(np.interp(db, self._thresholds, self._misses))

    def _compared(self, vectors: Vector) -> Vector:
        if not self.calibration.unit:
            return np.ascontiguousarray(vectors, dtype=np.float32)
        wide = vectors.astype(np.float64)
        length = np.sqrt((wide * wide).sum(axis=1, keepdims=True))
        return (wide / np.where(length > 0, length, 1)).astype(np.float32)


def search_threshold(target: float, size: int) -> ComparisonScore:
    """Return the score at which a search among `size` references names a stranger once in 10^(target/10) searches.

    FPIR ≈ N·FMR, so it rises by 10 dB with each tenfold gallery, and depends on nothing but the two numbers.
    """
    return ComparisonScore(target + 10 * math.log10(max(size, 1)))


def expected_false_positives(threshold: float, size: int) -> float:
    """Return the FPIR, that a search of a stranger among `size` references names somebody: 1 - (1 - FMR)^N."""
    return -math.expm1(max(size, 0) * math.log1p(-min(rate(threshold), 1 - 1e-16)))


def rate(db: float) -> float:
    """Return the false match rate of a score."""
    return math.pow(10, -db / 10)


def _ascends(values: Iterable[float]) -> bool:
    return all(a < b for a, b in pairwise(values))


def _laid_out(value: object, depth: int = 0) -> str:
    inner = "\n" + " " * (depth + 1)
    if isinstance(value, dict):
        items = cast(dict[str, object], value)
        rows = [f"{json.dumps(key)}: {_laid_out(items[key], depth + 1)}" for key in sorted(items)]
        return "{" + inner + ("," + inner).join(rows) + inner[:-1] + "}"
    if isinstance(value, list) and value and isinstance(value[0], list):
        rows = [_laid_out(row, depth + 1) for row in cast(list[object], value)]
        return "[" + inner + ("," + inner).join(rows) + inner[:-1] + "]"
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
