"""Pictures that an enrolment must answer sensibly; they are given material, never copied into the project."""

from pathlib import Path

import pytest

from services.enroll.extraction import extract
from tests.unit.enroll.making import LIMITS, PIXELS

ODD = Path(__file__).resolve().parents[4] / "shared" / "faces" / "odd"

pytestmark = pytest.mark.skipif(not ODD.is_dir(), reason=f"{ODD} is not there: the odd captures are given apart")

WANTED = {
    "cut_off_1.jpg": "cut_off",
    "cut_off_2.jpg": "cut_off",
    "group_2007_007763.jpg": "several_faces",
    "group_2008_002470.jpg": "several_faces",
    "group_bald_guys.jpg": "several_faces",
    "no_person_dogs.jpg": "no_face",
    "rgba_32bit.png": "usable",
    "two_people.jpg": "several_faces",
}


@pytest.mark.parametrize("name", WANTED)
def test_an_odd_capture_gets_its_sensible_answer(name: str) -> None:
    result = extract((ODD / name).read_bytes(), PIXELS, LIMITS)
    first = result.quality.defects[0].reason.value if result.quality.defects else "usable"
    assert first == WANTED[name]
    assert (result.template is None) == (first != "usable")
