"""The transform that brings five points where a network wants them, and the picture that comes out."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from services.enroll.alignment import align, mirrored, similarity

Floats = NDArray[np.float64]

ARCFACE = np.array([(38.29, 51.70), (73.53, 51.50), (56.03, 71.74), (41.55, 92.37), (70.73, 92.20)])


def moved(points: Floats, degrees: float, scale: float, shift: tuple[float, float]) -> Floats:
    angle = np.radians(degrees)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    found: Floats = scale * points @ turn + np.array(shift)
    return found


def through(matrix: Floats, points: Floats) -> Floats:
    found: Floats = points @ matrix[:, :2].T + matrix[:, 2]
    return found


@given(st.floats(-180, 180), st.floats(0.2, 12), st.floats(-500, 500), st.floats(-500, 500))
def test_a_face_however_turned_scaled_and_placed_is_brought_back(
    degrees: float, scale: float, x: float, y: float
) -> None:
    matrix = similarity(moved(ARCFACE, degrees, scale, (x, y)), ARCFACE)
    assert through(matrix, moved(ARCFACE, degrees, scale, (x, y))) == pytest.approx(ARCFACE, abs=1e-6)


@given(st.integers(0, 2**32 - 1))
def test_it_is_the_least_squares_of_all_turns_scales_and_shifts(seed: int) -> None:
    points = np.random.default_rng(seed).normal(100, 40, (5, 2))
    x, y = points.T
    one, zero = np.ones(5), np.zeros(5)
    system = np.vstack([np.column_stack([x, -y, one, zero]), np.column_stack([y, x, zero, one])])
    a, b, right, down = np.linalg.lstsq(system, ARCFACE.T.ravel(), rcond=None)[0]
    assert similarity(points, ARCFACE) == pytest.approx(np.array([[a, -b, right], [b, a, down]]), abs=1e-6)


def test_a_face_in_a_mirror_is_not_mirrored_back() -> None:
    matrix = similarity(ARCFACE * [-1, 1], ARCFACE)
    assert np.linalg.det(matrix[:, :2]) > 0


def test_five_points_in_one_place_are_no_reason_to_fail() -> None:
    chip = align(np.full((50, 50, 3), 200, dtype=np.uint8), np.full((5, 2), 25.0), ARCFACE, 112, 112)
    assert chip.shape == (112, 112, 3)


def spots(points: Floats, size: int, radius: float) -> NDArray[np.uint8]:
    rows, columns = np.mgrid[:size, :size]
    light = sum(np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * radius**2)) for x, y in points)
    return np.repeat((255 * np.asarray(light)).clip(0, 255).astype(np.uint8)[:, :, None], 3, axis=2)


def centre(light: NDArray[np.uint8], near: Floats) -> Floats:
    """The middle of the light within 8 pixels of a place."""
    rows, columns = np.mgrid[: light.shape[0], : light.shape[1]]
    weight = light[:, :, 0] * (np.hypot(columns - near[0], rows - near[1]) < 8)
    found: Floats = np.array([(columns * weight).sum(), (rows * weight).sum()]) / weight.sum()
    return found


@pytest.mark.parametrize("scale", [0.8, 1.3, 3.0, 7.0])
def test_what_is_at_the_points_comes_out_at_their_places_whatever_the_pictures_size(scale: float) -> None:
    points = moved(ARCFACE, 20, scale, (30 * scale, 60 * scale))
    chip = align(spots(points, round(200 * scale), 2.5 * scale), points, ARCFACE, 112, 112)
    assert chip.shape == (112, 112, 3)
    for place in ARCFACE:
        assert centre(chip, place) == pytest.approx(place, abs=0.25)


def test_a_large_picture_is_averaged_not_sampled() -> None:
    noise = np.random.default_rng(2).integers(0, 256, (896, 896, 3), dtype=np.uint8)
    chip = align(noise, 8 * ARCFACE + 3.5, ARCFACE, 112, 112)
    assert noise.std() > 70
    assert chip.std() < 12  # 74 / 8: each pixel is the mean of 64; between 4 it would be 37


def test_it_is_black_where_the_picture_has_ended() -> None:
    white = np.full((112, 112, 3), 255, dtype=np.uint8)
    chip = align(white, ARCFACE - [40, 0], ARCFACE, 112, 112)
    assert (int(chip[:, :39].max()), int(chip[:, 41:].min())) == (0, 255)


def test_the_width_and_the_height_may_differ() -> None:
    assert align(np.zeros((300, 300, 3), dtype=np.uint8), ARCFACE, ARCFACE, 96, 112).shape == (112, 96, 3)


def test_a_mirror_turns_left_and_right_only() -> None:
    picture = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    assert mirrored(picture).tolist() == [[[3, 4, 5], [0, 1, 2]], [[9, 10, 11], [6, 7, 8]]]
