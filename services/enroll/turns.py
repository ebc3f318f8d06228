"""Whose sample is next: turns by client, weighed by the time that each has had of the workers. Pure."""

from collections import deque
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

_T = TypeVar("_T")

FIRST_GUESS: Final = 0.2
"""Seconds that a sample is taken to need before one was measured: twice what dlib needs for an ordinary picture."""

MEMORY: Final = 0.1
"""Weight of the newest sample in the mean: after 20 the mean has forgotten seven eighths of what came before."""


@dataclass(slots=True)
class Pace:
    """How long a sample keeps a worker, as measured of late."""

    seconds: float = FIRST_GUESS

    def measured(self, seconds: float) -> None:
        self.seconds += MEMORY * (seconds - self.seconds)


@dataclass(slots=True)
class _Client(Generic[_T]):
    had: float
    """Seconds of workers that are counted against this client."""
    waiting: deque[_T] = field(default_factory=deque[_T])
    running: int = 0


class Turns(Generic[_T]):
    """What waits for a worker, by client. The next one is of the client who has had least.

    This is start-time fair queueing (Goyal, Vin, Cheng 1996): a client who comes, or comes back, begins at what the
    least served of those present has had, so that being away saves up no turns. What runs counts with the mean, until
    its own time is known: so clients of equal samples take turns one by one, and one of costly samples waits longer
    for the next. A client's own samples keep their order.
    """

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._clients: dict[str, _Client[_T]] = {}

    def __len__(self) -> int:
        """Return how many wait."""
        return sum(len(client.waiting) for client in self._clients.values())

    def add(self, name: str, item: _T) -> None:
        """Put an item last among its client's."""
        if name not in self._clients:
            self._clients[name] = _Client(min((c.had for c in self._clients.values()), default=0.0))
        self._clients[name].waiting.append(item)

    def next(self, *, idle_only: bool = False) -> _T | None:
        """Hand out the next item, which runs from now on; `idle_only`: of a client of whom nothing runs."""
        ready = [client for client in self._clients.values() if client.waiting and not (idle_only and client.running)]
        if not ready:
            return None
        chosen = min(ready, key=lambda client: client.had + client.running * self._pace.seconds)
        chosen.running += 1
        return chosen.waiting.popleft()

    def done(self, name: str, seconds: float) -> None:
        """Note that an item of this client's has ended, after so many seconds of a worker."""
        client = self._clients[name]
        client.running -= 1
        client.had += seconds
        if not client.running and not client.waiting:
            del self._clients[name]
