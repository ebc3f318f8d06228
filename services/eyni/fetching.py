"""Fetches a file whose digest is known beforehand: only that very file arrives."""

import hashlib
from collections.abc import Callable, Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Final

import httpx

from services.eyni.common import Failed, NotAvailable
from services.eyni.reaching import connection
from shared import files
from shared.settings import Settings

Progress = Callable[[int, int | None], None]
"""Hears how many bytes are there, and how many there will be, if the server says so."""

_TIMEOUT: Final = httpx.Timeout(60.0, connect=10.0)
"""Seconds of silence after which nobody is there any more."""


def download(address: str, to: Path, settings: Settings, *, sha256: str, limit: int, progress: Progress) -> None:
    """Fetch at most `limit` bytes into a new file. Raises Failed or NotAvailable, and leaves no file then.

    Redirects are followed, to any host: what arrives is judged by its digest, not by where it came from.
    """
    found = hashlib.sha256()
    with files.about(to), files.opened(to, "xb") as file:
        try:
            for block in _blocks(address, settings, limit, progress):
                found.update(block)
                file.write(block)
            file.flush()  # a full disk shows here, and not when the file is closed
            if found.hexdigest() != sha256:
                raise Failed(
                    f"{address}: its SHA-256 is {found.hexdigest()}; {sha256} was wanted. Nothing of it is kept"
                )
        except BaseException:
            to.unlink(missing_ok=True)
            raise


def _blocks(address: str, settings: Settings, limit: int, progress: Progress) -> Iterator[bytes]:
    too_large = Failed(f"{address}: larger than {limit:,} bytes, the most that is fetched")
    # Not compressed: the bytes counted and digested are those that the server has.
    headers = {"Accept-Encoding": "identity"}
    try:
        with (
            connection(address, settings, _TIMEOUT, redirects=True) as http,
            http.stream("GET", address, headers=headers) as answer,
        ):
            if answer.status_code != HTTPStatus.OK:
                raise Failed(f"{address}: HTTP {answer.status_code} {answer.reason_phrase}")
            length = answer.headers.get("content-length", "")
            whole = int(length) if length.isdecimal() else None
            if whole is not None and whole > limit:
                raise too_large
            count = 0
            for block in answer.iter_bytes():
                count += len(block)
                if count > limit:
                    raise too_large
                progress(count, whole)
                yield block
    except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
        raise Failed(f"{address}: is no address that can be fetched ({error})") from None
    except httpx.TransportError as error:
        raise NotAvailable(f"{address}: cannot be reached ({error or type(error).__name__})") from None
    except httpx.RequestError as error:
        raise Failed(f"{address}: {error}") from None
