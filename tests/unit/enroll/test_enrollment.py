"""What a capture and its extractions come to."""

from dataclasses import replace

import pytest

from services.enroll.enrollment import SAMPLES, conclude, examined, gated, objection, samples_of
from services.enroll.quality import Extracted
from shared.biometrics import Quality, RetakeReason
from shared.envelope import encode
from shared.events import (
    CaptureReceived,
    Compare,
    Decided,
    Identify,
    ProbeExtracted,
    Purpose,
    ReferenceEnrolled,
    Refused,
    Verify,
)
from tests.unit.enroll.making import OPEN_GATE, REFUSED, PretendGate, capture, enrol, template, usable


def test_a_gated_sample_keeps_its_measures_and_loses_its_template_and_its_score() -> None:
    sample = Extracted(template(1), Quality(80, {"yaw": 0.1}))
    refused = gated(sample, PretendGate(lambda vector: f"lies at {vector[0]}"))
    assert (refused.template, refused.quality.score, refused.quality.measures) == (None, 0, {"yaw": 0.1})
    (defect,) = refused.quality.defects
    assert defect.reason is RetakeReason.NOT_A_FACE
    assert (defect.measured, defect.limit) == (None, None)
    assert not any(character.isdigit() for character in defect.advice), "no number of a template in it"


def test_the_gate_lets_faces_and_refusals_pass_as_they_are() -> None:
    assert gated(usable(1), OPEN_GATE) == usable(1)
    assert gated(REFUSED, PretendGate(lambda _: "never asked")) == REFUSED


APART = PretendGate(tells_apart=True)


def several(asked: CaptureReceived, *results: Extracted) -> list[str]:
    """Say what is told of each sample that is refused for showing somebody else."""
    return [
        one.quality.defects[0].advice.split(". ")[0]
        if [d.reason for d in one.quality.defects] == [RetakeReason.SEVERAL_PEOPLE]
        else ""
        for one in examined(asked, results, APART)
    ]


def test_samples_of_two_people_are_refused_and_named() -> None:
    asked = capture("r", b"1", b"bad", b"2", b"1")
    told = "The samples show 2 people: samples 1 and 4; sample 3"
    assert several(asked, usable(1), REFUSED, usable(2), usable(1)) == [told, "", told, told]
    found = examined(asked, [usable(1), REFUSED, usable(2), usable(1)], APART)
    assert [(one.template, one.quality.score) for one in found] == [(None, 0)] * 4
    assert found[1] == REFUSED, "what was wrong with it is still told"
    assert isinstance(conclude(asked, found), Decided)


@pytest.mark.parametrize("purpose", [Verify("main", "person"), Identify("main", 5)])
def test_a_question_with_pictures_of_two_people_is_refused_too(purpose: Verify | Identify) -> None:
    told = "The samples show 2 people: sample 1; sample 2"
    assert several(capture("r", b"1", b"2", purpose=purpose), usable(1), usable(2)) == [told, told]


def test_the_two_sets_of_a_comparison_may_show_two_people_and_each_set_but_one() -> None:
    asked = capture("r", b"1", b"1", purpose=Compare(), against=(b"2", b"3"))
    told = "The samples show 2 people: sample 1; sample 2"
    assert several(asked, usable(1), usable(1), usable(2), usable(2)) == [""] * 4
    assert several(asked, usable(1), usable(1), usable(2), usable(3)) == ["", "", told, told]


QUESTIONS = [Verify("main", "person"), Identify("main", 5)]


def test_an_enrolment_keeps_the_usable_templates_and_every_quality() -> None:
    event = conclude(capture("r", b"1", b"bad", b"3"), [usable(1), REFUSED, usable(3)])
    assert isinstance(event, ReferenceEnrolled)
    assert event.enrol == enrol("r")
    assert event.templates == (template(1), template(3))
    assert [quality.score for quality in event.qualities] == [80, 0, 80]


