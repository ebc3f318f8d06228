"""Log lines: one event with fields, for people or as JSON. Nothing that identifies a face may become a field.

Every line of the process goes this way, the libraries' own ones too: text from outside is shown so that it steers no
terminal, of an exception only the kind and the place are told (its message may quote what was sent), and nobody waits
for who reads the lines.
"""

import logging
import sys
import threading
import traceback
from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, cast

import structlog

from shared.stderr import unblock
from shared.text import printable

LONGEST: Final = 4_000
"""Most characters of one text in a line: a token's or a model's words are shorter, and a line is for reading."""

_FRAMES: Final = 8
"""Most frames of an exception that are told: the innermost."""


def blame(error: BaseException) -> dict[str, Any]:
    """Return what may be logged of an unforeseen exception, as fields: its kind and where it was raised."""
    if isinstance(error, BaseExceptionGroup):  # which of several failed says more than that several ran
        return blame(cast(BaseExceptionGroup[BaseException], error).exceptions[0])
    frames = traceback.extract_tb(error.__traceback__)[-_FRAMES:]
    where = [f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames]
    return {"kind": f"{type(error).__module__}.{type(error).__qualname__}".removeprefix("builtins."), "where": where}


def a_fault_of_ours(error: BaseException) -> str:
    """Return the reason of a dead letter that an unforeseen exception made: its kind and place, never its message."""
    found = blame(error)
    place = found["where"][-1] if found["where"] else "an unknown place"
    return f"a fault of this version of Eyni: {found['kind']} at {place}"


def _no_biometrics(_: object, __: str, fields: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Withhold bytes and arrays, whoever puts them there: pictures and templates are made of them."""
    for name, value in fields.items():
        if isinstance(value, bytes | bytearray | memoryview) or hasattr(value, "__array__"):
            fields[name] = f"<{type(cast(object, value)).__name__} withheld>"
    return fields


def _no_messages(_: object, __: str, fields: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Put kind and place in the stead of a traceback, which ends in a message."""
    match fields.pop("exc_info", None):
        case True:
            error = sys.exc_info()[1]
        case BaseException() as error:
            pass
        case (_, BaseException() as error, _):
            pass
        case _:
            error = None
    return fields if error is None else {**fields, **blame(error)}


def _readable(_: object, __: str, fields: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Show every text, at any depth, so that it steers no terminal and stays in its line."""
    return {printable(str(name), LONGEST): _shown(value) for name, value in fields.items()}


def _shown(value: object) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return printable(value, LONGEST)
    if isinstance(value, Mapping):
        items = cast(Mapping[object, object], value).items()
        return {printable(str(name), LONGEST): _shown(item) for name, item in items}
    if isinstance(value, list | tuple | set | frozenset):
        return [_shown(item) for item in cast(Iterable[object], value)]
    return printable(repr(value), LONGEST)


def _processors(renderer: structlog.typing.Processor) -> Sequence[structlog.typing.Processor]:
    return [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _no_biometrics,
        _no_messages,
        _readable,
        renderer,
    ]


class _Libraries(logging.Handler):
    """Makes the lines of libraries lines like ours."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            fields = blame(record.exc_info[1]) if record.exc_info and record.exc_info[1] else {}
            logger(record.name).log(record.levelno, record.getMessage(), **fields)
        except Exception:  # a log line must end nothing, and `handleError` would print what it was given
            logger(record.name).log(record.levelno, "a line that cannot be shown")


def _level(name: str) -> int:
    return logging.getLevelNamesMapping()[name.upper()]


def configure(level: str = "info", style: str = "console") -> None:
    """Set up logging of this process, to a standard error that nobody waits for."""
    as_json = style == "json"
    stream = unblock(lambda count: _dropped(count, as_json))
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer(ensure_ascii=False)
        if as_json
        else structlog.dev.ConsoleRenderer(colors=stream.isatty())
    )
    structlog.configure(
        processors=_processors(renderer),
        wrapper_class=structlog.make_filtering_bound_logger(_level(level)),
        logger_factory=structlog.WriteLoggerFactory(stream),
        cache_logger_on_first_use=True,
    )
    # The libraries' own loggers: warnings only, and never their request lines.
    logging.basicConfig(level=logging.WARNING, handlers=[_Libraries()], force=True)
    sys.excepthook = _unforeseen
    threading.excepthook = lambda hooked: _unforeseen(hooked.exc_type, hooked.exc_value, hooked.exc_traceback)
    sys.unraisablehook = lambda hooked: _unforeseen(hooked.exc_type, hooked.exc_value, hooked.exc_traceback)


def _dropped(count: int, as_json: bool) -> str:
    """Return the line about lines that found no room. Without a logger: it would queue behind what it tells of."""
    event = "log lines were dropped: nobody read them in time"
    return f'{{"event": "{event}", "lines": {count}, "level": "warning"}}\n' if as_json else f"{event} lines={count}\n"


def _unforeseen(kind: type[BaseException], error: BaseException | None, _: TracebackType | None) -> None:
    if not issubclass(kind, SystemExit):
        logger("process").critical(
            "a fault of ours that nothing caught", **blame(error if error is not None else kind())
        )


def logger(name: str) -> "structlog.typing.FilteringBoundLogger":
    """Return a logger whose lines say which part of the system they come from."""
    bound: structlog.typing.FilteringBoundLogger = structlog.get_logger(part=name)
    return bound


# Commands that set up no logging use services' parts too: their lines go beside what the command prints, not among it.
structlog.configure(
    processors=_processors(structlog.dev.ConsoleRenderer(colors=False)),
    wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG),
    logger_factory=lambda *_: structlog.WriteLogger(sys.stderr),
    cache_logger_on_first_use=False,
)
