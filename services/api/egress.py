"""The only way out: callbacks to a client's receiver, and pictures named by `imageRef`.

A caller chooses these addresses, so nothing is connected to but what the operator listed (SSRF, I15): scheme, host and
port are checked against the list, the name is resolved once and the connection made to that very address, redirects
and proxies are not followed, and time and size are bounded.
"""

import asyncio
import ipaddress
import os
import re
import socket
import ssl
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import httpx

from shared.background import Background, Restart
from shared.logs import blame, logger

SECONDS: Final = 5.0
"""For one call, from resolving the name to the last byte: a receiver that drips bytes holds a sender no longer."""

REPLY_BYTES: Final = 64 * 1024
"""Most of a callback's reply that is read, only to keep the connection's manners: its text means nothing to us."""

LOOKUPS: Final = 16
"""Names that may be resolved at a time, each once: a name server that hangs for one holds up no other."""

_PORTS: Final = {"http": 80, "https": 443}
_PLAIN: Final = re.compile(r"[!-~]{1,2000}")
_AUTHORITY: Final = re.compile(r"(?:\[[^\[\]]*\]|[^:\[\]]*)(?::([1-9][0-9]{0,4}))?")
_STEPS: Final = {
    "connection.connect_tcp.started": "while connecting",
    "connection.start_tls.started": "in the TLS handshake",
    "http11.send_request_headers.started": "while being sent the request",
    "http11.receive_response_headers.started": "before it answered",
    "http11.receive_response_body.started": "in the middle of its answer",
}
"""What a call is doing, by httpcore's names."""

_T = TypeVar("_T")

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]


class EgressRefused(ValueError):
    """The address is not one that this server connects to. The message says why."""


class EgressFailed(Exception):
    """The other side did not answer as it should. The message says what failed, and names no address."""


@dataclass(frozen=True, slots=True)
class Target:
    """A URL that was checked against the list."""

    url: httpx.URL
    host: str
    port: int

    @property
    def origin(self) -> str:
        """Scheme, host and port, as every URL of this server begins once it is written by `url`."""
        return f"{self.url.scheme}://{self.url.netloc.decode('ascii')}"


@dataclass(slots=True)
class Budget:
    """Bytes that may still be read, by one call or by several together."""

    limit: int
    taken: int = 0

    def take(self, count: int) -> None:
        self.taken += count
        if self.taken > self.limit:
            raise EgressFailed(f"is larger than the {self.limit} bytes that are taken")


class AllowList:
    """Hosts that the operator trusts: `host` (the scheme's own port), `host:port`, or `host:*`, separated by commas."""

    def __init__(self, hosts: str) -> None:
        self._entries = frozenset(h.strip().lower() for h in hosts.split(",") if h.strip())

    def check(self, text: str) -> Target:
        """Return the target, or raise EgressRefused. Looks at the text only: nothing is resolved or connected."""
        if not _PLAIN.fullmatch(text) or "\\" in text:
            raise EgressRefused("must be a URL in plain ASCII, without spaces or backslashes")
        scheme, _, rest = text.partition("://")
        if scheme.lower() not in _PORTS:
            raise EgressRefused("must begin with http:// or https://")
        authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
        if "@" in authority:
            raise EgressRefused("must not carry a user or password")
        written = _AUTHORITY.fullmatch(authority)
        # Read here and not by a library: what one takes for a number (+80, 99999), the next one does not.
        if written is None or int(written[1] or 1) > 65535:
            raise EgressRefused("must name a host, and behind it a port from 1 to 65535 or none")
        if "#" in text:
            raise EgressRefused("must not have a fragment (#)")
        try:
            url = httpx.URL(text)
            port = _PORTS[url.scheme] if url.port is None else url.port
        except (httpx.InvalidURL, ValueError, KeyError):
            raise EgressRefused("is no URL") from None
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


