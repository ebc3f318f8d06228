"""The part of the settings that says what a photograph is made of, and what is refused as none (`shared.settings`)."""

from pydantic import BaseModel, Field


class TextureSettings(BaseModel):
    """Limits of services/enroll/texture.py; docs/quality.md says what was measured.

    "clean": 4,587 pictures that pass all other limits: 985 of LFW (dev), 1,500 more, and 100 of these as 24 kinds of
    good pictures are (gray, JPEG 50, four times as large, indoor noise, dim, sharpened by a phone). "sharp": 19
    faces of large, sharp portraits.
    """

    quality_fine: float = Field(
        default=0.17,
        gt=0,
        description="noisy: most energy of the finest detail, as a share of the next coarser's. clean: at most 0.132, "
        "sharp: 0.157. Noise of 40 levels: 0.2 and more, rows shifted against each other too.",
    )
    quality_grain: float = Field(
        default=5.7,
        gt=0,
        description="noisy: most levels by which neighbours differ, in the median. clean: at most 4.3, sharp: 5.1.",
    )
    quality_high: float = Field(
        default=0.033,
        gt=0,
        le=1,
        description="noisy: largest share of the spectrum beyond 40 cycles in 128 pixels. clean: at most 0.017, sharp: "
        "0.023.",
    )
    quality_pattern: float = Field(
        default=3.1,
        gt=0,
        description="printed: by how much (natural logarithm of power) one wave may stand out of all waves like it. "
        "clean: 99.9 % are below 2.6, one in 4,587 above 3.1. Halftones, screens, moiré, scanned prints: 3.5 to 9.",
    )
    quality_middle: float = Field(
        default=0.22,
        gt=0,
        le=1,
        description="printed: largest share of the spectrum between 16 and 40 cycles in 128 pixels: dots and lines of "
        "3 to 8 pixels. clean: at most 0.19, sharp: 0.15.",
    )
    quality_lines_low: float = Field(
        default=0.25,
        ge=0,
        description="printed: least energy of the steps from row to row, as a share of those from column to column. "
        "clean: 0.35 to 6.4. Upright lines.",
    )
    quality_lines_high: float = Field(
        default=7.4,
        gt=0,
        description="printed: most of the same. Level lines, shifted fields; a picture moved sideways.",
    )
    quality_relief: float = Field(
        default=6000.0,
        gt=0,
        description="altered: most energy of detail 2 pixels wide. clean: at most 4,990, sharp: 4,110. Drawings, "
        "edges, sharpening by 600 %.",
    )
    quality_flat: float = Field(
        default=0.22,
        gt=0,
        le=1,
        description="altered: largest share of the face whose neighbours have the same tone. clean: at most 0.13, "
        "sharp: 0.18. Eight tones, mosaics, JPEG below 5, oil paint.",
    )
    quality_tones: float = Field(
        default=0.56,
        gt=0,
        le=1,
        description="altered: largest share of the face that its 16 most frequent tones of 256 make up. clean: at most "
        "0.50, sharp: 0.43.",
    )
    quality_colours: float = Field(
        default=0.2,
        ge=-1,
        le=1,
        description="altered: least correlation of red with green and of green with blue; gray has 1. clean: 0.28 and "
        "more, 99.9 % 0.46. False colours, solarised.",
    )
    quality_tint: float = Field(
        default=-0.2,
        ge=-3,
        le=3,
        description="altered: least by which a face is redder than it is green, as a share of its light; gray has 0. "
        "clean: one in 4,587 below -0.14. Negatives in colour.",
    )
