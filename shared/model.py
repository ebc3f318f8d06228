"""A model: everything that turns a picture into a score, in one folder with a manifest; its id travels with templates.

    NAME/model.toml          the manifest: landmarks, networks, recipe, comparison, licence, provenance
    NAME/*.onnx              the networks that it names, each with its SHA-256
    NAME/calibration.json    what its comparisons mean (`shared.calibration`); without one it doesn't serve

Two come with Eyni (`shared/models/`): `dlib`, the default, and `sface`, which a user may fetch. Others are added to the
data folder (`eyni models add`); one of the same name there stands in for one of these. docs/models.md is the guide.
"""

import hashlib
import json
import tomllib
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, Field, ValidationError, model_validator

from shared.believed import Origin, origin_of
from shared.biometrics import MAX_DIMENSION, STRICT
from shared.calibration import Calibration, CalibrationRefused, load

BUILT_IN: Final = Path(__file__).parent / "models"
DEFAULT: Final = "dlib"
MANIFEST: Final = "model.toml"
CALIBRATION: Final = "calibration.json"
IN_USE: Final = "in-use"
"""File in the data folder's `models` that holds the name chosen by `eyni models use`."""

PIPELINE: Final = 1
"""Counts up when our own code (detection, landmarks, alignment) changes what a template looks like: part of the id."""


class ModelRefused(ValueError):
    """A model that must not be used; the message names the file, what is wrong, and what to do."""


_FROZEN: Final = STRICT | {"frozen": True}
Name = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?$")]
"""1 to 64 of a-z, 0-9, `.`, `_`, `-`: it is a folder's name and the beginning of a model id."""
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", description="SHA-256 in hex.")]
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,100}\.onnx$")]
Address = Annotated[str, Field(pattern=r"^https?://\S+$", max_length=2000)]
Number = Annotated[float, Field(strict=False, allow_inf_nan=False)]
Place = Annotated[tuple[Number, Number], Field(strict=False)]
Points = Annotated[
    tuple[Place, Place, Place, Place, Place],
    Field(
        strict=False,
        description="Where the five landmarks (x, y) go in the network's input, in their detector's order. YuNet: eye "
        "at the left of the picture, at its right, nose tip, corner of the mouth at the left, at the right. dlib: "
        "outer and inner corner of the eye at the right of the picture, the same at its left, base of the nose.",
    ),
]


class File(BaseModel):
    """An ONNX file of the folder."""

    model_config = _FROZEN
    file: FileName
    sha256: Digest
    address: Annotated[Address | None, Field(description="Where `eyni models add` fetches it, if it isn't there.")] = (
        None
    )


class DlibLandmarks(BaseModel):
    """face_recognition's own: HOG detector, five points."""

    model_config = _FROZEN
    detector: Literal["dlib"]
    sha256: Annotated[Digest, Field(description="Of shape_predictor_5_face_landmarks.dat.")]


class YunetLandmarks(File):
    """YuNet, run by OpenCV: faster, and its points hold on turned heads (extraction.md)."""

    detector: Literal["yunet"]
    height: Annotated[
        int,
        Field(ge=80, le=640, description="Pixels to which a picture is scaled before the search; finer if need be."),
    ] = 160


class DlibNetwork(BaseModel):
    """face_recognition's ResNet with its own alignment, 150 x 150 pixels of the face."""

    model_config = _FROZEN
    kind: Literal["face_recognition"]
    sha256: Annotated[Digest, Field(description="Of dlib_face_recognition_resnet_model_v1.dat.")]
    dimension: Literal[128]
    weight: Annotated[Number, Field(gt=0)] = 1.0


class OnnxNetwork(File):
    """A network as an ONNX file: one input N x 3 x height x width, one output N x dimension."""

    kind: Literal["onnx"]
    width: Annotated[int, Field(ge=16, le=1024)]
    height: Annotated[int, Field(ge=16, le=1024)]
    colour: Literal["RGB", "BGR"]
    subtract: Annotated[Number, Field(description="The input is (pixel - subtract) / divide, pixel 0 to 255.")] = 0.0
    divide: Annotated[Number, Field(gt=0)] = 1.0
    points: Points
    dimension: Annotated[int, Field(ge=1, le=MAX_DIMENSION)]
    norm: Annotated[
        Literal["unit", "free"], Field(description="unit: the network's output has length 1. Checked when it loads.")
    ]
    weight: Annotated[Number, Field(gt=0, description="Concatenated: its share of the squared distance.")] = 1.0


