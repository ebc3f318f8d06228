"""How the command reaches an api, or the address of a model: as Eyni's own settings say.

Tokens and faces are sent here. HTTP_PROXY, ALL_PROXY, SSL_CERT_FILE, .netrc and their like were set for other programs,
and decide nothing (`trust_env=False`; tests/test_architecture.py sees that no call is without it).
"""

import ipaddress
import ssl
from pathlib import Path
from typing import Final

import httpx

from services.eyni.common import Failed
from shared.settings import Settings
from shared.text import printable

_SCHEMES: Final = ("http", "https")


def connection(address: str, settings: Settings, timeout: httpx.Timeout, *, redirects: bool = False) -> httpx.Client:
    """Return what connects to this address. Raises Failed where it is none, or a setting does not fit.

    What is on this machine is reached without a proxy.
    """
    host = _host(address)
    proxy = settings.command_proxy if settings.command_proxy and not _is_this_machine(host) else None
    return httpx.Client(
        trust_env=False,
        verify=_authorities(settings.command_ca_file) if settings.command_ca_file else True,
        proxy=proxy,
        timeout=timeout,
        follow_redirects=redirects,
    )


def _host(address: str) -> str:
    """Return an address's host; raises Failed for what cannot be reached, and says why."""
    try:
        url = httpx.URL(address)
    except (httpx.InvalidURL, ValueError, TypeError) as error:
        raise Failed(f"{printable(address, 200)!r} is no address ({error}); http://host:port is one") from None
    if url.scheme not in _SCHEMES or not url.host:
        raise Failed(f"{printable(address, 200)!r} is no address: it must begin with http:// or https:// and a host")
    if url.port is not None and not 0 < url.port <= 65535:
        raise Failed(f"{printable(address, 200)!r} has port {url.port}; ports are 1 to 65535")
    return url.host


def _is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _authorities(file: Path) -> ssl.SSLContext:
    """Return what checks certificates: the usual authorities, and those of the operator's file."""
    context = httpx.create_ssl_context(trust_env=False)
    try:
        context.load_verify_locations(file)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise Failed(
            f"EYNI_COMMAND_CA_FILE: {file}: holds no certificates that can be read ({error}); give a PEM file, with "
            "-----BEGIN CERTIFICATE----- in it"
        ) from None
    return context
