"""A small picture of a whole population: the mixture of normal distributions that cohort normalisation stands on.

It holds means and variances of groups of people, and no template of anybody.
"""

import math
from typing import Annotated, Final, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field, model_validator

from shared.biometrics import MAX_DIMENSION, STRICT

Floats = NDArray[np.float64]
Row = Annotated[tuple[float, ...], Field(min_length=1, max_length=MAX_DIMENSION, strict=False)]
"""Numbers of one dimension each. A file has a list where Python has a tuple, hence `strict=False`."""

_ITERATIONS: Final = 30
"""EM moves the means of 3,000 faces by less than the file's rounding after 20 to 30 rounds."""
_PRIOR: Final = 10.0
"""Imagined members that each component gets with the pooled variance: a component of a few people does not collapse
onto them."""
LEAST_MEMBERS: Final = 10
"""A component of fewer is given up and its members go to the others: one of an odd face alone *is* that face's
template (seen with 80 components on 1,500 people)."""
_SETTLED: Final = 10
"""Rounds before that; by then components have found their members."""
_GRID: Final = 2.0**20


class Mixture(BaseModel):
    """Normal distributions with diagonal covariances. `weights` sum to 1; d is the dimension of a template."""

    model_config = STRICT | {"frozen": True}
    weights: Annotated[Row, Field(description="Share of each component, shape (c,).")]
    means: Annotated[tuple[Row, ...], Field(min_length=1, max_length=1024, strict=False, description="(c, d)")]
    variances: Annotated[tuple[Row, ...], Field(min_length=1, max_length=1024, strict=False, description="(c, d)")]

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        widths = {len(row) for row in (*self.means, *self.variances)}
        if not len(self.weights) == len(self.means) == len(self.variances) or len(widths) != 1:
            raise ValueError("weights, means and variances of the mixture differ in shape")
        if min(self.weights) <= 0 or abs(sum(self.weights) - 1) > 1e-3:
            raise ValueError("the mixture's weights are no shares of one")
        if min(min(row) for row in self.variances) <= 0:
            raise ValueError("the mixture holds a variance that is not positive")
        return self

    @property
    def dimension(self) -> int:
        return len(self.means[0])


class Nearness:
    """How near strangers come to a vector, as a squared distance.

    It is the soft minimum of the squared distance to a cohort of strangers drawn from the mixture,
    `-t·ln(mean(exp(-|x - c|² / t)))` with t = `softness`, for an infinitely large cohort: the integral is known, so
    no cohort has to be drawn, and none has to be compared with. Each vector is worked out for itself, so the value
    does not depend on the batch it came in; it is rounded to 1e-9, so that a last bit of some other processor's
    logarithm does not show.
    """

    def __init__(self, mixture: Mixture, softness: float) -> None:
        width = softness + 2 * np.array(mixture.variances)
        self._softness = softness
        self._means = np.array(mixture.means)
        self._inverse: Floats = 1 / width
        self._constant: Floats = np.log(np.array(mixture.weights)) - 0.5 * np.log(width / softness).sum(axis=1)

    def __call__(self, vectors: Floats) -> Floats:
        """Return it for vectors (n, d), shape (n,)."""
        result = np.empty(len(vectors))
        for n, vector in enumerate(vectors):
            exponent = self._constant - ((vector - self._means) ** 2 * self._inverse).sum(axis=1)
            most = exponent.max()
            result[n] = -self._softness * (most + np.log(np.exp(exponent - most).sum()))
        return np.round(result, 9)


def nearness(mixture: Mixture, softness: float, vectors: Floats) -> Floats:
    """Return `Nearness` of vectors (n, d), once."""
    return Nearness(mixture, softness)(vectors)


