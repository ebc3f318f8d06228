"""`eyni registry rebuild`: the registry made anew from the log, which it follows and can always be made from."""

from rich.console import Console
from rich.progress import Progress

from services.eyni.common import opened
from shared.settings import Settings


def rebuild(settings: Settings) -> None:
    """Empty the registry and read the log into it from the start. The api must be stopped meanwhile."""
    from services.api.rebuild import rebuild as api_rebuild

    console = Console()
    log = opened(settings)
    try:
        with Progress(console=console) as progress:
            task = progress.add_task("records read", total=None)

            def show(done: int, total: int) -> None:
                progress.update(task, completed=done, total=total)

            api_rebuild(log, settings.registry_url, show)
    finally:
        log.close()
    console.print("The registry is as the log says.")
