"""Thresholds: each follows from its target and from the gallery as it is at that position of the log."""

import pytest

from services.match.gallery import Gallery
from services.match.matching import Matcher
from services.match.policy import Policy
from shared.calibration import VERIFICATION_TARGET, search_threshold
from shared.events import (
    EncounterActivated,
    EncounterRefiled,
    Enrolled,
    GalleryEvent,
    Identified,
    Identify,
    PersonRemoved,
    ProbeExtracted,
)
from tests.facts import comparator, enrolled, request, template

WATCHED = Policy(galleries={"watchlist": 20.0, "vault": 50.0}, lowest=30.0)


def test_a_threshold_rises_by_ten_decibels_with_each_tenfold_gallery() -> None:
    for size, threshold in ((0, 30), (1, 30), (10, 40), (100_000, 80)):
        assert Policy().for_duplicates(["visa"], size) == pytest.approx(threshold)
        assert Policy().for_identification("ALL", size) == pytest.approx(threshold)


def test_a_gallery_may_have_a_target_of_its_own_and_of_several_the_strictest_counts() -> None:
    assert WATCHED.for_identification("watchlist", 10) == pytest.approx(30)
    assert WATCHED.for_identification("vault", 10) == pytest.approx(60)
    assert WATCHED.for_identification("ALL", 10) == pytest.approx(40)
    assert WATCHED.for_duplicates(["watchlist"], 10) == pytest.approx(30)
    assert WATCHED.for_duplicates(["watchlist", "visa"], 10) == pytest.approx(40)
    assert WATCHED.for_duplicates(["watchlist", "visa", "vault"], 10) == pytest.approx(60)


def test_a_callers_own_target_goes_before_the_gallerys_but_not_below_the_lowest_threshold() -> None:
    assert WATCHED.for_identification("vault", 10, 40.0) == pytest.approx(50)
    assert WATCHED.for_identification("vault", 1, 10.0) == pytest.approx(30)


def test_the_same_pair_is_a_duplicate_in_a_small_gallery_and_none_in_a_larger_one() -> None:
    # 0.45 apart: -0.2025, which scores 59.5 dB.
    pair = [enrolled("a", "ada", [template(1)]), enrolled("b", "bea", [template(1, 0.45)])]
    found: dict[int, int] = {}
    for others in (500, 1500):
        matcher = Matcher(Gallery(comparator()), Policy())
        crowd: list[GalleryEvent] = [enrolled(n, f"p{n}", [template(100 + n)], active=n >= 5) for n in range(others)]
        *_, last = matcher.fold(list(enumerate([*crowd, *pair])))
        assert isinstance(last.outcome, Enrolled)
        assert last.gallery_count == others - 5 + 1
        found[others] = [c.person_id for c in last.outcome.candidates].count("ada")
    assert search_threshold(30, 501) < 59.5 < search_threshold(30, 1501)
    assert found == {500: 1, 1500: 0}


def test_within_one_batch_each_enrolment_is_decided_at_its_own_size() -> None:
    """Replacements that leave the gallery make it smaller: the first pass must have kept who counts only then."""
    leaving = [enrolled(f"x{n}", f"p{n}", [template(100 + n)], replaces=True, galleries=["other"]) for n in range(250)]
    log: list[GalleryEvent] = [
        *(enrolled(n, f"p{n}", [template(100 + n)]) for n in range(255)),
        enrolled("a", "ada", [template(1)]),
        *leaving,
        enrolled("b", "bea", [template(1, 0.52)]),  # 45.9 dB: less than 30 + 24 of 256, more than 30 + 8 of 6
    ]
    one_by_one, at_once = (Matcher(Gallery(comparator()), Policy()) for _ in range(2))
    expected = [d for placed in enumerate(log) for d in one_by_one.fold([placed])]
    at_once.fold(list(enumerate(log[:256])))

    found = at_once.fold(list(enumerate(log))[256:])

    assert found == expected[256:]
    assert isinstance(found[-1].outcome, Enrolled)
    assert [c.person_id for c in found[-1].outcome.candidates] == ["ada"]
    assert found[-1].gallery_count == 6


def test_who_is_refiled_or_activated_is_searched_at_the_size_of_then() -> None:
    matcher = Matcher(Gallery(comparator()), Policy())
    crowd: list[GalleryEvent] = [enrolled(n, f"p{n}", [template(100 + n)], galleries=["big"]) for n in range(1500)]
    pair = [
        enrolled("a", "ada", [template(1)], galleries=["big", "small"]),
        enrolled("b", "bea", [template(1, 0.45)], active=False, galleries=["big"]),
    ]
    late: list[GalleryEvent] = [
        EncounterActivated(request("c"), "bea", "1", True),
        EncounterRefiled(request("d"), "bea", "1", ("small",)),
        PersonRemoved(request("e"), "ada"),
    ]
    *_, big, small, _ = matcher.fold(list(enumerate([*crowd, *pair, *late])))
    assert (big.gallery_count, small.gallery_count) == (1502, 2)
    assert "candidates=()" in repr(big.outcome)
    assert "person_id='ada'" in repr(small.outcome)


def test_an_identification_keeps_the_target_that_its_caller_asks_for() -> None:
    matcher = Matcher(Gallery(comparator()), Policy())
    crowd: list[GalleryEvent] = [enrolled(n, f"p{n}", [template(100 + n)]) for n in range(1500)]
    matcher.fold(list(enumerate([*crowd, enrolled("a", "ada", [template(1)])])))

    def names(question: Identify) -> list[str]:
        [decided] = matcher.answer([ProbeExtracted(request("i"), question, (template(1, 0.45),))])
        outcome = decided.outcome
        assert isinstance(outcome, Identified)
        return [c.person_id for c in outcome.candidates]

    assert names(Identify("ALL", 10)) == []
    assert "ada" in names(Identify("ALL", 10, target=20.0))
    assert names(Identify("ALL", 10, target=40.0)) == []
    assert "ada" in names(Identify("ALL", 10, threshold=59.0, target=40.0))


def test_what_is_to_be_expected_is_told_of_every_operation_at_the_present_size() -> None:
    told = WATCHED.expected(comparator(), {"ALL": 1000, "watchlist": 10, "vault": 0}.__getitem__)
    assert [(p.operation, p.gallery, p.size) for p in told] == [
        ("verification", "ALL", 1),
        ("duplicates", "ALL", 1000),
        ("identification", "ALL", 1000),
        ("identification", "vault", 0),
        ("identification", "watchlist", 10),
    ]
    verification, duplicates, _, vault, watchlist = told
    assert verification.threshold == pytest.approx(VERIFICATION_TARGET, abs=0.01)
    assert (duplicates.threshold, duplicates.extrapolated) == (60, True)
    assert duplicates.misses == pytest.approx(0.36)
    assert (vault.threshold, vault.extrapolated) == (50, False)
    assert (watchlist.threshold, watchlist.falls_short) == (30, False)
