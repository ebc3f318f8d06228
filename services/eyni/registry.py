"""`eyni registry rebuild`: the registry made anew from the log, which it follows and can always be made from."""

from services.eyni.common import opened
from services.eyni.console import Console
from shared.calibration import Comparator
from shared.gallery_log import require_model
from shared.model import in_use
from shared.settings import Settings


def rebuild(settings: Settings) -> None:
    """Empty the registry and read the log into it from the start. The api must be stopped meanwhile."""
    from services.api.rebuild import rebuild as api_rebuild

    console = Console()
    comparator = Comparator(in_use(settings.data, settings.model).calibration)
    log = opened(settings)
    try:
        require_model(log, comparator.calibration.model)
        with console.bars("steps") as bars:
            api_rebuild(log, settings.registry_url, comparator, bars.add("records read"))
    finally:
        log.close()
    console.say("The registry is as the log says.")
