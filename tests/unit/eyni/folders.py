"""Models' folders whose networks are rubbish, the command that takes them for networks, and workers for them."""

import hashlib
import zipfile
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from services.enroll.frames import Portrait
from services.enroll.quality import NO_FACE, Extracted, refused
from services.eyni.__main__ import app
from shared.believed import seal
from shared.biometrics import Quality, Template, Vector
from shared.calibrating import fit
from shared.model import CALIBRATION, MANIFEST, Model, ModelRefused, find, load_model
from shared.settings import Settings

NETWORK = b"no network at all"

MANIFEST_TEXT = """
format = 1
name = "{name}"
title = "A network of tests"
licence = "none"
provenance = "made up"
recipe = "{recipe}"

[landmarks]
detector = "dlib"
sha256 = "c4b1e9804792707d3a405c2c16a80a20269e6675021f64a41d30fffafbc41888"

[[networks]]
kind = "onnx"
file = "net.onnx"
sha256 = "{sha256}"
{address}
width = 112
height = 112
colour = "RGB"
points = [[80, 52], [66, 53], [31, 53], [45, 53], [56, 79]]
dimension = 8
norm = "free"

[comparison]
normalised = false
unit = true
"""


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def model(
    folder: Path,
    name: str = "toy",
    *,
    network: bytes = NETWORK,
    digest: str = "",
    address: str = "",
    recipe: str = "plain",
) -> Model:
    """Write the folder of a model that is called `name`; without a network where there is an address."""
    folder.mkdir(parents=True)
    where = f'address = "{address}"' if address else ""
    text = MANIFEST_TEXT.format(name=name, sha256=digest or sha256(network), address=where, recipe=recipe)
    (folder / MANIFEST).write_text(text)
    if not address:
        (folder / "net.onnx").write_bytes(network)
    return load_model(folder)


def faces(people: int = 60, pictures: int = 2, dimension: int = 8, seed: int = 1) -> tuple[Vector, list[str]]:
    """Templates of people who are well told apart."""
    dice = np.random.default_rng(seed)
    middle = np.repeat(dice.standard_normal((people, dimension)), pictures, axis=0)
    found: Vector = (1 + middle + 0.1 * dice.standard_normal(middle.shape)).astype(np.float32)
    return found, [f"p{n // pictures}" for n in range(people * pictures)]


def calibrated(model: Model, seed: int = 1) -> Model:
    vectors, persons = faces(seed=seed)
    found = fit(vectors, persons, model=model.id, normalised=False, unit=True, about={"data": "toys"})
    (model.folder / CALIBRATION).write_text(found.dump())
    places = model.folder.parents
    if places[0].name != "models":
        return load_model(model.folder)
    seal(found, places[1], "here")
    return find(model.name, places[1])


@dataclass
class Workers:
    """A "picture" is a template in a file, or something else: then there is no face in it."""

    model: Model
    size: int = 2
    starts: int = 0
    seen: int = 0
    closed: int = 0
    before: Callable[[int], None] = lambda _: None
    before_portrait: Callable[[bytes], None] = lambda _: None

    def start(self, settings: Settings, model: Model) -> "Workers":
        """Stand in for `services.enroll.bootstrap.pool`."""
        self.model = model
        self.starts += 1
        return self

    def submit(self, image: bytes) -> Future[Extracted]:
        self.seen += 1
        self.before(self.seen)
        future = Future[Extracted]()
        if len(image) == 4 * self.model.manifest.dimension:
            found = Extracted(Template(self.model.id, np.frombuffer(image, np.float32)), Quality(70))
        else:
            found = refused(NO_FACE)
        future.set_result(found)
        return future

    def portray(self, image: bytes) -> Future[Portrait]:
        self.before_portrait(image)
        future = Future[Portrait]()
        future.set_result(Portrait(b"\xff\xd8\xff" + image))
        return future

    def close(self) -> None:
        self.closed += 1


def pictures(root: Path, people: int = 40, each: int = 2, dimension: int = 8) -> Path:
    """Write the "pictures" of people into folders of theirs."""
    vectors, persons = faces(people, each, dimension)
    for number, (vector, person) in enumerate(zip(vectors, persons, strict=True)):
        (root / person).mkdir(parents=True, exist_ok=True)
        (root / person / f"{number}.jpg").write_bytes(vector.tobytes())
    return root


def zipped(folder: Path, path: Path) -> tuple[Path, str]:
    """Return a .zip of a folder's files, and its digest."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.iterdir()):
            archive.write(file, file.name)
    return path, sha256(path.read_bytes())


@dataclass
class Eyni:
    """The command, over a data folder of its own; "loading" a network asks whether it is the one that fails."""

    data: Path
    bad: bytes = b"a bad network"

    def __call__(self, *words: str | Path) -> Result:
        return CliRunner().invoke(app, ["models", *map(str, words)])

    def examine(self, settings: Settings, model: Model) -> None:
        model.check_files()
        if any((model.folder / part.file).read_bytes() == self.bad for part in model.manifest.files):
            raise ModelRefused("the rehearsal gave 7 numbers, not 8")

    @property
    def added(self) -> dict[str, set[str]]:
        place = self.data / "models"
        return {folder.name: {file.name for file in folder.iterdir()} for folder in place.glob("*/")}

    @property
    def leftovers(self) -> list[str]:
        return [path.name for path in self.data.glob("*") if path.name not in ("keys", "models", "models.lock", "log")]


def command(data: Path, monkeypatch: pytest.MonkeyPatch) -> Eyni:
    for name in ("EYNI_LOG", "EYNI_MODEL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("EYNI_DATA", str(data))
    monkeypatch.setenv("COLUMNS", "200")
    found = Eyni(data)
    monkeypatch.setattr("services.enroll.bootstrap.examine", found.examine)
    return found
