"""What a picture's first bytes say that decoders don't say, or say wrongly. Pure: bytes in, a Defect or None out.

Named here is what is not read, so that nobody takes it for damaged, and refused what a decoder gets wrong in silence.
"""

import re
import struct
from collections.abc import Iterator
from typing import Final

from shared.biometrics import Defect, RetakeReason

READ: Final = "JPEG, PNG, WebP or JPEG 2000"

SCANS: Final = 32
"""Most scans of a JPEG. Progressive ones have 10 (libjpeg), optimised ones a few more; each may be 20 bytes and costs
up to 33 ms at 25 million pixels, so that 100 kB could keep a worker busy for minutes."""

_FOREIGN: Final = (
    (rb"GIF8[79]a", "GIF"),
    (rb"BM....\0\0\0\0", "BMP"),
    (rb"II\xbc", "JPEG XR"),
    (rb"II[*+]\0|MM\0[*+]", "TIFF or camera raw"),
    (rb"\xff\x0a|\0\0\0\x0cJXL ", "JPEG XL"),
    (rb"....ftyp(?:avif|avis)", "AVIF"),
    (rb"....ftyp(?:hei[cxms]|hev[cxms]|mif1|msf1)", "HEIC"),
    (rb"....ftyp", "video"),
    (rb"\xff\x4f\xff\x50", "JPEG 2000 of another part"),
    (rb"%PDF", "PDF"),
    (rb"8BPS", "Photoshop"),
    (rb"%!PS|\xc5\xd0\xd3\xc6", "PostScript"),
    (rb"\0\0[\1\2]\0.\0", "icon"),
    (rb"P[1-7][\s#]", "PNM"),
    (rb"DDS |qoif|FLIF|\x8aMNG|\x8bJNG|SIMPLE  =|BPG\xfb|FUJIFILM", "picture of a rare format"),
    (rb"PK\x03\x04|\x1f\x8b|7z\xbc\xaf|Rar!", "archive"),
    (rb"(?i)(?:\xef\xbb\xbf)?\s*(?:<\?xml[^>]{0,200}>\s*)?(?:<!--.{0,200}-->\s*)?<svg", "SVG"),
    (rb"(?i)(?:\xef\xbb\xbf)?\s*<(?:!doctype html|html|head|body)", "web page"),
)
"""How formats begin that people send, and what they are called. `....` is a length."""
_FOREIGN_BEGINNING: Final = tuple((re.compile(pattern, re.DOTALL), name) for pattern, name in _FOREIGN)

_JPEG: Final = b"\xff\xd8\xff"
_CODE_STREAM: Final = b"\xff\x4f\xff\x51"
_JP2: Final = b"\x00\x00\x00\x0cjP  "


def objection(image: bytes) -> Defect | None:
    """Say why a picture is not even handed to a decoder."""
    if image.startswith(_JPEG):
        return _jpeg(image)
    if image.startswith((_CODE_STREAM, _JP2)):
        return _jpeg2000(image)
    if image.startswith(b"RIFF") and image[8:12] == b"WEBP":
        return _webp(image)
    for beginning, name in _FOREIGN_BEGINNING:
        if beginning.match(image):
            return not_read(f"{name[0].upper()}{name[1:]}")
    return None


def not_read(what: str, instead: str = f"save the picture as {READ}") -> Defect:
    """Say that a format is not read, and what to do."""
    return Defect(RetakeReason.UNSUPPORTED_FORMAT, f"{what} is not read: {instead}.")


# ---- JPEG


_MARKER: Final = re.compile(rb"\xff[^\x00\x01\xff\xd0-\xd8]")
"""Not those without a segment: an escaped byte of a scan's data, TEM, a restart, SOI."""
_FRAMES: Final = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC} | {0xF7}
_USUAL: Final = {0xC0, 0xC1, 0xC2}
"""Baseline, extended and progressive, each with Huffman's code: what cameras and programs write."""
_RARE: Final = {
    **dict.fromkeys((0xC3, 0xCB), "Lossless JPEG"),
    **dict.fromkeys((0xC5, 0xC6, 0xC7, 0xCD, 0xCE, 0xCF), "Hierarchical JPEG"),
    **dict.fromkeys((0xC9, 0xCA), "Arithmetic-coded JPEG"),
    0xF7: "JPEG-LS",
}
_SCAN: Final = 0xDA
_END: Final = 0xD9


def _jpeg(image: bytes) -> Defect | None:
    scans, usual = 0, "save the picture as baseline JPEG"
    for marker, segment in _segments(image):
        scans += marker == _SCAN
        if marker not in _FRAMES or scans:
            continue
        if marker not in _USUAL:
            return not_read(_RARE[marker], usual)
        if segment[:1] and (bits := segment[0]) != 8:
            return not_read(f"{bits}-bit JPEG", "save the picture as 8-bit JPEG")
    if scans <= SCANS:
        return None
    return Defect(
        RetakeReason.TOO_COSTLY,
        f"The picture is a JPEG of {scans} scans; at most {SCANS} are taken. Save it again, not as progressive.",
        float(scans),
        float(SCANS),
    )


