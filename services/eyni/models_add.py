"""`eyni models add`: brings a model's folder into the data folder, whole and examined, or not at all."""

import lzma
import os
import re
import stat
import zipfile
import zlib
from pathlib import Path
from typing import IO, Final

import typer

from services.eyni.common import Failed
from services.eyni.console import Console
from services.eyni.models import ORIGINS, rehearse
from services.eyni.placing import put, workshop
from shared import files
from shared.believed import objection, seal
from shared.model import (
    BUILT_IN,
    CALIBRATION,
    IN_USE,
    MANIFEST,
    Model,
    ModelRefused,
    find,
    load_model,
    name_in_use,
    user_models,
)
from shared.settings import Settings
from shared.text import printable

LIMIT: Final = 2**30
"""Bytes of one network, and of a .zip: four times the largest face network in use (iResNet-100, 250 MB). Protects the
disk from an address that never ends, and from a .zip of zeros."""
_LIMITS: Final = {MANIFEST: 2**16, CALIBRATION: 2**24}
"""Bytes of the small files: a manifest has 1 kB; a calibration of 4,096 dimensions and 64 components 4 MB."""
_IN_A_ZIP: Final = re.compile(
    rf"{re.escape(MANIFEST)}|{re.escape(CALIBRATION)}|[A-Za-z0-9][A-Za-z0-9._-]{{0,100}}\.onnx"
)
_ENTRIES: Final = 5
"""Files of a .zip: manifest, calibration, a detector and two networks. With LIMIT it bounds what one can unpack to."""
_BLOCK: Final = 1 << 20
_LEFT_OUT: Final = (
    "Its calibration is left out, for it was not measured here: with --trust-calibration it counts, on your word"
)


def add(what: str, settings: Settings, sha256: str | None, replace: bool, trust: bool = False) -> Model:
    """Add a model and say what comes next; `trust`: a calibration from outside counts, too.

    Raises ModelRefused, Failed, NotAvailable, OSError.
    """
    is_address = re.match(r"https?://", what) is not None
    if is_address and sha256 is None:
        raise typer.BadParameter(
            "nothing is fetched without a digest: say which SHA-256 the .zip must have", param_hint="--sha256"
        )
    if sha256 is not None and not re.fullmatch("[0-9a-f]{64}", sha256 := sha256.lower()):
        raise typer.BadParameter("is no SHA-256: 64 digits, 0 to f", param_hint="--sha256")
    if sha256 is not None and not is_address:
        raise typer.BadParameter("is for an address; a model.toml has the digests of its files", param_hint="--sha256")
    console = Console(stderr=True)
    with workshop(settings.data.absolute()) as place:
        staged, unpacked = place / "staged", place / "unpacked"
        try:
            if sha256 is None:
                source = _source(what, settings.data)
                if source.parent == BUILT_IN and not (known := load_model(source)).manifest.files:
                    console.say(f"{known.name} comes with Eyni: there is nothing to be added")
                    return known
            else:
                source = unpacked
                _fetch(what, place / "model.zip", settings, sha256, console)
                _unpack(place / "model.zip", unpacked)
            _collect(source, staged, settings, console)
            model = Model(staged, load_model(staged).manifest, settings.data)
            left_out = _judge_calibration(model, trust)
            _check_place(model, settings, replace)
            rehearse(model, settings, console)
            if trust and model.is_calibrated and model.origin is None:
                seal(model.read_calibration(), settings.data, "outside")
        except ModelRefused as reason:
            # Not by the name of a folder that is gone when it is read.
            told = str(reason).replace(f"{staged}/", "").replace(f"{unpacked}/", "")
            raise ModelRefused(f"{what}: {told.removeprefix(f'{what}/')}") from None
        put(staged, model.name, settings.data, place)
    added = find(model.name, settings.data)
    _report(added, left_out, console)
    return added


def _judge_calibration(model: Model, trust: bool) -> bool:
    """Leave a calibration out that does not count here, and say whether that was done. Raises ModelRefused."""
    if not model.is_calibrated:
        return False
    if wrong := objection(model.read_calibration()):
        raise ModelRefused(f"{model.folder / CALIBRATION}: {wrong}")
    if trust or model.origin is not None:
        return False
    (model.folder / CALIBRATION).unlink()
    return True


def _source(what: str, data: Path) -> Path:
    """Return the folder that is meant. Raises Failed."""
    if (Path(what) / MANIFEST).is_file():
        return Path(what)
    if Path(what).is_dir():
        raise Failed(f"{what}: has no {MANIFEST}; docs/models.md shows how to write one")
    try:
        return find(what, data).folder
    except ModelRefused:
        known = sorted(path.name for path in BUILT_IN.iterdir() if (path / MANIFEST).is_file())
        raise Failed(
            f"{what!r} is no folder of a model, no address, and no model that Eyni knows where to fetch "
            f"({', '.join(known)})"
        ) from None


