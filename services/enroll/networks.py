# pyright: basic
"""ONNX networks, from checked bytes to numbers; the only file that imports onnxruntime."""

import hashlib
import os
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from services.enroll.onnx_file import Suspicious, inspect
from shared.biometrics import Vector
from shared.model import MANIFEST, File, ModelRefused, OnnxNetwork

# Before the import: its official builds else write an identifier of this machine into the home folder, keep a database
# of events there and send them to Microsoft, from a thread of their own (its Privacy.md; seen with 1.32).
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
import onnxruntime as untyped_onnxruntime

_onnxruntime: Any = untyped_onnxruntime

FILE_BYTES: Final = 2**30
"""Largest ONNX file taken: four times the largest face network in use (ResNet-100, 250 MB)."""

UNIT: Final = 1e-3
"""How far the length of a vector may be from 1 if it is said to be: a float16's precision."""

_QUIET: Final = 4
"""Fatal errors only: what goes wrong is raised, and the rest (unused weights, say) is nobody's business here."""

Picture = NDArray[np.uint8]


def checked(folder: Path, part: File) -> bytes:
    """Return an ONNX file's bytes: those whose digest was taken, whatever happens to the file. Raises ModelRefused."""
    path = folder / part.file
    try:
        with path.open("rb") as file:
            data = file.read(FILE_BYTES + 1)
    except OSError as error:
        hint = f": `eyni models add` fetches it from {part.address}" if part.address else ""
        raise ModelRefused(f"{path}: {error.strerror}{hint}") from None
    if len(data) > FILE_BYTES:
        raise ModelRefused(f"{path}: is larger than {FILE_BYTES // 2**20} MiB")
    found = hashlib.sha256(data).hexdigest()
    if found != part.sha256:
        raise ModelRefused(f"{path}: its SHA-256 is {found}; {MANIFEST} says {part.sha256}")
    try:
        inspect(data)
    except Suspicious as reason:
        raise ModelRefused(f"{path}: {reason}") from None
    return data


def check(path: Path, declared: OnnxNetwork) -> None:
    """Raise ModelRefused unless this file, in a folder, is the network that the manifest declares."""
    Network(path.parent, declared.model_copy(update={"file": path.name}))


class Network:
    """One network, loaded. Needs no file and no other thread once it is made."""

    def __init__(self, folder: Path, declared: OnnxNetwork) -> None:
        """Load and rehearse. Raises ModelRefused, which names the file and the reason."""
        self.declared = declared
        self._path = folder / declared.file
        data = checked(folder, declared)
        options = _onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = _QUIET
        # Else it takes bytes that have a certain mark for its own format, which `inspect` doesn't read.
        options.add_session_config_entry("session.load_model_format", "ONNX")
        try:
            self._session = _onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # it raises a dozen kinds, most of them straight from Exception
            raise self._refused(f"onnxruntime does not load it: {_first_line(error)}") from None
        self._input, self._output = self._ends()
        self._rehearse()

    def _ends(self) -> tuple[str, str]:
        declared = self.declared
        wanted = [None, 3, declared.height, declared.width], [None, declared.dimension]
        ends = self._session.get_inputs(), self._session.get_outputs()
        for kind, found, shape in zip(("input", "output"), ends, wanted, strict=True):
            if len(found) != 1:
                raise self._refused(f"it has {len(found)} {kind}s; wanted is one")
            (end,) = found
            text = " x ".join("N" if n is None else str(n) for n in shape)
            if end.type != "tensor(float)" or not _agree(end.shape, shape):
                raise self._refused(f"its {kind} is {end.type} {end.shape}; {MANIFEST} declares float {text}")
        return ends[0][0].name, ends[1][0].name

    def _rehearse(self) -> None:
        """See that it does what is declared, on a gray picture and on noise."""
        shape = (self.declared.height, self.declared.width, 3)
        gray = np.full(shape, 128, dtype=np.uint8)
        noise = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
        try:
            outputs = [self._run(picture) for picture in (gray, noise, noise)]
        except Exception as error:
            raise self._refused(f"onnxruntime does not run it: {_first_line(error)}") from None
        for output in outputs:
            if output.shape != (1, self.declared.dimension):
                raise self._refused(
                    f"it gives {output.shape} numbers; {MANIFEST} declares (1, {self.declared.dimension})"
                )
            if not bool(np.isfinite(output).all()):
                raise self._refused("it gives a NaN or an infinity")
            if self.declared.norm == "unit" and abs(float(np.linalg.norm(output)) - 1) > UNIT:
                raise self._refused(f'its output is not of length 1, as norm = "unit" in {MANIFEST} says')
        if not np.array_equal(outputs[1], outputs[2]):
            raise self._refused("it gives different numbers for one picture from run to run")
        if np.array_equal(outputs[0], outputs[1]):
            raise self._refused("it gives the same numbers for every picture")

    def template(self, chip: Picture) -> Vector:
        """Return the output (d,) for an aligned face, RGB, of the declared height and width."""
        vector: Vector = np.asarray(self._run(chip)[0], dtype=np.float32)
        return vector

    def _run(self, chip: Picture) -> Vector:
        # One at a time, mirrored or not: some networks are made for a batch of one, and two save 4 to 13 % only.
        ordered = chip if self.declared.colour == "RGB" else chip[:, :, ::-1]
        planes = ordered.transpose(2, 0, 1).astype(np.float32)
        scaled = (planes - np.float32(self.declared.subtract)) / np.float32(self.declared.divide)
        output: Vector = self._session.run([self._output], {self._input: scaled[None]})[0]
        return output

    def _refused(self, reason: str) -> ModelRefused:
        return ModelRefused(f"{self._path}: {reason}")


def _agree(found: list[Any], wanted: list[int | None]) -> bool:
    """Say whether a declared shape can be the wanted one: N is 1 or free, and so may be what isn't said."""
    if len(found) != len(wanted):
        return False
    return all(not isinstance(f, int) or f == (1 if w is None else w) for f, w in zip(found, wanted, strict=True))


def _first_line(error: Exception) -> str:
    text = str(error).strip().splitlines()
    return text[0][:500] if text else type(error).__name__
