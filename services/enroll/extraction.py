"""One sample from bytes to template: decode, find the face, measure it, and only then extract. Runs in a worker."""

import numpy as np

from services.enroll import decoding, faces
from services.enroll.extractor import Extractor
from services.enroll.faces import Face
from services.enroll.looking import look
from services.enroll.quality import Extracted, Frame, Limits, judge, measure, refused
from shared.biometrics import Defect, Quality, Template
from shared.model import ModelRefused


def extract(image: bytes, extractor: Extractor, pixel_limit: int, limits: Limits) -> Extracted:
    """Return the template of the one dominant face in a picture, or what is wrong with the picture."""
    return describe(decoding.decode(image, pixel_limit), extractor, limits)


def describe(picture: decoding.Picture | Defect, extractor: Extractor, limits: Limits) -> Extracted:
    """Go on from what decoding gave."""
    if not isinstance(picture, decoding.Picture):
        return refused(picture)
    found = look(picture.pixels, extractor)
    if isinstance(found, Defect):
        return refused(found)
    quality = _examine(picture, found, limits)
    return Extracted(None if quality.defects else extractor.template(picture.pixels, found[0]), quality)


def _examine(picture: decoding.Picture, found: list[Face], limits: Limits) -> Quality:
    face, pixels = found[0], picture.pixels
    frame = Frame(face.left, face.top, face.right, face.bottom, pixels.shape[1], pixels.shape[0])
    widths = [other.width for other in found]
    return judge(measure(frame, face.points, faces.chip(pixels, face), widths, picture.scale), limits)


def rehearse(extractor: Extractor, limits: Limits) -> Template:
    """Go through all that is done with a face, without one, so that nothing is left to be loaded later.

    Raises ModelRefused where no template comes of it.
    """
    picture = decoding.Picture(np.full((300, 300, 3), 128, dtype=np.uint8), 1.0)
    face = faces.anywhere(picture.pixels)
    extractor.find(picture.pixels)
    _examine(picture, [face, face], limits)
    template, model = extractor.template(picture.pixels, face), extractor.model
    if template.vector.size != model.manifest.dimension or not bool(np.isfinite(template.vector).all()):
        raise ModelRefused(f"model {model.name}: a rehearsal gave no template of {model.manifest.dimension} numbers")
    return template
