"""What a report says, as report.json has it: format 1, every key explained here; no NaN, no infinity, no template.

Rates are shares from 0 to 1, scores and thresholds dB, times seconds. `null` stands for what these faces can't say.
"""

from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

FORMAT: Final = 1
EXAMPLES: Final = 20
"""Most places named for one kind of problem."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Rate(_Part):
    """A measured rate with its 95 % confidence bounds."""

    value: float
    low: float | None = None
    high: float | None = None
    """None: no bounds can be given."""
    hits: int
    of: int
    """hits / of = value."""

    @classmethod
    def counted(cls, hits: int, of: int, bounds: tuple[float, float] | None) -> Self:
        """Make one of what was counted; 0 where nothing was tried."""
        low, high = bounds or (None, None)
        return cls(value=hits / of if of else 0.0, low=low, high=high, hits=hits, of=of)


class Problems(_Part):
    """Of the data: what was left out."""

    what: str
    count: int
    examples: list[str]


class Data(_Part):
    source: str
    kind: Literal["pictures", "templates"]
    people: int
    people_with_two: int
    """With two pictures or more: whom false non-matches can be measured on."""
    pictures: int
    group_columns: list[str]
    problems: list[Problems]


class Reason(_Part):
    reason: str
    pictures: int
    examples: list[str]
    """File names below the source, or rows of templates."""


class Acquisition(_Part):
    """From pictures to templates."""

    pictures: int
    templates: int
    failure_to_acquire: Rate | None
    """Pictures in which nothing could be measured: undecodable, too large, no face. None: templates were given."""
    acquire_reasons: list[Reason]
    failure_to_enrol: Rate | None
    """Pictures with a face that a quality gate refused."""
    enrol_reasons: list[Reason]
    people_lost: Rate
    """People without a single usable picture."""
    repeated: int
    """Usable pictures that are copies of another one of the same person (the same template): not compared."""
    left_out: int
    """Other usable pictures that are not compared, so that nobody has more than `pictures_each`."""
    pictures_each: int


class Counts(_Part):
    """Trials."""

    people: int
    templates: int
    people_with_two: int
    genuine: int
    """Pairs of pictures of one person."""
    impostor: int
    """Pairs of pictures of two people."""
    pairs_of_people: int


class AtRate(_Part):
    """FNMR where the false match rate, as measured on these faces, is `fmr`."""

    fmr: float
    measurable: Literal["measured", "few", "no"]
    """few: 3 to 30 pairs of people are expected to match falsely; no: fewer than 3."""
    threshold: float | None
    """The declared score at which it is so."""
    fnmr: Rate | None


class AtThreshold(_Part):
    """What is measured at a threshold that the calibration declares, and whether that holds."""

    threshold: float
    declared_fmr: float
    verification_target: bool
    """The threshold at which the system verifies."""
    fmr: Rate | None
    fmr_of_people: float | None
    """The same where each pair of people counts once, as in a calibration."""
    ratio: float | None
    """Measured over declared false match rate."""
    holds: Literal["yes", "no", "unclear"]
    """yes: the bounds lie within a factor of two of what is declared; no: outside; unclear: too few false matches."""
    fnmr: Rate | None
    expected_fnmr: float
    """As the calibration says."""
    extrapolated: bool
    """The calibration didn't measure as far."""


class CurvePoint(_Part):
    fmr: float
    fnmr: float
    low: float | None
    high: float | None


class Verification(_Part):
    at_rate: list[AtRate]
    at_threshold: list[AtThreshold]
    det: list[CurvePoint]
    measured_to: float
    """The highest score that the calibration measured."""
    extrapolated_genuine: float
    """Share of genuine scores beyond it."""
    extrapolated_impostor: float


class Histogram(_Part):
    """Trials by score; bins of one dB from 0, the last one open."""

    genuine: list[int]
    impostor: list[int]


class Operation(_Part):
    """A search among `size` people with the threshold set for an FPIR of `target`."""

    size: int
    target: float
    threshold: float | None
    """Where synthetic people give that FPIR; None where there are too few people to make some of."""
    fnir: Rate | None
    declared_threshold: float
    """Where that FPIR is if false match rates are as declared: 1 - (1 - FMR)^N."""
    declared_fnir: Rate


