"""From bytes to pixels: what is taken, what is refused and why, and how much that costs."""

import io
import time
import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, ImageFile

from services.enroll.decoding import WORKING_SIDE, Picture, decode
from services.enroll.headers import SCANS
from shared.biometrics import Defect, RetakeReason
from tests.unit.enroll.making import HOPPER, PIXELS, TURNS, encoded, hopper, lying_jpeg, png_of_zeros


def picture(image: bytes) -> Picture:
    decoded = decode(image, PIXELS)
    assert isinstance(decoded, Picture)
    return decoded


def defect(image: bytes) -> Defect:
    decoded = decode(image, PIXELS)
    assert isinstance(decoded, Defect)
    return decoded


def corners(image: Image.Image) -> Image.Image:
    """Paint the four corners, so that a turned picture is told from an upright one."""
    painted = image.resize((64, 48))
    for at, colour in {(0, 0): "red", (48, 0): "lime", (0, 32): "blue"}.items():
        painted.paste(colour, (*at, at[0] + 16, at[1] + 16))
    return painted


MODES: dict[str, Callable[[Image.Image], bytes]] = {
    "jpeg": lambda i: encoded(i, "JPEG", quality=95),
    "progressive jpeg": lambda i: encoded(i, "JPEG", quality=95, progressive=True),
    "gray jpeg": lambda i: encoded(i.convert("L"), "JPEG", quality=95),
    "cmyk jpeg": lambda i: encoded(i.convert("CMYK"), "JPEG", quality=95),
    "jpeg of several pictures": lambda i: encoded(
        i, "MPO", save_all=True, append_images=[Image.new("RGB", i.size)], quality=95
    ),
    "png": lambda i: encoded(i),
    "palette png": lambda i: encoded(i.quantize(256)),
    "gray png": lambda i: encoded(i.convert("L")),
    "16-bit gray png": lambda i: encoded(Image.fromarray(np.asarray(i.convert("L")).astype(np.uint16) * 257)),
    "png with alpha": lambda i: encoded(i.convert("RGBA")),
    "gray png with alpha": lambda i: encoded(i.convert("LA")),
    "webp": lambda i: encoded(i, "WEBP", quality=95),
    "lossless webp with alpha": lambda i: encoded(i.convert("RGBA"), "WEBP", lossless=True),
    "jpeg 2000": lambda i: encoded(i, "JPEG2000"),
    "jpeg 2000 code stream": lambda i: encoded(i, "JPEG2000", no_jp2=True),
    "jpeg 2000 with alpha": lambda i: encoded(i.convert("RGBA"), "JPEG2000"),
}


@pytest.mark.parametrize("name", MODES)
def test_every_kind_of_picture_comes_out_as_the_same_rgb(name: str) -> None:
    original = hopper()
    wanted = original.convert("L").convert("RGB") if "gray" in name else original
    decoded = picture(MODES[name](original))
    assert decoded.pixels.shape == np.asarray(original).shape
    assert decoded.pixels.flags.c_contiguous
    assert decoded.scale == 1.0
    assert np.abs(decoded.pixels.astype(int) - np.asarray(wanted)).mean() < 6


def test_what_is_transparent_is_white() -> None:
    glass = Image.new("RGBA", (32, 32), (0, 0, 0, 0))
    assert (picture(encoded(glass)).pixels == 255).all()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", TURNS)
