"""From the bytes of a picture to its pixels, trusting nothing in them; the only file that imports PIL.

Runs in a worker that can be thrown away (`sandbox.py`). Metadata goes no further than the orientation.
"""

import importlib
import io
import math
import re
import warnings
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, UnidentifiedImageError

from services.enroll import headers
from shared.biometrics import Defect, RetakeReason

Pixels = NDArray[np.uint8]
"""A picture: shape (height, width, 3), RGB, 0..255, C-contiguous."""

FORMATS: Final = ("JPEG", "PNG", "WEBP", "JPEG2000")
"""What a station or a passport chip sends. Rare formats are where decoders have their holes (reliability.md 2.7)."""

# Registers these decoders, so that Pillow does not import all others in search of them.
for _plugin in ("Jpeg", "Mpo", "Png", "WebP", "Jpeg2K"):
    importlib.import_module(f"PIL.{_plugin}ImagePlugin")

MULTI_PICTURE: Final = "MPO"
"""Pillow's name for what many phones send: a JPEG with more pictures behind its first, which every viewer shows."""

SIDE_LIMIT: Final = 16_384
"""Longest side in pixels, WebP's own limit: protects from pictures of legal area that are one row high."""

WORKING_SIDE: Final = 1600
"""Longest side, in pixels, of what detection and extraction see. The smallest face that is searched for
(`faces.SMALLEST`, 8 % of the long side) is 128 pixels wide there, about what the network takes in (150)."""

_MAGIC: Final = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF", b"\x00\x00\x00\x0cjP  ", b"\xff\x4f\xff\x51")


@dataclass(frozen=True, slots=True)
class Picture:
    """A decoded picture, upright, at working size."""

    pixels: Pixels = field(repr=False)
    scale: float
    """Pixels of the original for one pixel here, 1 or more."""


def decode(image: bytes, pixel_limit: int) -> Picture | Defect:
    """Decode a JPEG, PNG, WebP or JPEG 2000 of at most `pixel_limit` pixels, or say why not."""
    # face_recognition switches this on for the whole process: half a face would be as good as a whole one.
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    # Pillow's own limit (89 million, a warning) gives way to ours, which is tighter and refuses.
    Image.MAX_IMAGE_PIXELS = None
    if objection := headers.objection(image):
        return objection
    try:
        # Pillow warns of damaged metadata, which is no reason to refuse, wherever warnings are errors too.
        with warnings.catch_warnings(action="ignore"), Image.open(io.BytesIO(image), formats=FORMATS) as opened:
            return (
                _too_large(opened.size, pixel_limit)
                or _several_frames(opened)
                or _pixels(opened, 0 if headers.is_subsampled(image) else headers.halvings(image))
            )
    except MemoryError:
        raise  # not about the picture's validity; the worker answers too_costly
    except Exception as error:
        # Whatever hostile bytes make a decoder raise (OSError, SyntaxError, ValueError, ...) means one thing.
        return _undecodable(image, error)


def _too_large(size: tuple[int, int], pixel_limit: int) -> Defect | None:
    width, height = size
    if max(size) > SIDE_LIMIT:
        return Defect(
            RetakeReason.TOO_LARGE,
            f"The picture is {width} x {height} pixels; no side may exceed {SIDE_LIMIT}. Send a smaller one.",
            float(max(size)),
            float(SIDE_LIMIT),
        )
    if width * height > pixel_limit:
        return Defect(
            RetakeReason.TOO_LARGE,
            f"The picture has {width * height / 1e6:.1f} million pixels; at most {pixel_limit / 1e6:g} million are "
            "taken. Send a smaller one.",
            float(width * height),
            float(pixel_limit),
        )
    return None


def _several_frames(opened: Image.Image) -> Defect | None:
    frames = int(getattr(opened, "n_frames", 1))
    if frames == 1 or opened.format == MULTI_PICTURE:
        return None
    # Which frame is meant is anybody's guess, and an adjudicator might be shown another one than was compared.
    return Defect(
        RetakeReason.UNSUPPORTED_FORMAT,
        f"The picture is an animation of {frames} frames. Send one still picture.",
        float(frames),
        1.0,
    )


def _undecodable(image: bytes, error: Exception) -> Defect:
    if not image:
        return Defect(RetakeReason.UNDECODABLE, "The picture is empty (0 bytes). Send it again.", 0.0, 1.0)
    if isinstance(error, UnidentifiedImageError) and not image.startswith(_MAGIC):
        return Defect(RetakeReason.UNSUPPORTED_FORMAT, f"This is no {headers.READ} picture. Send one of these.")
    return Defect(
        RetakeReason.UNDECODABLE,
        f"The picture is damaged or cut short ({len(image)} bytes arrived). Send it again, or take a new one.",
    )


