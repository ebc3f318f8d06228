"""Turns by client: who is next, whatever the others send."""

from hypothesis import given
from hypothesis import strategies as st

from services.enroll.turns import Pace, Turns


def turns() -> Turns[str]:
    return Turns(Pace(1.0))


def test_a_clients_own_items_keep_their_order() -> None:
    queue = turns()
    for item in "abc":
        queue.add("one", item)
    assert [queue.next() for _ in range(4)] == ["a", "b", "c", None]


def test_clients_of_equal_samples_take_turns_one_by_one() -> None:
    queue = turns()
    for n in range(3):
        queue.add("flood", f"f{n}")
    queue.add("officer", "o0")
    queue.add("officer", "o1")
    order = list[str | None]()
    for _ in range(5):
        order.append(queue.next())
        queue.done("flood" if str(order[-1]).startswith("f") else "officer", 1.0)
    assert order == ["f0", "o0", "f1", "o1", "f2"]


def test_a_client_of_costly_samples_waits_longer_for_the_next() -> None:
    queue = turns()
    for n in range(4):
        queue.add("costly", f"c{n}")
    for n in range(8):
        queue.add("plain", f"p{n}")
    order = list[str]()
    for _ in range(8):
        item = queue.next()
        assert item is not None
        order.append(item)
        queue.done("costly" if item[0] == "c" else "plain", 5.0 if item[0] == "c" else 1.0)
    assert [item[0] for item in order] == list("cpppppcp")


def test_what_runs_counts_before_its_time_is_known() -> None:
    queue = turns()
    for n in range(5):
        queue.add("flood", f"f{n}")
    assert (queue.next(), queue.next()) == ("f0", "f1")
    queue.add("officer", "o")
    assert queue.next() == "o"


def test_being_away_saves_up_no_turns() -> None:
    queue = turns()
    queue.add("early", "e0")
    queue.next()
    queue.done("early", 1.0)  # and is gone
    for n in range(10):
        queue.add("steady", f"s{n}")
    for _ in range(6):
        queue.next()
        queue.done("steady", 1.0)
    for n in range(3):
        queue.add("early", f"e{n}")
    order = list[str | None]()
    for _ in range(4):
        order.append(queue.next())
        queue.done("early" if str(order[-1])[0] == "e" else "steady", 1.0)
    assert order == ["s6", "e0", "s7", "e1"]


def test_only_a_client_of_whom_nothing_runs_may_be_asked_for() -> None:
    queue = turns()
    queue.add("flood", "f0")
    queue.add("flood", "f1")
    queue.next()
    assert queue.next(idle_only=True) is None
    queue.add("officer", "o")
    assert queue.next(idle_only=True) == "o"


def test_who_has_nothing_here_is_forgotten() -> None:
    queue = turns()
    for n in range(1000):
        queue.add(f"client {n}", "x")
        queue.next()
        queue.done(f"client {n}", 1.0)
    assert len(queue) == 0
    assert not queue._clients  # pyright: ignore[reportPrivateUsage]


@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=6),
    st.integers(1, 4),
    st.floats(0.01, 10.0),
)
def test_no_client_waits_for_more_than_its_turn_among_equal_samples(
    floods: list[int], workers: int, seconds: float
) -> None:
    queue: Turns[str] = Turns(Pace(seconds))
    for client, count in enumerate(floods):
        for _ in range(count):
            queue.add(f"flood {client}", f"flood {client}")
    running = [item for _ in range(workers) if (item := queue.next()) is not None]
    queue.add("officer", "officer")
    handed_out = 0
    while True:
        item = queue.next()
        if item == "officer":
            break
        if item is not None:
            handed_out += 1
            running.append(item)
        done = running.pop(0)
        queue.done(done, seconds)
    # Each other client once at most, and as often again for what the officer's start level leaves even.
    assert handed_out <= len(floods)


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.floats(0.01, 5.0)), max_size=80), st.integers(1, 3))
def test_everything_is_handed_out_once(items: list[tuple[str, float]], workers: int) -> None:
    queue: Turns[tuple[int, str, float]] = Turns(Pace())
    for n, (client, seconds) in enumerate(items):
        queue.add(client, (n, client, seconds))
    seen = list[int]()
    running = list[tuple[int, str, float]]()
    while True:
        while len(running) < workers and (item := queue.next()) is not None:
            seen.append(item[0])
            running.append(item)
        if not running:
            break
        _, client, seconds = running.pop(0)
        queue.done(client, seconds)
    assert sorted(seen) == list(range(len(items)))
