"""The only way out: callbacks to a client's receiver, and pictures named by `imageRef`.

A caller chooses these addresses, so nothing is connected to but what the operator listed (SSRF, I15): scheme, host and
port are checked against the list, the name is resolved once and the connection made to that very address, redirects
and proxies are not followed, and time and size are bounded.
"""

import asyncio
import ipaddress
import re
import socket
import threading
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import httpx

SECONDS: Final = 5.0
"""For one call, from resolving the name to the last byte: a receiver that drips bytes holds a sender no longer."""

REPLY_BYTES: Final = 64 * 1024
"""Most of a callback's reply that is read, only to keep the connection's manners: its text means nothing to us."""

_PORTS: Final = {"http": 80, "https": 443}
_PLAIN: Final = re.compile(r"[!-~]{1,2000}")
_T = TypeVar("_T")

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]


class EgressRefused(ValueError):
    """The address is not one that this server connects to. The message says why."""


class EgressFailed(Exception):
    """The other side did not answer as it should. The message names the kind of failure and no address."""


@dataclass(frozen=True, slots=True)
class Target:
    """A URL that was checked against the list."""

    url: httpx.URL
    host: str
    port: int


class AllowList:
    """Hosts that the operator trusts: `host` (the scheme's own port), `host:port`, or `host:*`, separated by commas."""

    def __init__(self, hosts: str) -> None:
        self._entries = frozenset(h.strip().lower() for h in hosts.split(",") if h.strip())

    def check(self, text: str) -> Target:
        """Return the target, or raise EgressRefused. Looks at the text only: nothing is resolved or connected."""
        if not _PLAIN.fullmatch(text) or "\\" in text:
            raise EgressRefused("must be a URL in plain ASCII, without spaces or backslashes")
        try:
            url = httpx.URL(text)
            port = _PORTS.get(url.scheme) if url.port is None else url.port
        except (httpx.InvalidURL, ValueError):
            raise EgressRefused("is no URL") from None
        if url.scheme not in _PORTS or port is None:
            raise EgressRefused("must begin with http:// or https://")
        if "@" in re.split(r"[/?#]", text.partition("://")[2], maxsplit=1)[0]:
            raise EgressRefused("must not carry a user or password")
        if url.fragment or "#" in text:
            raise EgressRefused("must not have a fragment (#)")
        host = url.host.lower()
        bracketed = f"[{host}]" if ":" in host else host
        named = bracketed if port == _PORTS[url.scheme] else None
        if not host or not {named, f"{bracketed}:{port}", f"{bracketed}:*"} & self._entries:
            raise EgressRefused("names a host and port that are not on the operator's list")
        return Target(url, host, port)


async def resolve(host: str, port: int) -> Sequence[str]:
    """Ask the system for the host's addresses."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[4][0]) for address in found]


def _pinned(host: str, addresses: Sequence[str]) -> str:
    """Choose the address to connect to: the first, unless a name on the list leads into this very machine."""
    if not addresses:
        raise EgressFailed("the name has no address")
    address = ipaddress.ip_address(addresses[0].split("%")[0])
    inner = getattr(address, "ipv4_mapped", None) or address
    itself = inner.is_loopback or inner.is_link_local or inner.is_unspecified or inner.is_multicast or inner.is_reserved
    # The operator may list localhost or such an address itself; a name must not turn out to be one (rebinding).
    if itself and host not in ("localhost", addresses[0], str(address)):
        raise EgressFailed("the name leads to an address inside this machine or its link")
    return str(address)


class Egress:
    """Sends and fetches, from an event loop in a thread of its own. Every method may be called from any thread."""

    def __init__(
        self, callback_hosts: str, image_hosts: str, *, lookup: Resolve = resolve, seconds: float = SECONDS
    ) -> None:
        self.callbacks = AllowList(callback_hosts)
        self.images = AllowList(image_hosts)
        self._lookup = lookup
        self._seconds = seconds
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="egress", daemon=True)
        self._thread.start()

    def close(self) -> None:
        async def settle() -> None:
            others = [t for t in asyncio.all_tasks() if t is not asyncio.current_task()]
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(settle(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def deliver(
        self, callback: str, query: Mapping[str, str], content_type: str, headers: Mapping[str, str], body: bytes
    ) -> None:
        """POST to a callback address. Raises EgressRefused, or EgressFailed unless the answer was 2xx."""
        target = self.callbacks.check(callback)
        url = target.url.copy_merge_params(dict(query))
        self._run(
            self._call(
                "POST", Target(url, target.host, target.port), {**headers, "Content-Type": content_type}, body, None
            )
        )

    def fetch(self, reference: str, limit: int) -> bytes:
        """GET a picture of at most `limit` bytes. Raises EgressRefused or EgressFailed."""
        return self._run(self._call("GET", self.images.check(reference), {}, b"", limit))

    def _run(self, call: Coroutine[Any, Any, _T]) -> _T:
        return asyncio.run_coroutine_threadsafe(call, self._loop).result()

    async def _call(
        self, method: str, target: Target, headers: Mapping[str, str], body: bytes, limit: int | None
    ) -> bytes:
        try:
            async with asyncio.timeout(self._seconds):
                address = _pinned(target.host, await self._lookup(target.host, target.port))
                # The URL carries the pinned address; name and certificate are still the host's.
                async with (
                    httpx.AsyncClient(trust_env=False, follow_redirects=False, timeout=self._seconds) as client,
                    client.stream(
                        method,
                        target.url.copy_with(host=address),
                        headers={
                            "Host": target.url.netloc.decode("ascii"),
                            "User-Agent": "eyni",
                            "Accept-Encoding": "identity",
                            **headers,
                        },
                        content=body or None,
                        extensions={"sni_hostname": target.host},
                    ) as response,
                ):
                    return await _read(response, limit)
        except TimeoutError:
            raise EgressFailed(f"no complete answer within {self._seconds:g} s") from None
        except (httpx.HTTPError, OSError, UnicodeError) as error:
            raise EgressFailed(type(error).__name__) from None


async def _read(response: httpx.Response, limit: int | None) -> bytes:
    if response.is_redirect:
        raise EgressFailed(f"answered with a redirect ({response.status_code}), which is not followed")
    if not response.is_success:
        raise EgressFailed(f"answered with status {response.status_code}")
    most = REPLY_BYTES if limit is None else limit
    found = bytearray()
    # Raw: a compressed picture would be a way around the limit, and none was asked for.
    async for part in response.aiter_raw():
        found += part
        if len(found) > most:
            if limit is None:
                break
            raise EgressFailed(f"is larger than the {limit} bytes that are taken")
    return bytes(found)
