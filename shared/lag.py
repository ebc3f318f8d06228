"""How much is left to do of a topic: one sum, wherever it is told."""

from collections.abc import Mapping

from shared.log import Span


def lag(spans: Mapping[int, Span], committed: Mapping[int, int]) -> int:
    """Count the records that are kept and not yet done; `committed` is the next offset by partition, 0 where missing.

    What retention has taken is not left to do. Ask for the spans first: what is committed afterwards is never less.
    """
    return sum(max(0, span.end - max(span.start, committed.get(p, 0))) for p, span in spans.items())