def trusted(authorities: Path | None) -> ssl.SSLContext:
    """Return what checks certificates: the authorities of Mozilla's list, this system's, and the operator's own.

    Raises OSError (ssl.SSLError is one) for a file that is none of certificates.
    """
    context = httpx.create_ssl_context(trust_env=False)
    # Where this Python looks by itself: the environment (SSL_CERT_FILE) must not decide whom Eyni trusts.
    paths = ssl.get_default_verify_paths()
    file, folder = paths.openssl_cafile, paths.openssl_capath
    if os.path.isfile(file) or os.path.isdir(folder):
        context.load_verify_locations(file if os.path.isfile(file) else None, folder if os.path.isdir(folder) else None)
    if authorities is not None:
        context.load_verify_locations(authorities)
    return context


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
        self,
        callback_hosts: str,
        image_hosts: str,
        *,
        authorities: Path | None = None,
        lookup: Resolve = resolve,
        seconds: float = SECONDS,
    ) -> None:
        """`authorities`: a PEM file of those that are trusted too. Raises OSError where it is none."""
        self.callbacks = AllowList(callback_hosts)
        self.images = AllowList(image_hosts)
        self._trusted = trusted(authorities)
        self._lookup = lookup
        self._lookups: dict[tuple[str, int], asyncio.Task[Sequence[str]]] = {}
        self._seconds = seconds
        self._loop = asyncio.new_event_loop()
        self._loop.set_default_executor(ThreadPoolExecutor(LOOKUPS, "lookup"))
        self._closed = threading.Event()
        self._thread = Background("egress", self._loop.run_forever, Restart(self._closed))
        self._thread.start()

    def close(self) -> None:
        async def settle() -> None:
            others = [t for t in asyncio.all_tasks() if t is not asyncio.current_task()]
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)

        self.run(settle()).result()
        self._closed.set()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def run(self, call: Coroutine[Any, Any, _T]) -> Future[_T]:
        """Begin something on this loop."""
        return asyncio.run_coroutine_threadsafe(call, self._loop)

    def begin(
        self, callback: str, query: Mapping[str, str], content_type: str, headers: Mapping[str, str], body: bytes
    ) -> Future[None]:
        """POST to a callback address, and return at once.

        The future raises EgressRefused, or EgressFailed unless the answer was 2xx, or CancelledError when closed.
        """

        async def post() -> None:
            target = self.callbacks.check(callback)
            sent = Target(target.url.copy_merge_params(dict(query)), target.host, target.port)
            await self._call("POST", sent, {**headers, "Content-Type": content_type}, body, None)

        return self.run(post())

    def deliver(
        self, callback: str, query: Mapping[str, str], content_type: str, headers: Mapping[str, str], body: bytes
    ) -> None:
        """Do the same, and wait for it."""
        self.begin(callback, query, content_type, headers, body).result()

    def fetch(self, reference: str, limit: int) -> bytes:
        """GET a picture of at most `limit` bytes, and wait for it. Raises EgressRefused or EgressFailed."""
        return self.run(self.get(self.images.check(reference), Budget(limit))).result()

    async def get(self, target: Target, budget: Budget) -> bytes:
        """GET a picture, on this loop. Raises EgressFailed."""
        return await self._call("GET", target, {}, b"", budget)

    async def _call(
        self, method: str, target: Target, headers: Mapping[str, str], body: bytes, budget: Budget | None
    ) -> bytes:
        step = "while its name was resolved"

        async def follow(event: str, _: Mapping[str, Any]) -> None:
            nonlocal step
            step = _STEPS.get(event, step)

        try:
            async with asyncio.timeout(self._seconds):
                address = _pinned(target.host, await self._addresses(target.host, target.port))
                # The URL carries the pinned address; name and certificate are still the host's.
                async with (
                    httpx.AsyncClient(
                        trust_env=False, follow_redirects=False, timeout=self._seconds, verify=self._trusted
                    ) as client,
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
                        extensions={"sni_hostname": target.host, "trace": follow},
                    ) as response,
                ):
                    return await _read(response, budget)
        except (TimeoutError, httpx.TimeoutException):
            raise EgressFailed(f"no complete answer within {self._seconds:g} s: it hung {step}") from None
        except EgressFailed:
            raise
        except Exception as error:
            raise EgressFailed(_words(error)) from None

    async def _addresses(self, host: str, port: int) -> Sequence[str]:
        """Resolve a name, once for all who ask meanwhile: a name server that hangs is waited for by one thread."""
        lookup = self._lookups.get((host, port))
        if lookup is None:
            lookup = asyncio.create_task(_awaited(self._lookup(host, port)))
            self._lookups[host, port] = lookup
            lookup.add_done_callback(lambda done: self._looked_up(host, port, done))
        return await asyncio.shield(lookup)

    def _looked_up(self, host: str, port: int, done: "asyncio.Task[Sequence[str]]") -> None:
        self._lookups.pop((host, port), None)
        if not done.cancelled():
            done.exception()  # seen: whoever asked may have gone


async def _awaited(what: Awaitable[_T]) -> _T:
    return await what


async def _read(response: httpx.Response, budget: Budget | None) -> bytes:
    if response.is_redirect:
        raise EgressFailed(f"answered with a redirect ({response.status_code}), which is not followed")
    if not response.is_success:
        raise EgressFailed(f"answered with status {response.status_code}")
    found = bytearray()
    # Raw: a compressed picture would be a way around the limit, and none was asked for.
    async for part in response.aiter_raw():
        if budget is not None:
            budget.take(len(part))
        elif len(found) > REPLY_BYTES:
            break
        found += part
    return bytes(found)


def _words(error: BaseException) -> str:
    """Say what failed, in words that an operator can act on."""
    for cause in _causes(error):
        match cause:
            case ssl.SSLCertVerificationError():
                return (
                    f"its certificate is not trusted: {cause.verify_message}. Where it comes from an authority of your "
                    "own, put that into EYNI_EGRESS_CA_FILE"
                )
            case ssl.SSLError():
                return f"TLS failed: {(cause.reason or 'no reason given').lower().replace('_', ' ')}"
            case socket.gaierror():
                return f"its name is not resolved: {cause.strerror or cause}"
            case ConnectionRefusedError():
                return "the connection is refused: nothing listens there"
            case ConnectionError():
                return "the connection broke off"
            case OSError(errno=int(number)):
                return f"cannot be connected to: {os.strerror(number)}"
            case _:
                pass
    if isinstance(error, httpx.RemoteProtocolError):
        return "did not answer in HTTP"
    if isinstance(error, httpx.TransportError):
        return "the connection broke off"
    logger("egress").error("a call ended with an unforeseen exception", **blame(error))
    return "a fault of this server; its log says where"


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield what an exception comes of, the innermost first."""
    inner = error.__cause__ or error.__context__
    if isinstance(error, BaseExceptionGroup):
        for one in cast(BaseExceptionGroup[BaseException], error).exceptions:
            yield from _causes(one)
    if inner is not None:
        yield from _causes(inner)
    yield error
