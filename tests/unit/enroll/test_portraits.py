"""Faces cut out for people to look at: in the middle, all at one scale, small enough for a worker's answer."""

import cv2
import numpy as np

from services.enroll.faces import Face
from services.enroll.frames import ANSWER, ANSWER_BYTES, Portrait
from services.enroll.portraits import SIDE, cropped, encoded

POINTS = np.zeros((5, 2))


def face_at(x: float, y: float, width: float) -> Face:
    return Face(x - width / 2, y - width / 2, x + width / 2, y + width / 2, 1.0, POINTS, POINTS)


def picture(x: int, y: int, width: int) -> np.ndarray:
    """Draw a white square face on black."""
    pixels = np.zeros((400, 600, 3), dtype=np.uint8)
    pixels[y - width // 2 : y + width // 2, x - width // 2 : x + width // 2] = 255
    return pixels


def test_faces_near_and_far_come_out_in_one_size_in_the_middle() -> None:
    for x, y, width in ((300, 200, 160), (450, 120, 40)):
        found = cropped(picture(x, y, width), [face_at(x, y, width), face_at(20, 20, 30)])
        assert found.shape == (SIDE, SIDE, 3)
        rows, columns = np.nonzero(found[:, :, 0] > 127)
        assert abs(rows.mean() - SIDE / 2) < 2
        assert abs(columns.mean() - SIDE / 2) < 2
        assert abs((columns.max() - columns.min()) - SIDE / 1.9) < 4


def test_what_lies_outside_of_the_picture_is_grey() -> None:
    found = cropped(picture(30, 200, 60), [face_at(0, 200, 100)])
    assert (found[SIDE // 2, 5] == 128).all()


def test_without_a_face_the_middle_is_shown() -> None:
    found = cropped(picture(300, 200, 100), [])
    assert found[SIDE // 2, SIDE // 2, 0] == 255
    assert found[2, 2, 0] == 0


def test_colours_stay_what_they_are() -> None:
    red = np.zeros((SIDE, SIDE, 3), dtype=np.uint8)
    red[:, :, 0] = 255
    seen = cv2.imdecode(np.frombuffer(encoded(red), np.uint8), cv2.IMREAD_COLOR)
    assert seen is not None
    blue, _, r = seen[SIDE // 2, SIDE // 2].tolist()
    assert (r > 240, blue < 20) == (True, True)


def test_also_a_face_of_nothing_but_noise_fits_into_an_answer() -> None:
    noise = np.random.default_rng(1).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    assert 20_000 < len(ANSWER.dump_json(Portrait(encoded(noise)))) < ANSWER_BYTES
