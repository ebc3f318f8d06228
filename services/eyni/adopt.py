"""`eyni log adopt`: an operator says that a log is to be believed, though snapshots or the registry knew more."""

import sys
from collections.abc import Callable

import typer

from services.eyni.common import opened
from services.eyni.console import Console
from shared.calibration import Comparator
from shared.gallery_log import require_model
from shared.log import Log
from shared.model import in_use
from shared.settings import Settings
from shared.topics import Name


def adopt(settings: Settings, yes: bool, confirm: Callable[[str], bool] = typer.confirm) -> None:
    """Show what contradicts the log; after a yes, put those snapshots aside and rebuild the registry from the log.

    Where nothing contradicts the log, nothing is changed.
    """
    from services.api.rebuild import rebuild, require_same
    from services.api.registry import Registry
    from services.api.tables import RegistryMisfit
    from services.match.bootstrap import snapshots_in

    console = Console()
    comparator = Comparator(in_use(settings.data, settings.model).calibration)
    log = opened(settings)
    try:
        require_model(log, comparator.calibration.model)
        identity, end = log.identity(Name.GALLERY), log.spans(Name.GALLERY)[0].end
        snapshots = snapshots_in(settings.data)
        witnesses = snapshots.contradicting(identity, end)
        registry = Registry(settings.registry_url, comparator)
        try:
            followed = registry.followed()
            try:
                require_same(log, registry)
            except RegistryMisfit:
                registry_differs = True
            else:
                registry_differs = False
        finally:
            registry.close()
        if not witnesses and not registry_differs:
            console.say(f"Nothing contradicts this log ({end} records): nothing to adopt, nothing was changed.")
            return
        console.say(f"This log, {identity}, holds {end} records of the gallery.")
        known = [witness.in_words() for witness in witnesses]
        if followed and registry_differs:
            known.append(followed.in_words())
        for words in known:
            console.say(f"There were {words}.")
        console.say(
            "Whoever is not on this log will be unknown: nobody will find them, and they can be enrolled a second "
            "time. If a backup of the right log exists, restore it instead."
        )
        if not yes:
            _require_terminal()
            if not confirm("Believe this log, put those snapshots aside and rebuild the registry from it?"):
                console.say("Nothing was changed.")
                raise typer.Exit(1)
        # The registry first: if this is broken off, the snapshots still stand against a log that lost people.
        if registry_differs:
            _rebuild(log, settings, comparator, console, rebuild)
        for witness in witnesses:
            console.say(f"Put aside: {snapshots.set_aside(witness.folder)}")
        console.say("This log is believed from now on. A matcher that waited goes on by itself.")
    finally:
        log.close()


def _rebuild(
    log: Log, settings: Settings, comparator: Comparator, console: Console, rebuild: Callable[..., None]
) -> None:
    with console.bars("steps") as bars:
        rebuild(log, settings.registry_url, comparator, bars.add("records read"), adopt=True)


def _require_terminal() -> None:
    if not sys.stdin.isatty():
        raise typer.BadParameter("nobody is there to ask; say --yes", param_hint="--yes")