class AsSet(_Part):
    """The system's own policy, which goes by the declared false match rates (FPIR 0.001 unless set otherwise)."""

    size: int
    threshold: float
    fnir: Rate
    declared_fpir: float
    fpir: float | None
    """Against synthetic people."""


class Agreement(_Part):
    """The same search among real and among synthetic people."""

    size: int
    threshold: float
    real_fpir: float
    synthetic_fpir: float
    ratio: float


class AtRank(_Part):
    rank: int
    hit_rate: Rate


class Identification(_Part):
    gallery: int
    """People, one picture each."""
    mated_probes: int
    """All other pictures."""
    non_mated_probes: int
    """One picture of each of so many people; searched among everybody else."""
    synthetic_people: int
    """0: too few people to make some of."""
    counted_to: float | None
    """The score from which on most probes' false match rates among synthetic people are extrapolated."""
    operations: list[Operation]
    as_set: list[AsSet]
    agreement: list[Agreement]
    ranks: list[AtRank]
    cmc: list[float]
    """Share of mated probes whose own person is among the first 1, 2, ... 50."""


class RealGallery(_Part):
    """The same searches put to the services' own matcher."""

    references: int
    probes: int
    threshold: float
    hits: int
    misses: int
    false_alarms: int
    """Probes for which a stranger is named."""
    hits_expected: int
    """By this report's own comparisons; so too the false alarms."""
    false_alarms_expected: int
    scores: int
    """Candidates whose score was checked against this report's."""
    largest_difference: float
    """dB, of these; candidates are rounded to 0.01 dB."""
    agrees: bool


class Group(_Part):
    value: str
    people: int
    pictures: int
    failure_to_acquire: Rate | None
    failure_to_enrol: Rate | None
    genuine: int
    pairs_of_people: int
    fnmr: Rate | None
    """At `Grouping.threshold`."""
    fmr: Rate | None
    """There too, among strangers of this group."""
    fmr_at: list[Rate | None]
    """At the thresholds of `Grouping.rates`."""
    too_small: list[str]
    """Which of these figures rest on too few trials to be compared with other groups'."""


class Grouping(_Part):
    """One column of the CSV."""

    column: str
    threshold: float
    """At which the system verifies."""
    rates: list[float]
    """False match rates of all strangers that `Group.fmr_at` is measured at."""
    groups: list[Group]
    worst_to_best: dict[str, float | None]
    """Ratio of the largest to the smallest, of the groups that are large enough: failure to acquire, failure to enrol,
    fnmr, fmr, fmr at 0.001, ... None: fewer than two such groups, or the smallest is 0."""


class Pair(_Part):
    """Two pictures whose score is most unlike what their labels say."""

    score: float
    first: str
    second: str
    """File names below the source, or rows of templates."""
    first_person: str
    second_person: str


class ModelReport(_Part):
    name: str
    title: str
    id: str
    licence: str
    provenance: str
    recipe: str
    detector: str
    dimension: int
    comparison: str
    calibration: dict[str, str | int | float]
    acquisition: Acquisition
    trials: Counts
    verification: Verification
    histogram: Histogram
    identification: Identification | None
    """None: nobody has two pictures."""
    gallery: RealGallery | None
    groups: list[Grouping]
    worst_genuine: list[Pair]
    worst_impostor: list[Pair]
    seconds: dict[str, float]
    """Step → time."""
    from_journal: bool
    """Some pictures were extracted in an earlier run, so that the extraction's time is not that of all."""


class Report(_Part):
    format: Literal[1] = FORMAT
    created: str
    """ISO 8601, UTC."""
    command: list[str]
    data: Data
    models: Annotated[list[ModelReport], Field(min_length=1)]
    machine: dict[str, str]
    software: dict[str, str]
    confidence: float
    seconds: dict[str, float]

    def dump(self) -> str:
        return self.model_dump_json(indent=1) + "\n"
