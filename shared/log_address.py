"""The address of a log, and which log it means (`shared.log.address` opens it).

An address is checked whole when a command starts: what it says is used, or refused with what to write instead. No
message shows an address or a part of one that may hold a password.
"""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv6Address
from pathlib import Path
from typing import Final
from urllib.parse import unquote_to_bytes

FORMS: Final = "file:///folder, kafka://host:port[,host:port][?prefix=…] or memory:"

_BROKER: Final = re.compile(r"(?P<host>\[[^\[\]]*\]|[\w.-]+):(?P<port>[0-9]{1,5})")
_PREFIX: Final = re.compile(r"[A-Za-z0-9._-]{1,100}")
"""What Kafka takes in the name of a topic, which may have 249 characters with our own name behind it."""


@dataclass(frozen=True, slots=True)
class Memory:
    """In this process."""


@dataclass(frozen=True, slots=True)
class Folder:
    """An embedded log."""

    path: Path


@dataclass(frozen=True, slots=True)
class Brokers:
    """A Kafka cluster: each broker as `host:port`, IPv6 in brackets."""

    bootstrap: Sequence[str]
    prefix: str


def folder_of(address: str) -> Path | None:
    """Return the folder of a `file:` address, None for another. Raises ValueError as `parse` does."""
    found = parse(address)
    return found.path if isinstance(found, Folder) else None


def parse(address: str) -> Memory | Folder | Brokers:
    """Read an address. Raises ValueError, which names the setting, what is wrong, and the form wanted."""
    scheme, colon, rest = address.partition(":")
    if address == "memory:":
        return Memory()
    if scheme == "file" and colon:
        return Folder(_folder(rest))
    if scheme == "kafka" and rest.startswith("//"):
        return _brokers(rest.removeprefix("//"))
    # Nothing of it is shown: whatever it is, it may hold a password.
    raise _refused("is no log address")


def _folder(rest: str) -> Path:
    path = rest.removeprefix("//")
    if "?" in rest or "#" in rest:
        # It would be another folder than the one that was meant.
        raise _refused("write ? as %3F, # as %23 and % as %25 where a folder's name has them")
    if not path or (rest.startswith("//") and not path.startswith("/")):
        raise _refused("file: wants the whole path of a folder, after three slashes")
    decoded = unquote_to_bytes(path)
    if b"\0" in decoded:
        raise _refused("no folder's name has a NUL (%00)")
    return Path(os.fsdecode(decoded))


def _brokers(rest: str) -> Brokers:
    if "@" in rest:
        raise _refused(
            "no user name or password goes into an address: they are EYNI_KAFKA_SASL_USERNAME and "
            "EYNI_KAFKA_SASL_PASSWORD"
        )
    brokers, asks, query = rest.partition("?")
    if any(c.isspace() or not c.isprintable() for c in rest):
        raise _refused("has a blank or a character that nobody sees in it")
    if "://" in brokers:
        raise _refused("write kafka:// once, and a comma between brokers")
    if "/" in brokers or "#" in rest:
        raise _refused("nothing may follow the brokers but ?prefix=…: no path, no #")
    bootstrap = brokers.split(",")
    for broker in bootstrap:
        if wrong := _wrong_with(broker):
            raise _refused(f"broker {broker[:100]!r} {wrong}")
    return Brokers(tuple(bootstrap), _prefix(query) if asks else "")


def _wrong_with(broker: str) -> str:
    """Return what is wrong with `host:port`; empty: nothing."""
    if (found := _BROKER.fullmatch(broker)) is None:
        return "is no host:port (an IPv6 address stands in brackets: [::1]:9092)"
    if not 1 <= int(found["port"]) <= 65_535:
        return "has no port from 1 to 65535"
    if found["host"].startswith("["):
        try:
            IPv6Address(found["host"].strip("[]"))
        except ValueError:
            return "has no IPv6 address in its brackets"
    return ""


def _prefix(query: str) -> str:
    name, _, prefix = query.partition("=")
    if name != "prefix" or "&" in prefix or "=" in prefix:
        raise _refused("after ? stands one prefix=… and nothing else")  # not shown: it may be a password
    if not _PREFIX.fullmatch(prefix):
        raise _refused("the prefix is 1 to 100 of a-z, A-Z, 0-9, `.`, `_`, `-`")
    return prefix


def _refused(what: str) -> ValueError:
    return ValueError(f"EYNI_LOG (--log): {what}; wanted is {FORMS}")
