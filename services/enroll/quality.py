"""The quality gate: what is measured on the face of a sample, what is asked for, and what to do about it.

Pure: numbers in, numbers out. The limits were set on 985 web photos of 600 people (LFW, 2026-11-22), of which the gate
refuses 5 %, most for a second face, and on the same pictures spoilt on purpose; the figures stand beside each setting
(`shared.settings_gate`, quality_*). They are looser than ICAO's rules for passport photos: whatever passes gives a
template that can be compared, and the score tells how much better it could be.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from services.enroll.likeness import likeness
from services.enroll.texture import levelled, luminance, texture
from shared.biometrics import STRICT, Defect, Quality, RetakeReason, Template
from shared.settings import Settings


@dataclass(frozen=True, slots=True)
class Extracted:
    """What came of one sample: a template if it was good enough, and what was measured in any case."""

    __pydantic_config__ = STRICT
    template: Template | None
    quality: Quality


@dataclass(frozen=True, slots=True)
class Limits:
    """What is asked of a sample; `shared.settings_gate` describes each as quality_<name>."""

    __pydantic_config__ = STRICT
    second_face: float
    eye_distance: float
    dark: float
    burnt: float
    sharpness: float
    yaw: float
    pitch_low: float
    pitch_high: float
    roll: float
    inside: float
    fine: float
    grain: float
    high: float
    pattern: float
    middle: float
    lines_low: float
    lines_high: float
    relief: float
    flat: float
    tones: float
    colours: float
    tint: float
    echo: float
    mirror: float
    torn: float
    waved: float
    likeness: float

    @classmethod
    def of(cls, settings: Settings) -> "Limits":
        return cls(**{f.name: getattr(settings, f"quality_{f.name}") for f in fields(cls)})


@dataclass(frozen=True, slots=True)
class Frame:
    """Where a face is in its picture, in pixels."""

    left: float
    top: float
    right: float
    bottom: float
    picture_width: float
    picture_height: float

    @property
    def inside(self) -> float:
        """Share of the face's box that lies inside the picture, 0 to 1."""
        across = max(0.0, min(self.right, self.picture_width) - max(self.left, 0.0))
        down = max(0.0, min(self.bottom, self.picture_height) - max(self.top, 0.0))
        return across * down / max((self.right - self.left) * (self.bottom - self.top), 1e-9)

    @property
    def across(self) -> float:
        """How far right of the middle the face is: 0.5 is the right edge, -0.5 the left one."""
        return (self.left + self.right) / 2 / self.picture_width - 0.5

    @property
    def down(self) -> float:
        """How far below the middle the face is: 0.5 is the lower edge, -0.5 the upper one."""
        return (self.top + self.bottom) / 2 / self.picture_height - 0.5


Measures = dict[str, float]


def measure(
    frame: Frame,
    points: NDArray[np.float64],
    chip: NDArray[np.uint8],
    widths: Sequence[float],
    scale: float,
) -> Measures:
    """Measure the largest face.

    `points`: (5, 2), corners of the eye at the right of the picture, of the one at its left, base of the nose; `chip`:
    (150, 150, 3) RGB, the face upright; `widths`: of all faces, largest first; `scale`: pixels of the original for one
    of the picture measured.
    """
    right_eye, left_eye, nose = points[0:2].mean(axis=0), points[2:4].mean(axis=0), points[4]
    across = right_eye - left_eye
    distance = max(float(np.hypot(across[0], across[1])), 1e-9)
    along = across / distance
    below = np.array([-along[1], along[0]])
    from_middle = (nose - (right_eye + left_eye) / 2) / distance
    light = luminance(chip)
    values = {
        "faces": float(len(widths)),
        "second_face": widths[1] / widths[0] if len(widths) > 1 else 0.0,
        "eye_distance": distance * scale,
        "brightness": float(np.percentile(light, 95)),
        "burnt": float((light >= BURNT).mean()),
        "sharpness": _sharpness(light),
        "yaw": float(from_middle @ along),
        "pitch": float(from_middle @ below),
        "roll": float(np.degrees(np.arctan2(along[1], along[0]))),
        "inside": frame.inside,
        "nearness": distance / min(frame.picture_width, frame.picture_height),
        "across": frame.across,
        "down": frame.down,
        **texture(chip),
        "likeness": likeness(chip),
    }
    return {name: round(value, 4) for name, value in values.items()}


