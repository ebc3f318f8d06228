"""What goes ahead of bulk work: by the operation, or by a right of the caller's."""

from collections.abc import Collection, Mapping
from typing import Final

from services.api.admission import Lane
from services.api.errors import Code, Refusal
from services.api.tokens import URGENT_SCOPE

URGENT: Final = 5
"""Priorities from here on go to `captures-urgent`: the upper half of OSIA's 0 to 9."""

USUAL: Final[Mapping[str, int]] = {
    "verifyFromId": 9,
    "verifyFromBio": 9,
    "identify": 4,
    "createEncounter": 0,
    "createEncounterNoId": 0,
    "createEncounterNoIds": 0,
    "updateEncounter": 0,
}
"""Where the caller gives none: an officer waits for a verification, nobody stands at the desk for an enrolment. By
operationId; the others have no pictures, and a priority changes nothing."""

IDENTIFY_NOW: Final = URGENT
"""An identification's where the caller gives neither a priority nor a callback: somebody waits."""


def lane_of(method: str, operation: str, query: Mapping[str, str]) -> Lane | None:
    """Tell, from a request's first line, where it will wait; None: the registry answers."""
    if operation not in USUAL:
        return None if method == "GET" else Lane.MATCHER
    given = query.get("priority", "")
    usual = IDENTIFY_NOW if operation == "identify" and "callback" not in query else USUAL[operation]
    priority = int(given) if given.isdecimal() and len(given) == 1 else usual
    return Lane.URGENT if priority >= URGENT else Lane.BULK


def is_urgent(operation: str, priority: int | None, scopes: Collection[str], *, waits: bool) -> bool:
    """Tell whether a call goes ahead of bulk work; `waits`: it has no callback.

    Refuses (403) to make urgent what by itself is not, unless the token says that its client may: whoever may enrol
    could put a whole register before every officer's question.
    """
    usual = USUAL.get(operation)
    if usual is None:
        return False
    if operation == "identify" and waits:
        usual = IDENTIFY_NOW
    if priority is None:
        return usual >= URGENT
    if priority >= URGENT > usual and URGENT_SCOPE not in scopes:
        raise Refusal(
            Code.NO_SCOPE,
            f"query parameter priority: {URGENT} to 9 need the scope {URGENT_SCOPE} in this operation, which the token "
            f"lacks; leave the priority out, send {URGENT - 1} or less, or ask your authority for the scope",
            {"WWW-Authenticate": f'Bearer realm="eyni", error="insufficient_scope", scope="{URGENT_SCOPE}"'},
        )
    return priority >= URGENT
