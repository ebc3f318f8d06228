"""YuNet: which faces it finds, where, and that they look to the rest as if dlib had found them."""

import hashlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from services.enroll import faces
from services.enroll.faces import Face
from services.enroll.landmarks import YuNet
from shared.model import ModelRefused, YunetLandmarks
from tests.models import EDGEFACE, GIVEN, YUNET, given, sha256
from tests.unit.enroll import onnx_bytes
from tests.unit.enroll.making import hopper

Picture = NDArray[np.uint8]


def declared(file: str, height: int = 160) -> YunetLandmarks:
    return YunetLandmarks(detector="yunet", file=file, sha256=sha256(file), height=height)


@pytest.fixture(scope="module")
def yunet() -> YuNet:
    given(YUNET)
    return YuNet(GIVEN, declared(YUNET))


def pixels(image: Image.Image) -> Picture:
    return np.asarray(image.convert("RGB"), dtype=np.uint8)


def beside(*widths: int, canvas: tuple[int, int] = (1600, 800)) -> Picture:
    """Portraits of these widths on gray, side by side."""
    picture, left = Image.new("RGB", canvas, "gray"), 10
    for width in widths:
        picture.paste(
            hopper().resize((width, round(width * hopper().height / hopper().width)), Image.Resampling.LANCZOS),
            (left, 10),
        )
        left += width + 10
    return pixels(picture).copy()


def overlap(a: Face, b: Face) -> float:
    across = min(a.right, b.right) - max(a.left, b.left)
    down = min(a.bottom, b.bottom) - max(a.top, b.top)
    return across * down / (a.width**2 + b.width**2 - across * down)


def test_a_face_has_the_rectangle_and_the_points_that_dlib_gives_it(yunet: YuNet) -> None:
    picture = pixels(hopper())
    (by_yunet,), (by_dlib,) = yunet.find(picture), faces.find(picture)
    assert overlap(by_yunet, by_dlib) > 0.7
    assert by_yunet.points == pytest.approx(by_dlib.points, abs=0.05 * by_dlib.width)


def test_the_landmarks_are_the_eye_at_the_left_the_one_at_the_right_nose_and_mouth_in_that_order(yunet: YuNet) -> None:
    (face,) = yunet.find(pixels(hopper()))
    left, right, nose, mouth_left, mouth_right = face.landmarks
    dlib_right, dlib_left, dlib_nose = face.points[0:2].mean(axis=0), face.points[2:4].mean(axis=0), face.points[4]
    for found, wanted in ((left, dlib_left), (right, dlib_right), (nose, dlib_nose)):
        assert found == pytest.approx(wanted, abs=0.15 * face.width)
    assert mouth_left[0] < nose[0] < mouth_right[0]
    assert min(mouth_left[1], mouth_right[1]) > nose[1] > max(left[1], right[1])


@pytest.mark.parametrize("size", [(128, 150), (1024, 1200), (1600, 1875)])
def test_a_face_is_where_it_is_in_the_picture_as_sent(yunet: YuNet, size: tuple[int, int]) -> None:
    (reference,) = yunet.find(pixels(hopper()))
    (face,) = yunet.find(pixels(hopper().resize(size, Image.Resampling.LANCZOS)))
    scale = np.array(size) / hopper().size
    assert face.landmarks == pytest.approx(reference.landmarks * scale, abs=0.06 * face.width)


def test_faces_come_largest_first_not_surest_first(yunet: YuNet) -> None:
    picture = beside(300, 400)
    tilted = hopper().rotate(28, Image.Resampling.BICUBIC).resize((500, 586), Image.Resampling.LANCZOS)
    picture[:586, 1100:1600] = pixels(tilted)
    found = yunet.find(picture)
    assert [face.left > 1100 for face in found] == [True, False, False]
    assert found[0].confidence < found[1].confidence
    assert [face.width for face in found] == sorted((face.width for face in found), reverse=True)


