"""Which pictures can be compared."""

from services.evaluate.acquisition import Item, once_each
from tests.unit.evaluate.making import crowd


def test_a_copy_of_a_picture_is_no_second_one_of_its_person_and_one_under_another_name_stays() -> None:
    vectors, _ = crowd(1)
    one, copy, second = (Item("ada", name, vectors[n]) for name, n in (("1.jpg", 0), ("1-copy.jpg", 0), ("2.jpg", 1)))
    mislabelled = Item("bob", "1.jpg", vectors[0])

    assert once_each([one, copy, second, mislabelled]) == [one, second, mislabelled]
