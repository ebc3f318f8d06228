"""Runs the services of Eyni, and speaks to them as their users would.

Every setting is an environment variable EYNI_<NAME> (shared/settings.py has them all, with their reasons); an option
goes before it. Exit codes: 0 yes or done, 1 no or failed, 2 wrong use, 3 not available now.
"""

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from services.eyni import commands_models
from services.eyni.common import Code, explained, forget, forgive, id_of, largest_picture, load
from services.eyni.options import Bearer, Data, Gallery, Json, Log, Picture, Port, Threshold, Url
from shared.process import harden

if TYPE_CHECKING:
    from services.eyni.client import Client
    from shared.settings import Settings

# Everything else is imported by the command that needs it: `eyni --help` does not load a face model.


class _Polite(TyperGroup):
    """Tells an expected error in one line; a bug keeps its traceback."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except (typer.Exit, typer.Abort, BrokenPipeError):
            raise
        except KeyboardInterrupt:
            raise typer.Exit(Code.INTERRUPTED) from None
        except Exception as error:
            found = explained(error) if not isinstance(error, typer.TyperException) else None
            if found is None:
                raise
            from services.eyni.console import complain

            complain(found[1])
            raise typer.Exit(found[0]) from None

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Run, and tell a wrong use: typer's own words for it hold what was typed, unescaped."""
        forgive()
        try:
            code = super().main(args, prog_name, complete_var, False, windows_expand_args, **extra)
        except typer.Abort:
            code = Code.NO
        except typer.TyperException as error:
            if not standalone_mode:
                raise
            from services.eyni.console import complain

            # Where no command is given, the help was printed, and there is no message.
            if message := error.format_message():
                complain(message)
                if (ctx := getattr(error, "ctx", None)) is not None:
                    complain(f"`{ctx.command_path} --help` says how it is used")
            code = error.exit_code
        if not standalone_mode:
            return code
        sys.exit(code)