def _segments(jpeg: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the markers of a JPEG's first picture, as its decoder finds them, and what the first bytes after each say.

    A segment begins with its length, so that nothing inside (a thumbnail, say) is taken for a marker.
    """
    at = 2
    while (found := _MARKER.search(jpeg, at)) is not None and (marker := jpeg[found.start() + 1]) != _END:
        yield marker, jpeg[found.end() + 2 : found.end() + 8]
        at = found.end() + int.from_bytes(jpeg[found.end() : found.end() + 2])


# ---- JPEG 2000


_SIZE: Final = struct.Struct(">8IH")
_SUBSAMPLED: Final = (
    "JPEG 2000 whose colours have fewer pixels than its size divides into",
    "save the picture with colours at full resolution (4:4:4), or as JPEG",
)


_COLOUR_SPACES: Final = {None, 0, 12, 15, 16, 17, 18}
"""By ISO/IEC 15444-1's and -2's numbers: black and white, CMYK, again, sRGB, grey, sYCC; None: not told by a number.
Others (CIELab is 14) are shown as if they were sRGB."""


def _colour_space(boxes: bytes) -> int | None:
    at = boxes.find(b"colr")
    enumerated = at >= 0 and boxes[at + 4 : at + 5] == b"\x01"
    return int.from_bytes(boxes[at + 7 : at + 11]) if enumerated else None


def _jpeg2000(image: bytes) -> Defect | None:
    """Refuse subsampled components that OpenJPEG's callers read with a wrong row length: every row is shifted.

    Pillow and others take a component of 101 columns, half of 201, for one of 100. Where everything divides, they are
    right.
    """
    at = image.find(_CODE_STREAM)
    if (space := _colour_space(image[: max(at, 0)])) not in _COLOUR_SPACES:
        return not_read(f"JPEG 2000 in colour space {space}", "save the picture in sRGB")
    if at < 0 or len(image) < at + 8 + _SIZE.size:
        return None  # cut short; the decoder says so
    *lengths, count = _SIZE.unpack_from(image, at + 8)
    components = image[at + 8 + _SIZE.size : at + 8 + _SIZE.size + 3 * count]
    steps = [(components[n + 1], components[n + 2]) for n in range(0, len(components) - 2, 3)]
    if any(dx > 1 and any(n % dx for n in lengths[0::2]) for dx, _ in steps) or any(
        dy > 1 and any(n % dy for n in lengths[1::2]) for _, dy in steps
    ):
        return not_read(*_SUBSAMPLED)
    return None


def is_subsampled(image: bytes) -> bool:
    """Tell whether a JPEG 2000's components have fewer pixels than the picture: then it must not be reduced."""
    at = image.find(_CODE_STREAM)
    if at < 0 or len(image) < at + 8 + _SIZE.size:
        return False
    count = _SIZE.unpack_from(image, at + 8)[-1]
    components = image[at + 8 + _SIZE.size : at + 8 + _SIZE.size + 3 * count]
    return any(step > 1 for n, step in enumerate(components) if n % 3)


_STYLE: Final = b"\xff\x52"
"""COD (ISO/IEC 15444-1, A.6.1), which says how the picture is coded; of the main header's markers, all have a
length."""


def halvings(image: bytes) -> int:
    """Return how often a JPEG 2000 can be decoded at half its size: 0 where its header does not say."""
    at = image.find(_CODE_STREAM) + 2
    while at >= 2 and image[at : at + 1] == b"\xff" and image[at : at + 2] != b"\xff\x90":  # SOT: the first tile
        if image[at : at + 2] == _STYLE:
            return int.from_bytes(image[at + 9 : at + 10])
        at += 2 + max(2, int.from_bytes(image[at + 2 : at + 4]))
    return 0


# ---- WebP


ZEROS: Final = 10
"""Of a WebP's picture, one byte in so many may be a zero at its end: one of a single colour has one in 18, faces before
a flat ground 38 bytes at most."""


def _webp(image: bytes) -> Defect | None:
    """Refuse a picture whose end is zeros: of all formats, only WebP's decoder makes a half face of that, silently.

    A program that copies to a share first makes the file as long as it will be.
    """
    at = 12
    while len(image) >= at + 8:
        length = int.from_bytes(image[at + 4 : at + 8], "little")
        if image[at : at + 4] in (b"VP8 ", b"VP8L"):
            data = image[at + 8 : at + 8 + length]
            zeros = len(data) - len(data.rstrip(b"\0"))
            if zeros * ZEROS <= len(data):
                return None
            return Defect(
                RetakeReason.UNDECODABLE,
                f"The picture is not whole: of its {len(data)} bytes, the last {zeros} are zeros. Send it again once "
                "it is copied, or take a new one.",
                float(zeros),
                float(len(data) // ZEROS),
            )
        at += 8 + length + length % 2
    return None
