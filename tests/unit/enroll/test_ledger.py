"""A commit never passes an unfinished capture."""

from hypothesis import given
from hypothesis import strategies as st

from services.enroll.ledger import Ledger


def test_nothing_polled_commits_nothing() -> None:
    assert Ledger().done == 0


def test_the_commit_waits_for_the_earliest_unfinished_record() -> None:
    ledger = Ledger()
    for offset in (4, 5, 7):
        ledger.begin(offset)
    ledger.finish(5)
    ledger.finish(7)
    assert ledger.done == 4
    ledger.finish(4)
    assert ledger.done == 8


@given(data=st.data(), offsets=st.lists(st.integers(0, 50), min_size=1, unique=True).map(sorted))
def test_no_order_of_finishing_lets_the_commit_pass_an_unfinished_record(
    data: st.DataObject, offsets: list[int]
) -> None:
    ledger, unfinished, polled = Ledger(), list[int](), list[int]()
    todo = list(offsets)
    while todo or unfinished:
        if todo and (not unfinished or data.draw(st.booleans())):
            polled.append(todo.pop(0))
            unfinished.append(polled[-1])
            ledger.begin(polled[-1])
        else:
            ledger.finish(unfinished.pop(data.draw(st.integers(0, len(unfinished) - 1))))
        assert all(ledger.done <= offset for offset in unfinished)
    assert ledger.done == offsets[-1] + 1


@given(first=st.integers(1, 20), back=st.integers(1, 20), data=st.data())
def test_a_partition_that_comes_back_may_repeat_records_in_any_order(
    first: int, back: int, data: st.DataObject
) -> None:
    ledger = Ledger()
    again = max(0, first - back)
    unfinished = [*range(first), *range(again, first)]
    for offset in unfinished:
        ledger.begin(offset)
    while unfinished:
        ledger.finish(unfinished.pop(data.draw(st.integers(0, len(unfinished) - 1))))
        assert all(ledger.done <= offset for offset in unfinished)
    assert ledger.done == first
