"""Pictures that an enrolment must answer sensibly; they are given material, never copied into the project."""

from pathlib import Path

import pytest

from services.enroll.extractor import Extractor
from tests.models import edgeface
from tests.unit.enroll.making import extracted, extractor

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


@pytest.fixture(scope="module", params=["dlib", "YuNet"])
def either(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Extractor:
    return extractor() if request.param == "dlib" else Extractor(edgeface(tmp_path_factory.mktemp("models")))


@pytest.mark.parametrize("name", WANTED)
def test_an_odd_capture_gets_its_sensible_answer_with_either_detector(name: str, either: Extractor) -> None:
    result = extracted((ODD / name).read_bytes(), either)
    first = result.quality.defects[0].reason.value if result.quality.defects else "usable"
    assert first == WANTED[name]
    assert (result.template is None) == (first != "usable")
