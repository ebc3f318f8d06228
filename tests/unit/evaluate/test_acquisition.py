"""Which pictures can be compared, and why others can't."""

from pathlib import Path

from services.evaluate.acquisition import Item, acquisition, of_samples, once_each
from services.evaluate.extracting import Sample
from services.evaluate.labelled import Picture
from shared.biometrics import Template
from shared.calibration import Comparator
from tests.unit.evaluate.making import calibration, crowd


def test_a_copy_of_a_picture_is_no_second_one_of_its_person_and_one_under_another_name_stays() -> None:
    vectors, _ = crowd(1)
    one, copy, second = (Item("ada", name, vectors[n]) for name, n in (("1.jpg", 0), ("1-copy.jpg", 0), ("2.jpg", 1)))
    mislabelled = Item("bob", "1.jpg", vectors[0])

    assert once_each([one, copy, second, mislabelled]) == [one, second, mislabelled]


def test_a_file_that_the_system_does_not_give_is_not_acquired_and_told_in_the_systems_words() -> None:
    (vector, *_), _ = crowd(1)
    reasons = [None, "cannot be read: Permission denied", "undecodable", "blurred"]
    samples = [
        Sample(Picture(Path(f"faces/{n}.jpg"), "ada"), None if reason else Template("toy", vector), reason)
        for n, reason in enumerate(reasons)
    ]
    found = acquisition(of_samples(samples, Comparator(calibration()), Path("faces")), 1, 0, given=False)
    assert found.failure_to_acquire is not None
    assert found.failure_to_enrol is not None
    assert (found.failure_to_acquire.hits, found.failure_to_enrol.hits) == (2, 1)
    told = {reason.reason: reason.examples for reason in found.acquire_reasons}
    assert told == {"cannot be read: Permission denied": ["1.jpg"], "undecodable": ["2.jpg"]}
    assert [reason.reason for reason in found.enrol_reasons] == ["blurred"]
