"""`eyni calibrate`: measures on labelled faces what a model's comparisons mean, and writes it beside the model."""

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np
from pydantic import JsonValue

from services.evaluate.extracting import Sample, Workers
from services.evaluate.labelled import Problem, Templates, read
from services.evaluate.software import versions
from services.eyni.common import Failed
from services.eyni.console import Console, out
from services.eyni.extraction import Extraction
from services.eyni.placing import put, require_place, workshop
from shared import files
from shared.believed import seal
from shared.biometrics import Vector
from shared.calibrating import CannotCalibrate, fit, require_enough
from shared.calibration import Calibration, Comparator
from shared.model import CALIBRATION, MANIFEST, Model, find, name_in_use, user_models
from shared.settings import Settings

LEVELS: Final = (20, 30, 40, 50)
"""dB at which the summary says how many are missed."""
SHOWN: Final = 5
"""Problems of one kind that are named; the rest is counted."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What was asked for."""

    where: Path
    labels: Path | None
    model: str | None
    about: str | None
    output: Path | None
    keep_templates: bool


@dataclass(frozen=True, slots=True)
class Faces:
    """What there is to measure with."""

    vectors: Vector = field(repr=False)
    persons: Sequence[str]
    source: str
    pictures: int
    refused: Mapping[str, int]
    """Reason → pictures that gave no template."""
    software: Mapping[str, str]


def calibrate(wish: Wish, settings: Settings, as_json: bool) -> None:
    """Calibrate a model and print a summary. Raises CannotRead, CannotCalibrate, ModelRefused, Failed, OSError."""
    console = Console(stderr=as_json)
    model = find(wish.model or name_in_use(settings.data, settings.model), settings.data)
    found = read(wish.where, wish.labels)
    tell_problems(found.problems, console)
    if wish.output is not None:
        require_place(wish.output, "calibration")
    with Extraction(wish.labels or wish.where, settings, wish.keep_templates, console) as extraction:
        if isinstance(found, Templates):
            faces = _given(found, model)
        else:
            model.check_files()
            # Now, and not after hours; `fit` asks again, of the pictures that gave a template.
            require_enough([picture.person for picture in found.pictures])
            with closing(Workers(model, settings)) as workers:
                samples = extraction.samples(found, workers)
            faces = _seen(samples, found.source, model)
        calibration = _fit(faces, model, wish.about, console)
        path = _kept(calibration, model, settings.data, wish.output)
    if as_json:
        out(_summary(calibration, faces, found.problems, path))
    else:
        _report(calibration, faces, model, path, wish.output is not None, console)


def tell_problems(problems: Sequence[Problem], console: Console) -> None:
    """Count what was left out, by kind, and name the first few."""
    kinds: dict[str, list[str]] = {}
    for problem in problems:
        kinds.setdefault(problem.what, []).append(problem.where)
    for what, places in kinds.items():
        more = f" and {len(places) - SHOWN} more" if len(places) > SHOWN else ""
        named = "; ".join(places[:SHOWN])
        console.say(f"left out, {what}: {len(places)} ({named}{more})")


def _given(found: Templates, model: Model) -> Faces:
    width = found.vectors.shape[1]
    if width != model.manifest.dimension:
        raise Failed(
            f"{found.source} holds templates of {width} numbers; those of model {model.name} have "
            f"{model.manifest.dimension}: say with --model whose they are"
        )
    refused = Counter(problem.what for problem in found.problems)
    pictures = len(found.persons) + refused.total()
    # Who extracted them, and with what, is not known here.
    software = {name: number for name, number in versions(model).items() if name in ("eyni", "numpy")}
    return Faces(found.vectors, found.persons, found.source, pictures, refused, software)


def _seen(samples: Sequence[Sample], source: str, model: Model) -> Faces:
    good = [(sample.template.vector, sample.picture.person) for sample in samples if sample.template is not None]
    refused = Counter(sample.reason for sample in samples if sample.reason is not None)
    if not good:
        raise CannotCalibrate(f"none of the {len(samples)} pictures gave a template: {_counted(refused)}")
    vectors = np.stack([vector for vector, _ in good])
    return Faces(vectors, [person for _, person in good], source, len(samples), refused, versions(model))


