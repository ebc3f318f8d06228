"""A model ready for use: it finds the faces of a picture, and makes of one of them its template.

What changes a template, here or in the modules that this stands on, must raise `shared.model.PIPELINE`.
"""

from collections.abc import Sequence

import numpy as np

from services.enroll import faces, landmarks
from services.enroll.alignment import Picture, align, mirrored
from services.enroll.faces import Effort, Face
from services.enroll.landmarks import YuNet
from services.enroll.networks import Network
from shared.biometrics import Template, Vector
from shared.model import DlibLandmarks, DlibNetwork, Model


class Extractor:
    """One model's detector and networks, loaded. Needs no file once it is made. For one thread."""

    def __init__(self, model: Model) -> None:
        """Load everything, from bytes whose digests are right. Raises ModelRefused."""
        self.model = model
        manifest = model.manifest
        self._mirrored = manifest.mirrored
        self._concatenated = "concatenated" in manifest.recipe
        self._yunet: YuNet | None = None
        if isinstance(manifest.landmarks, DlibLandmarks):
            faces.check(manifest.landmarks)
        else:
            self._yunet = YuNet(model.folder, manifest.landmarks)
        self._networks: list[Network | None] = []
        """None: dlib's, which face_recognition has."""
        for network in manifest.networks:
            if isinstance(network, DlibNetwork):
                faces.check(network)
                self._networks.append(None)
            else:
                self._networks.append(Network(model.folder, network))

    @property
    def sure(self) -> float:
        return landmarks.SURE if self._yunet else faces.SURE

    @property
    def level(self) -> float:
        return landmarks.LEVEL if self._yunet else faces.LEVEL

    @property
    def clear(self) -> float:
        return landmarks.CLEAR if self._yunet else faces.CLEAR

    @property
    def smallest(self) -> float:
        return landmarks.SMALLEST if self._yunet else faces.SMALLEST

    def find(self, pixels: Picture, effort: Effort = Effort.USUAL) -> list[Face]:
        """Return the faces of an RGB picture, largest first."""
        return self._yunet.find(pixels, effort) if self._yunet else faces.find(pixels, effort)

    def template(self, pixels: Picture, face: Face) -> Template:
        """Turn a face into its template."""
        parts = [self._part(network, pixels, face) for network in self._networks]
        weights = [network.weight for network in self.model.manifest.networks]
        return Template(self.model.id, joined(parts, weights) if self._concatenated else parts[0])

    def _part(self, network: Network | None, pixels: Picture, face: Face) -> Vector:
        """Return one network's template of a face (d,)."""
        if network is None:
            seen = [faces.encode(pixels, face)]
            if self._mirrored:
                seen.append(faces.encode_mirrored(pixels, face))
        else:
            wanted = network.declared
            chip = align(pixels, face.landmarks, np.array(wanted.points), wanted.width, wanted.height)
            seen = [network.template(chip)]
            if self._mirrored:
                seen.append(network.template(mirrored(chip)))
        return seen[0] if len(seen) == 1 else (seen[0] + seen[1]) / np.float32(2)


def joined(parts: Sequence[Vector], weights: Sequence[float]) -> Vector:
    """Put templates one after the other, each with its share of the squared length, 1 in all."""
    total = sum(weights)
    scaled: list[Vector] = []
    for part, weight in zip(parts, weights, strict=True):
        length = float(np.linalg.norm(part.astype(np.float64)))
        scaled.append((part * (np.sqrt(weight / total) / (length or 1.0))).astype(np.float32))
    return np.concatenate(scaled)
