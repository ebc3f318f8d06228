"""Scores, the widened search, the gate and the file: each promise of shared.calibration and shared.mixture."""
# pyright: basic

import hashlib
import json
import math
from pathlib import Path

import faiss
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.biometrics import Vector
from shared.calibration import (
    SEARCH_TARGET,
    VERIFICATION_TARGET,
    Calibration,
    CalibrationRefused,
    Comparator,
    Prepared,
    expected_false_positives,
    load,
    rate,
    search_threshold,
)
from shared.mixture import Mixture, draw, nearness, uniforms
from tests.facts import comparator, vector

DEFAULT = Path(__file__).parents[3] / "shared" / "models" / "dlib" / "calibration.json"
FACES = Path(__file__).parents[4] / "shared" / "faces" / "dev-embeddings.npz"
CALIBRATION = load(DEFAULT)
COMPARATOR = Comparator(CALIBRATION)
assert CALIBRATION.cohort
MIXTURE = CALIBRATION.cohort.mixture


def variant(**changes: object) -> Comparator:
    return Comparator(CALIBRATION.model_copy(update=changes))


COMPARATORS = {
    "normalised": COMPARATOR,
    "plain": variant(cohort=None),
    "plain, unit length": variant(cohort=None, unit=True),
    "normalised, unit length": variant(unit=True),
}


def people(seed: int, count: int) -> Vector:
    """Draw strangers, with a close second picture of some, and some twice over, so that ties come up."""
    drawn = draw(MIXTURE, count, seed)
    close = drawn[::3] + np.random.default_rng(seed).normal(0, 0.02, drawn[::3].shape).astype(np.float32)
    return np.vstack([drawn, close, drawn[::5]])


def reference_ranks(comparator: Comparator, probe: Prepared, references: Prepared) -> list[int]:
    s = comparator.similarity(probe, references)
    return sorted(range(len(s)), key=lambda row: (-s[row], row))


def searched_ranks(comparator: Comparator, probe: Prepared, references: Prepared, products: Vector) -> list[int]:
    """Rank as a search does: by product, and exactly among the rows that float32 can't tell apart."""
    widened = comparator.widened_probe(probe)
    longest = float(np.linalg.norm(comparator.widened_references(references), axis=1).max())
    doubt = 2 * comparator.slack(widened, longest)
    left = sorted(range(len(products)), key=lambda row: -products[row])
    ranks: list[int] = []
    while left:
        group = [left.pop(0)]
        while left and products[group[-1]] - products[left[0]] <= doubt:
            group.append(left.pop(0))
        rows = np.array(sorted(group))
        exact = comparator.similarity(probe, Prepared(references.vectors[rows], references.nearness[rows]))
        ranks += [int(rows[n]) for n in sorted(range(len(rows)), key=lambda n: (-exact[n], rows[n]))]
    return ranks


@pytest.mark.parametrize("name", COMPARATORS)
@given(seed=st.integers(0, 2**32), count=st.integers(1, 60))
def test_an_inner_product_search_is_the_reference_but_for_what_float32_rounds_and_says_how_much_that_is(
    name: str, seed: int, count: int
) -> None:
    comparator = COMPARATORS[name]
    vectors = people(seed, count)
    between = (people(seed + 1, 1)[:1] * 0.4 + vectors[:1] * 0.6).astype(np.float32)
    references, probe = comparator.prepare(vectors), comparator.prepare(between)
    widened = comparator.widened_references(references)
    index = faiss.IndexFlatIP(widened.shape[1])
    index.add(widened)

    products, rows = index.search(comparator.widened_probe(probe)[None], len(widened))

    found = np.empty(len(widened), np.float32)
    found[rows[0]] = products[0]
    exact = comparator.similarity(probe, references)
    longest = float(np.linalg.norm(widened, axis=1).max())
    s = found.astype(np.float64) + comparator.offset(probe)
    assert np.abs(s - exact).max() <= comparator.slack(comparator.widened_probe(probe), longest)
    assert searched_ranks(comparator, probe, references, found) == reference_ranks(comparator, probe, references)


def test_a_forgotten_nearness_or_a_wrong_factor_is_caught_by_the_same_comparison() -> None:
    references, probe = COMPARATOR.prepare(people(1, 60)), COMPARATOR.prepare(people(2, 1)[:1])
    widened, asked = COMPARATOR.widened_references(references), COMPARATOR.widened_probe(probe)
    planted = widened.copy()
    planted[:, -1] -= references.nearness.astype(np.float32) / 2

    ranks = searched_ranks(COMPARATOR, probe, references, planted @ asked)

    assert ranks != reference_ranks(COMPARATOR, probe, references)
    assert searched_ranks(COMPARATOR, probe, references, widened @ asked) == reference_ranks(
        COMPARATOR, probe, references
    )