class Comparison(BaseModel):
    model_config = _FROZEN
    normalised: Annotated[bool, Field(description="Cohort normalisation (docs/calibration.md): measure if it pays.")]
    unit: Annotated[bool, Field(description="Templates are brought to length 1 first (cosine).")]


Recipe = Literal["plain", "mirrored", "concatenated", "mirrored-concatenated"]
"""mirrored: the mean of the template and that of the mirrored face. concatenated: two networks' templates, each of
length 1 and weighted, one after the other."""


class Manifest(BaseModel):
    """model.toml."""

    model_config = _FROZEN
    format: Literal[1]
    name: Name
    title: Annotated[str, Field(min_length=1, max_length=200)]
    licence: Annotated[str, Field(min_length=1, max_length=500)]
    provenance: Annotated[str, Field(min_length=1, max_length=2000, description="Whose weights, from where.")]
    recipe: Recipe
    landmarks: Annotated[DlibLandmarks | YunetLandmarks, Field(discriminator="detector")]
    networks: Annotated[
        tuple[Annotated[DlibNetwork | OnnxNetwork, Field(discriminator="kind")], ...],
        Field(strict=False, min_length=1, max_length=2),
    ]
    comparison: Comparison

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        wanted = 2 if "concatenated" in self.recipe else 1
        if len(self.networks) != wanted:
            raise ValueError(f"recipe {self.recipe} is of {wanted} networks, and there are {len(self.networks)}")
        if self.dimension > MAX_DIMENSION:
            raise ValueError(f"{self.dimension} dimensions; at most {MAX_DIMENSION} are taken")
        return self

    @property
    def dimension(self) -> int:
        """How many numbers a template has."""
        return sum(network.dimension for network in self.networks)

    @property
    def mirrored(self) -> bool:
        return self.recipe.startswith("mirrored")

    @property
    def files(self) -> tuple[File, ...]:
        """The ONNX files, each once."""
        found = [part for part in (self.landmarks, *self.networks) if isinstance(part, File)]
        return tuple({part.file: part for part in found}.values())

    @property
    def model_id(self) -> str:
        """Name and digest of everything that changes a template; texts and how templates are compared do not."""
        changing = {
            "pipeline": PIPELINE,
            "recipe": self.recipe,
            "landmarks": self.landmarks.model_dump(mode="json", exclude={"file", "address"}),
            "networks": [n.model_dump(mode="json", exclude={"file", "address"}) for n in self.networks],
        }
        text = json.dumps(changing, sort_keys=True, separators=(",", ":"))
        return f"{self.name}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


