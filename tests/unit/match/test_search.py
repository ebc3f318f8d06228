"""The search against a plain numpy reference: the same people, in the same order, with the same scores."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.match.gallery import Gallery
from services.match.index import FaissIndex
from services.match.matching import Matcher
from services.match.policy import Policy
from shared.biometrics import Template, Vector
from shared.calibration import Comparator, Tail
from shared.events import Identified, Identify, ProbeExtracted
from shared.mixture import Floats, nearness
from tests.facts import DIMENSION, MODEL, a_cohort, calibration, enrolled, request

KINDS = ["plain", "normalised", "plain, unit length", "normalised, unit length"]


def a_comparator(kind: str, seed: int, scale: float = 1.0, dimension: int = DIMENSION) -> Comparator:
    """One of this kind, with a population of its own, whose scores suit templates of length `scale`."""
    unit = kind.endswith("unit length")
    size = 1.0 if unit else scale**2
    cohort = a_cohort(seed, dimension) if kind.startswith("normalised") else None
    made = calibration(dimension=dimension, unit=unit, cohort=cohort)
    table = tuple((s * size, db) for s, db in made.table)
    return Comparator(made.model_copy(update={"table": table, "tail": Tail(slope=200 / size, fitted_to=100)}))


def some_people(seed: int, count: int, scale: float, dimension: int = DIMENSION) -> Vector:
    """Strangers, second pictures of some of them, and some twice over, so that ties come up; in no order."""
    dice = np.random.default_rng(seed)
    first = dice.normal(size=(count, dimension))
    first *= scale / np.linalg.norm(first, axis=1, keepdims=True)
    close: Floats = first[::2] + dice.normal(size=(len(first[::2]), dimension)) * (0.1 * scale / dimension**0.5)
    every: Vector = np.concatenate([first, close, first[::3], close[::4]]).astype(np.float32)
    return every[dice.permutation(len(every))]


def truth(comparator: Comparator, probe: Vector, references: Vector) -> Floats:
    """s(p, r) = -|p - r|² + w·(m(p) + m(r)), as the formula has it."""

    def compared(vector: Vector) -> Floats:
        wide = vector.astype(np.float64)
        if comparator.calibration.unit:
            wide /= np.sqrt((wide * wide).sum(axis=-1, keepdims=True))
        return wide.astype(np.float32).astype(np.float64)

    p, r = compared(probe[None]), compared(references)
    cohort = comparator.calibration.cohort
    m_p, m_r = (cohort.weight * nearness(cohort.mixture, cohort.softness, v) for v in (p, r)) if cohort else (0.0, 0.0)
    away = r - p
    return m_p + m_r - (away * away).sum(axis=1)  # type: ignore[no-any-return]


def gallery_of(comparator: Comparator, references: Vector) -> Matcher:
    matcher = Matcher(Gallery(comparator), Policy(candidate_cap=10_000))
    facts = [enrolled(n, f"p{n}", [Template(MODEL, vector)]) for n, vector in enumerate(references)]
    matcher.fold(list(enumerate(facts)), decide_from=len(facts))
    return matcher


def identified(matcher: Matcher, probe: Vector, threshold: float) -> Identified:
    question = Identify("ALL", 10_000, threshold)
    [decided] = matcher.answer([ProbeExtracted(request("i"), question, (Template(MODEL, probe),))])
    outcome = decided.outcome
    assert isinstance(outcome, Identified)
    return outcome


@pytest.mark.parametrize("kind", KINDS)
@given(
    seed=st.integers(0, 2**32),
    count=st.integers(1, 50),
    scale=st.sampled_from([0.01, 0.3, 1.0, 7.0, 200.0]),
    place=st.floats(0, 1),
)
@settings(max_examples=40, deadline=None)
def test_a_search_names_whom_the_formula_names_in_its_order_with_its_scores(
    kind: str, seed: int, count: int, scale: float, place: float
) -> None:
    comparator = a_comparator(kind, seed, scale)
    references = some_people(seed, count, scale)
    probe = (references[0] * 0.6 + some_people(seed + 1, 1, scale)[0] * 0.4).astype(np.float32)
    s = truth(comparator, probe, references)
    ranks = sorted(range(len(s)), key=lambda row: (-s[row], row))
    threshold = comparator.score(float(s[ranks[int(place * (len(ranks) - 1))]])).db
    expected = [row for row in ranks if comparator.score(float(s[row])).db >= threshold]

    found = identified(gallery_of(comparator, references), probe, threshold)

    # The last one stands on the threshold itself: which side it falls on is a matter of the last bit.
    certain = len([row for row in expected if comparator.score(float(s[row])).db > threshold + 1e-9])
    assert certain <= len(found.candidates) <= len(expected)
    assert [c.person_id for c in found.candidates] == [f"p{row}" for row in expected[: len(found.candidates)]]
    assert found.total_candidates == len(found.candidates)
    for candidate, row in zip(found.candidates, expected, strict=False):
        score = comparator.score(float(s[row]))
        assert abs(candidate.score - score.db) <= 0.005 + 1e-9
        assert candidate.extrapolated == (score.db > 50)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dimension", [DIMENSION, 128])  # BLAS multiplies the eight probes of 128, not the small ones
@given(
    seed=st.integers(0, 2**32),
    cuts=st.lists(st.integers(1, 30), min_size=1, max_size=5),
    block=st.sampled_from([1, 7, 20, 65536]),
    at=st.integers(0, 99),
)
@settings(max_examples=30, deadline=None)
def test_a_shortlist_misses_nobody_however_rows_and_probes_are_batched(
    kind: str, dimension: int, seed: int, cuts: Sequence[int], block: int, at: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("services.match.index._BLOCK", block)
        shortlists_miss_nobody(a_comparator(kind, seed, dimension=dimension), dimension, seed, cuts, at)


def shortlists_miss_nobody(comparator: Comparator, dimension: int, seed: int, cuts: Sequence[int], at: int) -> None:
    # The last one is short: what it leaves in doubt is less than what the others do.
    references = comparator.prepare(np.vstack([some_people(seed, 30, 1.0, dimension), np.full(dimension, 1e-3, "f4")]))
    probes = comparator.prepare(some_people(seed + 1, 8, 1.0, dimension))
    # Each limit is just what one of the rows reaches.
    alike = [comparator.similarity(probes[n : n + 1], references) for n in range(len(probes))]
    limits = [float(s[(at + 7 * n) % len(s)]) for n, s in enumerate(alike)]
    index, start = FaissIndex(comparator), 0
    while start < len(references) - 1:
        end = min(start + cuts[start % len(cuts)], len(references) - 1)
        index.add(references[start:end])
        start = end
    index.add(references[start:])

    together = index.near(probes, limits)

    few = 3e-6 * dimension  # float32 rounds each of the products, on a threshold that was rounded before
    for n, rows in enumerate(together):
        exact = alike[n]
        [alone] = index.near(probes[n : n + 1], limits[n : n + 1])
        for shortlist in (rows.tolist(), alone.tolist()):
            assert set(np.flatnonzero(exact >= limits[n]).tolist()) <= set(shortlist)
            assert set(shortlist) <= set(np.flatnonzero(exact >= limits[n] - few).tolist())
            assert shortlist == sorted(shortlist)
    assert index.references(np.arange(len(references))[::-1]).vectors.tobytes() == references.vectors[::-1].tobytes()


@pytest.mark.parametrize("block", [1, 400, 1500, 65536])
def test_rows_come_back_bit_for_bit_and_none_is_a_row_too(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.match.index._BLOCK", block)
    comparator = a_comparator("normalised", 3)
    added = comparator.prepare(some_people(3, 2000, 1.0))
    index = FaissIndex(comparator)
    assert len(index.references(np.empty(0, np.int64))) == 0
    assert [len(rows) for rows in index.near(added[:2], [-9.0, -9.0])] == [0, 0]
    index.add(added[:1500])
    index.add(added[1500:1500])
    index.add(added[1500:])
    rows = np.array([3999 % len(added), 0, 1499, 1500])
    assert index.references(rows).vectors.tobytes() == added.vectors[rows].tobytes()
    assert index.references(rows).nearness.tobytes() == added.nearness[rows].tobytes()
    every = index.references(np.arange(len(added)))
    assert every.vectors.tobytes() == added.vectors.tobytes()
    assert every.nearness.tobytes() == added.nearness.tobytes()


def test_a_network_of_512_numbers_compared_plainly_at_unit_length_is_searched_as_exactly() -> None:
    comparator = a_comparator("plain, unit length", 1, dimension=512)
    references = some_people(1, 200, 4.0, 512)
    matcher = gallery_of(comparator, references)
    probe = references[17] * np.float32(0.5)
    s = truth(comparator, probe, references)
    expected = [
        row for row in sorted(range(len(s)), key=lambda row: (-s[row], row)) if comparator.score(s[row]).db > 30
    ]
    assert [c.person_id for c in identified(matcher, probe, 30.0).candidates] == [f"p{row}" for row in expected]
    assert len(expected) > 1


def test_a_threshold_of_0_db_takes_everybody_and_one_beyond_every_score_nobody() -> None:
    matcher = gallery_of(a_comparator("normalised", 5), some_people(5, 20, 1.0))
    everybody = matcher.gallery.count(["ALL"])
    assert identified(matcher, some_people(6, 1, 1.0)[0], 0.0).total_candidates == everybody
    assert identified(matcher, some_people(6, 1, 1.0)[0], 9e9).total_candidates == 0