app = typer.Typer(
    name="eyni",
    help=__doc__,
    cls=_Polite,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
_SERVICES, _CLIENTS, _MEASURERS, _OPERATORS = "Run it", "Use it", "Measure it", "Look after it"


# ---- run it


@app.command(rich_help_panel=_SERVICES)
def up(data: Data = None, log: Log = None, port: Port = None) -> None:
    """Run everything on this machine: enroll, match and api, restarted if one dies, stopped by Ctrl-C."""
    from services.eyni.console import Console
    from services.eyni.up import up

    up(load(data, log, port), say=Console(stderr=True).say)


@app.command(rich_help_panel=_SERVICES)
def enroll(data: Data = None, log: Log = None) -> None:
    """Run the service that turns captures into templates. Any number of them share the work."""
    from services.eyni.run import run

    run("enroll", load(data, log))


@app.command(rich_help_panel=_SERVICES)
def match(
    data: Data = None,
    log: Log = None,
    digest: Annotated[
        bool, typer.Option("--digest", help="Instead: print a digest of the gallery at the log's end, as JSON.")
    ] = False,
    cold: Annotated[bool, typer.Option("--cold", help="With --digest: replay the log from its start.")] = False,
) -> None:
    """Run the service that compares: duplicates, verification, identification."""
    from services.eyni.run import digest as print_digest
    from services.eyni.run import run

    if cold and not digest:
        raise typer.BadParameter("is for --digest", param_hint="--cold")
    if digest:
        print_digest(load(data, log), cold)
    else:
        run("match", load(data, log))


@app.command(rich_help_panel=_SERVICES)
def api(data: Data = None, log: Log = None, port: Port = None) -> None:
    """Run the service that speaks OSIA ABIS 1.6.0 over HTTP."""
    from services.eyni.run import run

    run("api", load(data, log, port))


# ---- use it


@app.command(rich_help_panel=_CLIENTS)
def demo(
    people: Annotated[
        int, typer.Option(min=100, max=1_000_000, help="Synthetic people to fill the gallery with.")
    ] = 100_000,
) -> None:
    """See it work in a minute, with 100,000 people in the gallery, and leave nothing behind."""
    from services.eyni.demo import demo

    raise typer.Exit(demo(people))


@app.command(rich_help_panel=_CLIENTS)
def station(
    folder: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="Folder of pictures, one face each.")],
    parallel: Annotated[int, typer.Option(min=1, max=64, help="Pictures in flight.")] = 4,
    part: Annotated[
        str, typer.Option(help="2/3: every third picture, from the second; so stations share a folder.")
    ] = "1/1",
    gallery: Annotated[
        list[str] | None, typer.Option(help="OSIA gallery to file under; may be repeated \\[station].")
    ] = None,
    encounter: Annotated[str, typer.Option(help="encounterId of what is sent.")] = "1",
    encounter_type: Annotated[str, typer.Option(help="encounterType of what is sent.")] = "STATION",
    journal: Annotated[
        Path | None, typer.Option(help="Where to keep what was answered \\[in the data folder].", show_default=False)
    ] = None,
    data: Data = None,
    port: Port = None,
    url: Url = None,
    token: Bearer = None,
    json: Json = False,
) -> None:
    """Stream a folder of pictures as an enrolment station would.

    The person's id is the picture's path below the folder. Break it off at any time: started again, it goes on where it
    was, and a picture that was taken again is sent again. To another api, gallery or encounter all are sent. Ends with
    what was enrolled, refused and why, and suspected.

    Pictures are told by what they hold, not by their names. Hidden files, links and what a system makes (@eaDir,
    ._x.jpg) are passed over, with a word.

    Exit code 0: every picture has its answer, be it that it must be taken again, or that it is not usable as it is. 1:
    something is left that starting again would send, or nothing could be sent. 3: the api is not available.
    """
    from services.eyni.journal import default_path
    from services.eyni.station import Plan, parse_part, stream
    from services.eyni.up import base_url

    settings = load(data, None, port)
    number = parse_part(part)
    galleries = tuple(id_of(name, "--gallery") for name in gallery or ["station"])
    plan = Plan(
        folder, number, parallel, galleries, id_of(encounter, "--encounter"), encounter_type,
        largest_picture(settings), url or base_url(settings.api_host, settings.api_port),
    )  # fmt: skip
    with _client(settings, plan.url, token, "station") as client:
        code = stream(plan, client, journal or default_path(settings.data, folder, number), json)
    raise typer.Exit(code)


@app.command(rich_help_panel=_CLIENTS)
def verify(
    person: Annotated[str, typer.Argument(help="personId of who it is claimed to be.")],
    picture: Picture,
    gallery: Gallery = "ALL",
    threshold: Threshold = None,
    data: Data = None,
    port: Port = None,
    url: Url = None,
    token: Bearer = None,
    json: Json = False,
) -> None:
    """Ask 1:1: does this picture show that person? Exit code 0 for yes, 1 for no."""
    from services.eyni.ask import AT_A_DESK, verify
    from shared.reading import read

    settings = load(data, None, port)
    image = read(picture, largest_picture(settings))
    with _client(settings, url, token, "desk", AT_A_DESK) as client:
        code = verify(client, id_of(person, "PERSON"), image, id_of(gallery, "--gallery"), threshold, json)
    raise typer.Exit(code)


@app.command(rich_help_panel=_CLIENTS)
def identify(
    picture: Picture,
    gallery: Gallery = "ALL",
    most: Annotated[int, typer.Option("--max", min=1, help="Most candidates wanted.")] = 10,
    threshold: Threshold = None,
    data: Data = None,
    port: Port = None,
    url: Url = None,
    token: Bearer = None,
    json: Json = False,
) -> None:
    """Ask 1:N: whom does this picture show? Exit code 0 if somebody is found, 1 if nobody."""
    from services.eyni.ask import AT_A_DESK, identify
    from shared.reading import read

    settings = load(data, None, port)
    image = read(picture, largest_picture(settings))
    with _client(settings, url, token, "desk", AT_A_DESK) as client:
        code = identify(client, image, id_of(gallery, "--gallery"), most, threshold, json)
    raise typer.Exit(code)


# ---- measure it