FULL: Final = 0.5
"""Most nearness, the eyes' distance as a share of the picture's short side: there the face, brows to chin, is wider
than the picture. It tells where the detector's box no longer does: of faces 1.7 times as wide as the picture YuNet
calls a fifth whole. 250 web photos: at most 0.21."""

FILLS: Final = 0.35
"""Nearness from which on a face that is cut off is too close: moved to the middle, it would not fit. Its box, brows to
chin, is some 2.4 eye distances wide, and wants some air."""

FAR: Final = 0.06
"""Nearness below which a face of too few pixels is too far away: it is narrower than a seventh of the picture, so
coming closer helps. Above, it is the picture that is small."""

BURNT: Final = 250
"""Luminance from which on a pixel counts as burnt out: a sensor's white, less what JPEG moves."""


def _sharpness(light: NDArray[np.float32]) -> float:
    """Variance of the Laplacian once the light is brought to the same level: a dim picture is no blurred one."""
    level = levelled(light)
    laplacian = 4 * level[1:-1, 1:-1] - level[:-2, 1:-1] - level[2:, 1:-1] - level[1:-1, :-2] - level[1:-1, 2:]
    return float(laplacian.var())


@dataclass(frozen=True, slots=True)
class _Check:
    reason: RetakeReason
    measure: str
    value: float
    asked: Literal["at least", "at most"]
    limit: float
    good: float
    """Value from which on more of the same gives nothing."""
    advice: str

    @property
    def failed(self) -> bool:
        return self.value < self.limit if self.asked == "at least" else self.value > self.limit

    @property
    def margin(self) -> float:
        """How far the value is from the limit (0) to what is good (1)."""
        reach = self.good - self.limit if self.asked == "at least" else self.limit - self.good
        if reach <= 0:  # an operator who asks for more than is good
            return 1.0
        return min(abs(self.value - self.limit) / reach, 1.0)


def _checks(m: Measures, limits: Limits) -> list[_Check]:
    reason = RetakeReason
    turned = "Look straight into the camera."
    near, far = m["nearness"] >= FILLS, m["nearness"] < FAR
    few = f"The eyes are {m['eye_distance']:.0f} pixels apart, {limits.eye_distance:.0f} are needed."
    return [
        _Check(
            reason.SEVERAL_FACES, "second_face", m["second_face"], "at most", limits.second_face, 0.5,
            f"{m['faces']:.0f} faces; the second is {m['second_face']:.0%} as wide as the largest, at most "
            f"{limits.second_face:.0%} is taken. Nobody else may stand in the picture.",
        ),
        _Check(
            reason.TOO_CLOSE if near else reason.CUT_OFF, "inside", m["inside"], "at least", limits.inside, 1.0,
            f"Only {m['inside']:.0%} of the face is in the picture, {limits.inside:.0%} are needed. "
            + ("Too close: step back." if near else f"It is cut off {_edge(m)}: move to the middle."),
        ),
        _Check(
            reason.TOO_CLOSE, "nearness", m["nearness"], "at most", FULL, FILLS,
            f"The eyes are {m['nearness']:.0%} of the picture's short side apart, at most {FULL:.0%} is taken. "
            "Too close: step back.",
        ),
        _Check(
            reason.TOO_FAR if far else reason.TOO_SMALL, "eye_distance", m["eye_distance"], "at least",
            limits.eye_distance, 90.0,
            f"{few} Too far away: come closer." if far else f"{few} The picture is small: send it in the camera's "
            "full resolution, or come closer.",
        ),
        _Check(
            reason.TOO_DARK, "brightness", m["brightness"], "at least", limits.dark, 150.0,
            f"The face's bright parts reach {m['brightness']:.0f} of 255, {limits.dark:.0f} are needed. Turn on a "
            "lamp in front of the face.",
        ),
        _Check(
            reason.TOO_BRIGHT, "burnt", m["burnt"], "at most", limits.burnt, 0.0,
            f"{m['burnt']:.0%} of the face is burnt out to white, at most {limits.burnt:.0%} is taken. Less light, or "
            "a shorter exposure.",
        ),
        _Check(
            reason.BLURRED, "sharpness", m["sharpness"], "at least", limits.sharpness, 10 * limits.sharpness,
            f"Sharpness is {m['sharpness']:.1f}, {limits.sharpness:.1f} is needed. Hold still, focus on the face, "
            "clean the lens.",
        ),
        _Check(
            reason.TURNED_AWAY, "yaw", abs(m["yaw"]), "at most", limits.yaw, 0.0,
            f"The nose is {abs(m['yaw']):.2f} eye distances off the middle, at most {limits.yaw:.2f} is taken. "
            f"{turned}",
        ),
        _Check(
            reason.TURNED_AWAY, "pitch", m["pitch"], "at least", limits.pitch_low, 0.75,
            f"The nose is {m['pitch']:.2f} eye distances below the eyes, {limits.pitch_low:.2f} to "
            f"{limits.pitch_high:.2f} is taken: the head is thrown back. {turned}",
        ),
        _Check(
            reason.TURNED_AWAY, "pitch", m["pitch"], "at most", limits.pitch_high, 0.8,
            f"The nose is {m['pitch']:.2f} eye distances below the eyes, {limits.pitch_low:.2f} to "
            f"{limits.pitch_high:.2f} is taken: the head is bowed or turned. {turned}",
        ),
        _Check(
            reason.TURNED_AWAY, "roll", abs(m["roll"]), "at most", limits.roll, 0.0,
            f"The head or the camera is tilted by {abs(m['roll']):.0f} degrees, at most {limits.roll:.0f} are taken. "
            "Hold it upright.",
        ),
        *_checks_of_texture(m, limits),
    ]  # fmt: skip