def _pixels(opened: Image.Image, most_halvings: int) -> Picture:
    longest = max(opened.size)
    _decode_at_reduced_size(opened, longest, most_halvings)
    opened.load()
    small: Image.Image = opened
    if max(opened.size) > WORKING_SIDE:
        ratio = WORKING_SIDE / max(opened.size)
        size = (max(1, round(opened.width * ratio)), max(1, round(opened.height * ratio)))
        small = _rgb(opened).resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)
    upright = _rgb(small).transpose(turn) if (turn := _turn(opened)) is not None else _rgb(small)
    pixels: Pixels = np.ascontiguousarray(np.asarray(upright, dtype=np.uint8))
    if (levels := _levels(opened)) is not None:
        pixels = levels[pixels]
    return Picture(pixels, longest / max(pixels.shape[:2]))


def _decode_at_reduced_size(opened: Image.Image, longest: int, most: int) -> None:
    """Let the decoder itself leave out what the working size does not need: a half, a quarter, an eighth.

    `most`: halvings that a JPEG 2000 stands; asked for more, its decoder refuses.
    """
    halvings = int(math.log2(longest / WORKING_SIDE)) if longest > WORKING_SIDE else 0
    if halvings and opened.format in ("JPEG", MULTI_PICTURE):
        opened.draft(None, (opened.width >> halvings, opened.height >> halvings))
    elif halvings and opened.format == "JPEG2000":
        opened.reduce = min(halvings, most)  # type: ignore[method-assign,assignment]


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB":
        return image
    if image.mode.startswith("I") or image.mode == "F":  # 16 bits of gray
        wide = np.asarray(image, dtype=np.float32)
        return Image.fromarray(np.clip(wide / 257.0 + 0.5, 0, 255).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        # On white, as viewers show it and as portraits are taken.
        on_white = Image.new("RGBA", image.size, "white")
        on_white.alpha_composite(image.convert("RGBA"))
        return on_white.convert("RGB")
    return image.convert("RGB")


def _levels(opened: Image.Image) -> NDArray[np.uint8] | None:
    """Return what each level of a PNG with another gamma than usual is in sRGB (256,); None: as it is."""
    gamma = opened.info.get("gamma")
    if not isinstance(gamma, float) or gamma <= 0 or "srgb" in opened.info or "icc_profile" in opened.info:
        return None
    exponent = 1 / (_DISPLAY_GAMMA * gamma)
    if abs(exponent - 1) < _SAME_GAMMA:
        return None
    light = np.linspace(0.0, 1.0, 256) ** exponent
    return np.asarray(np.round(255 * light), dtype=np.uint8)


_DISPLAY_GAMMA: Final = 2.2
_SAME_GAMMA: Final = 0.05
"""Difference that viewers ignore too (libpng's PNG_GAMMA_THRESHOLD)."""

_TURNS: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def _turn(opened: Image.Image) -> Image.Transpose | None:
    """Return what turns the picture upright, by EXIF's orientation (1 to 8; else it is upright) or, without, XMP's."""
    try:
        orientation = opened.getexif().get(0x0112)
    except Exception:
        # Damaged metadata does not spoil a picture; a face that lies on its side is refused by what comes next.
        return None
    if orientation is None:
        xmp = opened.info.get("xmp") or opened.info.get("XML:com.adobe.xmp") or b""
        found = _XMP_ORIENTATION.search(xmp if isinstance(xmp, bytes) else str(xmp).encode())
        orientation = int(found[1]) if found else None
    return _TURNS.get(orientation) if isinstance(orientation, int) else None


_XMP_ORIENTATION: Final = re.compile(rb"""tiff:Orientation\s*(?:=\s*["']|>)\s*([1-8])""")
"""Pillow knows the one way to write it only that Adobe's programs have."""


def specimens() -> list[bytes]:
    """Return one small picture of each format, so that a worker can load every decoder before it is locked down."""
    picture = Image.fromarray(np.add.outer(np.arange(64), np.arange(64)).astype(np.uint8)).convert("RGB")
    sideways = Image.Exif()
    sideways[0x0112] = 6
    made: list[bytes] = []
    for kind in FORMATS:
        buffer = io.BytesIO()
        picture.save(buffer, kind, exif=sideways.tobytes())
        made.append(buffer.getvalue())
    return [*made, b"no picture"]
