"""`eyni registry rebuild`: the registry anew from the log, in its place."""

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from services.api.follower import Follower
from services.api.registry import ADOPT, Registry, require_whole
from services.api.tables import RegistryMisfit
from services.api.waiting import Waiting
from shared.calibration import Comparator
from shared.log import Log, Span
from shared.topics import Name

_TOPICS: Final = (Name.GALLERY, Name.DECISIONS, Name.DEAD_LETTERS)


def rebuild(
    log: Log, url: str, comparator: Comparator, progress: Callable[[int, int], None], *, adopt: bool = False
) -> None:
    """Empty the registry and fold the gallery from offset 0 to its present end; then what else is on the log.

    `progress(done, total)` is told, in records, after each batch. Tasks are kept (they are not on the log), and so are
    the decisions that were stored from this log: the log itself may hold them no longer. Every api must be stopped: one
    that goes on finds itself beyond the registry's position and ends. If this is broken off (or raises
    LogUnavailable), the registry refuses to be followed until a rebuild has run to its end.

    Raises RegistryMisfit, having changed nothing, where the registry followed another log, or more of this one than it
    holds now; not with `adopt`, by which an operator says that this log is to be believed.
    """
    registry = Registry(url, comparator)
    try:
        if not adopt:
            require_same(log, registry)
        registry.begin_rebuild(log.identity(Name.GALLERY))
        goals = {(t, p): span for t in _TOPICS for p, span in log.spans(t).items()}
        begun = {key: min(span.end, max(span.start, at)) for key, span, at in _with_positions(registry, goals)}
        total = sum(span.end - begun[key] for key, span in goals.items())
        progress(0, total)
        follower = Follower(log, registry, Waiting())
        try:
            done = 0
            while done < total:
                follower.run_once(timeout=1.0)
                done = sum(
                    min(span.end, max(begun[k], at)) - begun[k] for k, span, at in _with_positions(registry, goals)
                )
                progress(done, total)
        finally:
            follower.close()
        registry.end_rebuild()
    finally:
        registry.close()


def require_same(log: Log, registry: Registry) -> None:
    """Refuse a log that the registry contradicts: it followed another, or more of this one than is there."""
    followed = registry.followed()
    if followed is None:
        return
    if followed.log != log.identity(Name.GALLERY):
        raise RegistryMisfit(f"the registry follows another log than this one: {ADOPT}")
    require_whole(followed.position, log.spans(Name.GALLERY)[0].end)


def _with_positions(
    registry: Registry, spans: Mapping[tuple[Name, int], Span]
) -> Iterator[tuple[tuple[Name, int], Span, int]]:
    reached = {topic: registry.positions(topic) for topic in _TOPICS}
    for (topic, partition), span in spans.items():
        yield (topic, partition), span, reached[topic].get(partition, 0)