def test_a_turned_picture_comes_out_upright(kind: str, orientation: int) -> None:
    upright, turn = corners(hopper()), TURNS[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = upright.transpose(turn) if turn is not None else upright
    decoded = picture(encoded(stored, kind, exif=exif.tobytes(), quality=95))
    assert decoded.pixels.shape == (48, 64, 3)
    assert np.abs(decoded.pixels.astype(int) - np.asarray(upright)).mean() < 6


def test_damaged_metadata_does_not_spoil_a_picture() -> None:
    assert picture(encoded(hopper(), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")).scale == 1.0


@pytest.mark.parametrize(("kind", "scale"), [("JPEG", 2.5), ("PNG", 1.25), ("WEBP", 1.25), ("JPEG2000", 2.0)])
def test_a_large_picture_is_brought_to_the_working_size_and_the_scale_is_told(kind: str, scale: float) -> None:
    large = hopper().resize((round(1200 * scale), round(1600 * scale)))
    decoded = picture(encoded(large, kind))
    assert decoded.pixels.shape == (1600, 1200, 3) == (WORKING_SIDE, 1200, 3)
    assert decoded.scale == pytest.approx(scale)
    wanted = np.asarray(hopper().resize((1200, 1600)))
    assert np.abs(decoded.pixels.astype(int) - wanted).mean() < 6


@pytest.mark.parametrize("resolutions", [1, 2, 3])
@pytest.mark.parametrize("no_jp2", [False, True], ids=["file", "code stream"])
def test_a_large_jpeg2000_of_few_resolutions_is_read(resolutions: int, no_jp2: bool) -> None:
    large = hopper().resize((600, 6500))
    decoded = picture(encoded(large, "JPEG2000", num_resolutions=resolutions, no_jp2=no_jp2))
    assert decoded.pixels.shape == (1600, 148, 3)
    assert decoded.scale == pytest.approx(6500 / 1600)


@pytest.mark.parametrize(
    ("make", "measured"),
    [
        (lambda: png_of_zeros(20_000, 20_000), 20_000),
        (lambda: lying_jpeg(65_500), 65_500),
        (lambda: png_of_zeros(6_000, 6_000), 36e6),
    ],
    ids=["png bomb", "lying jpeg", "36 megapixels"],
)
def test_a_bomb_is_refused_from_its_header(make: Callable[[], bytes], measured: float) -> None:
    bomb = make()
    tracemalloc.start()
    started = time.perf_counter()
    found = defect(bomb)
    seconds, (_, peak) = time.perf_counter() - started, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (found.reason, found.measured) == (RetakeReason.TOO_LARGE, measured)
    assert seconds < 0.5  # 2 ms measured; decoding takes seconds
    assert peak < 20e6


def with_more_scans(jpeg: bytes, more: int) -> bytes:
    """Repeat the last scan of a JPEG, as whoever wants to keep a decoder busy would."""
    last, end = jpeg.rindex(b"\xff\xda"), jpeg.rindex(b"\xff\xd9")
    return jpeg[:end] + jpeg[last:end] * more + jpeg[end:]


def test_a_jpeg_of_hundreds_of_scans_is_too_costly_before_it_is_decoded() -> None:
    jpeg = with_more_scans(encoded(Image.new("RGB", (5000, 5000)), "JPEG", progressive=True), 600)
    started = time.process_time()
    found = defect(jpeg)
    assert (found.reason, found.measured, found.limit) == (RetakeReason.TOO_COSTLY, 610, SCANS)
    assert time.process_time() - started < 0.3  # 10 ms measured; decoding takes 11 to 20 s


def test_a_jpeg_of_the_most_scans_is_taken() -> None:
    ten = encoded(hopper(), "JPEG", progressive=True)
    assert picture(with_more_scans(ten, SCANS - 10)).scale == 1.0
    assert defect(with_more_scans(ten, SCANS - 9)).reason is RetakeReason.TOO_COSTLY


def test_scans_of_thumbnails_and_of_further_pictures_do_not_count() -> None:
    full_of_them = b"\xff\xe5\x40\x02" + b"\xff\xda" * 0x2000
    jpeg = encoded(hopper(), "JPEG", progressive=True)
    assert picture(jpeg[:2] + full_of_them + jpeg[2:]).scale == 1.0
    several = encoded(hopper(), "MPO", save_all=True, append_images=[hopper()] * 5, progressive=True)
    assert picture(several).scale == 1.0


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "JPEG2000"])
@pytest.mark.parametrize("kept", [0.02, 0.5, 0.95])
def test_a_truncated_picture_is_undecodable(kind: str, kept: float) -> None:
    # face_recognition switches this on when it is imported; it must not matter.
    ImageFile.LOAD_TRUNCATED_IMAGES = True
    whole = encoded(hopper(), kind)
    assert defect(whole[: int(len(whole) * kept)]).reason is RetakeReason.UNDECODABLE


def test_nothing_at_all_is_undecodable() -> None:
    found = defect(b"")
    assert found.reason is RetakeReason.UNDECODABLE
    assert "empty" in found.advice


def _animated(kind: str) -> bytes:
    return encoded(hopper(), kind, save_all=True, append_images=[hopper().rotate(180)])


FOREIGN = {
    "text": b"Hello, I am a picture. Honestly.",
    "zeros": bytes(1000),
    "pdf": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n",
    "svg": b'<svg xmlns="http://www.w3.org/2000/svg"/>',
    "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
    **{kind.lower(): encoded(hopper(), kind) for kind in ("GIF", "TIFF", "BMP", "ICO", "PPM", "TGA", "PCX", "DDS")},
    "animated png": _animated("PNG"),
    "animated webp": _animated("WEBP"),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_another_format_is_refused_by_name(name: str) -> None:
    assert defect(FOREIGN[name]).reason is RetakeReason.UNSUPPORTED_FORMAT


def test_mutated_pictures_give_a_picture_or_a_named_defect() -> None:
    random = np.random.default_rng(7)
    seeds = [encoded(hopper().resize((64, 64)), kind) for kind in ("JPEG", "PNG", "WEBP", "JPEG2000")]
    for number in range(400):
        mutated = bytearray(seeds[number % 4])
        for at in random.integers(0, len(mutated), size=3):
            mutated[at] = int(random.integers(0, 256))
        found = decode(bytes(mutated), PIXELS)
        assert isinstance(found, Picture | Defect)


def test_no_picture_shows_in_a_repr() -> None:
    assert "array" not in repr(picture(HOPPER))
    assert len(io.StringIO(repr(picture(HOPPER))).read()) < 100