def test_the_detector_sees_the_colours_that_it_was_trained_on(yunet: YuNet) -> None:
    picture = (pixels(hopper()) * np.array([1.0, 0.6, 0.2])).astype(np.uint8)
    small = cv2.resize(picture, (round(160 * picture.shape[1] / picture.shape[0]), 160), interpolation=cv2.INTER_AREA)
    detector = cv2.FaceDetectorYN.create(str(GIVEN / YUNET), "", (small.shape[1], 160), 0.85)
    _, rows = detector.detect(cv2.cvtColor(small, cv2.COLOR_RGB2BGR))
    (face,) = yunet.find(picture)
    assert face.confidence == pytest.approx(float(np.asarray(rows)[0, 14]), abs=1e-6)


def test_a_small_face_is_found_by_a_finer_search(yunet: YuNet) -> None:
    # 13 pixels across when 160 rows are searched, 52 when 640 are.
    (face,) = yunet.find(beside(200, canvas=(1600, 1000)))
    assert 60 < face.width < 100
    (reference,) = yunet.find(pixels(hopper()))
    assert face.landmarks == pytest.approx(10 + reference.landmarks * 200 / hopper().width, abs=0.06 * face.width)


def test_no_finer_search_follows_a_large_face(yunet: YuNet, monkeypatch: pytest.MonkeyPatch) -> None:
    ratios: list[float] = []
    search = YuNet._search  # pyright: ignore[reportPrivateUsage]

    def noted(self: YuNet, picture: Picture, ratio: float) -> NDArray[np.float64]:
        ratios.append(ratio)
        return search(self, picture, ratio)

    monkeypatch.setattr(YuNet, "_search", noted)
    yunet.find(pixels(hopper()))
    assert ratios == [160 / hopper().height]
    ratios.clear()
    yunet.find(np.full((100, 80, 3), 128, dtype=np.uint8))
    assert ratios == [1.6, 2.0], "never enlarged by more than two"


@pytest.mark.parametrize("shape", [(1, 1), (1, 1600), (1600, 1), (31, 33), (1200, 1600)])
def test_a_picture_of_any_shape_without_a_face_has_none(yunet: YuNet, shape: tuple[int, int]) -> None:
    noise = np.random.default_rng(3).integers(0, 255, (*shape, 3), dtype=np.uint8)
    assert yunet.find(noise) == []


def test_the_same_picture_gives_the_same_faces_whatever_was_searched_before(yunet: YuNet) -> None:
    picture = beside(300, 500)
    first = yunet.find(picture)
    yunet.find(pixels(hopper()))
    again = yunet.find(picture)
    assert [f.landmarks.tolist() for f in again] == [f.landmarks.tolist() for f in first]


def test_a_network_that_is_no_yunet_is_refused(tmp_path: Path) -> None:
    given(EDGEFACE)
    with pytest.raises(ModelRefused, match=rf"{EDGEFACE}: OpenCV does not run it as YuNet"):
        YuNet(GIVEN, declared(EDGEFACE))
    small = onnx_bytes.network()
    (tmp_path / "small.onnx").write_bytes(small)
    digest = hashlib.sha256(small).hexdigest()
    with pytest.raises(ModelRefused, match=r"small\.onnx: OpenCV does not run it as YuNet"):
        YuNet(tmp_path, YunetLandmarks(detector="yunet", file="small.onnx", sha256=digest))


def test_a_detector_that_asks_for_other_files_is_refused_before_opencv_sees_it(tmp_path: Path) -> None:
    hostile = onnx_bytes.network(weights=onnx_bytes.tensor("weights", (3, 4), more=onnx_bytes.external("/etc/passwd")))
    (tmp_path / "hostile.onnx").write_bytes(hostile)
    digest = hashlib.sha256(hostile).hexdigest()
    with pytest.raises(ModelRefused, match=r"hostile\.onnx: asks for external data"):
        YuNet(tmp_path, YunetLandmarks(detector="yunet", file="hostile.onnx", sha256=digest))
