"""What a decision about several samples looks like: which of them it rests on, and what is wrong with the others."""

import json
from datetime import UTC, datetime

import pytest

from services.api.answers import Answer, decided
from shared.biometrics import Defect, Quality, RetakeReason
from shared.events import Decided, Enrolled, Identified, Outcome, Refused, Request, Verified

GOOD = Quality(80)
BROKEN = Quality(0, {}, (Defect(RetakeReason.UNDECODABLE, "The picture is cut short."),))
BLURRED = Quality(0, {}, (Defect(RetakeReason.BLURRED, "Hold still."), Defect(RetakeReason.TOO_DARK, "More light.")))
SEVERAL = Quality(0, {}, (Defect(RetakeReason.SEVERAL_PEOPLE, "The samples show 2 people: sample 1; sample 2."),))


def answered(outcome: Outcome) -> Answer:
    return decided(Decided(Request("c-1", "t-1", datetime(2026, 12, 1, tzinfo=UTC), "tests"), outcome, -1, -1))


def said(outcome: Outcome) -> str:
    answer = answered(outcome)
    assert answer.status == 400
    return str(json.loads(answer.body)["message"])


def test_of_two_pictures_compared_the_broken_one_is_named_and_the_good_one_is_called_usable() -> None:
    refused = Refused((GOOD,), (BROKEN,))
    assert said(refused) == (
        "No sample of biometricData2 could be used, take the picture again. biometricData1 sample 1: usable. "
        "biometricData2 sample 1: undecodable: The picture is cut short."
    )
    assert answered(refused).headers["Eyni-Retake"] == "undecodable"


def test_the_set_that_lacks_a_usable_sample_is_named_whichever_it_is() -> None:
    assert said(Refused((BROKEN, BLURRED), (BROKEN, GOOD))).startswith("No sample of biometricData1 could be used")
    assert said(Refused((BROKEN,), (BLURRED,))).startswith("No sample could be used")


def test_of_one_set_every_sample_is_named_with_what_is_wrong() -> None:
    assert said(Refused((BROKEN, BLURRED))) == (
        "No sample could be used, take the picture again. sample 1: undecodable: The picture is cut short. "
        "sample 2: blurred: Hold still.; too_dark: More light."
    )


def test_pictures_of_several_people_have_a_retake_reason_of_their_own() -> None:
    refused = Refused((SEVERAL, SEVERAL))
    assert answered(refused).headers["Eyni-Retake"] == "several_people"
    assert "sample 2: several_people: The samples show 2 people" in said(refused)


@pytest.mark.parametrize(
    "outcome",
    [
        Enrolled("P-1", "E-1", qualities=(GOOD, BLURRED)),
        Verified(False, qualities=(GOOD, BLURRED)),
        Identified((), 0, qualities=(GOOD, BLURRED)),
    ],
    ids=lambda outcome: type(outcome).__name__,
)
def test_every_answer_names_the_samples_that_it_does_not_rest_on(outcome: Outcome) -> None:
    assert answered(outcome).headers["Eyni-Left-Out"] == "sample 2: blurred too_dark"


def test_of_a_comparison_the_set_is_named_too() -> None:
    compared = answered(Verified(True, 44.0, False, (GOOD, BROKEN), (BLURRED, GOOD)))
    assert compared.headers["Eyni-Left-Out"] == (
        "biometricData1 sample 2: undecodable; biometricData2 sample 1: blurred too_dark"
    )


def test_where_no_sample_was_left_out_nothing_is_said() -> None:
    assert "Eyni-Left-Out" not in answered(Verified(True, 44.0, False, (GOOD,), (GOOD,))).headers
