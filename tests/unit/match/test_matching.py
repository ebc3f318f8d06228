"""What the matcher decides, on templates whose distances, and so whose scores, are known (tests.facts.calibration)."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.match.gallery import Gallery
from services.match.matching import Matcher
from services.match.policy import Policy
from shared.biometrics import Defect, Quality, RetakeReason, Template, Vector
from shared.calibration import Comparator, search_threshold
from shared.envelope import encode
from shared.events import (
    Changed,
    Compare,
    Conflict,
    Decided,
    EncounterActivated,
    EncounterMoved,
    EncounterRefiled,
    EncounterRemoved,
    Enrolled,
    GalleryEvent,
    Identified,
    Identify,
    Outcome,
    PersonRemoved,
    PersonsMerged,
    ProbeChosen,
    ProbeEvent,
    ProbeExtracted,
    ReferenceEnrolled,
    Repeated,
    Unknown,
    Verified,
    Verify,
)
from tests.facts import a_cohort, calibration, comparator, enrolled, identify, request, template, verify

POLICY = Policy(candidate_cap=5)


def matcher(compares: Comparator | None = None) -> Matcher:
    return Matcher(Gallery(compares or comparator()), POLICY)


def normalised() -> Comparator:
    """With a cohort, and a table moved to where its comparisons are."""
    made = calibration(cohort=a_cohort(1))
    some = np.stack([template(n).vector for n in range(20)])
    moved = 2 * float(Comparator(made).prepare(some).nearness.mean())
    return Comparator(made.model_copy(update={"table": tuple((s + moved, db) for s, db in made.table)}))


def fold(m: Matcher, *events: GalleryEvent) -> Sequence[Decided]:
    start = m.gallery.position
    return m.fold(list(enumerate(events, start)))


def answer(m: Matcher, event: ProbeEvent) -> Decided:
    [decided] = m.answer([event])
    return decided


def names(decided: Decided) -> list[str]:
    assert isinstance(decided.outcome, Enrolled | Identified)
    return [c.person_id for c in decided.outcome.candidates]


def test_the_later_of_two_enrolments_of_one_person_names_the_earlier_and_not_the_other_way_round() -> None:
    m = matcher()
    first, second = fold(m, enrolled(1, "ada", [template(1)]), enrolled(2, "bea", [template(1, 0.1)]))
    assert names(first) == []
    assert names(second) == ["ada"]
    assert (second.as_of, second.gallery_count) == (2, 1)


def test_a_stranger_is_nobodys_duplicate() -> None:
    m = matcher()
    assert names(fold(m, enrolled(1, "ada", [template(1)]), enrolled(2, "bob", [template(2)]))[1]) == []


def test_a_persons_own_other_encounters_are_no_duplicates() -> None:
    m = matcher()
    _, second = fold(m, enrolled(1, "ada", [template(1)]), enrolled(2, "ada", [template(1, 0.1)], encounter_id="2"))
    assert names(second) == []


def test_duplicates_are_looked_for_in_the_galleries_that_the_encounter_is_filed_under() -> None:
    m = matcher()
    visa, police, both = fold(
        m,
        enrolled(1, "ada", [template(1)], galleries=["visa"]),
        enrolled(2, "bea", [template(1, 0.1)], galleries=["police"]),
        enrolled(3, "cia", [template(1, 0.2)], galleries=["police", "visa"]),
    )
    assert names(visa) == names(police) == []
    assert names(both) == ["ada", "bea"] or names(both) == ["bea", "ada"]
    assert both.gallery_count == 2


def test_candidates_come_nearest_first_and_ties_in_the_order_of_enrolment() -> None:
    m = matcher()
    fold(
        m,
        enrolled(1, "zoe", [template(1, 0.2)]),
        enrolled(2, "amy", [template(1, 0.2)]),
        enrolled(3, "kim", [template(1, 0.1)]),
    )
    assert names(answer(m, identify(4, template(1)))) == ["kim", "zoe", "amy"]


def test_more_candidates_than_the_cap_are_counted_in_truth() -> None:
    m = matcher()
    decided = fold(m, *(enrolled(i, f"p{i}", [template(1, 0.01 * i, seed=i)]) for i in range(9)))[-1]
    assert isinstance(decided.outcome, Enrolled)
    assert len(decided.outcome.candidates) == POLICY.candidate_cap
    assert decided.outcome.total_candidates == 8


def test_the_same_body_again_is_answered_by_the_first_request_and_another_body_is_a_conflict() -> None:
    m = matcher()
    first, again, other = fold(
        m,
        enrolled(1, "ada", [template(1)], digest="body"),
        enrolled(2, "ada", [template(1)], digest="body"),
        enrolled(3, "ada", [template(1)], digest="another body"),
    )
    assert isinstance(first.outcome, Enrolled)
    assert again.outcome == Repeated("r-1")
    assert isinstance(other.outcome, Conflict)
    assert len(m.gallery) == 1


def test_a_redelivered_event_is_decided_once_and_changes_nothing() -> None:
    m = matcher()
    event = enrolled(1, "ada", [template(1)])
    removed = EncounterRemoved(request(2), "ada", "1")
    assert len(fold(m, event, removed, event)) == 2
    assert len(m.gallery) == 0


def test_what_is_removed_inactive_or_filed_elsewhere_is_not_found_and_what_is_moved_or_merged_is_found_there() -> None:
    m = matcher()
    probe = template(1, 0.05)
    fold(m, enrolled(1, "ada", [template(1)], galleries=["visa"]), enrolled(2, "bob", [template(2)]))
    steps: list[tuple[GalleryEvent, str, list[str]]] = [
        (EncounterActivated(request(3), "ada", "1", False), "visa", []),
        (EncounterActivated(request(4), "ada", "1", True), "visa", ["ada"]),
        (EncounterRefiled(request(5), "ada", "1", ("police",)), "visa", []),
        (EncounterRefiled(request(6), "ada", "1", ("visa",)), "visa", ["ada"]),
        (EncounterMoved(request(8), "ada", "bob", "1"), "visa", []),  # a conflict: bob has an encounter 1
        (EncounterRemoved(request(9), "bob", "1"), "visa", ["ada"]),
        (EncounterMoved(request(10), "ada", "bob", "1"), "visa", ["ada"]),  # bob is gone: unknown
    ]
    for number, (event, gallery, expected) in enumerate(steps):
        fold(m, event)
        found = names(answer(m, identify(100 + number, probe, gallery)))
        if isinstance(event, EncounterMoved) and number == 4:
            assert found == ["ada"]
        else:
            assert found == expected
    fold(m, enrolled(20, "eve", [template(3)], encounter_id="9"))
    assert isinstance(fold(m, PersonsMerged(request(21), "ada", "eve"))[0].outcome, Changed)
    assert names(answer(m, identify(200, probe))) == ["eve"]
    assert isinstance(fold(m, PersonRemoved(request(22), "eve"))[0].outcome, Changed)
    assert names(answer(m, identify(201, probe))) == []
    assert isinstance(fold(m, PersonRemoved(request(23), "eve"))[0].outcome, Unknown)


def test_a_replaced_encounter_is_found_by_its_new_face_only() -> None:
    m = matcher()
    fold(m, enrolled(1, "ada", [template(1)]), enrolled(2, "ada", [template(2)], replaces=True))
    assert names(answer(m, identify(3, template(1)))) == []
    assert names(answer(m, identify(4, template(2)))) == ["ada"]


def test_replacing_an_encounter_that_is_not_there_is_unknown() -> None:
    assert isinstance(fold(matcher(), enrolled(1, "ada", [template(1)], replaces=True))[0].outcome, Unknown)


def test_verification_compares_with_all_active_references_of_the_person_as_one() -> None:
    m = matcher()
    fold(
        m,
        enrolled(1, "ada", [template(1, 0.3, seed=1), template(1, 0.3, seed=2)]),
        enrolled(2, "ada", [template(1, 0.3, seed=3)], encounter_id="2"),
        enrolled(3, "ada", [template(9)], encounter_id="3", active=False),
        enrolled(4, "bob", [template(1, 0.3, seed=3)]),
    )
    three, one = (answer(m, verify(n, who, template(1))).outcome for n, who in ((10, "ada"), (11, "bob")))
    assert isinstance(three, Verified)
    assert isinstance(one, Verified)
    assert three.score is not None
    assert one.score is not None
    assert three.score > one.score + 5
    assert answer(m, verify(12, "ada", template(9))).outcome == Verified(False)
    fold(m, EncounterActivated(request(5), "ada", "3", True), EncounterActivated(request(6), "ada", "1", False))
    fold(m, EncounterActivated(request(7), "ada", "2", False))
    assert answer(m, verify(13, "ada", template(1))).outcome == Verified(False)


def test_encounters_that_are_unalike_each_count_by_themselves_at_a_threshold_for_so_many() -> None:
    # A child's picture and the grown-up's: either is the person, and two chances are as many false matches as one.
    m = matcher()
    fold(m, enrolled(1, "ada", [template(1)]), enrolled(2, "ada", [template(2)], encounter_id="2"))
    assert [answer(m, verify(n, "ada", template(n))).outcome for n in (1, 2, 3)] == [
        Verified(True, 100.0, True),
        Verified(True, 100.0, True),
        Verified(False),
    ]
    near = template(1, 0.57)
    fold(m, enrolled(3, "bob", [template(1)]))
    assert m.comparator.score(-(0.57**2)).db == pytest.approx(35.0, abs=0.1)
    asked = [ProbeExtracted(request(n), Verify("ALL", who, 33.0), (near,)) for n, who in ((10, "bob"), (11, "ada"))]
    assert [isinstance(o := answer(m, a).outcome, Verified) and o.match for a in asked] == [True, False]


def test_nobody_is_verified_against_or_searched_with_inactive_encounters_only_and_the_answer_says_so() -> None:
    m = matcher()
    fold(m, enrolled(1, "ada", [template(1)], active=False))
    for event in (verify(2, "ada", template(1)), ProbeChosen(request(3), Identify("ALL", 10), "ada")):
        outcome = answer(m, event).outcome
        assert isinstance(outcome, Unknown)
        assert "no active encounter" in outcome.message


@pytest.mark.parametrize(
    "late",
    [
        EncounterActivated(request(3), "bea", "1", True),
        EncounterRefiled(request(3), "bea", "1", ("visa", "police")),
    ],
)
def test_who_was_inactive_or_elsewhere_when_enrolled_is_searched_for_on_coming_in(late: GalleryEvent) -> None:
    m = matcher()
    inactive = isinstance(late, EncounterActivated)
    first, second, third = fold(
        m,
        enrolled(1, "ada", [template(1)], galleries=["visa"]),
        enrolled(2, "bea", [template(1, 0.1)], galleries=["visa" if inactive else "elsewhere"], active=not inactive),
        late,
    )
    assert isinstance(third.outcome, Changed)
    assert [c.person_id for c in third.outcome.candidates] == ["ada"]
    assert third.outcome.total_candidates == 1
    assert names(first) == []
    if not inactive:
        assert names(second) == []


def test_a_replacement_that_takes_back_a_change_of_status_or_galleries_is_no_repetition() -> None:
    m = matcher()
    fold(
        m,
        enrolled(1, "ada", [template(1)], digest="body"),
        EncounterActivated(request(2), "ada", "1", False),
        EncounterRefiled(request(3), "ada", "1", ("other",)),
    )
    again = enrolled(4, "ada", [template(1)], digest="body", replaces=True)
    assert isinstance(fold(m, again)[0].outcome, Enrolled)
    [encounter] = m.gallery.encounters_of("ada")
    assert (encounter.active, encounter.galleries) == (True, ("all-of-us",))
    assert isinstance(fold(m, enrolled(5, "ada", [template(1)], digest="body", replaces=True))[0].outcome, Repeated)


def test_a_score_beyond_what_was_measured_is_marked() -> None:
    m = matcher()
    fold(m, enrolled(1, "ada", [template(1)]))
    for wobble, score, beyond in ((0.1, 98, True), (0.52, 45.92, False)):
        outcome = answer(m, verify(2, "ada", template(1, wobble))).outcome
        assert isinstance(outcome, Verified)
        assert outcome.score == pytest.approx(score)
        assert outcome.extrapolated == beyond
        found = answer(m, identify(3, template(1, wobble))).outcome
        assert isinstance(found, Identified)
        assert [c.extrapolated for c in found.candidates] == [beyond]


def test_a_verification_that_fails_gives_no_score() -> None:
    m = matcher()
    fold(m, enrolled(1, "ada", [template(1)]))
    assert answer(m, verify(2, "ada", template(2))).outcome == Verified(match=False, score=None)


@pytest.mark.parametrize(("person", "gallery"), [("nobody", "ALL"), ("ada", "police")])
def test_verifying_somebody_who_is_not_in_the_gallery_is_unknown(person: str, gallery: str) -> None:
    m = matcher()
    fold(
        m, enrolled(1, "ada", [template(1)], galleries=["visa"]), enrolled(2, "x", [template(5)], galleries=["police"])
    )
    assert isinstance(answer(m, verify(3, person, template(1), gallery)).outcome, Unknown)


def test_an_emptied_gallery_is_known_and_finds_nobody_and_one_never_used_is_unknown() -> None:
    m = matcher()
    fold(m, enrolled(1, "ada", [template(1)], galleries=["visa"]), PersonRemoved(request(2), "ada"))
    assert answer(m, identify(3, template(1), "visa")).outcome == Identified((), 0)
    assert isinstance(answer(m, identify(4, template(1), "never")).outcome, Unknown)


def test_two_sets_of_samples_are_compared_without_the_gallery() -> None:
    m = matcher()
    same = ProbeExtracted(request(1), Compare(), (template(1), template(2)), (template(1, 0.1),))
    other = ProbeExtracted(request(2), Compare(), (template(1),), (template(2),))
    decided = answer(m, same)
    assert isinstance(decided.outcome, Verified)
    assert decided.outcome.match
    assert decided.as_of == -1
    assert answer(m, other).outcome == Verified(False)


def test_searching_with_somebody_enrolled_finds_others_and_never_themselves() -> None:
    m = matcher()
    fold(m, enrolled(1, "ada", [template(1)]), enrolled(2, "bea", [template(1, 0.1)]))
    assert names(answer(m, ProbeChosen(request(3), Identify("ALL", 10), "ada"))) == ["bea"]
    assert isinstance(answer(m, ProbeChosen(request(4), Identify("ALL", 10), "who")).outcome, Unknown)
    assert isinstance(answer(m, ProbeChosen(request(5), Identify("ALL", 10), "ada", "77")).outcome, Unknown)


def test_a_filter_lets_only_those_pass_who_have_the_field_and_the_value() -> None:
    m = matcher()
    fold(
        m,
        enrolled(1, "ada", [template(1)], document={"biographicData": {"dateOfBirth": "1985-11-30", "gender": "F"}}),
        enrolled(
            2,
            "bob",
            [template(1, 0.1)],
            document={
                "biographicData": {
                    "gender": "M",
                    "languages": ["az", "ru"],
                    "married": True,
                    "height": 171,
                    "passport": "C123",
                },
                "encounterType": "VISA",
            },
        ),
    )
    cases: list[tuple[dict[str, object], list[str]]] = [
        ({"gender": "F"}, ["ada"]),
        ({"gender": ["F", "M"]}, ["ada", "bob"]),
        ({"dateOfBirthMin": "1980-01-01", "dateOfBirthMax": "1990-01-01"}, ["ada"]),
        ({"dateOfBirthMin": "1990-01-01"}, []),
        ({"dateOfBirthMin": "1985-11-30T10:00:00Z", "dateOfBirthMax": "1985-11-30"}, ["ada"]),
        # A text that is no date has no order, whatever the bound is: it could be read by halving.
        ({"genderMin": "A"}, []),
        ({"genderMin": "1900-01-01"}, []),
        ({"passportMin": "1900-01-01"}, []),
        ({"heightMin": 150, "heightMax": 180.5}, ["bob"]),
        ({"heightMin": "1900-01-01"}, []),
        ({"marriedMin": 0}, []),
        ({"shoeSize": 43}, []),
        ({"encounterType": "VISA"}, ["bob"]),
        ({"biometricType": ["FACE", "IRIS"]}, ["ada", "bob"]),
        ({"biometricType": ["IRIS"]}, []),
        ({"languages": "az"}, ["bob"]),
        ({"languages": ["en", "ru"]}, ["bob"]),
        ({"married": 1}, []),
    ]
    for number, (wanted, expected) in enumerate(cases):
        event = identify(10 + number, template(1), wanted=wanted)  # type: ignore[arg-type]  # JSON in the making
        assert names(answer(m, event)) == expected, wanted


# ---- what must always hold

people = st.integers(0, 5)
some_events = st.lists(
    st.one_of(
        st.tuples(st.just("enrol"), people, st.integers(0, 4), st.integers(0, 30)),
        st.tuples(st.just("remove"), people, st.integers(0, 4), st.just(0)),
        st.tuples(st.just("deactivate"), people, st.integers(0, 4), st.just(0)),
        st.tuples(st.just("merge"), people, people, st.just(0)),
        st.tuples(st.just("again"), st.just(0), st.just(0), st.integers(0, 40)),
    ),
    max_size=40,
)


def events_of(script: Sequence[tuple[str, int, int, int]]) -> list[GalleryEvent]:
    events: list[GalleryEvent] = []
    for n, (what, a, b, c) in enumerate(script):
        match what:
            case "enrol":
                faces = [template(a, 0.015 * c, seed=c + k) for k in range(1 + (c % 5 == 0))]
                galleries = [f"g{c % 2}", "g"]
                again = c % 7 == 3
                events.append(
                    enrolled(n, f"p{a}-{b}", faces, encounter_id=str(b % 2), galleries=galleries, replaces=again)
                )
            case "remove":
                events.append(EncounterRemoved(request(n), f"p{a}-{b}", str(b % 2)))
            case "deactivate":
                events.append(EncounterActivated(request(n), f"p{a}-{b}", str(b % 2), n % 2 == 0))
            case "merge":
                events.append(PersonsMerged(request(n), f"p{a}-0", f"p{b}-1"))
            case _:
                if events:
                    events.append(events[c % len(events)])
    return events


@pytest.mark.parametrize("compares", [comparator(), normalised()], ids=["plain", "normalised"])
@given(script=some_events, cuts=st.lists(st.integers(1, 7), min_size=1, max_size=10))
@settings(max_examples=60, deadline=None)
def test_decisions_and_state_do_not_depend_on_how_the_log_is_cut_into_batches_i3(
    compares: Comparator, script: Sequence[tuple[str, int, int, int]], cuts: Sequence[int]
) -> None:
    events = list(enumerate(events_of(script)))
    one_by_one, in_batches = matcher(compares), matcher(compares)
    expected = [d for event in events for d in one_by_one.fold([event])]
    found: list[Decided] = []
    at = turn = 0
    while at < len(events):
        size = cuts[turn % len(cuts)]
        found += in_batches.fold(events[at : at + size])
        at, turn = at + size, turn + 1
    assert [encode(d) for d in found] == [encode(d) for d in expected]
    assert in_batches.gallery.view().digest() == one_by_one.gallery.view().digest()


@given(some_events)
@settings(max_examples=60, deadline=None)
def test_every_enrolment_names_exactly_the_earlier_people_who_are_close_enough_at_that_size_i2(
    script: Sequence[tuple[str, int, int, int]],
) -> None:
    m = matcher()
    compares = m.comparator
    present: list[tuple[tuple[str, Vector, float], set[str]]] = []
    for offset, event in enumerate(events_of(script)):
        decided = m.fold([(offset, event)])
        if decided and isinstance(decided[0].outcome, Enrolled):
            outcome = decided[0].outcome
            assert isinstance(event, ReferenceEnrolled)
            probe = np.mean([t.vector.astype(np.float64) for t in event.templates], axis=0)
            spread = float(np.mean([((t.vector - probe) ** 2).sum() for t in event.templates]))
            galleries = set(event.enrol.galleries)
            searched = [known for known, filed in present if filed & galleries]
            assert decided[0].gallery_count == len(searched)
            threshold = search_threshold(30, len(searched))
            truth = {
                person
                for person, reference, nearness in searched
                if person != outcome.person_id
                and compares.score(nearness - spread / 2 - float(((probe - reference) ** 2).sum())).db >= threshold
            }
            assert outcome.total_candidates == len(truth)
            assert {c.person_id for c in outcome.candidates} <= truth
            assert len({c.person_id for c in outcome.candidates}) == min(len(truth), POLICY.candidate_cap)
        present = [
            ((e.key.person_id, reference.vectors[0], float(reference.nearness[0])), set(e.galleries))
            for a in range(6)
            for b in range(5)
            for e in m.gallery.encounters_of(f"p{a}-{b}")
            if e.active
            for reference in [m.gallery.references_of([e])]
        ]


@st.composite
def probes(draw: st.DrawFn) -> ProbeEvent:
    seen = template(draw(st.integers(0, 2)), draw(st.sampled_from([0.0, 0.3, 0.6])))
    who, gallery = draw(st.sampled_from(["ada", "bob", "eve", "zoe"])), draw(st.sampled_from(["ALL", "g0", "never"]))
    chosen = ProbeChosen(request(52), Identify(gallery, 10), who)
    asked: list[ProbeEvent] = [identify(50, seen, gallery), verify(51, who, seen), chosen]
    return draw(st.sampled_from(asked))


@given(asked=st.lists(probes(), max_size=8))
@settings(max_examples=60, deadline=None)
def test_probes_answered_together_are_answered_as_one_at_a_time(asked: Sequence[ProbeEvent]) -> None:
    m = matcher()
    people = enumerate(["ada", "bob", "eve"])
    fold(m, *(enrolled(n, name, [template(n % 2, 0.1 * n)], galleries=(f"g{n % 2}",)) for n, name in people))
    assert m.answer(asked) == [answer(m, one) for one in asked]


def test_every_answer_carries_what_was_measured_on_each_sample_also_of_those_left_out() -> None:
    m = matcher()
    fold(m, enrolled(1, "ada", [template(1)]))
    blurred = Quality(0, {}, (Defect(RetakeReason.BLURRED, "Hold still."),))
    told = (Quality(80), blurred)

    def asked(question: Verify | Compare | Identify, *against: Template) -> Outcome:
        probe = ProbeExtracted(request(2), question, (template(1),), against, told, told[: len(against)])
        return answer(m, probe).outcome

    verified, compared = asked(Verify("ALL", "ada")), asked(Compare(), template(2))
    assert isinstance(verified, Verified)
    assert isinstance(compared, Verified)
    assert (verified.match, verified.qualities, verified.against_qualities) == (True, told, ())
    assert (compared.match, compared.qualities, compared.against_qualities) == (False, told, told[:1])
    identified = asked(Identify("ALL", 10))
    assert isinstance(identified, Identified)
    assert identified.qualities == told