@given(st.integers(0, 2**32), st.integers(1, 40), st.integers(0, 39))
def test_a_template_is_prepared_and_compared_the_same_alone_and_in_any_batch(seed: int, count: int, at: int) -> None:
    vectors = draw(MIXTURE, count, seed)
    row = slice(at % count, at % count + 1)
    batch, alone = COMPARATOR.prepare(vectors), COMPARATOR.prepare(vectors[row])

    assert batch.nearness[row] == alone.nearness
    assert COMPARATOR.similarity(alone, batch)[row] == COMPARATOR.similarity(alone, alone)


def test_the_nearness_is_the_soft_minimum_over_a_large_drawn_cohort() -> None:
    small = Mixture(weights=(0.25, 0.75), means=((0.0, 0.5, 1.0), (1.0, 0.0, 0.0)), variances=((0.2,) * 3, (0.1,) * 3))
    vectors = draw(small, 5, seed=3).astype(np.float64)
    cohort = draw(small, 400_000, seed=4).astype(np.float64)

    away = ((vectors[:, None] - cohort) ** 2).sum(axis=2)
    by_cohort = -0.3 * np.log(np.exp(-away / 0.3).mean(axis=1))

    assert np.abs(nearness(small, 0.3, vectors) - by_cohort).max() < 0.005


@given(st.floats(-4, 1), st.floats(-4, 1))
def test_a_higher_likeness_never_scores_lower(one: float, other: float) -> None:
    low, high = sorted((one, other))

    assert 0 <= COMPARATOR.score(low).db <= COMPARATOR.score(high).db


@given(st.floats(0.01, 300))
def test_a_score_and_its_likeness_are_each_others_inverse(db: float) -> None:
    found = COMPARATOR.score(COMPARATOR.similarity_at(db))

    assert found.db == pytest.approx(db, abs=1e-6)
    assert found.extrapolated == (db > CALIBRATION.measured_to)


def test_one_template_is_a_set_by_itself_and_several_are_their_mean_a_little_less_near_to_everybody() -> None:
    # In two dimensions, by hand: mean (1, 0), each at a squared distance of 1 from it.
    two = Prepared(np.array([[0, 0], [2, 0]], np.float32), np.array([0.25, 0.75]))

    one = two[:1]

    assert COMPARATOR.fused(one) is one
    assert COMPARATOR.fused(two).vectors.tolist() == [[1, 0]]
    assert COMPARATOR.fused(two).nearness.tolist() == [0.5 - 1 / 2]
    assert variant(unit=True).fused(two).nearness.tolist() == [0.5 - 3 / 4]


@pytest.mark.skipif(not FACES.is_file(), reason=f"{FACES} is missing")
@pytest.mark.parametrize("count", [2, 3])
def test_several_pictures_of_a_person_find_more_and_let_in_no_more_strangers_than_declared(count: int) -> None:
    with np.load(FACES) as data:
        templates, person = data["templates"][data["detected"]], data["person"][data["detected"]]
    prepared = COMPARATOR.prepare(templates)
    of = {name: np.flatnonzero(person == name) for name in np.unique(person)}
    sets = [rows for rows in of.values() if len(rows) > count]
    every = np.array([rows[-1] for rows in of.values()])
    at = COMPARATOR.similarity_at(40)
    hits = {"one": 0, "several": 0}
    false = {"one": 0, "several": 0}
    for rows in sets:
        several = Prepared(prepared.vectors[rows[:count]], prepared.nearness[rows[:count]])
        for name, reference in (("one", several[:1]), ("several", COMPARATOR.fused(several))):
            s = COMPARATOR.similarity(reference, Prepared(prepared.vectors[every], prepared.nearness[every]))
            hits[name] += int(s[every == rows[-1]][0] >= at)
            false[name] += int((s >= at).sum()) - int(s[every == rows[-1]][0] >= at)
    pairs = len(sets) * (len(every) - 1)

    assert len(sets) - hits["several"] < 0.6 * (len(sets) - hits["one"])
    assert false["several"] / pairs < 2 * rate(40)


def test_expected_misses_rise_with_the_threshold_from_next_to_none_to_all() -> None:
    misses = [COMPARATOR.expected_misses(db) for db in range(-5, 200)]

    assert misses == sorted(misses)
    assert 0 <= misses[0] < 0.002
    assert misses[-1] > 0.99


