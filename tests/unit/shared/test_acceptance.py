"""The one rule which templates may be enrolled or compared, and which model a log is of."""

from collections.abc import Sequence

import numpy as np
import pytest

from shared.acceptance import objection, rule
from shared.biometrics import Template
from shared.calibration import Comparator, Gate
from shared.gallery_log import LOOKED_AT, WrongModel, require_model
from shared.log.memory import MemoryLog
from shared.topics import TOPICS, Entry, Name, entry
from tests.facts import DIMENSION, MODEL, calibration, comparator, enrolled, template, vector

MASTER_KEY = vector(7)
GATED = Comparator(calibration(gate=Gate(centre=tuple(MASTER_KEY.tolist()), distance=0.4, norm=(0.5, 2.0))))


def test_templates_of_faces_of_the_calibrated_model_are_accepted() -> None:
    assert objection([template(1)], GATED) is None
    assert objection([template(1), template(2)], GATED) is None


@pytest.mark.parametrize(
    ("templates", "because"),
    [
        ([], "no template"),
        ([Template("another", vector(1))], "of model 'another'; this gallery's are of 'test-model'"),
        ([template(1), Template("another", vector(1))], "of model 'another'"),
        ([Template(MODEL, vector(1)[:-1])], "not 16 numbers"),
        ([template(1), Template(MODEL, 9 * vector(1))], "length"),
        ([Template(MODEL, np.zeros(DIMENSION, np.float32))], "length"),
        ([Template(MODEL, MASTER_KEY + np.float32(0.05))], "resemble everybody"),
    ],
)
def test_what_may_be_neither_enrolled_nor_compared_is_told_why(templates: Sequence[Template], because: str) -> None:
    found = objection(templates, GATED)
    assert found is not None
    assert because in found


def test_the_rule_has_another_name_for_another_model_size_or_gate_and_not_for_another_table() -> None:
    wider = GATED.calibration.gate.model_copy(update={"distance": 0.39})
    table = GATED.calibration.model_copy(update={"table": ((-0.4, 0.0), (-0.2, 40.0))})
    others = [
        comparator(),
        comparator("another"),
        comparator(dimension=17),
        Comparator(GATED.calibration.model_copy(update={"gate": wider})),
        Comparator(GATED.calibration.model_copy(update={"unit": True})),
    ]
    assert len({rule(GATED), *map(rule, others)}) == len(others) + 1
    assert rule(Comparator(table)) == rule(GATED)


# ---- which model a log is of


@pytest.fixture
def log() -> MemoryLog:
    log = MemoryLog()
    log.ensure(list(TOPICS.values()))
    return log


def test_an_empty_log_is_of_any_model_and_one_with_references_of_theirs(log: MemoryLog) -> None:
    require_model(log, MODEL)
    log.append([Entry(Name.GALLERY, b"", b"rubbish"), entry(enrolled(1, "ada", [template(1)]))])
    require_model(log, MODEL)


def test_a_log_whose_references_are_all_of_another_model_stops_the_service_and_says_what_to_do(log: MemoryLog) -> None:
    log.append([entry(enrolled(n, f"p{n}", [template(n)])) for n in range(3)])
    with pytest.raises(WrongModel, match=r"of model test-model, .* in use is other-1.*`eyni models use NAME`") as told:
        require_model(log, "other-1")
    assert "\n" not in str(told.value)


def test_a_stray_reference_of_another_model_at_the_start_stops_nobody(log: MemoryLog) -> None:
    stray = enrolled(0, "eve", [Template("stray", vector(3))])
    log.append([entry(stray), *(entry(enrolled(n, f"p{n}", [template(n)])) for n in range(1, 4))])
    require_model(log, MODEL)


def test_only_the_beginning_of_a_log_is_read(log: MemoryLog) -> None:
    log.append([entry(enrolled(n, f"p{n}", [template(n)])) for n in range(LOOKED_AT)])
    log.append([entry(enrolled("late", "x", [Template("late", vector(3))]))])
    with pytest.raises(WrongModel):
        require_model(log, "late")
