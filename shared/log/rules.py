"""What every backend checks alike, so that the three refuse the same things in the same words."""

from collections.abc import Mapping, Sequence
from datetime import timedelta

from shared.log import LogGap, LogMisfit, Position, Span
from shared.topics import TOPICS, Entry, Name, Topic


def check_topic(wanted: Topic, partitions: int, retention: timedelta | None, max_bytes: int) -> None:
    """Compare a topic that exists with the one wanted. Raises LogMisfit naming topic, setting, wanted and found."""
    fits = partitions == wanted.partitions if wanted.exact else partitions >= wanted.partitions
    if not fits:
        number = f"exactly {wanted.partitions}" if wanted.exact else f"{wanted.partitions} or more"
        raise misfit(wanted.name, "partitions", number, str(partitions))
    if retention != wanted.retention:
        raise misfit(wanted.name, "retention", _span(wanted.retention), _span(retention))
    if max_bytes < wanted.max_bytes:
        raise misfit(wanted.name, "largest record", f"{wanted.max_bytes} bytes or more", f"{max_bytes} bytes")


def misfit(topic: Name, setting: str, wanted: str, found: str) -> LogMisfit:
    return LogMisfit(f"topic {topic}: {setting} must be {wanted}, is {found}; change it, or name another log")


def check_sizes(entries: Sequence[Entry], limits: Mapping[Name, int]) -> None:
    """Refuse, before anything is sent, what its topic would not take. Raises LogMisfit."""
    for entry in entries:
        limit = limits[entry.topic] if entry.topic in limits else TOPICS[entry.topic].max_bytes
        if len(entry.value) > limit:
            raise LogMisfit(f"a record of {len(entry.value)} bytes; topic {entry.topic} takes {limit}")


def first_positions(topic: Name, start: Mapping[int, int], spans: Mapping[int, Span]) -> dict[int, int]:
    """Return where a reader begins in each partition. Raises LogGap for a partition that the topic does not have."""
    for partition in start:
        if partition not in spans:
            raise LogGap(f"{topic}-{partition}: there is no such partition; the topic has {len(spans)}")
    return {partition: start.get(partition, span.start) for partition, span in spans.items()}


def check_position(position: Position, span: Span) -> None:
    """Raise LogGap for a position outside of what the partition holds."""
    if not span.start <= position.offset <= span.end:
        raise LogGap(
            f"{position.topic}-{position.partition}: offset {position.offset} is not on the log, "
            f"which holds {span.start} to {span.end}"
        )


def no_gap_to_pass(topic: Name) -> LogGap:
    return LogGap(f"{topic}: no place is below the first record kept; this gap is another one")


def _span(retention: timedelta | None) -> str:
    return "for ever" if retention is None else str(retention)
