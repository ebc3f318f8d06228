"""`eyni topics`: makes the topics that are missing, checks the others, and shows what each holds."""

from datetime import timedelta

from services.eyni.common import opened
from services.eyni.console import Console, Table, out
from shared.settings import Settings
from shared.topics import TOPICS


def _kept(retention: timedelta | None) -> str:
    if retention is None:
        return "for ever"
    number, unit = (retention.days, "day") if retention.days else (retention.seconds // 3600, "hour")
    return f"{number} {unit}{'s' if number > 1 else ''}"


def topics(settings: Settings, as_json: bool) -> None:
    """Print one row for each topic."""
    log = opened(settings)
    try:
        spans = {topic.name: log.spans(topic.name) for topic in TOPICS.values()}
    finally:
        log.close()
    if as_json:
        held = {
            str(name): [{"partition": p, "start": s.start, "end": s.end} for p, s in sorted(found.items())]
            for name, found in spans.items()
        }
        out(held)
        return
    table = Table(
        "topic",
        "partitions",
        "kept",
        "record up to",
        "records",
        "offsets",
        title=f"Topics of {settings.log_address}",
        right=("partitions", "record up to", "records"),
        whole=True,
    )
    for topic in TOPICS.values():
        found = spans[topic.name]
        offsets = [f"{s.start}..{s.end}" for _, s in sorted(found.items())]
        table.row(
            topic.name,
            str(len(found)),
            _kept(topic.retention),
            f"{topic.max_bytes // 2**20} MiB",
            str(sum(s.end - s.start for s in found.values())),
            " ".join(offsets),
        )
    Console().show(table)
