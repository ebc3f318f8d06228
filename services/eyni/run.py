"""`eyni enroll`, `eyni match`, `eyni api`: one service in this process, until SIGTERM."""

import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import typer

from services.eyni.common import Code, explained, stop_on_signals
from shared.background import Background, Restart
from shared.logs import blame, configure, logger
from shared.process import warning_of_root
from shared.settings import Settings

SUPERVISOR = "EYNI_SUPERVISOR"
"""Environment variable in which `eyni up` gives its children its process id."""

GRACE = 20.0
"""Seconds that a service has to stop: an extraction in progress may take that long (`time_limit`)."""

ServiceName = Literal["enroll", "match", "api"]


def run(service: ServiceName, settings: Settings) -> None:
    """Run one service until SIGTERM or Ctrl-C."""
    configure(settings.log_level, settings.log_format)
    stop = stop_on_signals()
    end_with_supervisor(stop)
    log = logger(service)
    changed = {name: value for name, value in settings.shown().items() if name != "log"}
    log.info("starting", pid=os.getpid(), log=settings.log_address, settings=changed)
    if settings.log_address.startswith("memory:"):
        log.warning("memory: is seen by this process only, and gone with it")
    if SUPERVISOR not in os.environ and (warning := warning_of_root()):  # `eyni up` says it itself, once
        log.warning(warning)
    try:
        _service(service)(settings, stop)
    except Exception as error:
        if not _for_the_operator(error):
            if explained(error) is not None:
                raise
            log.critical("ended by a fault of ours", **blame(error))
            raise typer.Exit(Code.NO) from None
        # One line among those of the other services, and the exit code by which `eyni up` knows that it will not help
        # to start it again.
        log.error("cannot start", reason=str(error))
        raise typer.Exit(Code.USAGE) from None
    log.info("stopped")


def _for_the_operator(error: Exception) -> bool:
    """Tell a refusal to start with these settings, whose message says what to do, from a bug."""
    from shared.model import ModelRefused

    named = f"{type(error).__module__}.{type(error).__name__}"
    # By name: the registry's libraries are the api's alone.
    return (
        isinstance(error, ModelRefused)
        or named == "services.api.tables.RegistryMisfit"
        or (isinstance(error, ValueError) and str(error).startswith("EYNI_"))
    )


def _service(name: ServiceName) -> Callable[[Settings, threading.Event], None]:
    """Import one service, and none of the others' libraries."""
    match name:
        case "enroll":
            from services.enroll import bootstrap as enroll

            return enroll.run
        case "match":
            from services.match import bootstrap as match

            return match.run
        case "api":
            from services.api import bootstrap as api

            return api.run


def end_with_supervisor(stop: threading.Event) -> None:
    """Stop when the `eyni up` that started this process is gone, however it went.

    Looking at the parent works on every system and needs nothing between fork and exec; two looks a second cost
    nothing. Without it, a supervisor that was killed would leave services that nobody stops.
    """
    supervisor = int(os.environ.get(SUPERVISOR, "0"))
    if not supervisor:
        return

    def watch() -> None:
        while os.getppid() == supervisor:
            time.sleep(0.5)
        stop.set()
        time.sleep(GRACE)
        os._exit(1)

    Background("supervisor", watch, Restart(stop)).start()


def own_command(*arguments: str) -> list[str]:
    """Return how to start `eyni` again, as a child process."""
    # -P: not the current folder first, where a user may well have a `services` too.
    return [sys.executable, "-P", "-m", "services.eyni", *arguments]


def own_environment() -> dict[str, str]:
    """Return this process's environment, with this very code first on the child's path."""
    root = str(Path(__file__).resolve().parents[2])
    others = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{others}" if others else root}


def digest(settings: Settings, cold: bool) -> None:
    """Print what the gallery is at the log's end; two that agree give the same line."""
    from services.eyni.console import out
    from services.match.bootstrap import digest as match_digest

    configure("error")
    out(match_digest(settings, cold))