app.add_typer(commands_models.models, name="models", rich_help_panel=_MEASURERS)
app.command(rich_help_panel=_MEASURERS)(commands_models.calibrate)
app.command(rich_help_panel=_MEASURERS)(commands_models.evaluate)


# ---- look after it


@app.command(rich_help_panel=_OPERATORS)
def status(
    once: Annotated[bool, typer.Option("--once", help="One look instead of one a second.")] = False,
    data: Data = None,
    log: Log = None,
    port: Port = None,
    url: Url = None,
    token: Bearer = None,
    json: Json = False,
) -> None:
    """Watch it: services, rates, backlog, p50 and p99 of each operation, and what to do where something is off.

    With --once or --json the exit code is 1 where something is.
    """
    from services.eyni.status import status
    from services.eyni.up import base_url

    settings = load(data, log, port)
    address = url or base_url(settings.api_host, settings.api_port)
    raise typer.Exit(status(settings, address, token or "", once, json))


@app.command(rich_help_panel=_OPERATORS)
def token(
    scope: Annotated[
        list[str] | None,
        typer.Option(help="OSIA scope, or several with blanks between; may be repeated \\[all].", show_default=False),
    ] = None,
    client: Annotated[str, typer.Option(help="Whom the token names.")] = "development",
    ttl: Annotated[str, typer.Option(help="How long it is good: 15m, 12h, 7d.")] = "12h",
    data: Data = None,
) -> None:
    """Print a bearer token for development, made with the data folder's own key."""
    from services.eyni.console import Console
    from services.eyni.token import duration, token

    Console().say(token(load(data), scope or [], client, duration(ttl)))


@app.command(rich_help_panel=_OPERATORS)
def topics(data: Data = None, log: Log = None, json: Json = False) -> None:
    """Make the log's topics, check their settings, show what each holds."""
    from services.eyni.topics import topics

    topics(load(data, log), json)


_log = typer.Typer(help="The log that everything is on.", no_args_is_help=True)
app.add_typer(_log, name="log", rich_help_panel=_OPERATORS)


@_log.callback()
def _() -> None:
    """Keep `adopt` a command of its own: it will not stay alone."""


@_log.command()
def adopt(
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False, data: Data = None, log: Log = None
) -> None:
    """Believe a log that lacks what snapshots or the registry know. First look for a backup. Stop the api meanwhile."""
    from services.eyni.adopt import adopt

    adopt(load(data, log), yes)


_registry = typer.Typer(help="The database that follows the log.", no_args_is_help=True)
app.add_typer(_registry, name="registry", rich_help_panel=_OPERATORS)


@_registry.callback()
def _() -> None:
    """Keep `rebuild` a command of its own: it will not stay alone."""


@_registry.command()
def rebuild(data: Data = None, log: Log = None) -> None:
    """Make the registry anew from the log. Stop the api first."""
    from services.eyni.registry import rebuild

    rebuild(load(data, log))


def _bearer(settings: "Settings", given: str | None, client: str) -> str:
    from services.eyni.token import duration, token

    return given or token(settings, [], client, duration("1d"))


def _client(
    settings: "Settings", url: str | None, given: str | None, name: str, patience: float | None = None
) -> "Client":
    from services.eyni.client import PATIENCE, Client
    from services.eyni.up import base_url

    return Client(
        url or base_url(settings.api_host, settings.api_port),
        _bearer(settings, given, name),
        settings,
        patience or PATIENCE,
    )


class _Interrupted(KeyboardInterrupt):
    """Ctrl-C or SIGTERM.

    `python -m` remembers a plain KeyboardInterrupt that crossed an exec of a string (a dataclass that is being imported
    has some), and ends by SIGINT also when it was caught and the exit code is another.
    """


def _interrupt(number: int, _: object) -> None:
    raise _Interrupted


def main() -> None:
    """Run the command that was asked for."""
    harden()
    forget(os.environ)
    # SIGTERM like Ctrl-C: what a command has begun (a temporary folder, child processes) it cleans up.
    signal.signal(signal.SIGTERM, _interrupt)
    signal.signal(signal.SIGINT, _interrupt)
    app()


if __name__ == "__main__":
    main()
