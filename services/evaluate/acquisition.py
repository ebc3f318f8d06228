"""From pictures to templates: what was lost on the way, and why."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from services.evaluate.extracting import UNREAD, Sample
from services.evaluate.labelled import Labelled, Templates
from services.evaluate.report import EXAMPLES, Acquisition, Data, Problems, Rate, Reason
from services.evaluate.statistics import wilson
from services.evaluate.trials import PICTURES
from shared.biometrics import RetakeReason, Vector
from shared.calibration import Comparator
from shared.text import printable

NOT_ACQUIRED: Final = frozenset(
    (
        RetakeReason.UNDECODABLE,
        RetakeReason.UNSUPPORTED_FORMAT,
        RetakeReason.TOO_LARGE,
        RetakeReason.TOO_COSTLY,
        RetakeReason.NO_FACE,
    )
)
"""Failures to acquire: there is no face to judge. All other reasons are the quality gate's."""
GATE: Final = "template no face has"
"""Refused by the calibration's gate."""


@dataclass(frozen=True, slots=True, eq=False)
class Item:
    """One picture, or one template that was given."""

    person: str
    shown: str
    """Names it in the report."""
    vector: Vector | None = field(repr=False)
    reason: str | None = None
    """Why it can't be compared."""
    path: Path | None = None
    groups: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def usable(self) -> bool:
        return self.reason is None

    @property
    def acquired(self) -> bool:
        """Whether there is a face to judge."""
        return self.reason is None or not (self.reason in NOT_ACQUIRED or self.reason.startswith(UNREAD))


def of_samples(samples: Sequence[Sample], comparator: Comparator, root: Path) -> list[Item]:
    """Turn extracted pictures into items."""
    items: list[Item] = []
    for sample in samples:
        picture = sample.picture
        vector = None if sample.template is None else sample.template.vector
        reason = sample.reason
        if vector is not None and comparator.refusal(vector) is not None:
            reason = GATE
        items.append(Item(picture.person, _below(picture.path, root), vector, reason, picture.path, picture.groups))
    return items


def once_each(usable: Iterable[Item]) -> list[Item]:
    """Leave out a picture that a person has twice: a copy is no second picture, and always matches the first."""
    kept: dict[tuple[str, bytes], Item] = {}
    for item in usable:
        if item.vector is not None:
            kept.setdefault((item.person, item.vector.tobytes()), item)
    return list(kept.values())


def of_templates(found: Templates, comparator: Comparator) -> list[Item]:
    """Turn given templates into items."""
    refusals = (comparator.refusal(vector) for vector in found.vectors)
    return [
        Item(person, f"template {n}", vector, None if refusal is None else GATE)
        for n, (person, vector, refusal) in enumerate(zip(found.persons, found.vectors, refusals, strict=True))
    ]


def data(found: Labelled | Templates) -> Data:
    """Describe what was given."""
    given = isinstance(found, Templates)
    persons = found.persons if isinstance(found, Templates) else tuple(p.person for p in found.pictures)
    counts = Counter(persons)
    kinds: dict[str, list[str]] = {}
    for problem in found.problems:
        kinds.setdefault(problem.what, []).append(problem.where)
    return Data(
        source=found.source,
        kind="templates" if given else "pictures",
        people=len(counts),
        people_with_two=sum(count > 1 for count in counts.values()),
        pictures=len(persons),
        group_columns=list(found.group_columns) if isinstance(found, Labelled) else [],
        problems=[Problems(what=what, count=len(places), examples=places[:EXAMPLES]) for what, places in kinds.items()],
    )


def acquisition(items: Sequence[Item], compared: int, repeated: int, given: bool) -> Acquisition:
    """Count failures; `given`: templates were, so that nothing is known of how they were acquired."""
    usable = [item for item in items if item.usable]
    people, kept = {item.person for item in items}, {item.person for item in usable}
    return Acquisition(
        pictures=len(items),
        templates=len(usable),
        failure_to_acquire=None if given else acquire_rate(items),
        acquire_reasons=_reasons(item for item in items if not item.acquired),
        failure_to_enrol=enrol_rate(items),
        enrol_reasons=_reasons(item for item in items if item.acquired),
        people_lost=_rate(len(people) - len(kept), len(people)),
        repeated=repeated,
        left_out=len(usable) - repeated - compared,
        pictures_each=PICTURES,
    )


def acquire_rate(items: Sequence[Item]) -> Rate:
    """Return the share of pictures in which there is nothing to judge."""
    return _rate(sum(not item.acquired for item in items), len(items))


def enrol_rate(items: Sequence[Item]) -> Rate:
    """Return the share of all pictures that have a face and were refused."""
    return _rate(sum(not item.usable and item.acquired for item in items), len(items))


def _reasons(items: Iterable[Item]) -> list[Reason]:
    which: dict[str, list[str]] = {}
    for item in items:
        if item.reason is not None:
            which.setdefault(item.reason, []).append(item.shown)
    ordered = sorted(which.items(), key=lambda pair: -len(pair[1]))
    return [Reason(reason=reason, pictures=len(shown), examples=shown[:EXAMPLES]) for reason, shown in ordered]


def _rate(hits: int, of: int) -> Rate:
    return Rate.counted(hits, of, wilson(hits, of))


def _below(path: Path, root: Path) -> str:
    try:
        shown = path.relative_to(root)
    except ValueError:
        shown = Path(path.parent.name, path.name)
    return printable(str(shown))
