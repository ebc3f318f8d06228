"""How several pictures of one person become one: the only place that decides it, for references and probes alike."""

import numpy as np

from shared.calibration import UNALIKE, Comparator, Prepared


def fuse(templates: Prepared, comparator: Comparator) -> Prepared:
    """Return the one row (n = 1) that stands for all of these templates (n ≥ 1) of one person.

    It is their mean (`Comparator.fused`, chosen by measurement: docs/calibration.md). But that of *different* people is
    near each of them, and of several near everybody, though every template passed the gate: one encounter with pictures
    of ten strangers would be a master key. So where two of the templates are unalike, or their mean would not pass the
    gate, the template nearest to the mean stands for all. (`enroll` refuses samples that show several people; before,
    of two strangers sent as one encounter 45 % gave a reference that both verified with. With this, 0.4 % do: dlib,
    LFW's development half, 1,500 pairs.)
    """
    rows = standing_for(templates, comparator)
    if len(rows) == 1:
        return rows
    mean = comparator.fused(templates).vectors[0]
    nearest = int(((templates.vectors.astype(np.float64) - mean) ** 2).sum(axis=1).argmin())
    return templates[nearest : nearest + 1]


def standing_for(references: Prepared, comparator: Comparator) -> Prepared:
    """Return the rows to verify a person by: all encounters fused, or each by itself where they are unalike.

    A child's picture and the grown-up's may be: none of the references is to be lost, and who asks takes the best.
    """
    fused = comparator.fused(references)
    fits = _alike(references, comparator) and not comparator.resembles_everybody(fused.vectors[0])
    return fused if fits else references


def _alike(templates: Prepared, comparator: Comparator) -> bool:
    least = comparator.similarity_at(UNALIKE)
    return all(
        bool((comparator.similarity(templates[n : n + 1], templates) >= least).all()) for n in range(len(templates))
    )
