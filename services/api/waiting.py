"""Where calls wait for their decision: the follower resolves, a call's thread (or event loop) waits."""

import threading
from concurrent.futures import Future

from shared.events import Decided


class Waiting:
    """Requests of this process that wait for their decision. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._futures: dict[str, list[Future[Decided]]] = {}

    def expect(self, request_id: str) -> Future[Decided]:
        """Wait for a decision. Call it before the request is appended, or the decision may pass by unseen.

        Who expects a request that was appended before asks `Registry.decided` afterwards, not before.
        """
        future: Future[Decided] = Future()
        with self._lock:
            self._futures.setdefault(request_id, []).append(future)
        return future

    def expects(self, request_id: str) -> bool:
        with self._lock:
            return request_id in self._futures

    def resolve(self, decided: Decided) -> None:
        """Hand a decision to all who wait for it; nobody may."""
        with self._lock:
            futures = self._futures.pop(decided.request.request_id, [])
        for future in futures:
            if future.set_running_or_notify_cancel():
                future.set_result(decided)

    def forget(self, request_id: str, future: Future[Decided] | None = None) -> None:
        """Stop waiting (the call gave up): one who waits, or all. Idempotent."""
        with self._lock:
            kept = [f for f in self._futures.pop(request_id, []) if future is not None and f is not future]
            if kept:
                self._futures[request_id] = kept

    def __len__(self) -> int:
        """Return how many requests are waited for."""
        with self._lock:
            return len(self._futures)
