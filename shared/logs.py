"""Log lines: one event with fields, for people or as JSON. Nothing that identifies a face may become a field."""

import logging
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog


def _no_biometrics(_: object, __: str, fields: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Withhold bytes and arrays, whoever puts them there: pictures and templates are made of them."""
    for name, value in fields.items():
        if isinstance(value, bytes | bytearray) or hasattr(value, "__array__"):
            fields[name] = f"<{value.__class__.__name__} withheld>"
    return fields


def configure(level: str = "info", style: str = "console") -> None:
    """Set up logging of this process, to standard error."""
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if style == "json"
        else structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _no_biometrics,
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    # The libraries' own loggers: warnings only, and never their request lines.
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(name)s %(levelname)s %(message)s")


def logger(name: str) -> "structlog.typing.FilteringBoundLogger":
    """Return a logger whose lines say which part of the system they come from."""
    bound: structlog.typing.FilteringBoundLogger = structlog.get_logger(part=name)
    return bound
