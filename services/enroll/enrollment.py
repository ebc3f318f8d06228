"""The step: what a capture and its samples' extractions come to. Pure: a redelivered capture gives equal bytes."""

from collections.abc import Sequence

from services.enroll.quality import Extracted
from shared.biometrics import Template
from shared.events import CaptureReceived, Compare, Decided, Enrol, ProbeExtracted, ReferenceEnrolled, Refused, Sample


def samples_of(capture: CaptureReceived) -> tuple[Sample, ...]:
    """Return what is to be extracted, in the order in which `conclude` wants the results."""
    return capture.samples + _against(capture)


def _against(capture: CaptureReceived) -> tuple[Sample, ...]:
    return capture.against if isinstance(capture.purpose, Compare) else ()


def conclude(capture: CaptureReceived, extracted: Sequence[Extracted]) -> ReferenceEnrolled | ProbeExtracted | Decided:
    """Turn the results of `samples_of` into the one fact that follows.

    One usable sample is enough, of each set where two sets are compared; the others stay away. With none, the request
    is decided here: refused, as an outcome, with the quality of every sample.
    """
    first, second = extracted[: len(capture.samples)], extracted[len(capture.samples) :]
    templates, against = _usable(first), _usable(second)
    qualities = tuple(e.quality for e in extracted)
    match capture.purpose:
        case _ if not templates or (isinstance(capture.purpose, Compare) and not against):
            return Decided(capture.request, Refused(qualities), as_of=-1, gallery_count=-1)
        case Enrol() as enrol:
            return ReferenceEnrolled(capture.request, enrol, templates, qualities)
        case question:
            return ProbeExtracted(capture.request, question, templates, against)


def _usable(extracted: Sequence[Extracted]) -> tuple[Template, ...]:
    return tuple(e.template for e in extracted if e.template is not None)
