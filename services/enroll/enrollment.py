"""The step: what a capture and its samples' extractions come to. Pure: a redelivered capture gives equal bytes."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final, Protocol

from services.enroll.quality import NOT_A_FACE, Extracted
from shared.biometrics import ALL_GALLERIES, Defect, Quality, RetakeReason, Template, Vector
from shared.events import (
    CaptureReceived,
    Compare,
    Decided,
    Enrol,
    Expired,
    ProbeExtracted,
    ReferenceEnrolled,
    Refused,
    Sample,
)
from shared.ids import objection_to_id

SAMPLES: Final = 20
"""Most pictures in one set, as at the api: each costs an extraction; a visit takes one to a few."""

NOT_FOR_CAPTURES: Final = "r-"
"""The api begins the ids of calls with this that are no captures; one of that name would be missing where captures
and their outcomes are counted (I18)."""


def objection(capture: CaptureReceived) -> str | None:
    """Say what is wrong with a capture that the api would have refused: others write to the topics as well."""
    if capture.request.request_id.startswith(NOT_FOR_CAPTURES):
        return f'request_id begins with "{NOT_FOR_CAPTURES}", which is kept for calls that are no captures'
    if bool(capture.against) != isinstance(capture.purpose, Compare):
        return "against goes with compare only" if capture.against else "against is empty: nothing to compare with"
    if not capture.samples:
        return "samples is empty: nothing to extract"
    if (most := max(len(capture.samples), len(capture.against))) > SAMPLES:
        return f"{most} samples; at most {SAMPLES} are taken"
    return _objection_to(capture.purpose) if isinstance(capture.purpose, Enrol) else None


def _objection_to(enrol: Enrol) -> str | None:
    galleries = enrol.galleries
    named = (
        ("person_id", enrol.person_id),
        ("encounter_id", enrol.encounter_id),
        *(("galleries", g) for g in galleries),
    )
    for name, value in named:
        if (wrong := objection_to_id(value)) is not None:
            return f"{name} {wrong}"
    if not galleries:
        return "galleries is empty: nobody would find this person"
    if ALL_GALLERIES in galleries:
        return f"{ALL_GALLERIES} is no gallery to enrol in, it stands for all of them"
    if len(set(galleries)) < len(galleries):
        return "galleries names one twice"
    return None


class Gate(Protocol):
    """What is asked of templates: `shared.calibration.Comparator`."""

    def refusal(self, vector: Vector, /) -> str | None:
        """Say why a vector can't be a face's, or None."""
        ...

    def people(self, vectors: Sequence[Vector], /) -> list[list[int]]:
        """Sort vectors, by their positions, by whom they show."""
        ...


def examined(capture: CaptureReceived, extracted: Sequence[Extracted], gate: Gate) -> list[Extracted]:
    """Refuse templates that no face gives, and each set of samples that shows more than one person."""
    faces = [gated(one, gate) for one in extracted]
    first = len(capture.samples)
    return [*_of_one_person(faces[:first], gate), *_of_one_person(faces[first:], gate)]


def _of_one_person(extracted: Sequence[Extracted], gate: Gate) -> Sequence[Extracted]:
    """Refuse a whole set of samples where they show several people: nobody knows which of them is meant."""
    usable = [(n, one.template.vector) for n, one in enumerate(extracted) if one.template is not None]
    groups = gate.people([vector for _, vector in usable])
    if len(groups) < 2:
        return extracted
    shown = [[usable[at][0] for at in group] for group in groups]
    defect = Defect(
        RetakeReason.SEVERAL_PEOPLE,
        f"The samples show {len(groups)} people: {'; '.join(map(_numbers, shown))}. Send pictures of one "
        "person only; if they are of one, take new ones.",
        float(len(groups)),
        1.0,
    )
    refused = {n for n, _ in usable}
    return [
        Extracted(None, replace(one.quality, score=0, defects=(defect,))) if n in refused else one
        for n, one in enumerate(extracted)
    ]


def _numbers(positions: Iterable[int]) -> str:
    numbers = [str(n + 1) for n in positions]
    named = " and ".join(filter(None, (", ".join(numbers[:-1]), numbers[-1])))
    return f"sample{'s' if len(numbers) > 1 else ''} {named}"


def gated(extracted: Extracted, gate: Gate) -> Extracted:
    """Refuse a sample whose template no face gives: one that is near everybody's would be a master key."""
    if extracted.template is None or gate.refusal(extracted.template.vector) is None:
        return extracted
    return Extracted(None, Quality(0, extracted.quality.measures, (NOT_A_FACE,)))


def samples_of(capture: CaptureReceived) -> tuple[Sample, ...]:
    """Return what is to be extracted, in the order in which `conclude` wants the results."""
    return capture.samples + capture.against


def conclude(capture: CaptureReceived, extracted: Sequence[Extracted]) -> ReferenceEnrolled | ProbeExtracted | Decided:
    """Turn the results of `samples_of` into the one fact that follows.

    One usable sample is enough, of each set where two sets are compared; the others stay away, and their qualities
    say why. With none, the request
    is decided here: refused, as an outcome, with the quality of every sample.
    """
    first, second = extracted[: len(capture.samples)], extracted[len(capture.samples) :]
    templates, against = _usable(first), _usable(second)
    qualities, of_against = tuple(e.quality for e in first), tuple(e.quality for e in second)
    match capture.purpose:
        case _ if not templates or (isinstance(capture.purpose, Compare) and not against):
            return Decided(capture.request, Refused(qualities, of_against), as_of=-1, gallery_count=-1)
        case Enrol() as enrol:
            return ReferenceEnrolled(capture.request, enrol, templates, qualities)
        case question:
            return ProbeExtracted(capture.request, question, templates, against, qualities, of_against)


def expired(capture: CaptureReceived) -> Decided:
    """Decide a question that nobody waits for any more."""
    return Decided(capture.request, Expired(), as_of=-1, gallery_count=-1)


def _usable(extracted: Sequence[Extracted]) -> tuple[Template, ...]:
    return tuple(e.template for e in extracted if e.template is not None)
