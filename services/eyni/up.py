"""`eyni up`: the three services as child processes on one machine, restarted when one dies, stopped in order."""

import fcntl
import os
import subprocess
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import typer

from services.eyni.client import Watcher
from services.eyni.common import Code, Failed, Say, stop_on_signals
from services.eyni.run import GRACE, SUPERVISOR, end_with_supervisor, own_command, own_environment
from shared import files
from shared.background import Background, Restart
from shared.heartbeat import is_of, process_of
from shared.ports import listen
from shared.process import warning_of_root
from shared.settings import Settings
from shared.stderr import unblock

FIRST_DELAY, LAST_DELAY = 0.2, 5.0
"""Seconds before a dead service is started again: at once for one that was killed, seldom for one that cannot run."""

SETTLED = 30.0
"""Seconds of life after which the next death counts as the first again."""

SERVICES = ("enroll", "match", "api")
STOP_ORDER = ("api", "enroll", "match")
"""First who accepts, then who works on what was accepted."""


@dataclass
class Child:
    """One service, its process and when that is to be started (again). Times are time.monotonic()."""

    name: str
    command: Sequence[str]
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    due: float = 0.0
    delay: float = FIRST_DELAY
    deaths: int = field(default=0)


class Supervisor:
    """Keeps children running until told to stop; they inherit standard error."""

    def __init__(self, commands: Mapping[str, Sequence[str]], environment: Mapping[str, str], say: Say) -> None:
        self.children = {name: Child(name, command) for name, command in commands.items()}
        self._environment = {**environment, SUPERVISOR: str(os.getpid())}
        self._say = say

    def run(self, stop: threading.Event) -> None:
        """Return once `stop` is set and every child has ended. Raises Failed if one refuses its settings."""
        try:
            while not stop.is_set():
                for child in self.children.values():
                    self._look_after(child)
                stop.wait(0.05)
        finally:
            for name in STOP_ORDER:
                if name in self.children:
                    self._stop(self.children[name])

    def process(self, name: str) -> str:
        """Return the name of a child's process (`process_of`); empty while it does not run."""
        process = self.children[name].process
        return process_of(name, process.pid) if process else ""

    def _look_after(self, child: Child) -> None:
        now = time.monotonic()
        if child.process is None:
            if now >= child.due:
                # A session of its own: Ctrl-C reaches this process only, which then stops them in order.
                child.process = subprocess.Popen(child.command, env=self._environment, start_new_session=True)
                child.started = now
            return
        code = child.process.poll()
        if code is None:
            return
        child.process = None
        if code == Code.USAGE:
            raise Failed(f"{child.name} cannot start with its settings; it says above why")
        if now - child.started > SETTLED:
            child.delay = FIRST_DELAY
        child.due = now + child.delay
        child.deaths += 1
        how = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
        self._say(f"{child.name} ended ({how}); starting it again in {child.delay:.1f} s")
        child.delay = min(2 * child.delay, LAST_DELAY)

    def _stop(self, child: Child) -> None:
        if child.process is None:
            return
        child.process.terminate()
        try:
            child.process.wait(GRACE)
        except subprocess.TimeoutExpired:
            self._say(f"{child.name} did not stop within {GRACE:.0f} s; killing it")
            child.process.kill()
            child.process.wait()
        child.process = None


@contextmanager
def only_one(folder: Path) -> Generator[None, None, None]:
    """Hold a data folder's lock; raises Failed where another `eyni up` does."""
    with files.opened(files.folder(folder) / "up.lock", "a+b") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise Failed(f"`eyni up` runs already on {folder} (process {lock.read().decode().strip()})") from None
        lock.truncate(0)
        lock.write(b"%d" % os.getpid())
        lock.flush()
        yield


def free_port(host: str) -> int:
    """Return a port that nobody listens on now."""
    with listen(host, 0, "EYNI_API_HOST", "EYNI_API_PORT") as probe:
        return int(probe.getsockname()[1])


def up(settings: Settings, say: Say) -> None:
    """Run everything until SIGTERM or Ctrl-C."""
    address = settings.log_address
    if address.startswith("memory:"):
        raise typer.BadParameter(
            "memory: lives in one process, and these are three; use file:///folder (the default) or kafka://host:port",
            param_hint="--log",
        )
    try:
        port = settings.api_port or free_port(settings.api_host)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="settings") from None
    environment = {
        **own_environment(),
        "EYNI_DATA": str(settings.data.absolute()),
        "EYNI_LOG": address,
        "EYNI_API_PORT": str(port),
    }
    commands = {name: own_command(name) for name in SERVICES}
    # Its terminal may go, or nobody read what it says: it goes on looking after the services all the same.
    unblock(lambda count: f"{count} lines were dropped: nobody read them in time\n")
    stop = stop_on_signals()
    end_with_supervisor(stop)
    with only_one(settings.data):
        if warning := warning_of_root():
            say(warning)
        say(f"Starting enroll, match and api on {address}")
        started = time.monotonic()

        def ready(url: str) -> None:
            say(f"Ready after {time.monotonic() - started:.1f} s: {url}   (data in {settings.data})")
            say("  eyni token             prints a development token, for `Authorization: Bearer ...`")
            say("  eyni station FOLDER    streams a folder of pictures as an enrolment station would")
            say("  eyni status            watches it")
            say("  Ctrl-C stops everything")

        url = base_url(settings.api_host, port)
        supervisor = Supervisor(commands, environment, say)
        with Watcher(url, settings) as watcher:
            arguments = (watcher, stop, lambda: ready(url), lambda: supervisor.process("api"))
            Background("ready", partial(await_ready, *arguments), Restart(stop)).start()
            supervisor.run(stop)
        say("Stopped.")


def base_url(host: str, port: int) -> str:
    """Return where a client on this machine finds the api."""
    if host in ("0.0.0.0", "::"):
        host = "localhost"
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def await_ready(
    watcher: "Watcher", stop: threading.Event, then: Callable[[], None], process: Callable[[], str]
) -> None:
    """Ask until the api process of this name says that it is ready, then call `then` once: another is not ours."""
    while not stop.is_set():
        if (ours := process()) and is_of(watcher.ready_instance(), ours):
            then()
            return
        stop.wait(0.2)
