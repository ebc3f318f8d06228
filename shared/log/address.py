"""Choose the log by its address."""

import os
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import parse_qs, unquote_to_bytes, urlsplit

from shared.log import Log


def open_log(address: str, kafka_security: Mapping[str, str] | None = None) -> Log:
    """Open `memory:`, `file:///folder` or `kafka://host:port[,host:port][?prefix=…]`. Raises ValueError otherwise.

    `kafka_security`: see `Settings.kafka_security`; None: no TLS and no password.
    """
    # Imported here so that an embedded log needs no Kafka client, and the other way round.
    scheme = address.partition(":")[0]
    if scheme == "memory":
        from shared.log.memory import MemoryLog

        return MemoryLog()
    if scheme == "file" and (folder := folder_of(address)) is not None:
        from shared.log.file import FileLog

        return FileLog(folder)
    if scheme == "kafka" and urlsplit(address).netloc:
        from shared.log.kafka import KafkaLog

        parts = urlsplit(address)
        if unknown := parse_qs(parts.query).keys() - {"prefix"}:
            raise ValueError(f"EYNI_LOG: {address!r} says {', '.join(unknown)}; only prefix can be said")
        prefix = "".join(parse_qs(parts.query).get("prefix", []))
        return KafkaLog(parts.netloc.split(","), prefix, kafka_security)
    raise ValueError(f"EYNI_LOG: {address!r} is no log address; use file:///folder, kafka://host:port or memory:")


def folder_of(address: str) -> Path | None:
    """Return the folder of a `file:` address, or None. Raises ValueError for one that is cut short by its own name."""
    parts = urlsplit(address)
    if parts.scheme != "file" or parts.netloc or not parts.path:
        return None
    if parts.query or parts.fragment or "?" in address or "#" in address:
        # It would be another folder than the one that was meant.
        raise ValueError(f"EYNI_LOG: {address!r}: write ? as %3F, # as %23 and % as %25 where a folder's name has them")
    return Path(os.fsdecode(unquote_to_bytes(parts.path)))