@pytest.mark.parametrize("purpose", QUESTIONS)
def test_a_question_becomes_a_probe(purpose: Verify | Identify) -> None:
    event = conclude(capture("r", b"1", b"bad", purpose=purpose), [usable(1), REFUSED])
    assert event == ProbeExtracted(
        event.request, purpose, (template(1),), qualities=(usable(1).quality, REFUSED.quality)
    )


def test_a_comparison_carries_both_sets_apart() -> None:
    asked = capture("r", b"1", b"bad", purpose=Compare(), against=(b"2",))
    event = conclude(asked, [usable(1), REFUSED, usable(2)])
    assert event == ProbeExtracted(
        asked.request,
        Compare(),
        (template(1),),
        (template(2),),
        (usable(1).quality, REFUSED.quality),
        (usable(2).quality,),
    )


@pytest.mark.parametrize(
    "results",
    [(REFUSED, usable(2)), (usable(1), REFUSED), (REFUSED, REFUSED)],
    ids=["first unusable", "second unusable", "both unusable"],
)
def test_a_comparison_needs_a_usable_sample_on_both_sides(results: tuple[Extracted, Extracted]) -> None:
    event = conclude(capture("r", b"1", purpose=Compare(), against=(b"2",)), results)
    assert isinstance(event, Decided)
    assert event.outcome == Refused((results[0].quality,), (results[1].quality,))


@pytest.mark.parametrize("purpose", [enrol("p"), *QUESTIONS])
def test_a_capture_without_a_usable_sample_is_refused_as_an_outcome(purpose: Purpose) -> None:
    event = conclude(capture("r", b"bad", b"bad", purpose=purpose), [REFUSED, REFUSED])
    assert isinstance(event, Decided)
    assert event.outcome == Refused((REFUSED.quality, REFUSED.quality))
    assert (event.as_of, event.gallery_count) == (-1, -1)


def test_both_sets_of_a_comparison_are_extracted_the_second_after_the_first() -> None:
    def images(asked: CaptureReceived) -> list[bytes]:
        return [sample.image for sample in samples_of(asked)]

    assert images(capture("r", b"1", purpose=Compare(), against=(b"2",))) == [b"1", b"2"]


@pytest.mark.parametrize(
    "sound",
    [
        capture("c-1", b"1"),
        capture("station 4", b"1", purpose=Verify("ALL", "person")),
        capture("c-1", b"1", purpose=Compare(), against=(b"2",)),
        capture("c-1", *[b"1"] * SAMPLES),
    ],
)
def test_a_sound_capture_is_not_objected_to(sound: CaptureReceived) -> None:
    assert objection(sound) is None


@pytest.mark.parametrize(
    ("odd", "reason"),
    [
        (capture("r-1", b"1"), 'request_id begins with "r-"'),
        (capture("c-1"), "samples is empty"),
        (capture("c-1", *[b"1"] * (SAMPLES + 1)), "21 samples; at most 20"),
        (capture("c-1", *[b"1"] * 11, purpose=Compare(), against=(b"2",) * 21), "21 samples; at most 20"),
        (capture("c-1", b"1", purpose=Compare()), "against is empty"),
        (capture("c-1", b"1", against=(b"2",)), "against goes with compare only"),
        (capture("c-1", b"1", purpose=replace(enrol("p"), galleries=())), "galleries is empty"),
        (capture("c-1", b"1", purpose=replace(enrol("p"), galleries=("main", "ALL"))), "ALL is no gallery"),
        (capture("c-1", b"1", purpose=replace(enrol("p"), galleries=("a", "b", "a"))), "galleries names one twice"),
    ],
)
def test_what_a_capture_lacks_is_said(odd: CaptureReceived, reason: str) -> None:
    assert reason in str(objection(odd))


def test_a_redelivered_capture_gives_the_same_bytes() -> None:
    def once() -> bytes:
        return encode(conclude(capture("r", b"1", b"bad"), [usable(1), REFUSED]))

    assert once() == once()
