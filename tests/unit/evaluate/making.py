"""Crowds of people who don't exist, for tests."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from services.evaluate.trials import Faces, Scored, Trials, Whole
from shared.biometrics import Vector
from shared.calibrating import fit
from shared.calibration import Calibration, Comparator
from shared.mixture import Floats

MODEL = "crowd"
DIMENSION = 24


def crowd(people: int, pictures: int = 2, seed: int = 0, spread: float = 0.3) -> tuple[Vector, list[str]]:
    """Return templates and names: people scattered about a few kinds, pictures about each person."""
    chance = np.random.default_rng(seed)
    kinds = chance.normal(size=(5, DIMENSION)) * 0.7
    middles = kinds[chance.integers(0, 5, people)] + chance.normal(size=(people, DIMENSION))
    vectors = np.repeat(middles, pictures, axis=0) + spread * chance.normal(size=(people * pictures, DIMENSION))
    names = [f"p{n:04d}" for n in range(people) for _ in range(pictures)]
    return vectors.astype(np.float32), names


@lru_cache
def calibration(normalised: bool = False, unit: bool = False, model: str = MODEL) -> Calibration:
    """Return what a crowd, that is no test's own, calibrates to."""
    vectors, names = crowd(300, seed=99)
    return fit(vectors, names, model=model, normalised=normalised, unit=unit, components=4)


def comparator(normalised: bool = False, unit: bool = False) -> Comparator:
    return Comparator(calibration(normalised, unit))


def faces_of(people: int, pictures: int = 2, seed: int = 0, normalised: bool = False) -> Faces:
    vectors, names = crowd(people, pictures, seed)
    return Faces.of(comparator(normalised), vectors, names)


def trials(
    person: Sequence[int], genuine: Sequence[tuple[int, int, float]], impostor: Sequence[tuple[int, int, float]]
) -> Trials:
    """Make trials by hand: (row, row, dB); impostor pairs that aren't given score 0."""
    people: Whole = np.array(person, dtype=np.int64)
    found = Trials(people, np.bincount(people), _scored(genuine), _scored(impostor), 0.0, np.zeros(0, dtype=np.int64))
    return Trials(
        people,
        found.pictures,
        found.genuine.where(np.argsort(found.genuine.db, kind="stable")),
        found.tail.where(np.argsort(-found.tail.db, kind="stable")),
        1e-9,
        np.zeros(0, dtype=np.int64),
    )


def _scored(pairs: Sequence[tuple[int, int, float]]) -> Scored:
    a, b, db = np.array(pairs, dtype=np.float64).reshape(-1, 3).T
    return Scored(a.astype(np.int64), b.astype(np.int64), db)


def drawn_trials(people: int, seed: int) -> Trials:
    """Two pictures of each: impostors as a calibration that holds makes them, genuine ones normal, 50 ± 10 dB."""
    chance = np.random.default_rng(seed)
    person = np.repeat(np.arange(people), 2)
    a, b = np.triu_indices(len(person), 1)
    apart = person[a] != person[b]
    db: Floats = -10 * np.log10(1 - chance.random(int(apart.sum())))
    mated = np.maximum(chance.normal(50, 10, people), 0)
    order, ordered = np.argsort(-db), np.argsort(mated)
    first = 2 * np.arange(people)
    return Trials(
        person,
        np.full(people, 2),
        Scored(first[ordered], first[ordered] + 1, mated[ordered]),
        Scored(a[apart][order], b[apart][order], db[order]),
        0.0,
        np.zeros(0, dtype=np.int64),
    )