def _edge(m: Measures) -> str:
    """Say at which edge of the picture a face is cut off."""
    if abs(m["across"]) >= abs(m["down"]):
        return "at the right edge" if m["across"] > 0 else "at the left edge"
    return "at the lower edge" if m["down"] > 0 else "at the upper edge"


def _checks_of_texture(m: Measures, limits: Limits) -> list[_Check]:
    noisy, printed, altered = RetakeReason.NOISY, RetakeReason.PRINTED, RetakeReason.ALTERED
    return [
        _Check(
            noisy, "fine", m["fine"], "at most", limits.fine, 0.14,
            f"The finest detail is {m['fine']:.2f} times as strong as the next coarser, at most {limits.fine:.2f} is "
            f"taken. {_NOISY}",
        ),
        _Check(
            noisy, "grain", m["grain"], "at most", limits.grain, 4.0,
            f"Neighbouring pixels differ by {m['grain']:.1f} levels of 255, at most {limits.grain:.1f} are taken. "
            f"{_NOISY}",
        ),
        _Check(
            noisy, "high", m["high"], "at most", limits.high, 0.02,
            f"{m['high']:.1%} of the detail is finer than a camera shows, at most {limits.high:.1%} is taken. {_NOISY}",
        ),
        _Check(
            printed, "pattern", m["pattern"], "at most", limits.pattern, 2.2,
            f"A pattern repeats across the face, {m['pattern']:.1f} strong, at most {limits.pattern:.1f} is taken. "
            f"{_PRINTED}",
        ),
        _Check(
            printed, "middle", m["middle"], "at most", limits.middle, 0.16,
            f"{m['middle']:.0%} of the detail is as wide as dots or lines, at most {limits.middle:.0%} is taken. "
            f"{_PRINTED}",
        ),
        _Check(
            printed, "lines", m["lines"], "at most", limits.lines_high, 1.8,
            f"Rows of the picture differ {m['lines']:.2f} times as much as columns, {limits.lines_low:.2f} to "
            f"{limits.lines_high:.2f} times is taken. {_PRINTED}",
        ),
        _Check(
            printed, "lines", m["lines"], "at least", limits.lines_low, 0.7,
            f"Rows of the picture differ {m['lines']:.2f} times as much as columns, {limits.lines_low:.2f} to "
            f"{limits.lines_high:.2f} times is taken. {_PRINTED}",
        ),
        _Check(
            altered, "relief", m["relief"], "at most", limits.relief, 4500.0,
            f"Detail is {m['relief']:.0f} strong, at most {limits.relief:.0f} is taken. {_ALTERED}",
        ),
        _Check(
            altered, "flat", m["flat"], "at most", limits.flat, 0.12,
            f"{m['flat']:.0%} of the face is without any shading, at most {limits.flat:.0%} is taken. {_ALTERED}",
        ),
        _Check(
            altered, "tones", m["tones"], "at most", limits.tones, 0.45,
            f"Sixteen tones make up {m['tones']:.0%} of the face, at most {limits.tones:.0%} is taken. {_ALTERED}",
        ),
        _Check(
            altered, "colours", m["colours"], "at least", limits.colours, 0.6,
            f"Red, green and blue go together by {m['colours']:.2f}, {limits.colours:.2f} is needed. {_ALTERED}",
        ),
        _Check(
            altered, "tint", m["tint"], "at least", limits.tint, 0.0,
            f"The face is {m['tint']:.2f} redder than green, {limits.tint:.2f} is needed. {_ALTERED}",
        ),
        _Check(
            altered, "echo", m["echo"], "at most", limits.echo, 100.0,
            f"Something in the picture comes twice, {m['echo']:.0f} strong, at most {limits.echo:.0f} is taken. Hold "
            f"still, with nothing in front of the face. {_ALTERED}",
        ),
        _Check(
            altered, "mirror", m["mirror"], "at most", limits.mirror, 0.95,
            f"The face's halves are alike by {m['mirror']:.3f}, as in a mirror; at most {limits.mirror:.3f} is taken. "
            f"{_ALTERED}",
        ),
        _Check(
            altered, "torn", m["torn"], "at most", limits.torn, 0.15,
            f"Rows of the picture are shifted against each other by {m['torn']:.2f} pixels, at most {limits.torn:.2f} "
            f"is taken. {_ALTERED}",
        ),
        _Check(
            altered, "waved", m["waved"], "at most", limits.waved, 0.35,
            f"The face is bent in waves, {m['waved']:.2f} strong, at most {limits.waved:.2f} is taken. {_ALTERED}",
        ),
        _Check(
            altered, "likeness", m["likeness"], "at least", limits.likeness, 0.2,
            f"The light falls as on a photograph of a face by {m['likeness']:.2f}, {limits.likeness:.2f} is needed: a "
            f"negative and a drawing are no photographs. {_ALTERED}",
        ),
    ]  # fmt: skip


