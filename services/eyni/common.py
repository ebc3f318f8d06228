"""What every command shares: settings with options laid over them, exit codes, and one clear line for an error."""

import os
import sys
import threading
import unicodedata
from collections.abc import Callable, Iterable, MutableMapping
from difflib import get_close_matches
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from shared.log import Log
    from shared.settings import Settings


class Code(IntEnum):
    """How a command ends; 2, a wrong use, is typer's own."""

    OK = 0
    NO = 1
    """The answer is no, or something failed."""
    USAGE = 2
    NOT_AVAILABLE = 3
    """Ask again later: the log, the api or the matcher does not answer."""
    INTERRUPTED = 130
    """128 + SIGINT, as shells have it."""


class NotAvailable(Exception):
    """What was asked does not answer; the message says what, and what to do."""


class Failed(Exception):
    """It was answered, and not as wished; the message says why."""


_OF_NUMBERS = frozenset(
    (
        "float_parsing",
        "int_parsing",
        "finite_number",
        "greater_than",
        "greater_than_equal",
        "less_than",
        "less_than_equal",
    )
)
"""pydantic's names for what can be wrong with a number."""


def load(data: Path | None = None, log: str | None = None, port: int | None = None) -> "Settings":
    """Read the settings; an option that was given goes before its environment variable."""
    from pydantic import ValidationError

    from services.eyni.console import complain
    from shared import files
    from shared.given import names_in_file
    from shared.log_address import parse
    from shared.settings import NoDataFolder, Settings

    try:
        in_file = names_in_file(os.environ.get("EYNI_SETTINGS"))
    except ValueError as error:
        raise typer.BadParameter(f"EYNI_SETTINGS: {error}", param_hint="settings") from None
    for line in misspelt([*os.environ, *(name.upper() for name in in_file)], Settings.model_fields):
        complain(line)
    given = {"data": data, "log": log, "api_port": port}
    try:
        settings = Settings.model_validate({k: v for k, v in given.items() if v is not None})
    except NoDataFolder as error:
        raise typer.BadParameter(str(error), param_hint="settings") from None
    except ValidationError as error:
        lines: list[str] = []
        for problem in error.errors(include_url=False):
            where = "".join(f" {part}" if n else f"EYNI_{str(part).upper()}" for n, part in enumerate(problem["loc"]))
            # Only what was given for a number is shown: other settings hold passwords.
            value = f" (it is {str(problem['input'])[:40]!r})" if problem["type"] in _OF_NUMBERS else ""
            lines.append(f"{where}{': ' if where else ''}{problem['msg'].removeprefix('Value error, ')}{value}")
        raise typer.BadParameter("; ".join(lines), param_hint="settings") from None
    try:
        parse(settings.log_address)  # here, so that every command ends before anything of it is shown or waited for
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--log") from None
    for line in files.narrow(settings.data):
        complain(line)
    return settings


def misspelt(given: Iterable[str], known: Iterable[str]) -> list[str]:
    """Name variables that are almost a setting: one that is nobody's would be passed over without a word."""
    names = [f"EYNI_{name.upper()}" for name in known]
    close = {
        name: get_close_matches(name, names, 1, cutoff=0.85)
        for name in sorted(given)
        if name.startswith("EYNI_") and name not in names
    }
    return [f"{name} is no setting, and does nothing; is {meant[0]} meant?" for name, meant in close.items() if meant]


def opened(settings: "Settings") -> "Log":
    """Open the log and see that its topics are there."""
    from shared.log.address import open_log
    from shared.topics import TOPICS

    if settings.log_address.startswith("memory:"):
        raise typer.BadParameter("memory: ends with its process, so no other can look at it", param_hint="--log")
    try:
        log = open_log(settings.log_address, settings.kafka_security)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--log") from None
    try:
        log.ensure(list(TOPICS.values()))
    except BaseException:
        log.close()
        raise
    return log


REFUSALS = frozenset(
    (
        "shared.model.ModelRefused",
        "shared.calibrating.CannotCalibrate",
        "shared.gallery_log.WrongModel",
        "shared.reading.Unreadable",
        "services.api.tables.RegistryMisfit",
        "services.enroll.pool.CannotStart",
        "services.match.snapshot.LostLog",
        "services.evaluate.labelled.CannotRead",
        "services.evaluate.measuring.NothingToCompare",
    )
)
"""What explains itself to a user. By name: to import them all would load numpy to say that a log does not answer."""


def explained(error: Exception) -> tuple[Code, str] | None:
    """Return the exit code and the line for an error that users meet; None for one that is a bug."""
    from shared.log import LogError, LogUnavailable

    match error:
        case NotAvailable():
            return Code.NOT_AVAILABLE, str(error)
        case LogUnavailable():
            return Code.NOT_AVAILABLE, f"the log does not answer: {error}"
        case Failed() | LogError():
            return Code.NO, str(error)
        case OSError():
            return Code.NO, f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}"
        case _ if f"{type(error).__module__}.{type(error).__name__}" in REFUSALS:
            return Code.NO, str(error)
        case _ if type(error).__module__.startswith("sqlalchemy") and type(error).__name__ == "OperationalError":
            # sqlalchemy itself is imported by the api only.
            return Code.NOT_AVAILABLE, "the registry's database does not answer (EYNI_REGISTRY)"
        case _:
            return None


def id_of(text: str, what: str) -> str:
    """Return an id as the api wants it, in NFC, or refuse it; `what` names the argument or option."""
    from shared.ids import objection_to_id

    text = unicodedata.normalize("NFC", text)
    if (wrong := objection_to_id(text)) is not None:
        raise typer.BadParameter(wrong, param_hint=what)
    return text


def largest_picture(settings: "Settings") -> int:
    """Return how many bytes a picture may have so that, in base64, it fits into a body that the api takes."""
    return max(0, (settings.body_limit - _AROUND) * 3 // 4)


_AROUND = 8192
"""Bytes of a body beside the picture: some hundred, and ids and galleries of 200 characters each."""


def stop_on_signals() -> threading.Event:
    """Return an event that SIGTERM and SIGINT set: the service ends what it is doing, and then itself.

    SIGHUP too (its terminal was closed), unless it was started to outlive that (nohup).
    """
    import signal

    stop = threading.Event()

    def handle(number: int, _: object) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, handle)
    signal.signal(signal.SIGINT, handle)
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        signal.signal(signal.SIGHUP, handle)
    return stop


Say = Callable[[str], None]


STEERING = ("SSLKEYLOGFILE", "PGHOSTADDR")
"""Variables of other programs that libraries obey unasked: Python's ssl writes the keys of every connection into the
one's file, libpq connects to the other's address, whatever host EYNI_REGISTRY names."""


def forget(environment: MutableMapping[str, str]) -> None:
    """Take out of the environment what would decide where faces and names go. For this process and its children."""
    for name in STEERING:
        environment.pop(name, None)


def forgive() -> None:
    """Have standard output and error write what their encoding lacks (LANG=C, cp1251) as escapes, and not raise."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:  # not a real stream: a test's
            reconfigure(errors="backslashreplace")
