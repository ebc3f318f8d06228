"""What an identification may filter by, and who may: a filter reads what it looks at. Pure."""

from collections.abc import Collection, Mapping
from typing import Final

from pydantic import JsonValue

from services.api.bodies import compact
from services.api.errors import Code, Refusal, shown
from shared.dates import as_date
from shared.events import JsonObject

FILTER_BYTES: Final = 64 * 1024
"""Most JSON of a filter: each field of it is looked up in every candidate."""

READ: Final = "abis.encounter.read"
"""The scope that lets its owner read what is known about a person, and so filter by any of it."""

_OPEN: Final = frozenset({"biometricType", "encounterType"})
"""Fields of a filter that say nothing about a person."""

_BOUNDS: Final = ("Min", "Max")


def checked(wanted: Mapping[str, JsonValue], where: str) -> JsonObject:
    """Refuse a filter that could not mean anything: a value is text, a number, a truth, or a list of such."""
    if len(compact(wanted)) > FILTER_BYTES:
        raise Refusal(Code.TOO_LARGE, f"the filter has more than the {FILTER_BYTES} bytes that are taken")
    for name, value in wanted.items():
        at = f"{where}{shown(name)}"
        items = value if isinstance(value, list) else [value]
        if not items or any(item is None or isinstance(item, list | dict) for item in items):
            raise Refusal(Code.WRONG_SHAPE, f"{at}: must be text, a number, true or false, or a list of such")
        if name.endswith(_BOUNDS) and not _ordered(value):
            raise Refusal(
                Code.WRONG_SHAPE,
                f"{at}: a bound must be one number or one date, like 1980-01-01 or 1980-01-01T00:00:00Z",
            )
        if name in ("biometricType", "encounterType") and not all(isinstance(item, str) for item in items):
            raise Refusal(Code.WRONG_SHAPE, f"{at}: must be text, or a list of texts")
        if name == "biometricType" and "FACE" not in items:
            raise Refusal(Code.NOT_SERVED, f"{at}: leaves nothing to compare; Eyni compares faces, so name FACE")
    return dict(wanted)


def _ordered(value: JsonValue) -> bool:
    if isinstance(value, str):
        return as_date(value) is not None
    return isinstance(value, int | float) and not isinstance(value, bool)


def only_listed(wanted: Mapping[str, JsonValue], listed: Collection[str], where: str) -> None:
    """Refuse to look at what the read scope guards: who is found, and who is not, tells what a field holds."""
    for name in wanted:
        if not {name, name.removesuffix("Min"), name.removesuffix("Max")} & {*_OPEN, *listed}:
            raise Refusal(
                Code.NO_SCOPE,
                f"{where}{shown(name)}: filters by what the scope {READ} guards; ask your authority for a token with "
                "it, or the operator to list the field in EYNI_FILTER_FIELDS",
                {"WWW-Authenticate": f'Bearer realm="eyni", error="insufficient_scope", scope="{READ}"'},
            )
