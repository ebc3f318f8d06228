"""What every request passes before it is routed, token or not: its path has one meaning, and the method asked for.

Routing looks at the decoded path, where `P1%2Fencounters%2F1` is one id no longer but three steps. So a path whose
meaning hangs on who decodes it, and when, is refused here, and an id is what stands between two slashes of the path as
it was sent.
"""

import re
from collections.abc import Callable, MutableMapping
from typing import Any, Final
from urllib.parse import unquote_to_bytes

from fastapi import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from services.api.answers import refused
from services.api.errors import Code, Refusal
from services.api.routing import respond

_BROKEN: Final = re.compile(rb"%(?![0-9A-Fa-f]{2})")


def objection_to_path(raw: bytes) -> str | None:
    """Say why a path, as it was sent and still percent-encoded, could be read in two ways; None where it can not."""
    if _BROKEN.search(raw):
        return "has a % that no two hexadecimal digits follow; encode a % itself as %25"
    first, *steps = raw.split(b"/")
    if first or not steps:
        return "does not begin with a slash"
    if b"" in steps[:-1]:
        return "has two slashes in a row; an id is never empty"
    for step in map(unquote_to_bytes, steps):
        if b"/" in step or b"\\" in step:
            return "has an encoded slash (%2F) or a backslash (%5C); no id has one"
        if step in (b".", b".."):
            return "has a step of dots (. or ..), encoded or not; no id is one"
    try:
        unquote_to_bytes(raw).decode()
    except UnicodeDecodeError:
        # Each would be read as U+FFFD, so that two ids would be one person.
        return "percent-encodes bytes that are no UTF-8; encode its text as UTF-8 first"
    return None


class Door:
    """ASGI middleware. `methods` gives the methods of a decoded path; none where no operation has it."""

    def __init__(self, app: ASGIApp, methods: Callable[[str], frozenset[str]]) -> None:
        self._app = app
        self._methods = methods

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif (answer := self._answer(scope)) is not None:
            await answer(scope, receive, send)
        elif scope["method"] == "HEAD":
            # All of GET's answer but its body (RFC 9110, 9.3.2): the headers are those that GET has.
            await self._app({**scope, "method": "GET"}, receive, _without_body(send))
        else:
            await self._app(scope, receive, send)

    def _answer(self, scope: Scope) -> Response | None:
        if scope["path"] == "*" and scope["method"] == "OPTIONS":
            return Response(status_code=204, headers={"Allow": _listed(frozenset({"DELETE", "GET", "POST", "PUT"}))})
        if (wrong := objection_to_path(scope.get("raw_path") or scope["path"].encode())) is not None:
            return _refusing(Code.WRONG_SHAPE, f"path: {wrong}")
        methods = self._methods(scope["path"])
        if not methods:
            return _refusing(Code.NO_SUCH_PATH, "no operation has this path; see /openapi.json. An id has no slash")
        allow = _listed(methods)
        if scope["method"] == "OPTIONS":
            return Response(status_code=204, headers={"Allow": allow})
        if scope["method"] in methods or (scope["method"] == "HEAD" and "GET" in methods):
            return None
        return _refusing(
            Code.NO_SUCH_METHOD, f"this path has no such method; it has {allow}, see /openapi.json", {"Allow": allow}
        )


def _listed(methods: frozenset[str]) -> str:
    """Write a path's methods as `Allow` has them (RFC 9110, 10.2.1): all of them, on every answer that tells any."""
    return ", ".join(sorted(methods | {"OPTIONS"} | ({"HEAD"} if "GET" in methods else set[str]())))


def _refusing(code: Code, message: str, headers: dict[str, str] | None = None) -> Response:
    return respond(refused(Refusal(code, message, headers)))


def _without_body(send: Send) -> Send:
    async def sent(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.body":
            message = {**message, "body": b""}
        await send(message)

    return sent
