"""Which templates may be enrolled, or compared: the one rule of the matcher and of the api's registry. Pure.

Both fold the same log and must never disagree about who is enrolled, so both ask `objection`; what it objects to, the
matcher puts aside as a dead letter and the registry passes over.
"""

import hashlib
from collections.abc import Sequence

from shared.biometrics import Template
from shared.calibration import Comparator


def objection(templates: Sequence[Template], comparator: Comparator) -> str | None:
    """Return why these may be neither enrolled nor compared; None: they may. No number of a template is shown.

    A template must be of the one model that is calibrated here (I20), of its dimension, and look like a face's: a
    vector that resembles everybody is a master key (accuracy.md).
    """
    if not templates:
        return "it holds no template"
    model = comparator.calibration.model
    for template in templates:
        if template.model != model:
            return f"a template of model {template.model[:200]!r}; this gallery's are of {model!r}"
        if (refusal := comparator.refusal(template.vector)) is not None:
            return f"a template that {refusal}"
    return None


def rule(comparator: Comparator) -> str:
    """Name the rule: equal names object to the same templates. What was folded by another one is another state."""
    calibration = comparator.calibration
    gate = hashlib.sha256(f"{calibration.unit} {calibration.gate.model_dump_json()}".encode()).hexdigest()
    return f"{calibration.model} {calibration.dimension} {gate[:16]}"
