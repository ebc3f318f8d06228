"""Sections on people: groups, and the pairs that are most unlike their labels."""

from collections.abc import Mapping

from services.evaluate.html.markup import NONE, Faces, count, each_model, odds, rate, table, text
from services.evaluate.report import Group, Grouping, ModelReport, Pair, Rate, Report


def groups(report: Report) -> str:
    if not report.data.group_columns:
        return "<p>The labels name no groups. A CSV with columns such as sex, age or region gives a table for each.</p>"
    return each_model(report, lambda m: "".join(_grouping(g, m) for g in m.groups))


def _grouping(found: Grouping, model: ModelReport) -> str:
    missing = model.acquisition.pictures - sum(group.pictures for group in found.groups)
    without = f" {count(missing)} pictures have no {text(found.column)}, and are in no row." if missing else ""
    rates = [f"FMR where all have {odds(wanted)}" for wanted in found.rates]
    heads = [
        text(found.column),
        "people",
        "pictures",
        "acquire",
        "enrol",
        f"FNMR at {found.threshold:.0f} dB",
        f"FMR at {found.threshold:.0f} dB",
        *rates,
    ]
    rows = [_group(group, found) for group in found.groups]
    names = ["failure to acquire", "failure to enrol", "fnmr", "fmr", *(f"fmr at {wanted:g}" for wanted in found.rates)]
    ratios = [found.worst_to_best.get(name) for name in names]
    rows.append(["Worst ÷ best", "", "", *(f"{r:.1f}" if r is not None else NONE for r in ratios)])
    return table(heads, rows, strong=(len(rows) - 1,)) + (
        "<p class=small>acquire, enrol: failures. FMR: strangers of one group among themselves. Grey: too few people "
        "to be compared with other groups (30 people with two pictures for FNMR, 10 false matches to be expected for "
        "FMR); these are not in the ratio, nor groups of fewer than 30 people in that of failures. There is no ratio "
        f"where the smallest rate is 0.{without}</p>"
    )


def _group(group: Group, found: Grouping) -> list[str]:
    named: list[tuple[str, Rate | None]] = [("fnmr", group.fnmr), ("fmr", group.fmr)]
    named += [(f"fmr at {w:g}", r) for w, r in zip(found.rates, group.fmr_at, strict=True)]
    figures = [f"<span class=unclear>{rate(r)}</span>" if name in group.too_small else rate(r) for name, r in named]
    failures = [rate(group.failure_to_acquire), rate(group.failure_to_enrol)]
    return [text(group.value), count(group.people), count(group.pictures), *failures, *figures]


def worst(report: Report, faces: Faces) -> str:
    return (
        "<p>Look at these first: what is wrong here is often the label. Different people in a genuine pair, or the "
        "same person (or picture) in an impostor pair, count as errors of the model above.</p>"
        + each_model(report, lambda m: _pairs(m, faces.get(m.id, {})))
    )


def _pairs(model: ModelReport, faces: Mapping[str, tuple[str, str]]) -> str:
    parts: list[str] = []
    for kind, title, pairs in (
        ("genuine", "Least alike of one person (lowest genuine scores)", model.worst_genuine),
        ("impostor", "Most alike of two people (highest impostor scores)", model.worst_impostor),
    ):
        if pairs:
            shown = "".join(_shown(pair, faces.get(f"{kind}-{n}")) for n, pair in enumerate(pairs))
            parts.append(f'<h3>{title}</h3><ul class="pairs">{shown}</ul>')
    return "".join(parts)


def _shown(pair: Pair, pictures: tuple[str, str] | None) -> str:
    seen = ""
    if pictures is not None:
        seen = "".join(f'<img src="{address}" alt="">' for address in pictures)
        seen = f'<div class="faces">{seen}</div>'
    people = (
        text(pair.first_person)
        if pair.first_person == pair.second_person
        else f"{text(pair.first_person)} / {text(pair.second_person)}"
    )
    files = f"<span class=soft>{text(pair.first)}, {text(pair.second)}</span>"
    return f"<li>{seen}<b>{pair.score:.1f} dB</b> {people}<br>{files}</li>"
