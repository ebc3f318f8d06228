"""The report as a whole: it says what these faces can't, needs nothing else, and gives no template away."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest

from services.evaluate.acquisition import GATE, Item, data, of_templates
from services.evaluate.html.markup import share
from services.evaluate.html.page import page
from services.evaluate.labelled import Problem, Templates
from services.evaluate.measuring import Measured, NothingToCompare, measure
from services.evaluate.report import Report
from services.match.policy import Policy
from shared.biometrics import RetakeReason
from shared.calibration import Calibration, Comparator
from shared.model import BUILT_IN, Model, load_model
from tests.unit.evaluate.making import MODEL, calibration, crowd


@dataclass(frozen=True)
class Crowd(Model):
    """A model of 24 numbers that is calibrated on a crowd."""

    @property
    def id(self) -> str:
        return MODEL

    @property
    def calibration(self) -> Calibration:  # pyright: ignore[reportIncompatibleVariableOverride]
        return calibration()


BASE = load_model(BUILT_IN / "dlib")
CROWD = Crowd(BASE.folder, BASE.manifest)


def items_of(people: int, pictures: int = 2, seed: int = 0, groups: Sequence[str] = ()) -> list[Item]:
    vectors, names = crowd(people, pictures, seed)
    return [
        Item(name, f"{name}/{n}.jpg", vector, groups={"sex": groups[n // pictures % len(groups)]} if groups else {})
        for n, (name, vector) in enumerate(zip(names, vectors, strict=True))
    ]


def measured(items: Sequence[Item], columns: Sequence[str] = (), given: bool = False) -> Measured:
    return measure(CROWD, items, columns, Policy(), given, lambda step: None)


def report_of(*parts: Measured, source: str = "crowd", problems: tuple[Problem, ...] = ()) -> Report:
    vectors, names = crowd(120)
    return Report(
        created="2026-11-23T04:00:00+00:00",
        command=["eyni", "evaluate", "<crowd>"],
        data=data(Templates(vectors, tuple(names), source, problems)),
        models=[part.report for part in parts],
        machine={"processor": "an abacus"},
        software={"eyni": "1"},
        confidence=0.95,
        seconds={"everything": 1.0},
    )


WHOLE = measured(items_of(160, 3, groups=("F", "M")), ("sex",))


def test_the_whole_report_can_be_read_back_and_has_no_number_that_is_none() -> None:
    text = report_of(WHOLE).dump()
    assert "NaN" not in text
    assert "Infinity" not in text
    assert Report.model_validate_json(text) == report_of(WHOLE)
    assert json.loads(text)["format"] == 1


def test_counts_add_up() -> None:
    found = WHOLE.report
    assert (found.trials.people, found.trials.templates, found.trials.genuine) == (160, 480, 480)
    assert found.trials.impostor == 480 * 479 // 2 - 480
    assert sum(found.histogram.genuine) == 480
    assert sum(found.histogram.impostor) == found.trials.impostor
    assert found.identification is not None
    assert (found.identification.gallery, found.identification.mated_probes) == (160, 320)
    assert found.gallery is not None
    assert found.gallery.agrees


def test_rates_that_these_faces_cannot_measure_are_not_given() -> None:
    # 12,720 pairs of people.
    told = {point.fmr: (point.measurable, point.fnmr is None) for point in WHOLE.report.verification.at_rate}
    assert told[1e-2] == ("measured", False)
    assert told[1e-3] == ("few", False)
    assert told[1e-4] == ("no", True)
    assert "not measurable here" in page(report_of(WHOLE), {})


def test_the_systems_own_verification_threshold_is_among_those_that_are_measured() -> None:
    found = measure(CROWD, items_of(80), (), Policy(verification=26.5), True, lambda step: None).report.verification
    assert [p.threshold for p in found.at_threshold if p.verification_target] == [26.5]
    assert [p.threshold for p in found.at_threshold] == sorted(p.threshold for p in found.at_threshold)


def test_refusals_are_told_by_reason_and_kind() -> None:
    items = items_of(40)
    lost = [RetakeReason.NO_FACE, RetakeReason.NO_FACE, RetakeReason.UNDECODABLE, RetakeReason.BLURRED]
    items += [Item("nobody", f"bad{n}.jpg", None, str(reason)) for n, reason in enumerate(lost)]
    found = measured(items).report.acquisition
    assert found.failure_to_acquire is not None
    assert found.failure_to_enrol is not None
    assert (found.failure_to_acquire.hits, found.failure_to_enrol.hits, found.failure_to_enrol.of) == (3, 1, 84)
    assert [(r.reason, r.pictures) for r in found.acquire_reasons] == [("no_face", 2), ("undecodable", 1)]
    assert (found.people_lost.hits, found.people_lost.of) == (1, 41)


def test_refused_pictures_are_named() -> None:
    items = [*items_of(40), *(Item("nobody", f"bad{n}<b>.jpg", None, str(RetakeReason.UNDECODABLE)) for n in range(30))]
    found = measured(items)
    [reason] = found.report.acquisition.acquire_reasons
    assert reason.examples == [f"bad{n}<b>.jpg" for n in range(20)]
    text = page(report_of(found), {})
    assert "bad0&lt;b&gt;.jpg; bad1" in text
    assert "bad20" not in text


def test_a_copy_of_a_picture_is_no_second_picture_of_that_person() -> None:
    items = items_of(40, 1)
    once = measured(items).report
    copied = measured([*items, *items[:15]]).report
    assert (copied.acquisition.repeated, copied.acquisition.left_out) == (15, 0)
    assert copied.trials == once.trials
    assert copied.trials.genuine == 0
    assert "15 copies of another" in page(report_of(measured([*items, *items[:15]])), {})
    # Of two people, it is a wrong label, and stays to be seen.
    other = Item("somebody else", "wrong.jpg", items[0].vector)
    worst = measured([*items, other]).report.worst_impostor[0]
    assert "wrong.jpg" in (worst.first, worst.second)


def test_templates_that_no_face_has_are_not_compared() -> None:
    vectors, names = crowd(40)
    vectors[3] *= 1000
    items = of_templates(Templates(vectors, tuple(names), "x"), Comparator(calibration()))
    assert [item.reason for item in items if not item.usable] == [GATE]
    assert measured(items, given=True).report.trials.templates == 79


def test_the_worst_pairs_are_of_different_people_each() -> None:
    genuine, impostor = WHOLE.report.worst_genuine, WHOLE.report.worst_impostor
    assert [p.score for p in genuine] == sorted(p.score for p in genuine)
    assert [p.score for p in impostor] == sorted((p.score for p in impostor), reverse=True)
    assert all(p.first_person == p.second_person for p in genuine)
    assert len({p.first_person for p in genuine}) == len(genuine) == 8
    assert len({frozenset((p.first_person, p.second_person)) for p in impostor}) == len(impostor) == 8
    first, second = WHOLE.worst["impostor-0"]
    assert (first.shown, second.shown) == (impostor[0].first, impostor[0].second)


# ---- what isn't there


def test_without_a_second_picture_of_anybody_there_is_still_a_report() -> None:
    found = measured(items_of(120, 1))
    assert found.report.identification is None
    assert all(point.fnmr is None for point in found.report.verification.at_threshold)
    assert all(p.fmr is not None for p in found.report.verification.at_threshold)
    text = page(report_of(found), {})
    assert "there is no genuine trial" in text
    assert "there is no mated probe" in text
    report_of(found).dump()


def test_with_one_person_left_there_is_still_a_report() -> None:
    found = measured(items_of(1, 4)).report
    assert (found.trials.genuine, found.trials.impostor) == (6, 0)
    assert all(point.fmr is None and point.holds == "unclear" for point in found.verification.at_threshold)
    assert found.identification is not None
    page(report_of(measured(items_of(1, 4))), {})


def test_without_a_usable_pair_nothing_can_be_measured() -> None:
    with pytest.raises(NothingToCompare, match=r"1 of 3 .* no face: 2"):
        measured([*items_of(1, 1), *(Item("b", "b", None, "no_face") for _ in range(2))])


# ---- the page


def test_the_page_needs_nothing_from_anywhere() -> None:
    text = page(report_of(WHOLE, measured(items_of(120))), {})
    assert not re.findall(
        r"(?:src|href)=[\"']?(?!#|data:)", re.sub(r"<a href=\"#", '<a data="', text).replace('xlink:href="#', "")
    )
    assert "<script" not in text
    assert "url(http" not in text
    assert "@import" not in text
    assert "default-src 'none'" in text
    assert len(text) < 1_000_000


def test_without_people_enough_for_synthetic_ones_the_page_says_how_many_it_takes() -> None:
    shown = page(report_of(WHOLE), {})
    assert "takes 300 people with a usable picture, and here are 160" in shown
    assert not re.search(r"Solid: synthetic|%, synthetic<|\(synthetic\)", shown)


def test_pictures_without_a_group_are_counted() -> None:
    some = [replace(item, groups={}) if n % 10 == 0 else item for n, item in enumerate(items_of(60, 2, 0, ("F", "M")))]
    told = [report_of(measured(some, ("sex",))), report_of(WHOLE)]
    told = [r.model_copy(update={"data": r.data.model_copy(update={"group_columns": ["sex"]})}) for r in told]
    assert "12 pictures have no sex, and are in no row." in page(told[0], {})
    assert "in no row" not in page(told[1], {})


def test_names_are_only_text_on_the_page() -> None:
    items = items_of(30)
    items[0] = Item(items[0].person, "<img src=x onerror=alert(1)>.jpg", items[0].vector)
    items[1] = Item(items[1].person, "b.jpg", items[1].vector + np.float32(2) if items[1].vector is not None else None)
    text = page(report_of(measured(items), source="<b>&", problems=(Problem("<i>", "<u>"),)), {})
    assert "<img src=x" not in text
    assert "&lt;img src=x" in text
    for hostile in ("<b>&<", "<i><", "<u>", "<crowd>"):
        assert hostile not in text


def test_the_page_shows_pairs_as_pictures_and_says_so() -> None:
    shown = page(report_of(WHOLE), {MODEL: {"genuine-0": ("data:image/jpeg;base64,AA", "data:image/jpeg;base64,BB")}})
    assert shown.count("<img ") == 2
    assert "This page shows faces and names" in shown
    assert "This page shows no faces" in page(report_of(WHOLE), {})


def test_nothing_of_a_template_is_in_the_report() -> None:
    items = items_of(60)
    found = measured(items)
    text = report_of(found).dump() + page(report_of(found), {})
    assert items[0].vector is not None
    assert not any(f"{float(number):.4f}" in text for number in items[0].vector.tolist() if abs(number) > 1e-2)
    assert "vector=" not in repr(items[0])


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.126, "12.6 %"),
        (0.00841, "0.84 %"),
        (0.0000931, "0.0093 %"),
        (0.0, "0 %"),
        (1.0, "100 %"),
        (0.9999, "99.99 %"),
        (2.4e-9, "2.4·10⁻⁹"),
        (0.01, "1.0 %"),
        (2e-6, "0.0002 %"),
    ],
)
def test_rates_are_told_with_the_digits_that_matter(value: float, shown: str) -> None:
    assert share(value) == shown


def test_plots_take_the_pages_own_ink() -> None:
    text = page(report_of(WHOLE), {})
    assert text.count("<svg ") == 5
    assert "currentColor" in text
    assert "#0a0b0c" not in text
    # Every reference inside of a plot leads to something in it.
    for used in set(re.findall(r"url\(#([^)]+)\)", text)) | set(re.findall(r'xlink:href="#([^"]+)"', text)):
        assert f'id="{used}"' in text