_NOISY: Final = "The picture is noise or dots: more light on the face, and no picture of a print."
_PRINTED: Final = "These are dots or lines, as in print and on screens: photograph the person, not a picture of them."
_ALTERED: Final = "Send the picture as the camera took it, in full quality, without filters or effects."


def judge(measures: Measures, limits: Limits) -> Quality:
    """Weigh the measures of the one face that counts: 0 with the defects, or 1 to 100 by its weakest measure."""
    checks = _checks(measures, limits)
    defects = tuple(Defect(c.reason, c.advice, c.value, c.limit) for c in checks if c.failed)
    score = 0 if defects else 1 + round(99 * min(c.margin for c in checks))
    return Quality(score, measures, defects)


def refused(defect: Defect) -> Extracted:
    """Say that there was nothing to measure."""
    return Extracted(None, Quality(0, {}, (defect,)))


NO_FACE: Final = Defect(
    RetakeReason.NO_FACE,
    "No face was found. Look straight into the camera, close enough, with the whole face in the picture and light on "
    "it.",
    0.0,
    1.0,
)

NOT_A_FACE: Final = Defect(
    RetakeReason.NOT_A_FACE,
    "What was found resembles no face well enough to tell people apart by it. Take another picture, straight on, in "
    "good light, with nothing in front of the face.",
)

TOO_COSTLY: Final = Defect(
    RetakeReason.TOO_COSTLY,
    "The picture takes more memory or time to decode than any camera's picture does. Send a smaller or a plainer one.",
)

BEYOND_BUDGET: Final = Defect(
    RetakeReason.TOO_COSTLY,
    "The picture was not looked at: those before it took all the time that one request may take. Send fewer, smaller "
    "or plainer ones.",
)

BREAKS_DECODERS: Final = Defect(
    RetakeReason.UNDECODABLE, "The picture cannot be decoded. Take a new one, or save it in another format."
)