@dataclass(frozen=True)
class Model:
    """A folder whose manifest is in order. Its files and its calibration are read when asked for."""

    folder: Path
    manifest: Manifest
    data: Path | None = None
    """The data folder that it is in; None: it comes with Eyni, or is in no place of ours yet."""

    @property
    def name(self) -> str:
        return self.manifest.name

    @property
    def id(self) -> str:
        return self.manifest.model_id

    @property
    def is_calibrated(self) -> bool:
        return (self.folder / CALIBRATION).is_file()

    @cached_property
    def calibration(self) -> Calibration:
        """What its scores mean.

        Raises ModelRefused where there is none, one of another model, or one that does not count (`shared.believed`).
        """
        found = self.read_calibration()
        if self.origin is None:
            raise ModelRefused(
                f"{self.folder / CALIBRATION}: was not measured here, or was changed since (or a version before seals "
                f"made it), so it does not count. Run `eyni calibrate FACES --model {self.name}` with labelled faces; "
                f"or, if you know that it is right, `eyni models add {self.name} --trust-calibration`"
            )
        return found

    @cached_property
    def origin(self) -> Origin | None:
        """Why its calibration counts; None: it does not. Raises ModelRefused where it cannot be read."""
        try:
            return origin_of(self.read_calibration(), self.data)
        except OSError as error:
            raise ModelRefused(f"{error.filename}: {error.strerror}") from None

    def read_calibration(self) -> Calibration:
        """Return what its calibration says, whether that counts or not. Raises ModelRefused as `calibration`."""
        path = self.folder / CALIBRATION
        try:
            found = load(path, model=self.id, dimension=self.manifest.dimension)
        except FileNotFoundError:
            raise ModelRefused(
                f"model {self.name} has no calibration, so its scores mean nothing yet: run `eyni calibrate FOLDER "
                f"--model {self.name}` with labelled faces"
            ) from None
        except OSError as error:
            raise ModelRefused(f"{path}: {error.strerror}") from None
        except CalibrationRefused as reason:
            raise ModelRefused(f"{path}: {reason}") from None
        comparison = self.manifest.comparison
        if (found.cohort is not None, found.unit) != (comparison.normalised, comparison.unit):
            raise ModelRefused(
                f"{path}: it is of another comparison than {MANIFEST} asks for: run `eyni calibrate` anew"
            )
        return found

    def check_files(self) -> None:
        """Raise ModelRefused unless every ONNX file is there and is the one that the manifest means."""
        for part in self.manifest.files:
            path = self.folder / part.file
            try:
                with path.open("rb") as file:
                    found = hashlib.file_digest(file, "sha256").hexdigest()
            except OSError as error:
                hint = f": `eyni models add {self.name}` fetches it" if part.address else ""
                raise ModelRefused(f"{path}: {error.strerror}{hint}") from None
            if found != part.sha256:
                raise ModelRefused(f"{path}: its SHA-256 is {found}; {MANIFEST} says {part.sha256}")


def load_model(folder: Path) -> Model:
    """Read a model folder's manifest. Raises ModelRefused."""
    path = folder / MANIFEST
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ModelRefused(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ModelRefused(f"{path}: is not UTF-8") from None
    return Model(folder, parse_manifest(text, str(path)))


def parse_manifest(text: str, where: str = MANIFEST) -> Manifest:
    """Read a manifest. Raises ModelRefused, which names the field, the limit and the value."""
    try:
        return Manifest.model_validate(tomllib.loads(text))
    except ValidationError as error:
        wrong = error.errors(include_url=False)[0]
        field = ".".join(map(str, wrong["loc"]))
        value = "" if wrong["type"] in ("missing", "value_error") else f" (it is {str(wrong['input'])[:100]!r})"
        what = wrong["msg"].removeprefix("Value error, ")
        raise ModelRefused(f"{where}: {field + ': ' if field else ''}{what}{value}") from None
    except (ValueError, RecursionError) as error:  # also for a number of thousands of digits, or brackets in brackets
        raise ModelRefused(f"{where}: is not TOML: {error}") from None


def user_models(data: Path) -> Path:
    return data / "models"


def names(data: Path) -> list[str]:
    """Return the names of all models that are here, by the alphabet."""
    folders = [p for place in (BUILT_IN, user_models(data)) if place.is_dir() for p in place.iterdir()]
    return sorted({p.name for p in folders if (p / MANIFEST).is_file()})


def find(name: str, data: Path) -> Model:
    """Return the model of that name; one in the data folder before one that comes with Eyni. Raises ModelRefused."""
    for place, within in ((user_models(data), data), (BUILT_IN, None)):
        if (place / name / MANIFEST).is_file():
            model = replace(load_model(place / name), data=within)
            if model.name != name:
                raise ModelRefused(f"{place / name / MANIFEST}: it says name = {model.name!r}; its folder is {name!r}")
            return model
    raise ModelRefused(f"there is no model {name!r}; there are {', '.join(names(data))}. `eyni models add` adds one")


def name_in_use(data: Path, chosen: str = "") -> str:
    """Return the name of the model that serves: `chosen` (EYNI_MODEL), else `eyni models use`'s, else the default."""
    if chosen:
        return chosen
    try:
        return (user_models(data) / IN_USE).read_text(encoding="utf-8").strip() or DEFAULT
    except FileNotFoundError:
        return DEFAULT


def in_use(data: Path, chosen: str = "") -> Model:
    """Return the model that serves. Raises ModelRefused."""
    return find(name_in_use(data, chosen), data)