def test_the_targets_are_those_of_ees_and_mosip() -> None:
    assert rate(VERIFICATION_TARGET) == pytest.approx(0.0005)
    assert search_threshold(SEARCH_TARGET, 1) == SEARCH_TARGET == pytest.approx(30)
    assert search_threshold(SEARCH_TARGET, 100_000) == pytest.approx(80)
    assert search_threshold(SEARCH_TARGET, 0) == SEARCH_TARGET
    for size in (1, 1000, 10**7):
        assert expected_false_positives(search_threshold(30, size), size) == pytest.approx(0.001, rel=1e-3)
    assert expected_false_positives(0, 10) == pytest.approx(1)


@pytest.mark.parametrize(
    ("vector", "because"),
    [
        (np.array(CALIBRATION.gate.centre, np.float32), "nearer to the average face"),
        (np.zeros(128, np.float32), "length"),
        (np.full(128, np.inf, np.float32), "infinity"),
        (np.full(128, np.nan, np.float32), "NaN"),
        (np.full(128, 3e38, np.float32), "length"),
        (np.ones(127, np.float32), "shape"),
        (np.array(CALIBRATION.gate.centre, np.float32) * 1.2, "nearer to the average face"),
    ],
    ids=["mean", "zero", "inf", "nan", "huge", "short", "longer mean"],
)
def test_the_gate_refuses_what_is_no_face(vector: Vector, because: str) -> None:
    refused = COMPARATOR.refusal(vector)

    assert refused is not None
    assert because in refused


@pytest.mark.parametrize("times", [0.3, 1.0, 3.0])
def test_at_unit_length_the_average_face_is_refused_however_long_it_is(times: float) -> None:
    centre = np.array(CALIBRATION.gate.centre)
    gate = CALIBRATION.gate.model_copy(
        update={"centre": tuple((centre / np.linalg.norm(centre)).tolist()), "norm": (0.1, 9.0)}
    )

    refused = variant(unit=True, gate=gate).refusal((centre * times).astype(np.float32))

    assert refused is not None
    assert "nearer to the average face" in refused


def test_the_gate_lets_strangers_pass() -> None:
    assert [COMPARATOR.refusal(vector) for vector in draw(MIXTURE, 300, seed=9)].count(None) == 300


# ---- the file


def test_the_file_comes_back_as_it_was_and_the_same_calibration_gives_the_same_bytes() -> None:
    text = DEFAULT.read_text(encoding="utf-8")

    assert Calibration.parse(text).dump() == text
    assert Calibration.parse(variant(cohort=None).calibration.dump()) == variant(cohort=None).calibration
    assert len(text) < 200_000
    assert max(map(len, text.splitlines())) < 2_000


def test_a_calibrations_digest_is_that_of_its_file_and_of_no_other() -> None:
    assert CALIBRATION.digest() == hashlib.sha256(DEFAULT.read_bytes()).hexdigest()
    others = [variant(provenance={"data": "others"}), variant(model="another"), variant(cohort=None)]
    assert len({CALIBRATION.digest(), *(one.calibration.digest() for one in others)}) == 4


def changed(path: str, value: object) -> str:
    held = json.loads(DEFAULT.read_text(encoding="utf-8"))
    *way, last = path.split(".")
    inside = held
    for step in way:
        inside = inside[int(step)] if isinstance(inside, list) else inside[step]
    inside[int(last) if isinstance(inside, list) else last] = value
    return json.dumps(held)


@pytest.mark.parametrize(
    ("path", "value", "because"),
    [
        ("format", 2, "format 1"),
        ("format", "1", "format 1"),
        ("dimension", 127, "127 dimensions and holds 128"),
        ("dimension", 0, "dimension"),
        ("surprise", 1, "surprise"),
        ("unit", "yes", "unit"),
        ("table", [[0, 1], [0, 2]], "ascend"),
        ("table", [[0, 2], [1, 1]], "ascend"),
        ("table", [[0, -1], [1, 1]], "below 0 dB"),
        ("table", [[0, 1]], "table"),
        ("table.3", [1], "table"),
        ("tail.slope", 0, "tail.slope"),
        ("tail.slope", math.inf, "tail.slope"),
        ("tail.slope", math.nan, "tail.slope"),
        ("misses", [[0, 0.5], [1, 0.4]], "misses fall"),
        ("misses", [[0, 0.5], [1, 1.4]], "no rates"),
        ("gate.norm", [2, 1], "norms"),
        ("gate.centre", [], "gate.centre"),
        ("gate.centre.5", math.nan, "gate.centre"),
        ("cohort.weight", 0.6, "cohort.weight"),
        ("cohort.softness", -1, "cohort.softness"),
        ("cohort.mixture.variances.0.0", 0, "not positive"),
        ("cohort.mixture.means.1", [0.1], "differ in shape"),
        ("cohort.mixture.weights.0", 1, "shares"),
    ],
)
def test_a_file_with_a_wrong_value_is_refused_by_its_name(path: str, value: object, because: str) -> None:
    with pytest.raises(CalibrationRefused, match=because.replace(".", r"\.")):
        Calibration.parse(changed(path, value))