def uniforms(seed: int, count: int) -> Floats:
    """Return numbers in (0, 1), the same for one seed everywhere and for ever.

    numpy promises stable streams for its bit generators alone (NEP 19); `Generator.standard_normal` and friends may
    change with any release. So all chance here is Philox's raw stream, turned into numbers by our own arithmetic.
    """
    return ((np.random.Philox(key=seed).random_raw(count) >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53


def draw(mixture: Mixture, count: int, seed: int) -> NDArray[np.float32]:
    """Return `count` synthetic people, shape (count, d): the same for one seed on every platform.

    Normal numbers by Box and Muller, rounded to a 2^-20th: logarithm and cosine may differ in the last bit from one
    machine to the next (1e-16), and after the rounding that shows once in 1e10 numbers.
    """
    d = mixture.dimension
    stream = uniforms(seed, count * (2 * d + 1))
    which = np.searchsorted(np.cumsum(np.array(mixture.weights))[:-1], stream[:count], side="right")
    radius, angle = stream[count:].reshape(2, count, d)
    normal = np.round(np.sqrt(-2 * np.log(radius)) * np.cos(2 * np.pi * angle) * _GRID) / _GRID
    means, deviations = np.array(mixture.means), np.sqrt(np.array(mixture.variances))
    people: NDArray[np.float32] = (means[which] + deviations[which] * normal).astype(np.float32)
    return people


def fit_mixture(vectors: Floats, components: int, seed: int) -> Mixture:
    """Fit by expectation-maximisation from a k-means++ start to vectors (n, d), one of each person.

    Every component stands for LEAST_MEMBERS people or more, so there may be fewer components than asked for.
    Means are rounded to a hundredth and variances to a ten-thousandth of a template's scale (the power of ten above
    its standard deviation per dimension), which is far below a component's own width and keeps the file small.
    """
    count, _ = vectors.shape
    components = max(1, min(components, count // (2 * LEAST_MEMBERS)))
    scale = 10.0 ** (1 + math.floor(math.log10(float(np.sqrt(vectors.var(axis=0).mean())))))
    means: Floats = _scattered(vectors, components, seed)
    pooled: Floats = vectors.var(axis=0)
    variances: Floats = np.tile(pooled, (components, 1))
    weights: Floats = np.full(components, 1 / components)
    squares = vectors * vectors
    rounds = 0
    while rounds < _ITERATIONS:
        share = np.log(weights) - 0.5 * (
            np.log(variances).sum(axis=1)
            + (squares @ (1 / variances).T - 2 * vectors @ (means / variances).T + (means**2 / variances).sum(axis=1))
        )
        share = np.exp(share - share.max(axis=1, keepdims=True))
        share /= share.sum(axis=1, keepdims=True)
        members: Floats = share.sum(axis=0)
        if rounds >= _SETTLED and len(members) > 1 and members.min() < LEAST_MEMBERS:
            left = np.arange(len(members)) != members.argmin()
            weights, means, variances = weights[left] / weights[left].sum(), means[left], variances[left]
            continue
        members += 1e-6
        weights = members / members.sum()
        means = share.T @ vectors / members[:, None]
        own = np.maximum(share.T @ squares / members[:, None] - means**2, 0)
        pooled = np.maximum(weights @ own, 1e-4 * scale**2)
        variances = (members[:, None] * own + _PRIOR * pooled) / (members[:, None] + _PRIOR)
        rounds += 1
    means = np.round(means / scale, 2) * scale
    variances = np.maximum(np.round(variances / scale**2, 4), 1e-4) * scale**2
    return Mixture(weights=row(weights), means=tuple(map(row, means)), variances=tuple(map(row, variances)))


def _scattered(vectors: Floats, components: int, seed: int) -> Floats:
    """Choose starting points far from one another (k-means++)."""
    chances: list[float] = uniforms(seed, components).tolist()
    chosen: list[int] = [int(chances[0] * len(vectors))]
    distance: Floats = np.full(len(vectors), np.inf)
    for chance in chances[1:]:
        distance = np.minimum(distance, ((vectors - vectors[chosen[-1]]) ** 2).sum(axis=1))
        reached: Floats = np.cumsum(distance)
        chosen.append(min(int(np.searchsorted(reached, chance * float(reached[-1]), side="right")), len(vectors) - 1))
    return vectors[chosen].copy()


def row(values: Floats) -> Row:
    """Return numbers as a file holds them: six digits at most."""
    return tuple(float(f"{value:.6g}") for value in values.tolist())
