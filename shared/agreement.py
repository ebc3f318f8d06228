"""Whether all running services have one calibration: told by the api and `eyni status`. Pure.

Each reads it once, at its start: after `eyni calibrate` (or `eyni models use`), who is started again has the new one,
and the others go on with the old. Answers still come, but gate and scores are then of two calibrations.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from shared.events import ServiceReported

_ORDER: Final = ("enroll", "match", "api")
"""A capture's way."""


def disagreements(alive: Iterable[ServiceReported]) -> list[str]:
    """Say which of the services that live are to be restarted, in a line for each way to differ; empty: they agree.

    Who loaded last has what is in use by now. Who doesn't say (an older version) is passed over.
    """
    reports = sorted(alive, key=lambda r: (_ORDER.index(r.service), r.instance))
    found = [(r, r.calibration) for r in reports if r.calibration is not None]
    if not found:
        return []
    newest = max((has for _, has in found), key=lambda has: has.at)
    same = [r for r, has in found if has.digest == newest.digest]
    old = {
        "model": [r for r, has in found if has.model != newest.model],
        "calibration": [r for r, has in found if has.model == newest.model and has.digest != newest.digest],
    }
    return [_in_words(what, _names(these, reports), _names(same, reports)) for what, these in old.items() if these]


def _in_words(what: str, old: Sequence[str], new: Sequence[str]) -> str:
    return (
        f"{_listed(old)} {'run' if len(old) > 1 else 'runs'} with another {what} than {_listed(new)}: restart "
        f"{_listed(old)}. Until then the gate, the scores and the thresholds are not of one calibration; if this is "
        "said again afterwards, the services' data folders hold different ones."
    )


def _names(these: Sequence[ServiceReported], all_of_them: Sequence[ServiceReported]) -> list[str]:
    """Name services, and single processes only of those that are of two minds."""
    split = {r.service for r in all_of_them if r not in these}
    return list(dict.fromkeys(r.instance if r.service in split else r.service for r in these))


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
