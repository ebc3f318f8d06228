"""What is not read is named, never called damaged; what a decoder would get wrong in silence is refused or right."""

import base64
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from services.enroll.decoding import Picture, decode
from services.enroll.headers import halvings
from shared.biometrics import Defect, RetakeReason
from tests.unit.enroll.making import PIXELS, encoded, hopper


def advice(image: bytes) -> str:
    """Return what is said of a format that is not read."""
    found = decode(image, PIXELS)
    assert isinstance(found, Defect)
    assert found.reason is RetakeReason.UNSUPPORTED_FORMAT, found.advice
    assert "damaged" not in found.advice
    return found.advice


def pixels(image: bytes) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]":
    found = decode(image, PIXELS)
    assert isinstance(found, Picture)
    return found.pixels


# ---- formats that are not read


def jpeg(marker: int = 0xC0, bits: int = 8) -> bytes:
    """A JPEG whose frame says that it is coded in another way, or has so many bits."""
    changed = bytearray(encoded(hopper(), "JPEG"))
    at = changed.index(b"\xff\xc0")
    changed[at + 1], changed[at + 4] = marker, bits
    return bytes(changed)


RARE_JPEGS = {
    (0xC1, 12): "12-bit JPEG is not read: save the picture as 8-bit JPEG.",
    (0xC2, 12): "12-bit JPEG is not read: save the picture as 8-bit JPEG.",
    (0xC3, 8): "Lossless JPEG is not read: save the picture as baseline JPEG.",
    (0xC3, 16): "Lossless JPEG is not read: save the picture as baseline JPEG.",
    (0xC5, 8): "Hierarchical JPEG is not read: save the picture as baseline JPEG.",
    (0xC9, 8): "Arithmetic-coded JPEG is not read: save the picture as baseline JPEG.",
    (0xCA, 8): "Arithmetic-coded JPEG is not read: save the picture as baseline JPEG.",
    (0xCB, 8): "Lossless JPEG is not read: save the picture as baseline JPEG.",
    (0xF7, 8): "JPEG-LS is not read: save the picture as baseline JPEG.",
}


@pytest.mark.parametrize(("marker", "bits"), RARE_JPEGS)
def test_a_jpeg_that_is_coded_in_a_rare_way_is_named(marker: int, bits: int) -> None:
    assert advice(jpeg(marker, bits)) == RARE_JPEGS[marker, bits]


def test_a_thumbnail_that_is_coded_in_a_rare_way_does_not_matter() -> None:
    whole, thumbnail = encoded(hopper(), "JPEG"), jpeg(0xC3)[:600]
    segment = b"\xff\xe1" + struct.pack(">H", len(thumbnail) + 2) + thumbnail
    assert np.array_equal(pixels(whole[:2] + segment + whole[2:]), pixels(whole))


@pytest.mark.parametrize("kept", [3, 4, 5, 20, 100, 160, 163, 165])
def test_a_jpeg_cut_short_in_its_header_is_cut_short(kept: int) -> None:
    found = decode(encoded(hopper(), "JPEG")[:kept], PIXELS)
    assert isinstance(found, Defect)
    assert found.reason is RetakeReason.UNDECODABLE


