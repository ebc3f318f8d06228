"""A gallery as CSV: no cell is a formula for whoever opens it in a spreadsheet."""

import csv
import io
import json

import pytest

from services.api import answers
from shared.encounters import Key


def cells(value: str) -> list[str]:
    text = answers.gallery_csv([Key(value, value)]).body.decode()
    return list(csv.reader(io.StringIO(text), skipinitialspace=True))[1]


@pytest.mark.parametrize(
    "value", ["=cmd|'calc'!A0", "@SUM(1+1)", "+1", "-1", "\t=1", "\r=1", " =1", "|x", "%x", "\uff1d1", "'=1"]
)
def test_what_a_spreadsheet_takes_for_a_formula_is_marked_as_text(value: str) -> None:
    assert cells(value) == [f"'{value}"] * 2
    # For programs, nothing changes.
    (found,) = json.loads(answers.gallery_json([Key(value, value)]).body)
    assert found == {"personId": value, "encounterId": value}


@pytest.mark.parametrize("value", ["P1", "1", "a=b", "a-b", "a,b", 'a"b', "Gülşən", "1-2"])
def test_other_values_are_as_they_are(value: str) -> None:
    assert cells(value) == [value] * 2


def test_no_two_values_are_written_as_one() -> None:
    assert cells("=1") != cells("'=1")
