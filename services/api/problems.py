"""What pydantic found wrong with a request, in our own words: which field, what it must be, what was sent. Pure.

pydantic's words are about its own validators ("function-after[…]", "Input should be None"), which nobody outside knows.
So its texts are never passed on: a kind of problem that has no words here gets general ones.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

from services.api.errors import Code, Refusal, shown

_NAMED: Final = 3
"""Problems that are told one by one; a client that mends these sees the next."""

_EXPECTED: Final = 400
"""Most letters that the list of an enumeration's values may take; /openapi.json has the longer ones."""

_NOT_REPEATED: Final = frozenset({"image", "template", "biographicData", "contextualData", "clientData"})
"""Fields of which, and below which, no text is repeated: pictures, and what is known about a person."""

_SAID: Final[Mapping[str, str]] = {
    "missing": "is missing",
    "extra_forbidden": "is not a field of this object; leave it out",
    "string_type": "must be text",
    "string_unicode": "must be Unicode text",
    "string_pattern_mismatch": "has a character that is not taken here",
    "string_too_short": "must have at least {min_length} characters",
    "string_too_long": "must have at most {max_length} characters",
    "too_short": "must have at least {min_length} items",
    "too_long": "must have at most {max_length} items",
    "list_type": "must be a list",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "int_parsing_size": "must be a whole number of fewer digits",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
    "greater_than_equal": "must be {ge} or more",
    "less_than_equal": "must be {le} or less",
}
"""By pydantic's name for the kind of problem, with its limits."""

_OBVIOUS: Final = frozenset({"missing", "extra_forbidden", "value_error"})
"""Kinds whose words need no value beside them."""


def from_validation(problems: Sequence[Mapping[str, Any]], body: object) -> Refusal:
    """Turn pydantic's list of problems into one refusal. `body`: what was sent, as it was parsed."""
    told: dict[str, str] = {}
    for problem in problems:
        # An optional field's second complaint is that it is not absent: nobody meant it to be.
        if len(told) <= _NAMED and problem["type"] != "none_required":
            where, said = _problem(problem, body)
            told.setdefault(where, said)
    lines = [f"{where}: {said}" for where, said in told.items()][:_NAMED]
    more = " (and more)" if len(told) > _NAMED else ""
    return Refusal(Code.WRONG_SHAPE, ("; ".join(lines) or "body: is not as it must be; see /openapi.json") + more)


def _problem(problem: Mapping[str, Any], body: object) -> tuple[str, str]:
    place, *rest = problem["loc"] or ("body",)
    kind = str(problem["type"])
    path, value = (_walk(rest, body, kind)) if place == "body" else ([str(part) for part in rest[:1]], problem["input"])
    where = ".".join(shown(part).strip("'") for part in path)
    said = _said(kind, problem.get("ctx") or {})
    if kind not in _OBVIOUS:
        said += f", and is {_value(value, told=not _NOT_REPEATED & set(path))}"
    name = "body" if place == "body" else f"{place} parameter"
    return (f"{name} {where}" if where else name), said


def _walk(steps: Sequence[str | int], body: object, kind: str) -> tuple[list[str], object]:
    """Return the way to what is wrong and what is there. A step that what was sent has not is a validator's name."""
    path: list[str] = []
    here = body
    for number, step in enumerate(steps, start=1):
        inner = _inner(here)
        if step in inner:
            here = inner[step]
        elif not (kind == "missing" and number == len(steps)):
            continue
        path.append(str(step))
    return path, here


def _inner(value: object) -> Mapping[str | int, object]:
    """Return what a value is made of, by name or number."""
    match value:
        case dict():
            return cast(dict[str | int, object], value)
        case list():
            return dict(enumerate(cast(list[object], value)))
        case _:
            return {}


def _said(kind: str, limits: Mapping[str, Any]) -> str:
    if kind == "value_error":
        return str(limits["error"])  # our own words: only our validators raise these
    if kind in ("literal_error", "enum"):
        expected = str(limits["expected"])
        return f"must be {expected}" if len(expected) <= _EXPECTED else "must be one of those listed in /openapi.json"
    return _SAID.get(kind, "is not as it must be; see /openapi.json").format_map(limits)


def _value(value: object, *, told: bool) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case str():
            return shown(value) if told else f"text of {len(value)} characters"
        case int() | float():
            return shown(value).strip("'") if told else "a number"
        case list():
            return f"a list of {len(cast(list[object], value))}"
        case _:
            return "an object"
