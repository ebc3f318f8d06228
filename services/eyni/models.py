"""`eyni models list | verify | use`: which models are here, whether each is in order, and which one serves."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pydantic import JsonValue

from services.eyni.common import Code, Failed, opened
from services.eyni.console import Console, Table, out
from shared import files
from shared.believed import Origin
from shared.calibration import Calibration, Comparator
from shared.gallery_log import WrongModel, require_model
from shared.log_address import folder_of
from shared.model import BUILT_IN, IN_USE, Model, ModelRefused, find, name_in_use, names, user_models
from shared.settings import Settings
from shared.text import printable

LEVELS: Final = (30, 40, 50)
"""dB at which a table says how many are missed: one stranger in 1,000, 10,000, 100,000."""


ORIGINS: Final[Mapping[Origin, str]] = {
    "Eyni": "comes with Eyni",
    "here": "measured here",
    "outside": "from outside, accepted on an operator's word, not measured here",
}
"""Why a calibration counts, in words."""


@dataclass(frozen=True, slots=True)
class Row:
    """What `list` says of one model."""

    name: str
    in_use: bool
    model: Model | None
    calibration: Calibration | None
    problem: str
    """Why it can't serve; empty: it can, as far as is seen without loading it."""

    @property
    def built_in(self) -> bool:
        return self.model is not None and self.model.folder.parent == BUILT_IN

    def misses(self) -> dict[int, float] | None:
        """Return the expected FNMR at each level (dB)."""
        if self.calibration is None:
            return None
        comparator = Comparator(self.calibration)
        return {db: comparator.expected_misses(db) for db in LEVELS}


def rows(settings: Settings) -> list[Row]:
    """Look at every model that is here, without loading one."""
    used = name_in_use(settings.data, settings.model)
    found: list[Row] = []
    for name in sorted({*names(settings.data), used}):
        model, calibration, problem = None, None, ""
        try:
            model = find(name, settings.data)
            missing = [part for part in model.manifest.files if not (model.folder / part.file).is_file()]
            if missing:
                how = (
                    f"`eyni models add {name}` fetches it" if all(part.address for part in missing) else "put it there"
                )
                problem = f"{missing[0].file} is not here: {how}"
            if model.is_calibrated:
                calibration = model.calibration
            elif not problem:
                problem = f"not calibrated: `eyni calibrate FACES --model {name}`"
        except ModelRefused as reason:
            problem = str(reason)
        found.append(Row(name, name == used, model, calibration, problem))
    return found


def show(settings: Settings, as_json: bool) -> None:
    """Print a table, or JSON."""
    found = rows(settings)
    if as_json:
        out([_for_scripts(row) for row in found])
        return
    console = Console()
    figures = ("measured to", *(f"{db} dB" for db in LEVELS))
    caption = "* in use. Under dB: share of pairs of one person that score lower (FNMR)"
    table = Table("model", *figures, title="Models", caption=caption, right=figures, whole=True)
    for row in found:
        table.row(row.name + (" *" if row.in_use else ""), *_figures(row))
    console.show(table)
    for row in found:
        for line in _described(row):
            console.say(line)


def _figures(row: Row) -> list[str]:
    misses = row.misses()
    if row.calibration is None or misses is None:
        return ["-"] * (1 + len(LEVELS))
    return [f"{row.calibration.measured_to:.0f} dB", *(_percent(share) for share in misses.values())]


def _described(row: Row) -> list[str]:
    lines = [row.name]
    if row.model is not None:
        manifest = row.model.manifest
        comparison = ("normalised" if manifest.comparison.normalised else "plain") + (
            ", of unit length" if manifest.comparison.unit else ""
        )
        lines = [
            f"{row.name}: {printable(manifest.title)}",
            f"  id {row.model.id}, {'comes with Eyni' if row.built_in else f'in {row.model.folder}'}",
            f"  {manifest.dimension} numbers, recipe {manifest.recipe}, comparison {comparison}",
            f"  licence: {printable(manifest.licence)}",
        ]
        if row.calibration is not None and row.model.origin is not None:
            lines.append(f"  calibration: {ORIGINS[row.model.origin]}")
    return [*lines, *([f"  can't serve: {row.problem}"] if row.problem else [])]


