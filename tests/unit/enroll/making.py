"""Pictures, captures and fakes for the tests of enroll."""

import io
import struct
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image

from services.enroll.extraction import extract
from services.enroll.extractor import Extractor
from services.enroll.frames import Orders, Ready
from services.enroll.quality import Extracted, Limits
from shared.biometrics import Defect, Quality, RetakeReason, Template, Vector
from shared.events import CaptureReceived, Enrol, Purpose, Request, Sample
from shared.model import Model
from shared.settings import Settings
from tests.models import default

LIMITS = Limits.of(Settings(_env_file=None))  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
PIXELS = 25_000_000
HOPPER = (Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg").read_bytes()


@cache
def extractor() -> Extractor:
    """The default model's."""
    return Extractor(default())


def extracted(image: bytes, by: Extractor | None = None) -> Extracted:
    return extract(image, by or extractor(), PIXELS, LIMITS)


def orders(
    model: Model, *, memory: int = 2 * 2**30, seconds: float = 30.0, decoding: float = 3.0, loading: float = 120.0
) -> Orders:
    ready = Ready(model.id, model.manifest.dimension)
    return Orders(ready, str(model.folder), PIXELS, memory, seconds, LIMITS, loading, 4 * 2**30, decoding)


TURNS = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
"""What a camera does to a picture that it labels with each orientation."""


def hopper() -> Image.Image:
    return Image.open(io.BytesIO(HOPPER)).convert("RGB")


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png_of_zeros(width: int, height: int) -> bytes:
    """Compress a picture of zeros row by row: it would take `width * height` bytes in memory, here or in a worker."""
    packer, row = zlib.compressobj(9), bytes(width + 1)
    data = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def lying_jpeg(side: int) -> bytes:
    """Take a small JPEG and write another size into its header."""
    jpeg = bytearray(encoded(Image.new("RGB", (16, 16)), "JPEG"))
    at = jpeg.index(b"\xff\xc0")
    jpeg[at + 5 : at + 9] = struct.pack(">HH", side, side)
    return bytes(jpeg)


def template(number: int) -> Template:
    return Template("pretend", np.full(8, number, dtype=np.float32))


def usable(number: int) -> Extracted:
    return Extracted(template(number), Quality(80))


class PretendGate:
    """Takes templates as faces unless told not to; two show one person where they have the first number in common."""

    def __init__(self, refused: Callable[[Vector], str | None] = lambda _: None, *, tells_apart: bool = False) -> None:
        self.refusal = refused
        self._tells_apart = tells_apart

    def people(self, vectors: Sequence[Vector]) -> list[list[int]]:
        named = [float(vector[0]) if self._tells_apart else 0.0 for vector in vectors]
        return [[n for n, name in enumerate(named) if name == person] for person in dict.fromkeys(named)]


OPEN_GATE = PretendGate()


REFUSED = Extracted(None, Quality(0, {}, (Defect(RetakeReason.NO_FACE, "No face."),)))


NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def request(name: str, client: str = "station", answer_by: datetime | None = None) -> Request:
    return Request(name, "transaction", NOON, client, answer_by)


def enrol(person: str) -> Enrol:
    return Enrol(person, "visit-1", ("main",), "digest")


def capture(
    name: str,
    *images: bytes,
    purpose: Purpose | None = None,
    against: tuple[bytes, ...] = (),
    client: str = "station",
    answer_by: datetime | None = None,
) -> CaptureReceived:
    return CaptureReceived(
        request(name, client, answer_by),
        purpose or enrol(name),
        tuple(map(Sample, images)),
        tuple(map(Sample, against)),
    )


@dataclass
class PretendExtractor:
    """Answers when told to; a picture is the number of its template, or b"bad"."""

    size: int = 2
    asked: list[bytes] = field(default_factory=list[bytes])
    promised: list[Future[Extracted]] = field(default_factory=list[Future[Extracted]])

    def submit(self, image: bytes) -> Future[Extracted]:
        self.asked.append(image)
        self.promised.append(Future())
        return self.promised[-1]

    def answer(self, which: int) -> None:
        image = self.asked[which]
        self.promised[which].set_result(REFUSED if image == b"bad" else usable(int(image)))
