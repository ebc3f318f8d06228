"""`eyni evaluate`: measures models on labelled faces, and writes report.html, report.json and a summary."""

import contextlib
import importlib
import os
import platform
import sys
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from services.enroll.pool import CannotStart
from services.evaluate.acquisition import Item, data, of_samples, of_templates
from services.evaluate.extracting import Workers
from services.evaluate.html.markup import share
from services.evaluate.labelled import Labelled, Problem, Templates, read
from services.evaluate.measuring import Measured, NothingToCompare, measure
from services.evaluate.report import ModelReport, Rate, Report
from services.evaluate.software import versions
from services.evaluate.statistics import CONFIDENCE
from services.evaluate.thumbnails import thumbnails
from services.eyni.calibrate import tell_problems
from services.eyni.common import Code, Failed
from services.eyni.console import Console, Table, out
from services.eyni.extraction import Extraction
from services.eyni.placing import require_place
from services.match.bootstrap import policy
from shared import files
from shared.background import Background, Tell
from shared.calibration import Comparator
from shared.model import ModelRefused, find, name_in_use
from shared.settings import Settings
from shared.text import printable

HTML, JSON = "report.html", "report.json"
_Pictures = dict[str, tuple[str, str]]
"""Key of a pair → its two faces as `data:` addresses."""


@dataclass(frozen=True, slots=True)
class _Source:
    where: Path
    found: Labelled | Templates

    @property
    def root(self) -> Path:
        """The folder that files are named below."""
        return self.where if self.where.is_dir() else self.where.parent


def evaluate(
    settings: Settings,
    where: Path,
    labels: Path | None,
    models: Sequence[str],
    output: Path,
    keep_templates: bool,
    as_json: bool,
) -> Code:
    """Evaluate and write the report into the folder `output`. Raises what `explained` knows."""
    start = time.monotonic()
    console = Console(stderr=True)
    chosen = [find(name, settings.data) for name in dict.fromkeys(models)]
    chosen = chosen or [find(name_in_use(settings.data, settings.model), settings.data)]
    for model in chosen:
        _ = model.calibration
    source = _Source(where, read(where, labels))
    tell_problems(source.found.problems, console)
    _tell_what_lacks(source.found, console)
    for name in (HTML, JSON):
        require_place(output / name, "report")
    reports: list[ModelReport] = []
    pictures: dict[str, _Pictures] = {}
    with Extraction(labels or where, settings, keep_templates, console) as extraction:
        with _loading():
            for model in chosen:
                with contextlib.closing(Workers(model, settings)) as workers:
                    part = _measured(source, workers, extraction, console)
                    reports.append(part.report)
                    if isinstance(source.found, Labelled):
                        pictures[model.id] = _cut_out(part, workers, console)
        report = Report(
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            command=["eyni", *map(printable, sys.argv[1:])],
            data=data(source.found),
            models=reports,
            machine=_machine(),
            software={"python": platform.python_version()}
            | {name: number for model in chosen for name, number in versions(model).items()},
            confidence=CONFIDENCE,
            seconds={"everything": round(time.monotonic() - start, 2)},
        )
        from services.evaluate.html.page import page

        # Faces and names: for nobody else to read until its owner says so.
        files.write(output / JSON, report.dump().encode())
        files.write(output / HTML, page(report, pictures).encode())
    if as_json:
        out({"html": str(output / HTML), "json": str(output / JSON), "models": _figures(report)})
    else:
        _tell(report, output)
    return Code.OK


def _tell_what_lacks(found: Labelled | Templates, console: Console) -> None:
    """Say at once, and not after hours, what no report can show of these people."""
    persons = found.persons if isinstance(found, Templates) else [picture.person for picture in found.pictures]
    if len(persons) == len(set(persons)):
        console.say(
            f"None of the {len(persons)} people has two pictures: the report shows how often strangers match, and not "
            "how often people are missed (FNMR, FNIR). For that, add a second picture of as many as you can."
        )


def _load_page() -> None:
    importlib.import_module("services.evaluate.html.page")


@contextlib.contextmanager
def _loading() -> Generator[None]:
    """Load matplotlib, which takes two seconds, while the workers are at the pictures."""
    # Where that fails, the import that needs it fails the same way, and is told.
    thread = Background("report", _load_page, Tell(lambda _: None))
    thread.start()
    try:
        yield
    finally:
        thread.join()  # also after an error: a process that ends in the middle of an import may be aborted


