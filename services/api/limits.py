"""How much of a request is read, and how long: the body is counted as it comes, whatever its headers say."""

import asyncio
from typing import Final

from starlette.requests import ClientDisconnect, Request

from services.api.errors import Code, Refusal

BODY_SECONDS: Final = 60.0
"""For a whole body: 12 MB over a station's 2 Mbit/s line take 50 s; a slower sender only holds a connection."""

DRAINED: Final = 64 * 2**20
"""Bytes of a refused body that are read and thrown away: most clients send all before they listen, and one that is cut
off sees a broken connection instead of the answer that tells what to do. More than that is cut off all the same."""

_CLOSE: Final = {"Connection": "close"}


async def read_body(request: Request, limit: int, seconds: float) -> bytes:
    """Return the body, or refuse with 413 as soon as it is known to be too large, with 408 when it is too slow."""
    declared = request.headers.get("content-length", "")
    size = int(declared[:20]) if declared.isdecimal() else 0
    # Somebody who waits for "100 Continue" has sent nothing yet, and hears the refusal first.
    if size > DRAINED or (size > limit and request.headers.get("expect", "").lower() == "100-continue"):
        raise _too_large(limit)
    found, received = bytearray(), 0
    try:
        async with asyncio.timeout(seconds):
            async for part in request.stream():
                received += len(part)
                if received > DRAINED:
                    break
                if max(size, received) <= limit:
                    found += part
        if max(size, received) > limit:
            raise _too_large(limit)
    except TimeoutError:
        raise Refusal(
            Code.TOO_SLOW, f"the body did not arrive within {seconds:g} s; send smaller pictures", _CLOSE
        ) from None
    except ClientDisconnect:
        raise Refusal(Code.NOT_JSON, "the connection ended before the body did", _CLOSE) from None
    return bytes(found)


def require_json(request: Request) -> None:
    """Refuse anything but application/json, uncompressed, in UTF-8."""
    kind, _, parameters = request.headers.get("content-type", "").partition(";")
    charset = parameters.strip().lower().removeprefix("charset=").strip('"')
    if kind.strip().lower() != "application/json" or charset not in ("", "utf-8"):
        raise Refusal(Code.WRONG_TYPE, "the body must be application/json in UTF-8; set the header Content-Type so")
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise Refusal(Code.WRONG_TYPE, "the body must not be compressed; leave out the header Content-Encoding")


def _too_large(limit: int) -> Refusal:
    return Refusal(
        Code.TOO_LARGE,
        f"the body is larger than the {limit} bytes that are taken; send fewer or smaller pictures (JPEG, not PNG)",
        _CLOSE,
    )