def test_a_refusal_says_what_to_do_in_words_of_its_own() -> None:
    with pytest.raises(CalibrationRefused) as told:
        Calibration.parse(changed("table", [[0, 1], [0, 2]]))
    assert str(told.value) == (
        "the calibration is corrupt (as a whole): the score table does not ascend; run `eyni calibrate` anew"
    )


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "[" * 100_000, "\0", '{"format": true}'])
def test_what_is_no_calibration_is_refused(text: str) -> None:
    with pytest.raises(CalibrationRefused):
        Calibration.parse(text)


def test_another_models_calibration_is_refused() -> None:
    assert load(DEFAULT, model=CALIBRATION.model, dimension=128) == CALIBRATION
    with pytest.raises(CalibrationRefused, match="is of model"):
        load(DEFAULT, model="sface")
    with pytest.raises(CalibrationRefused, match="templates have 512"):
        load(DEFAULT, dimension=512)


# ---- chance


def test_drawn_people_are_the_same_for_ever_and_everywhere() -> None:
    """A new digest means that synthetic people changed: every figure for a large gallery would move with it."""
    fixed = Mixture(weights=(0.5, 0.5), means=((0.0,) * 8, (1.0,) * 8), variances=((0.04,) * 8, (0.25,) * 8))
    drawn = draw(fixed, 5_000, seed=20261122)

    assert hashlib.sha256(drawn.astype("<f4").tobytes()).hexdigest()[:16] == "bd53fe3350e0727c"
    assert hashlib.sha256(uniforms(1, 1000).astype("<f8").tobytes()).hexdigest()[:16] == "26e46d1c84164a0d"


def test_drawn_people_have_the_mixtures_means_and_variances() -> None:
    one = Mixture(weights=(0.2, 0.8), means=((-1.0, 3.0), (1.0, 3.0)), variances=((0.04, 1.0), (0.04, 1.0)))
    drawn = draw(one, 200_000, seed=5).astype(np.float64)

    left = drawn[:, 0] < 0
    assert left.mean() == pytest.approx(0.2, abs=0.005)
    assert drawn[left].mean(axis=0) == pytest.approx([-1, 3], abs=0.02)
    assert drawn[~left].var(axis=0) == pytest.approx([0.04, 1], rel=0.02)


def test_templates_are_sorted_by_whom_they_show() -> None:
    plain = comparator()
    ada, bob, eve = vector(1), vector(2), vector(3)
    near = (ada + np.float32(0.2) * bob).astype(np.float32)
    assert plain.people([]) == []
    assert plain.people([ada]) == [[0]]
    assert plain.people([ada, near]) == [[0, 1]]
    assert plain.people([ada, bob]) == [[0], [1]]
    assert plain.people([bob, ada, eve, near, bob]) == [[0, 4], [1, 3], [2]]


def test_one_picture_that_is_unalike_one_other_by_chance_makes_no_second_person() -> None:
    plain, ada = comparator(), vector(1)
    aside = vector(2) - (vector(2) @ ada) * ada
    aside /= np.linalg.norm(aside)
    away = 0.4  # 0.64 is the distance at which two are unalike
    left, right = ((ada + side * np.float32(away) * aside).astype(np.float32) for side in (-1, 1))
    assert plain.people([left, right]) == [[0], [1]]
    assert plain.people([left, ada, right]) == [[0, 1, 2]]


def test_two_people_in_one_encounter_are_found_and_one_person_seldom_refused() -> None:
    if not FACES.exists():
        pytest.skip(f"{FACES} is missing: faces are no part of this project")
    with np.load(FACES) as held:
        templates, person = held["templates"][held["detected"]], held["person"][held["detected"]]
    dice = np.random.default_rng(11)
    strangers = [pair for pair in dice.integers(0, len(person), (1000, 2)) if person[pair[0]] != person[pair[1]]]
    starts = np.flatnonzero(person[1:] == person[:-1])
    genuine = [(n, n + 1) for n in dice.permutation(starts)[:1000]]
    told_apart = np.mean([len(COMPARATOR.people(list(templates[list(pair)]))) == 2 for pair in strangers])
    refused = np.mean([len(COMPARATOR.people(list(templates[list(pair)]))) == 2 for pair in genuine])
    assert told_apart > 0.98
    assert refused < 0.02