def _collect(source: Path, staged: Path, settings: Settings, console: Console) -> None:
    """Put together what a model's folder has, and nothing else; fetch what is missing and has an address."""
    files.folder(staged)
    _copy(source, MANIFEST, staged)
    for part in load_model(staged).manifest.files:
        if os.path.lexists(source / part.file):
            _copy(source, part.file, staged)
        elif part.address:
            _fetch(part.address, staged / part.file, settings, part.sha256, console)
        else:
            raise ModelRefused(f"{source / part.file}: is not there, and {MANIFEST} has no address for it")
    if os.path.lexists(source / CALIBRATION):
        _copy(source, CALIBRATION, staged)


def _copy(source: Path, name: str, to: Path) -> None:
    path = source / name
    real = path.resolve()
    if not real.is_relative_to(source.resolve()):
        raise ModelRefused(f"{path}: is a link out of its folder; put the file itself there")
    if not real.is_file():
        raise ModelRefused(f"{path}: is no file")
    with real.open("rb") as file:
        _keep(file, to / name, _LIMITS.get(name, LIMIT))


def _keep(file: IO[bytes], path: Path, limit: int) -> None:
    count = 0
    with files.about(path), files.opened(path, "xb") as kept:
        while block := file.read(_BLOCK):
            count += len(block)
            if count > limit:
                raise ModelRefused(f"{path.name}: larger than {limit:,} bytes, the most that is taken")
            kept.write(block)
        kept.flush()
        os.fsync(kept.fileno())


_DAMAGED: Final = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    UnicodeDecodeError,
    EOFError,
    NotImplementedError,
    RuntimeError,
)
"""What zipfile raises for an archive that is not in order, or that asks for a password."""


def _unpack(archive: Path, to: Path) -> None:
    """Take a model's files out of a .zip that has nothing else. Raises ModelRefused."""
    files.folder(to)
    try:
        with zipfile.ZipFile(archive) as opened:
            if (count := len(opened.infolist())) > _ENTRIES:
                raise ModelRefused(f"the .zip holds {count} files; a model has {_ENTRIES} at most")
            for entry in opened.infolist():
                if not _IN_A_ZIP.fullmatch(entry.filename) or stat.S_ISLNK(entry.external_attr >> 16):
                    raise ModelRefused(
                        f"the .zip holds {entry.filename[:100]!r}; in it may be {MANIFEST}, {CALIBRATION} and *.onnx, "
                        "in no folder, and no link"
                    )
                with opened.open(entry) as file:
                    _keep(file, to / entry.filename, _LIMITS.get(entry.filename, LIMIT))
    except FileExistsError:
        raise ModelRefused("the .zip holds two files of one name") from None
    except _DAMAGED as error:
        raise ModelRefused(f"the .zip cannot be unpacked: {error}") from None


def _fetch(address: str, to: Path, settings: Settings, sha256: str, console: Console) -> None:
    from services.eyni.fetching import download

    console.say(f"fetching {address}")
    with console.bars("bytes", stays=False) as bars:
        download(address, to, settings, sha256=sha256, limit=LIMIT, progress=bars.add(to.name))


def _check_place(new: Model, settings: Settings, replace: bool) -> None:
    """Raise Failed where something would be lost that was not meant to be; take over the calibration that is there."""
    if new.name == IN_USE:
        raise ModelRefused(f"no model may be called {IN_USE!r}")
    try:
        old = find(new.name, settings.data)
    except ModelRefused:
        if (user_models(settings.data) / new.name).exists() and not replace:
            raise Failed(f"there is a model {new.name} that is not in order: --replace puts this one there") from None
        return
    if old.id == new.id:
        ours, theirs = old.folder / CALIBRATION, new.folder / CALIBRATION
        if not ours.is_file():
            return
        if old.manifest.comparison != new.manifest.comparison and not theirs.exists():
            if not replace:
                raise Failed(
                    f"{new.name} is here with another comparison, and a calibration of that: --replace leaves the "
                    f"calibration out; then `eyni calibrate FACES --model {new.name}`"
                )
            return
        if not theirs.exists():
            _copy(old.folder, CALIBRATION, new.folder)
        elif ours.read_bytes() != theirs.read_bytes() and not replace:
            raise Failed(f"{new.name} is here with another calibration: --replace takes the one that comes with this")
        return
    if name_in_use(settings.data, settings.model) == new.name:
        raise Failed(
            f"{new.name} is in use, as {old.id}; this is {new.id}, whose templates are others: give it another "
            f"name in {MANIFEST}, or `eyni models use` another model first"
        )
    if not replace:
        raise Failed(
            f"there is another model {new.name} ({old.id}; this is {new.id}): give it another name in {MANIFEST}, or "
            "--replace it"
        )


def _report(model: Model, left_out: bool, console: Console) -> None:
    following = (
        f"`eyni models use {model.name}` makes it serve; `eyni evaluate FACES --model {model.name}` measures it"
        if model.is_calibrated
        else f"`eyni calibrate FACES --model {model.name}`, with labelled faces: until then its scores mean nothing"
    )
    lines = [
        f"{model.name} is here: {printable(model.manifest.title)} ({model.id}), in {model.folder}",
        f"Licence: {printable(model.manifest.licence)}",
        *([_LEFT_OUT] if left_out else []),
        *([f"Calibration: {ORIGINS['outside']}"] if model.is_calibrated and model.origin == "outside" else []),
        f"Next: {following}",
    ]
    for line in lines:
        console.say(line)
