"""The templates that a command extracts from labelled pictures, and what becomes of them when it ends."""

from pathlib import Path
from types import TracebackType
from typing import Final, Self

from services.evaluate.extracting import Sample, Workers, extract, journal_path
from services.evaluate.labelled import Labelled
from services.evaluate.measuring import NothingToCompare
from services.eyni.console import Console
from services.eyni.meter import meter
from shared.calibrating import CannotCalibrate
from shared.model import Model
from shared.settings import Settings

_FINAL: Final = (CannotCalibrate, NothingToCompare)
"""How a command ends that these faces give nothing, however often it is tried: their templates are of no more use."""


class Extraction:
    """Journals of templates as a context: gone with its end, unless they are to be kept, or it was broken off."""

    def __init__(self, source: Path, settings: Settings, keep: bool, console: Console) -> None:
        """`source`: the folder or CSV, which journals are told apart by."""
        self._source = source
        self._settings = settings
        self._keep = keep
        self._console = console
        self._pictures: dict[Path, int] = {}
        """Journal → how many pictures it is about."""

    def journal(self, model: Model) -> Path:
        return journal_path(self._settings.data, self._source, model)

    def samples(self, found: Labelled, workers: Workers) -> list[Sample]:
        """Extract all pictures with a bar that says how far it is, and tell where templates lie meanwhile."""
        pictures, model = found.pictures, workers.model
        journal = self.journal(model)
        self._pictures[journal] = len(pictures)
        self._tell(
            f"{len(pictures)} pictures of {len({picture.person for picture in pictures})} people. Until this is done, "
            f"their templates are kept in {journal} (for your user only); broken off and started again, it goes on "
            "from there."
        )
        with meter(self._console, f"extracting ({model.name})", len(pictures)) as step:
            return extract(pictures, workers, journal, progress=lambda done, of: step(""), stop=lambda: False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        for journal, pictures in self._pictures.items():
            if error is None or isinstance(error, _FINAL):
                if not self._keep:
                    journal.unlink(missing_ok=True)
                where = f"kept in {journal}: delete it when you are done" if self._keep else "deleted"
                self._tell(f"The extracted templates are {where}.")
            elif journal.exists():
                with journal.open("rb") as lines:
                    done = min(sum(1 for _ in lines), pictures)
                if done:
                    self._tell(
                        f"Broken off: the templates of {done} of {pictures} pictures are kept in {journal}. The same "
                        "command goes on from there; delete it if that is not wanted."
                    )

    def _tell(self, line: str) -> None:
        self._console.say(line)