def _fit(faces: Faces, model: Model, about: str | None, console: Console) -> Calibration:
    comparison = model.manifest.comparison
    provenance: dict[str, str | int | float] = {
        **faces.software,
        "data": about or faces.source,
        "made": datetime.now(UTC).date().isoformat(),
        "pictures": faces.pictures,
        "pictures refused": sum(faces.refused.values()),
    }
    if not console.is_terminal:
        console.say(f"comparing {len(faces.persons)} templates")
    with console.working(f"comparing {len(faces.persons)} templates"):
        return fit(
            faces.vectors,
            faces.persons,
            model=model.id,
            normalised=comparison.normalised,
            unit=comparison.unit,
            about=provenance,
        )


def _kept(calibration: Calibration, model: Model, data: Path, output: Path | None) -> Path:
    """Write the file, whole or not at all; a model that comes with Eyni gets a folder in the data folder."""
    content = calibration.dump().encode()
    # What no service would read must not be written.
    Calibration.parse(content, model=model.id, dimension=model.manifest.dimension)
    if output is not None:
        files.write(output, content)
        return output
    seal(calibration, data, "here")  # before it is in place, or a service that starts now would refuse it
    target = user_models(data) / model.name
    if (target / MANIFEST).is_file():
        files.write(target / CALIBRATION, content)
    else:
        with workshop(data) as place:
            staged = place / "staged"
            files.folder(staged)
            files.write(staged / MANIFEST, (model.folder / MANIFEST).read_bytes())
            files.write(staged / CALIBRATION, content)
            put(staged, model.name, data, place)
    return target / CALIBRATION


# ---- what is told


def _misses(calibration: Calibration) -> dict[int, float]:
    comparator = Comparator(calibration)
    return {db: comparator.expected_misses(db) for db in LEVELS}


def _report(
    calibration: Calibration, faces: Faces, model: Model, path: Path, elsewhere: bool, console: Console
) -> None:
    about, reach = calibration.provenance, calibration.measured_to
    refused = f"; refused {sum(faces.refused.values())}: {_counted(faces.refused)}" if faces.refused else ""
    lines = [
        f"{model.name} ({model.id}), calibrated on {about['data']}",
        f"  people: {about['people']}, {about['people with two pictures or more']} with two pictures or more",
        f"  pictures: {faces.pictures}, used {about['templates used']}{refused}",
        f"  pairs of strangers: {about['pairs of strangers']:,}; genuine pairs: {about['genuine pairs']:,}",
        f"  measured to {reach:.1f} dB, {_one_in(reach)}; what lies beyond is extrapolated",
    ]
    for db, share in _misses(calibration).items():
        beyond = " (extrapolated)" if db > reach else ""
        lines.append(f"  at {db} dB, {_one_in(db)}, it misses {100 * share:.1f} % of genuine pairs{beyond}")
    lines.append(f"Written to {path}")
    if not elsewhere:
        lines.append(
            f"Next: `eyni evaluate OTHER_FACES --model {model.name}` measures it on other people; `eyni models use "
            f"{model.name}` makes it serve. Services that run it already must be started again, all of them (`eyni "
            "status` names those left behind); where people are enrolled with it, run `eyni registry rebuild` in "
            "between, for another gate may refuse some of them."
        )
    for line in lines:
        console.say(line)


def _summary(calibration: Calibration, faces: Faces, problems: Sequence[Problem], path: Path) -> dict[str, JsonValue]:
    return {
        "model": calibration.model,
        "file": str(path),
        "measuredTo": calibration.measured_to,
        "misses": {str(db): share for db, share in _misses(calibration).items()},
        "pictures": faces.pictures,
        "refused": dict(faces.refused),
        "leftOut": dict(Counter(problem.what for problem in problems)),
        "provenance": dict(calibration.provenance),
    }


def _one_in(db: float) -> str:
    return f"one pair of strangers in {float(f'{10 ** (db / 10):.2g}'):,.0f}"


def _counted(reasons: Mapping[str, int]) -> str:
    return ", ".join(f"{reason} {number}" for reason, number in Counter(reasons).most_common()) or "none"
