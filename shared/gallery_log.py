"""What a log's first references say about all of them: a gallery has one model, for ever."""

from typing import Final

from shared.envelope import MalformedEvent, decode
from shared.events import ReferenceEnrolled
from shared.log import Log
from shared.model import ModelRefused
from shared.topics import Name

LOOKED_AT: Final = 256
"""Records at the log's start: the first reference is among them, but for a log that begins with as much rubbish."""

_PATIENCE: Final = 10.0
"""Seconds for one read: a healthy broker needs milliseconds, a restarting one is back in six."""


class WrongModel(ModelRefused):
    """The configured model is not the gallery's: a service that went on would put a whole country aside."""


def require_model(log: Log, model_id: str) -> None:
    """Raise WrongModel where the gallery log begins with references, and none of them is of this model.

    For a service's start: what comes later of another model is one record's trouble, a dead letter. Raises
    LogUnavailable where the log does not answer.
    """
    found = _models(log)
    if found and model_id not in found:
        raise WrongModel(
            f"the references on this log are of model {found[0]}, and the model in use is {model_id}; "
            "templates of two models are never compared. Choose the gallery's model again (`eyni models use NAME`, or "
            "EYNI_MODEL), or start with another data folder or log, and enrol there anew"
        )


def _models(log: Log) -> list[str]:
    """Return the models of the first references, each once, in the order in which they come."""
    span = log.spans(Name.GALLERY)[0]
    until = min(span.end, span.start + LOOKED_AT)
    at, found = span.start, dict[str, None]()
    reader = log.read(Name.GALLERY, {0: at})
    try:
        while at < until and (records := reader.poll(until - at, _PATIENCE)):
            for record in records:
                try:
                    event = decode(record.value)
                except MalformedEvent:
                    continue  # the matcher puts it aside, with the reason
                if isinstance(event, ReferenceEnrolled):
                    found |= dict.fromkeys(template.model[:200] for template in event.templates)
            at = records[-1].offset + 1
    finally:
        reader.close()
    return list(found)