def _for_scripts(row: Row) -> dict[str, JsonValue]:
    about: dict[str, JsonValue] = {"name": row.name, "inUse": row.in_use, "problem": row.problem or None}
    if row.model is not None:
        manifest = row.model.manifest
        about |= {
            "id": row.model.id,
            "title": manifest.title,
            "licence": manifest.licence,
            "dimension": manifest.dimension,
            "recipe": manifest.recipe,
            "normalised": manifest.comparison.normalised,
            "unit": manifest.comparison.unit,
            "builtIn": row.built_in,
            "folder": str(row.model.folder),
        }
    misses = row.misses()
    about["calibration"] = (
        None
        if row.calibration is None or misses is None
        else {
            "origin": row.model.origin if row.model else None,
            "measuredTo": row.calibration.measured_to,
            "misses": {str(db): share for db, share in misses.items()},
            "provenance": dict(row.calibration.provenance),
        }
    )
    return about


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


# ---- verify


def verify(wanted: Sequence[str], settings: Settings, as_json: bool) -> Code:
    """Check models one after the other and say what was found; those that were never fetched only if named."""
    console = Console(stderr=as_json)
    results: list[dict[str, JsonValue]] = []
    for name in wanted or names(settings.data):
        checks: list[str] = []
        problem: str | None = None
        try:
            verdict = "good" if _checked(name, settings, checks, bool(wanted), console) else "not fetched"
        except ModelRefused as reason:
            verdict, problem = "refused", str(reason)
        results.append({"name": name, "verdict": verdict, "checks": list[JsonValue](checks), "problem": problem})
        if not as_json:
            console.say(f"{name}: {verdict}")
            for line in filter(None, (*checks, problem)):
                console.say(f"  {line}")
    if as_json:
        out(results)
    return Code.NO if any(result["problem"] for result in results) else Code.OK


def _checked(name: str, settings: Settings, checks: list[str], named: bool, console: Console) -> bool:
    """Write down what was checked; False where there is nothing to check. Raises ModelRefused."""
    model = find(name, settings.data)
    checks.append(f"manifest: {printable(model.manifest.title)}; id {model.id}")
    parts = model.manifest.files
    here = [part for part in parts if (model.folder / part.file).is_file()]
    if parts and not here and not named and all(part.address for part in parts):
        checks.append(f"`eyni models add {name}` fetches it")
        return False
    model.check_files()
    checks.append(f"digests: {', '.join(part.file for part in parts) or 'those of face_recognition_models'}")
    rehearse(model, settings, console)
    checks.append(f"landmarks, networks and a rehearsal: a template of {model.manifest.dimension} numbers")
    if model.is_calibrated:
        data = model.calibration.provenance.get("data", "unnamed data")
        checks.append(f"calibration: measured to {model.calibration.measured_to:.1f} dB on {printable(str(data))}")
    else:
        checks.append("calibration: none, so it does not serve yet (`eyni calibrate`)")
    return True


def rehearse(model: Model, settings: Settings, console: Console) -> None:
    """Load the model's networks and run them, in a process of their own. Raises ModelRefused."""
    from services.enroll.bootstrap import examine

    with console.working(f"examining {model.name}"):
        examine(settings, model)


# ---- use


def use(name: str, settings: Settings, say: Callable[[str], None] = lambda line: Console().say(line)) -> None:
    """Choose the model that serves. Raises ModelRefused, Failed, and whatever the log raises."""
    model = find(name, settings.data)
    _ = model.calibration
    rehearse(model, settings, Console(stderr=True))
    require_own_gallery(model, settings)
    files.write(user_models(settings.data) / IN_USE, f"{name}\n".encode())
    say(f"{name} ({model.id}) is in use in {settings.data}.")
    if settings.model and settings.model != name:
        say(f"EYNI_MODEL says {settings.model}, and goes before it.")
    say("Services that are running go on with theirs: start them again.")


def require_own_gallery(model: Model, settings: Settings) -> None:
    """Raise Failed where the log already holds references of another model."""
    folder = folder_of(settings.log_address)
    if settings.log_address.startswith("memory:") or (folder is not None and not folder.exists()):
        return
    log = opened(settings)
    try:
        require_model(log, model.id)
    except WrongModel as reason:
        raise Failed(f"{model.name} can't serve here: {reason}") from None
    finally:
        log.close()
