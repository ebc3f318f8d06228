"""Whether an encounter passes an OSIA filter: any biographic or contextual field, or encounterType, with Min and Max.

An unknown field matches nobody who lacks it. A value is matched as it was sent: text by text, numbers as numbers; a
list, on either side, means any of these. Only dates and numbers have an order: with one of texts, whoever may search
could read a passport's number, sign by sign. `biometricType` is about modalities: there is one.
"""

import json

from pydantic import JsonValue

from shared.dates import not_after
from shared.encounters import Encounter
from shared.events import JsonObject

_PARTS = ("biographicData", "contextualData")


def passes(encounter: Encounter, wanted: JsonObject) -> bool:
    """Tell whether the encounter has what every field of the filter asks for."""
    if not wanted:
        return True
    document: JsonObject = json.loads(encounter.document)
    return all(_field(name, value, document) for name, value in wanted.items())


def _field(name: str, value: JsonValue, document: JsonObject) -> bool:
    if name == "biometricType":
        return "FACE" in value if isinstance(value, list) else value == "FACE"
    present = _lookup(name, document)
    if present is not None:
        found = present if isinstance(present, list) else [present]
        wanted = value if isinstance(value, list) else [value]
        return any(_same(a, b) for a in found for b in wanted)
    for suffix in ("Min", "Max"):
        bounded = _lookup(name.removesuffix(suffix), document) if name.endswith(suffix) else None
        if bounded is not None:
            return _within(bounded, value) if suffix == "Min" else _within(value, bounded)
    return False


def _lookup(name: str, document: JsonObject) -> JsonValue:
    if name == "encounterType":
        return document.get(name)
    for part in _PARTS:
        fields = document.get(part)
        if isinstance(fields, dict) and name in fields:
            return fields[name]
    return None


def _same(one: JsonValue, other: JsonValue) -> bool:
    """Tell whether two values are equal; true and 1, which Python takes for equal, are not."""
    return one == other and isinstance(one, bool) == isinstance(other, bool)


def _within(high: JsonValue, low: JsonValue) -> bool:
    """Tell whether low <= high, for two dates or two numbers; nothing else has an order."""
    if isinstance(high, bool) or isinstance(low, bool):
        return False
    if isinstance(high, str) and isinstance(low, str):
        return not_after(low, high)
    if isinstance(high, int | float) and isinstance(low, int | float):
        return low <= high
    return False
