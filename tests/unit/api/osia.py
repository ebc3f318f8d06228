# pyright: basic
"""Reads OSIA's own abis.yaml (given material, not in the project) and tells how our OpenAPI differs from it."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

ABIS = Path(__file__).parents[4] / "shared" / "osia" / "abis.yaml"

_PROSE = ("description", "example", "title", "summary", "tags")
_METHODS = ("get", "post", "put", "delete")


def abis() -> dict[str, Any]:
    """Return the document, or skip the test with the reason."""
    if not ABIS.exists():
        pytest.skip(f"{ABIS} is missing: OSIA's interface file is not part of this project")
    found: dict[str, Any] = yaml.safe_load(ABIS.read_text())
    return found


def operations(document: Mapping[str, Any]) -> dict[str, tuple[str, str, dict[str, Any]]]:
    """Return method, path and definition of each operation, by operationId."""
    return {
        item[method]["operationId"]: (method, path, item[method])
        for path, item in document["paths"].items()
        for method in _METHODS
        if method in item
    }


def differences(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> Iterator[str]:
    """Yield one line for every difference between two OpenAPI documents, text for people left aside."""
    left, right = operations(theirs), operations(ours)
    for name in sorted({*left, *right}):
        if name not in left or name not in right:
            yield f"{name}: is in {'ours' if name in right else 'OSIA'} only"
            continue
        for part, (one, other) in {
            "method": (left[name][0], right[name][0]),
            "path": (left[name][1], right[name][1]),
            "": (_operation(left[name][2], theirs), _operation(right[name][2], ours)),
        }.items():
            yield from _diff(f"{name}{'.' if part else ''}{part}", one, other)


def _operation(found: Mapping[str, Any], document: Mapping[str, Any]) -> Any:
    kept = _plain({k: v for k, v in found.items() if k != "operationId"}, document)
    kept["parameters"] = {f"{p['in']} {p['name']}": p for p in kept.get("parameters", ())}
    for parameter in kept["parameters"].values():
        del parameter["in"], parameter["name"]
        parameter.setdefault("required", False)
    if "requestBody" in kept:
        kept["requestBody"].setdefault("required", False)
    for callback in kept.get("callbacks", {}).values():
        for expression in list(callback):
            posted = callback.pop(expression)["post"]
            callback |= {"expression": expression, "post": posted}
            posted["parameters"] = {f"{p['in']} {p['name']}": p for p in posted["parameters"]}
    return kept


def _plain(value: Any, document: Mapping[str, Any]) -> Any:
    """Resolve references and leave out prose, but where a property is called so."""
    if isinstance(value, list):
        return [_plain(v, document) for v in value]
    if not isinstance(value, dict):
        return value
    if "$ref" in value:
        target: Any = document
        for part in value["$ref"].removeprefix("#/").split("/"):
            target = target[part]
        return _plain(target, document)
    plain: dict[str, Any] = {}
    for key, inner in value.items():
        if key == "properties":
            plain[key] = {name: _plain(schema, document) for name, schema in inner.items()}
        elif key == "enum" or (key == "required" and isinstance(inner, list)):
            plain[key] = sorted(inner)
        elif key == "additionalProperties":
            allowed = _plain(inner, document)
            plain[key] = True if allowed == {} else allowed
        elif key not in _PROSE:
            plain[key] = _plain(inner, document)
    # A constant is an enumeration of one; 3.0 has no word for it.
    if "const" in plain:
        plain["enum"] = [plain.pop("const")]
    return plain


def _diff(where: str, one: Any, other: Any) -> Iterator[str]:
    if isinstance(one, dict) and isinstance(other, dict):
        for key in sorted({*one, *other}, key=str):
            if key not in other:
                yield f"{where}.{key}: OSIA only: {_short(one[key])}"
            elif key not in one:
                yield f"{where}.{key}: ours only: {_short(other[key])}"
            else:
                yield from _diff(f"{where}.{key}", one[key], other[key])
    elif one != other:
        yield f"{where}: OSIA {_short(one)}, ours {_short(other)}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 70 else f"{text[:70]}…"
