"""The gate: each measure on its own, on either side of its limit."""

from dataclasses import asdict, replace

import numpy as np
import pytest

from services.enroll.quality import Frame, Limits, Measures, judge, measure
from shared.biometrics import RetakeReason
from shared.settings import Settings
from tests.unit.enroll.making import LIMITS

FRONTAL = np.array([(120.0, 80), (105, 80), (60, 80), (75, 80), (90, 115)])
FRAME = Frame(40.0, 40.0, 140.0, 140.0, 250.0, 250.0)
GOOD: Measures = {
    "faces": 1.0, "second_face": 0.0, "eye_distance": 90.0, "brightness": 180.0, "burnt": 0.0, "sharpness": 90.0,
    "yaw": 0.0, "pitch": 0.77, "roll": 0.0, "inside": 1.0, "nearness": 0.18, "across": 0.0,
    "down": 0.0,
    "fine": 0.08, "grain": 1.6, "high": 0.001, "pattern": 1.1, "middle": 0.03, "lines": 1.2, "relief": 1200.0,
    "flat": 0.02, "tones": 0.23, "colours": 0.95, "tint": 0.34, "echo": 37.0, "mirror": 0.57, "torn": 0.08,
    "waved": 0.18, "likeness": 0.88,
}  # fmt: skip


def texture(contrast: float = 40.0, mean: float = 120.0) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    noise = np.random.default_rng(1).normal(mean, contrast, size=(150, 150, 1))
    return np.repeat(np.clip(noise, 0, 255), 3, axis=2).astype(np.uint8)


def measured(**changes: object) -> Measures:
    arguments: dict[str, object] = {
        "frame": FRAME, "points": FRONTAL, "chip": texture(), "widths": [100.0], "scale": 1.0, **changes,
    }  # fmt: skip
    return measure(**arguments)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def test_a_face_straight_on_has_no_yaw_and_no_roll() -> None:
    m = measured()
    assert (m["yaw"], m["roll"], m["eye_distance"]) == (0.0, 0.0, 45.0)
    assert m["pitch"] == pytest.approx(35 / 45, abs=1e-3)


def test_the_eye_distance_is_told_in_pixels_of_the_original() -> None:
    assert measured(scale=2.5)["eye_distance"] == 112.5


@pytest.mark.parametrize("degrees", [-30, 12, 30])
def test_a_tilted_head_is_neither_turned_nor_bowed(degrees: float) -> None:
    angle = np.radians(degrees)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    m, upright = measured(points=(FRONTAL - 90) @ turn + 90), measured()
    assert m["roll"] == pytest.approx(degrees, abs=1e-3)
    assert (m["yaw"], m["pitch"]) == pytest.approx((upright["yaw"], upright["pitch"]), abs=1e-3)


def test_half_a_face_outside_the_picture_is_half_inside() -> None:
    assert measured(frame=replace(FRAME, left=-50.0, right=50.0))["inside"] == 0.5


def test_it_is_measured_where_in_the_picture_the_face_is_and_how_near() -> None:
    m = measured(frame=Frame(150.0, 40.0, 250.0, 140.0, 250.0, 300.0))
    assert (m["across"], m["down"], m["nearness"]) == (0.3, -0.2, 45 / 250)


@pytest.mark.parametrize(
    ("where", "edge"),
    [
        ({"across": -0.4, "down": 0.1}, "at the left edge"),
        ({"across": 0.4, "down": 0.1}, "at the right edge"),
        ({"across": 0.1, "down": -0.4}, "at the upper edge"),
        ({"across": 0.1, "down": 0.4}, "at the lower edge"),
    ],
)
def test_of_a_face_that_is_cut_off_the_edge_is_named(where: Measures, edge: str) -> None:
    (defect,) = judge(GOOD | {"inside": 0.8} | where, LIMITS).defects
    assert defect.reason is RetakeReason.CUT_OFF
    assert f"It is cut off {edge}: move to the middle." in defect.advice


def test_a_face_that_would_not_fit_is_too_close_and_not_beside_the_middle() -> None:
    (defect,) = judge(GOOD | {"inside": 0.8, "nearness": 0.4}, LIMITS).defects
    assert defect.reason is RetakeReason.TOO_CLOSE
    assert "step back" in defect.advice
    assert "middle" not in defect.advice


def test_few_pixels_of_a_face_mean_too_far_in_a_large_picture_and_a_small_picture_else() -> None:
    (far,) = judge(GOOD | {"eye_distance": 20.0, "nearness": 0.03}, LIMITS).defects
    (small,) = judge(GOOD | {"eye_distance": 20.0, "nearness": 0.2}, LIMITS).defects
    assert (far.reason, small.reason) == (RetakeReason.TOO_FAR, RetakeReason.TOO_SMALL)
    assert "come closer" in far.advice
    assert "The picture is small" in small.advice


def test_light_and_sharpness_are_told_apart() -> None:
    bright, dim = measured(chip=texture(30, 120)), measured(chip=texture(10, 40))
    assert dim["brightness"] < bright["brightness"] / 2
    assert dim["sharpness"] == pytest.approx(bright["sharpness"], rel=0.1)
    assert measured(chip=texture(1))["sharpness"] < bright["sharpness"] / 100
    assert measured(chip=np.full((150, 150, 3), 255, dtype=np.uint8))["burnt"] == 1.0