def _measured(source: _Source, workers: Workers, extraction: Extraction, console: Console) -> Measured:
    model, found = workers.model, source.found
    comparator = Comparator(model.calibration)
    items: list[Item]
    columns: Sequence[str] = ()
    seconds: dict[str, float] = {}
    resumed = False
    if isinstance(found, Templates):
        width, wanted = found.vectors.shape[1], model.manifest.dimension
        if width != wanted:
            raise Failed(
                f"{found.source} holds templates of {width} numbers; those of model {model.name} have {wanted}"
            )
        items = of_templates(found, comparator)
    else:
        model.check_files()
        resumed = extraction.journal(model).exists()
        start = time.monotonic()
        samples = extraction.samples(found, workers)
        seconds["extraction"] = round(time.monotonic() - start, 3)
        items, columns = of_samples(samples, comparator, source.root), found.group_columns
    refused = [(item.reason.replace("_", " "), item.shown) for item in items if item.reason is not None]
    tell_problems([Problem(f"{model.name} refuses it, {reason}", shown) for reason, shown in refused], console)
    with console.working(f"measuring {model.name}"):
        try:
            given = isinstance(found, Templates)
            part = measure(model, items, columns, policy(workers.settings), given, lambda step: None)
        except NothingToCompare as reason:
            raise NothingToCompare(f"model {model.name}: {reason}") from None
    return Measured(
        part.report.model_copy(update={"seconds": seconds | part.report.seconds, "from_journal": resumed}), part.worst
    )


def _cut_out(part: Measured, workers: Workers, console: Console) -> _Pictures:
    """Have the workers cut the faces out that the report shows; it goes without them where that can't be."""
    try:
        with console.working("cutting out faces"):
            return thumbnails(workers.pool, part.worst)
    except (CannotStart, ModelRefused) as reason:
        console.say(f"The report shows no faces: {reason}")
        return {}


def _machine() -> dict[str, str]:
    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        name = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return {"processor": name, "cores": str(cores), "system": f"{platform.system()} {platform.release()}"}


# ---- the summary


_Figure = Callable[[ModelReport], Rate | None]


def _rows(report: Report) -> dict[str, _Figure]:
    """Return what the summary has, by name."""

    def at_rate(wanted: float) -> _Figure:
        return lambda m: next(p.fnmr for p in m.verification.at_rate if p.fmr == wanted)

    def searched(size: int, declared: bool) -> _Figure:
        def of(m: ModelReport) -> Rate | None:
            found = m.identification.operations if m.identification else []
            wanted = (o for o in found if (o.size, o.target) == (size, 0.01))
            return next((o.declared_fnir if declared else o.fnir for o in wanted), None)

        return of

    rows: dict[str, _Figure] = {
        "failure to acquire": lambda m: m.acquisition.failure_to_acquire,
        "failure to enrol": lambda m: m.acquisition.failure_to_enrol,
        "FNMR where verified": lambda m: next(p.fnmr for p in m.verification.at_threshold if p.verification_target),
        "FNMR at FMR 1e-3": at_rate(1e-3),
        "FNMR at FMR 1e-4": at_rate(1e-4),
        "FNMR at FMR 1e-5": at_rate(1e-5),
        "hit at rank 1": lambda m: m.identification.ranks[0].hit_rate if m.identification else None,
        "FNIR at FPIR 1 %, N = 100,000 (synthetic)": searched(100_000, declared=False),
        "FNIR at FPIR 1 %, N = 100,000 (as declared)": searched(100_000, declared=True),
        "FNIR at FPIR 1 %, N = 10 million (synthetic)": searched(10_000_000, declared=False),
        "FNIR at FPIR 1 %, N = 10 million (as declared)": searched(10_000_000, declared=True),
    }
    return {name: of for name, of in rows.items() if any(of(model) is not None for model in report.models)}


def _tell(report: Report, output: Path) -> None:
    console = Console()
    names = [model.name for model in report.models]
    table = Table("", *names, title=f"{report.data.source}: {report.data.people} people", right=names)
    for name, of in _rows(report).items():
        table.row(name, *(_told(of(model)) for model in report.models))
    table.section()
    for n, point in enumerate(report.models[0].verification.at_threshold):
        found = [model.verification.at_threshold[n] for model in report.models]
        if any(p.holds != "unclear" for p in found):
            name = f"FMR measured / declared, {point.threshold:.0f} dB"
            table.row(name, *(f"{p.ratio:.2f}" if p.ratio is not None else "-" for p in found))
    console.show(table)
    for model in report.models:
        if model.gallery is not None and not model.gallery.agrees:
            console.say(f"{model.name}: the gallery's answers are not those of this report: see there")
    where = f"{output / HTML} (faces and names), {output / JSON}"
    console.say(f"Report: {where}")


def _told(value: Rate | None) -> str:
    if value is None:
        return "not measurable"
    if value.low is None or value.high is None:
        return share(value.value)
    return f"{share(value.value)} ({share(value.low).removesuffix(' %')} to {share(value.high).removesuffix(' %')})"


def _figures(report: Report) -> list[dict[str, object]]:
    return [
        {
            "model": model.name,
            "id": model.id,
            "figures": {name: found.value for name, of in _rows(report).items() if (found := of(model)) is not None},
            "declared": {
                str(point.threshold): {"ratio": point.ratio, "holds": point.holds}
                for point in model.verification.at_threshold
            },
        }
        for model in report.models
    ]