FOREIGN = {
    "GIF": encoded(hopper(), "GIF"),
    "BMP": encoded(hopper(), "BMP"),
    "TIFF or camera raw": encoded(hopper(), "TIFF"),
    "JPEG XL": b"\xff\x0a\xfa\x7f",
    "JPEG XR": b"II\xbc\x01\x08\0\0\0",
    "HEIC": b"\0\0\0\x24ftypheic\0\0\0\0mif1heic",
    "AVIF": b"\0\0\0\x20ftypavif\0\0\0\0avifmif1",
    "Video": b"\0\0\0\x20ftypisom\0\0\x02\0",
    "PDF": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n",
    "SVG": b'<?xml version="1.0"?>\n<!-- made by hand -->\n<svg xmlns="http://www.w3.org/2000/svg"/>',
    "Web page": b"<!DOCTYPE html><html><body>404 Not Found</body></html>",
    "Photoshop": b"8BPS\0\1",
    "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n",
    "PNM": encoded(hopper(), "PPM"),
    "Archive": b"PK\x03\x04\x14\0",
    "Icon": encoded(hopper().resize((32, 32)), "ICO"),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_another_format_is_named(name: str) -> None:
    assert advice(FOREIGN[name]) == f"{name} is not read: save the picture as JPEG, PNG, WebP or JPEG 2000."


def test_the_container_of_jpeg_xl_is_no_damaged_jpeg_2000() -> None:
    assert "JPEG XL is not read" in advice(b"\0\0\0\x0cJXL \r\n\x87\n\0\0\0\x14ftypjxl ")


def test_what_nobody_knows_is_no_picture() -> None:
    assert advice(b"Hello, I am a picture. Honestly.") == (
        "This is no JPEG, PNG, WebP or JPEG 2000 picture. Send one of these."
    )


# ---- JPEG 2000 with fewer pixels of colour than of light


EVEN = base64.b64decode(
    "AAAADGpQICANCocKAAAAFGZ0eXBqcDIgAAAAAGpwMiAAAAAtanAyaAAAABZpaGRyAAAADAAAABAAAwcHAAAAAAAPY29scgEAAAAAABIAAAEqanAyY/9P"
    "/1EALwAAAAAAEAAAAAwAAAAAAAAAAAAAABAAAAAMAAAAAAAAAAAAAwcBAQcCAgcCAv9SAAwAAAABAAAEBAAB/1wABEBA/2QAJQABQ3JlYXRlZCBieSBP"
    "cGVuSlBFRyB2ZXJzaW9uIDIuNS4w/5AACgAAAAAAsgAB/5PPtewRUEJD58KLNKt1b2YQtJcScgOfMurw1XnZmzvsK4ArcAsVM22DsAsVM3V3Ul1RbI/O"
    "CyNtsDTBAb2NttgaYIDextqxkNdH2vbKyuE7Diuk7hEvpOw4rpOyRN6Tld5vm+cUbODYbDYbDYiZEm6+b5vm+b/tYQrbsWRL/3/H1CIRUFSIhqsAAAYS"
    "Es3cgAYSD8fUHhQAXK7l8wAABhIMCc4SEv/Z"
)
"""16 x 12 pixels, from dark to bright, in one colour that has 8 x 6: made by opj_compress (OpenJPEG 2.5)."""
ODD = base64.b64decode(
    "AAAADGpQICANCocKAAAAFGZ0eXBqcDIgAAAAAGpwMiAAAAAtanAyaAAAABZpaGRyAAAADAAAAA8AAwcHAAAAAAAPY29scgEAAAAAABIAAAE9anAyY/9P"
    "/1EALwAAAAAADwAAAAwAAAAAAAAAAAAAAA8AAAAMAAAAAAAAAAAAAwcBAQcCAgcCAv9SAAwAAAABAAAEBAAB/1wABEBA/2QAJQABQ3JlYXRlZCBieSBP"
    "cGVuSlBFRyB2ZXJzaW9uIDIuNS4w/5AACgAAAAAAxQAB/5PPtoIRUCOuGwPfv6GQoPQSrzXn3mvc+gTUOhKl6Biwv0Ac8aiGBp3VZ0EX5v2Cs8w4KH3V"
    "PoA3lw+6p9AG8esyN/VWthLMRmz5IHKaEZs+SADbiKEZE3ScryOraXVtLq2NxHVtLq2l1bG4jq2l4cNhsZuUGxBqYbr/dogK3OVx3X/awhW334CodRlU"
    "Kin4OmA0gAADCQMZv5X6JYSD34C4dRlRXpqksfyX70QMGFEAADCQMWyFBYX/2Q=="
)
"""The same with 15 x 12 pixels; the colour has 8 x 6, and Pillow takes them for 7 x 6."""


def with_steps(jp2: bytes, dx: int, dy: int) -> bytes:
    """Say that a JPEG 2000's second and third components have every `dx`-th column and every `dy`-th row only."""
    changed = bytearray(jp2)
    at = changed.index(b"\xff\x4f\xff\x51") + 42
    changed[at + 4 : at + 6] = changed[at + 7 : at + 9] = bytes((dx, dy))
    return bytes(changed)


def test_colours_of_half_the_columns_and_rows_are_right_where_everything_divides() -> None:
    light = np.tile(np.linspace(20, 230, 16), (12, 1)).round()
    wanted = Image.merge("YCbCr", [Image.fromarray(np.full((12, 16), n, np.uint8)) for n in (0, 90, 180)])
    wanted.putdata([(round(y), 90, 180) for y in light.ravel()])
    assert np.abs(pixels(EVEN).astype(int) - np.asarray(wanted.convert("RGB"))).max() <= 3


def test_colours_of_half_the_columns_of_an_odd_width_would_be_sheared_and_are_refused() -> None:
    assert "save the picture with colours at full resolution (4:4:4), or as JPEG" in advice(ODD)


@pytest.mark.parametrize(
    ("size", "steps", "refused"),
    [
        ((64, 48), (2, 1), False),
        ((63, 48), (2, 1), True),
        ((64, 47), (2, 1), False),
        ((64, 47), (2, 2), True),
        ((63, 48), (1, 2), False),
        ((63, 47), (1, 2), True),
        ((66, 48), (4, 1), True),
        ((63, 47), (1, 1), False),
    ],
)
@pytest.mark.parametrize("no_jp2", [False, True], ids=["file", "code stream"])
def test_whether_subsampled_colours_divide_is_read_from_the_header(
    size: tuple[int, int], steps: tuple[int, int], refused: bool, no_jp2: bool
) -> None:
    jp2 = with_steps(encoded(hopper().resize(size), "JPEG2000", no_jp2=no_jp2), *steps)
    found = decode(jp2, PIXELS)
    # Where it is not refused at sight, the decoder sees that the header lies.
    assert (isinstance(found, Defect) and found.reason is RetakeReason.UNSUPPORTED_FORMAT) == refused


def test_a_colour_space_that_would_be_shown_as_srgb_is_refused() -> None:
    changed = bytearray(encoded(hopper().resize((64, 48)), "JPEG2000"))
    at = changed.index(b"colr")
    changed[at + 10] = 14
    assert "JPEG 2000 in colour space 14 is not read" in advice(bytes(changed))


# ---- the same pixels, whatever way they are written


def png(width: int, height: int, bits: int, kind: int, rows: list[bytes], *more: tuple[bytes, bytes]) -> bytes:
    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    data = zlib.compress(b"".join(b"\0" + row for row in rows))
    header = struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0)
    middle = b"".join(chunk(name, body) for name, body in more)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + middle + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_gray_of_any_number_of_bits_reaches_from_black_to_white(bits: int) -> None:
    levels = 2**bits - 1
    values = [0, levels, levels // 3, levels - levels // 3, 0, levels, 0, 0]
    row = int("".join(f"{value:0{bits}b}" for value in values), 2).to_bytes(bits)
    found = pixels(png(8, 1, bits, 0, [row]))[0]
    assert np.abs(found.astype(int) - np.array(values)[:, None] * 255 // levels).max() <= 1


def test_colours_of_16_bits_are_their_upper_8() -> None:
    row = struct.pack(">6H", 65535, 32896, 0, 257, 514, 65535)
    assert np.abs(pixels(png(2, 1, 16, 2, [row]))[0].astype(int) - [[255, 128, 0], [1, 2, 255]]).max() <= 1


def test_a_palette_with_transparent_entries_lies_on_white() -> None:
    palette = (b"PLTE", bytes((255, 0, 0, 0, 0, 255, 0, 0, 0))), (b"tRNS", bytes((255, 128, 0)))
    found = pixels(png(3, 1, 8, 3, [bytes((0, 1, 2))], *palette))[0]
    assert np.abs(found.astype(int) - [[255, 0, 0], [127, 127, 255], [255, 255, 255]]).max() <= 1


def test_a_colour_that_stands_for_transparent_is_white() -> None:
    assert pixels(png(2, 1, 8, 0, [bytes((7, 90))], (b"tRNS", b"\0\7")))[0].tolist() == [[255] * 3, [90] * 3]


@pytest.mark.parametrize(("gamma", "level"), [(45455, 128), (100000, 186), (45000, 128)])
def test_a_picture_of_another_gamma_is_as_bright_as_viewers_show_it(gamma: int, level: int) -> None:
    gray = png(1, 1, 8, 0, [bytes((128,))], (b"gAMA", struct.pack(">I", gamma)))
    assert abs(int(pixels(gray)[0, 0, 0]) - level) <= 1


@pytest.mark.parametrize("sampling", ["4:4:4", "4:2:2", "4:2:0"])
@pytest.mark.parametrize("size", [(64, 48), (63, 48), (64, 47), (63, 47), (17, 31)])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_of_any_size_and_sampling_is_as_it_was(sampling: str, size: tuple[int, int], progressive: bool) -> None:
    small = hopper().resize(size)
    jpeg = encoded(small, "JPEG", quality=97, subsampling=sampling, progressive=progressive)
    assert np.abs(pixels(jpeg).astype(int) - np.asarray(small)).mean() < 6


@pytest.mark.parametrize("kind", ["JPEG", "JPEG2000"])
def test_cmyk_is_no_negative(kind: str) -> None:
    small = hopper().resize((64, 48))
    assert np.abs(pixels(encoded(small.convert("CMYK"), kind)).astype(int) - np.asarray(small)).mean() < 6


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_half_transparent_pixels_are_halfway_to_white(kind: str) -> None:
    glass = Image.new("RGBA", (16, 16), (200, 100, 0, 128))
    found = pixels(encoded(glass, kind, lossless=True))
    assert np.abs(found.astype(int) - [227, 177, 127]).max() <= 2


def test_an_interlaced_png_is_as_it_was() -> None:
    # Adam7 of 1 x 1 pixels has the first pass only; of 2 x 1, the first and the sixth.
    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", 2, 1, 8, 0, 0, 0, 1)
    data = chunk(b"IDAT", zlib.compress(b"\0\x10\0\xe0"))
    found = pixels(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + data + chunk(b"IEND", b""))
    assert found[0].tolist() == [[16] * 3, [224] * 3]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize(
    "said",
    [
        b'<rdf:Description tiff:Orientation="6"/>',
        b"<rdf:Description tiff:Orientation = '6'/>",
        b"<rdf:Description><tiff:Orientation> 6 </tiff:Orientation></rdf:Description>",
    ],
)
def test_an_orientation_that_stands_in_xmp_only_counts(kind: str, said: bytes) -> None:
    small, xmp = hopper().resize((64, 48)), b'<x:xmpmeta xmlns:x="adobe:ns:meta/">' + said + b"</x:xmpmeta>"
    text = PngImagePlugin.PngInfo()
    text.add_itxt("XML:com.adobe.xmp", xmp.decode())
    options = {"pnginfo": text} if kind == "PNG" else {"xmp": xmp}
    assert pixels(encoded(small, kind, **options)).shape == (64, 48, 3)
    exif = Image.Exif()
    exif[0x0112] = 1
    assert pixels(encoded(small, kind, exif=exif.tobytes(), **options)).shape == (48, 64, 3), "EXIF goes before it"


@pytest.mark.parametrize("cut", [0, 4, 60, 95, 100, 105])
def test_of_a_jpeg2000_header_that_is_cut_short_no_halvings_are_read(cut: int) -> None:
    stream = encoded(hopper().resize((64, 48)), "JPEG2000", no_jp2=True)
    style = stream.index(b"\xff\x52")
    assert halvings(stream) == 5
    assert halvings(stream[: min(cut, style + 9)]) == 0
    assert halvings(stream[:style] + b"\xff\x90" + stream[style:]) == 0  # a tile's own says nothing of the others
    assert halvings(stream[: style - 2] + b"\xff\xff\0\0" * 1000) == 0


@pytest.mark.parametrize("lossless", [False, True])
@pytest.mark.parametrize("exif", [b"", b"Exif\0\0" + bytes(20_000)], ids=["plain", "with metadata of zeros"])
@pytest.mark.parametrize("written", [0.2, 0.5, 0.85])
def test_a_webp_that_is_still_being_copied_is_no_half_face(lossless: bool, exif: bytes, written: float) -> None:
    whole = encoded(hopper(), "WEBP", lossless=lossless, exif=exif)
    assert isinstance(decode(whole, PIXELS), Picture)
    end = len(whole) - len(exif)
    found = decode(whole[: int(end * written)].ljust(len(whole), b"\0"), PIXELS)
    assert isinstance(found, Defect)
    assert found.reason is RetakeReason.UNDECODABLE
    assert found.measured is not None
    assert found.limit is not None
    assert found.measured > found.limit


@pytest.mark.parametrize("colour", ["white", "black", "grey"])
def test_a_webp_of_one_colour_is_whole(colour: str) -> None:
    assert isinstance(decode(encoded(Image.new("RGB", (1000, 1000), colour), "WEBP"), PIXELS), Picture)