SPOILT = {
    "second_face": (0.77, RetakeReason.SEVERAL_FACES, 0.76),
    "inside": (0.94, RetakeReason.CUT_OFF, 0.95),
    "eye_distance": (23.9, RetakeReason.TOO_SMALL, 24.0),
    "nearness": (0.51, RetakeReason.TOO_CLOSE, 0.5),
    "brightness": (63.0, RetakeReason.TOO_DARK, 64.0),
    "burnt": (0.26, RetakeReason.TOO_BRIGHT, 0.25),
    "sharpness": (8.9, RetakeReason.BLURRED, 9.0),
    "yaw": (-0.39, RetakeReason.TURNED_AWAY, 0.38),
    "pitch": (0.44, RetakeReason.TURNED_AWAY, 0.45),
    "roll": (46.0, RetakeReason.TURNED_AWAY, 45.0),
    "fine": (0.18, RetakeReason.NOISY, 0.17),
    "grain": (5.8, RetakeReason.NOISY, 5.7),
    "high": (0.034, RetakeReason.NOISY, 0.033),
    "pattern": (3.2, RetakeReason.PRINTED, 3.1),
    "middle": (0.23, RetakeReason.PRINTED, 0.22),
    "lines": (2.4, RetakeReason.PRINTED, 2.3),
    "relief": (7001.0, RetakeReason.ALTERED, 7000.0),
    "flat": (0.23, RetakeReason.ALTERED, 0.22),
    "tones": (0.57, RetakeReason.ALTERED, 0.56),
    "colours": (0.19, RetakeReason.ALTERED, 0.2),
    "echo": (131.0, RetakeReason.ALTERED, 130.0),
    "mirror": (0.98, RetakeReason.ALTERED, 0.975),
    "torn": (0.21, RetakeReason.ALTERED, 0.2),
    "waved": (0.46, RetakeReason.ALTERED, 0.45),
}


@pytest.mark.parametrize("name", SPOILT)
def test_a_measure_beyond_its_limit_is_the_one_defect_with_its_numbers(name: str) -> None:
    value, reason, limit = SPOILT[name]
    quality = judge(GOOD | {name: value}, LIMITS)
    (defect,) = quality.defects
    assert (quality.score, defect.reason, defect.measured, defect.limit) == (0, reason, abs(value), limit)
    assert defect.advice.endswith(".")


@pytest.mark.parametrize("name", SPOILT)
def test_a_measure_at_its_limit_is_taken_with_the_lowest_score(name: str) -> None:
    _, _, limit = SPOILT[name]
    quality = judge(GOOD | {name: limit}, LIMITS)
    assert (quality.score, quality.defects) == (1, ())


def test_upright_lines_are_print_as_level_ones_are_and_a_blue_face_is_altered() -> None:
    (lines,), (tint,) = judge(GOOD | {"lines": 0.5}, LIMITS).defects, judge(GOOD | {"tint": -0.3}, LIMITS).defects
    assert (lines.reason, lines.limit) == (RetakeReason.PRINTED, 0.55)
    assert (tint.reason, tint.measured, tint.limit) == (RetakeReason.ALTERED, -0.3, -0.2)


def test_what_is_unlike_a_photograph_of_a_face_is_altered() -> None:
    (defect,) = judge(GOOD | {"likeness": -0.3}, LIMITS).defects
    assert (defect.reason, defect.measured, defect.limit) == (RetakeReason.ALTERED, -0.3, -0.25)


def test_a_bowed_head_is_turned_away() -> None:
    (defect,) = judge(GOOD | {"pitch": 1.2}, LIMITS).defects
    assert defect.reason is RetakeReason.TURNED_AWAY


def test_a_good_face_scores_high_and_several_defects_are_all_named() -> None:
    assert judge(GOOD, LIMITS).score >= 90
    spoilt = judge(GOOD | {"sharpness": 1.0, "brightness": 10.0}, LIMITS)
    assert [d.reason for d in spoilt.defects] == [RetakeReason.TOO_DARK, RetakeReason.BLURRED]


def test_limits_beyond_what_is_good_still_mean_what_they_say() -> None:
    strict = replace(LIMITS, second_face=0.1, inside=1.0, burnt=0.0, dark=200.0, eye_distance=200.0)
    perfect = GOOD | {"brightness": 210.0, "eye_distance": 210.0}
    assert judge(perfect, strict).defects == ()
    reasons = {d.reason for d in judge(GOOD | {"second_face": 0.2}, strict).defects}
    assert reasons == {RetakeReason.SEVERAL_FACES, RetakeReason.TOO_DARK, RetakeReason.TOO_SMALL}


def test_every_limit_is_a_setting() -> None:
    settings = Settings(quality_yaw=0.2)
    assert Limits.of(settings).yaw == 0.2
    assert {f"quality_{name}" for name in asdict(LIMITS)} == {
        name for name in Settings.model_fields if name.startswith("quality_")
    }
