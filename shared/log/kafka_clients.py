# pyright: basic, reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
# (the stubs that pyright brings along describe kafka-python 2)
"""Clients of a Kafka cluster: their settings, how they prove who they are, and the port's words for what they raise."""

import logging
import math
import socket
import ssl
import struct
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Final

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, errors

from shared.log import LogGap, LogMisfit, LogUnavailable
from shared.logs import logger
from shared.text import printable

ANSWER_S: Final = 5.0
"""Seconds that a broker may take to answer a question about topics and offsets before it counts as not available.
Measured: some 10 ms; a restarted single broker is back in 6 s."""

CONNECT_S: Final = 2.0

_CLIENT: Final = {
    "bootstrap_timeout_ms": 5_000,
    "reconnect_backoff_ms": 50,
    "reconnect_backoff_max_ms": 1_000,  # a broker that is back is found again within about a second
    "metadata_max_age_ms": 10_000,  # partitions that were added are seen within 10 s
}
_PRODUCER: Final = {
    "acks": "all",
    "enable_idempotence": True,  # explicitly, so that a setting in conflict with it raises
    "delivery_timeout_ms": 2_147_483_647,
    "request_timeout_ms": 10_000,
    "max_block_ms": 1_000,
    "batch_size": 256 * 2**10,
    "max_request_size": 64 * 2**20,
    "compression_type": None,  # captures are JPEG in base64, templates are noise
    "allow_auto_create_topics": False,
}
_CONSUMER: Final = {
    "enable_auto_commit": False,
    "auto_offset_reset": "none",
    "check_crcs": True,
    "fetch_max_bytes": 32 * 2**20,
    "max_partition_fetch_bytes": 16 * 2**20,  # a larger record comes alone
    "allow_auto_create_topics": False,
}

_WHICH_VERSIONS: Final = struct.pack(">ihhih", 10, 18, 0, 0, -1)
"""An ApiVersions request: length, API 18, version 0, correlation id 0, no client id. Every broker answers it first."""


SAY_AGAIN_S: Final = 30.0
"""Seconds between two lines about what kafka-python complains of. It repeats itself with each try to connect, several
times a second in each client, and what matters of it comes to us as an exception."""

LINE: Final = 200
"""Characters of a complaint that are shown: its first line, of some hundred."""


class Condensed(logging.Handler):
    """Makes one line of ours of all that kafka-python logs in a while, without its tracebacks."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(logging.WARNING)
        self._clock = clock
        self._said = -math.inf
        self._unsaid = 0

    def emit(self, record: logging.LogRecord) -> None:
        now = self._clock()
        if now < self._said + SAY_AGAIN_S:
            self._unsaid += 1
            return
        unsaid, self._said, self._unsaid = self._unsaid, now, 0
        try:
            first = (record.getMessage().splitlines() or [""])[0]
        except (TypeError, ValueError):  # a message and arguments that do not fit: theirs, and no reason to end
            first = str(record.msg)
        cause = record.exc_info[0].__name__ if record.exc_info and record.exc_info[0] else None
        logger("log").warning(
            "the Kafka client is in trouble",
            said=printable(first, LINE),
            by=record.name,
            **({"cause": cause} if cause else {}),
            **({"more_since_the_last_line": unsaid} if unsaid else {}),
        )


def condense(client: logging.Logger, handler: logging.Handler) -> None:
    """Have a library's loggers write through `handler` alone."""
    client.handlers[:] = [handler]
    client.propagate = False


condense(logging.getLogger("kafka"), Condensed())


class Cluster:
    """Where the brokers are, and what a client must show them. Nothing is connected before a client is asked for.

    `security` is kafka-python's (`Settings.kafka_security`). Raises ValueError where its files are no certificates.
    """

    def __init__(self, bootstrap: Sequence[str], security: Mapping[str, str]) -> None:
        self._bootstrap = list(bootstrap)
        self._tls = _tls(security)
        self._client = {"bootstrap_servers": self._bootstrap, **_CLIENT, **security, "ssl_context": self._tls}
        self.closed = False
        """Set once no further client may be made."""

    def admin(self) -> KafkaAdminClient:
        self._ask()
        return KafkaAdminClient(request_timeout_ms=int(ANSWER_S * 1000), **self._client)

    def producer(self, patience: float) -> KafkaProducer:
        self._ask(patience)
        return KafkaProducer(**self._client, **_PRODUCER)

    def consumer(self, **settings: object) -> KafkaConsumer:
        self._ask()
        with as_log_errors():
            return KafkaConsumer(**self._client, **_CONSUMER, **settings)

    def _ask(self, patience: float = CONNECT_S) -> None:
        """Get some answer from some broker, through a socket that we close. Raises LogUnavailable."""
        if self.closed:
            raise LogUnavailable("this log is closed")
        reasons: list[str] = []
        for address in self._bootstrap:
            host, _, port = address.rpartition(":")
            try:
                name = host.strip("[]")
                with (
                    socket.create_connection((name, int(port)), patience) as plain,
                    self._tls.wrap_socket(plain, server_hostname=name) if self._tls else nullcontext(plain) as probe,
                ):
                    probe.sendall(_WHICH_VERSIONS)
                    if probe.recv(1) == b"\0":  # of the answer's length; TLS begins otherwise, and a close with nothing
                        return
                    raise ConnectionError("no answer of Kafka's; is EYNI_KAFKA_SECURITY_PROTOCOL the broker's?")
            except (OSError, ValueError) as error:
                reasons.append(f"{address}: {error}")
        raise LogUnavailable(f"no broker answers ({'; '.join(reasons)})")


def _tls(security: Mapping[str, str]) -> ssl.SSLContext | None:
    if not security.get("security_protocol", "").endswith("SSL"):
        return None
    try:
        context = ssl.create_default_context(cafile=security.get("ssl_cafile"))
        if "ssl_certfile" in security:
            context.load_cert_chain(security["ssl_certfile"], security.get("ssl_keyfile"))
    except OSError as error:
        raise ValueError(f"EYNI_KAFKA_CA_FILE, EYNI_KAFKA_CERT_FILE, EYNI_KAFKA_KEY_FILE: {error}") from error
    return context


@contextmanager
def as_log_errors() -> Generator[None]:
    """Say in the port's words what kafka-python raises."""
    try:
        yield
    except (errors.OffsetOutOfRangeError, errors.LogTruncationError, errors.CorruptRecordError) as error:
        raise LogGap(str(error)) from error
    except (errors.MessageSizeTooLargeError, errors.RecordListTooLargeError) as error:
        raise LogMisfit(f"a record is larger than the topic or the broker takes ({error})") from error
    except (errors.AuthorizationError, errors.UnsupportedVersionError, errors.InvalidTopicError) as error:
        raise LogMisfit(str(error)) from error
    except (errors.IllegalArgumentError, errors.KafkaConfigurationError):
        raise  # ours
    except errors.KafkaError as error:
        raise LogUnavailable(str(error) or type(error).__name__) from error
