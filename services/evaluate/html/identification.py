"""Sections on searches: galleries of any size, ranks, the services' own gallery."""

from collections.abc import Iterator

from services.evaluate.background import LEAST_PEOPLE
from services.evaluate.html import plots
from services.evaluate.html.markup import NONE, count, db, each_model, figure, plain, rate, share, table, text
from services.evaluate.report import Identification, ModelReport, Report


def identification(report: Report) -> str:
    if not any(model.identification for model in report.models):
        return "<p>Nobody has two usable pictures: there is no mated probe.</p>"
    return each_model(report, lambda m: _searches(m, m.identification) if m.identification else "")


def _searches(model: ModelReport, found: Identification) -> str:
    synthetic = found.synthetic_people > 0 and found.counted_to is not None
    made = (
        f"Non-mated probes: one picture of each of {count(found.non_mated_probes)} people, searched among "
        f"{count(found.synthetic_people)} <strong>synthetic people</strong>, made from these faces and as alike as "
        f"they are; above {found.counted_to:.0f} dB most of their false match rates are extrapolated. They have no "
        "twins, siblings or wrong labels."
        if synthetic
        else f"To make <strong>synthetic people</strong> takes {LEAST_PEOPLE} people with a usable picture, and here "
        f"are {count(found.gallery)}: only what the calibration declares is shown."
    )
    ways = ("synthetic", "declared") if synthetic else ("declared",)
    targets = sorted({o.target for o in found.operations}, reverse=True)
    first = table(
        ["People in the gallery", *(f"FPIR {plain(t)}, {how}" for t in targets for how in ways)],
        [[count(size), *_missed(found, size, synthetic)] for size in dict.fromkeys(o.size for o in found.operations)],
        caption="Missed (FNIR) where the threshold is set for an FPIR",
    )
    second = table(
        ["People in the gallery", "threshold", "FNIR", "FPIR, declared", "FPIR, synthetic"],
        [
            [
                count(o.size),
                db(o.threshold),
                rate(o.fnir),
                plain(o.declared_fpir),
                NONE if o.fpir is None else share(o.fpir),
            ]
            for o in found.as_set
        ],
        caption=f"As the system is set: FPIR {plain(found.as_set[0].declared_fpir)}, by declared false match rates",
    )
    third = table(
        ["People in the gallery", "threshold", "FPIR, real people", "FPIR, synthetic people", "synthetic ÷ real"],
        [
            [count(a.size), db(a.threshold), share(a.real_fpir), share(a.synthetic_fpir), f"{a.ratio:.2f}"]
            for a in found.agreement
        ],
        caption="Synthetic people held against the real ones",
    )
    return (
        f"<p>{count(found.mated_probes)} mated probes, searched for one picture of each person. {made} Declared: at "
        "the threshold whose declared FMR is FPIR &divide; N (FPIR is 1 &minus; (1 &minus; FMR)<sup>N</sup>, at most "
        "that).</p>"
        + figure(
            plots.identification(model),
            f"{'Solid: synthetic people. ' if synthetic else ''}Dotted: as declared."
            f"{' Shaded: 95 % bounds.' if synthetic else ''}",
        )
        + first
        + second
        + (third if found.agreement else "")
    )


def _missed(found: Identification, size: int, synthetic: bool) -> Iterator[str]:
    for o in sorted((o for o in found.operations if o.size == size), key=lambda o: -o.target):
        for missed, threshold in ((o.fnir, o.threshold), (o.declared_fnir, o.declared_threshold))[not synthetic :]:
            at = "" if threshold is None else f'<span class="bounds">at {threshold:.1f} dB</span>'
            yield rate(missed) + at


def ranks(report: Report) -> str:
    known = [(model, model.identification) for model in report.models if model.identification]
    if not known:
        return ""
    heads = ["", "people in the gallery", *(f"rank {at.rank}" for at in known[0][1].ranks)]
    rows = [[text(m.name), count(i.gallery), *(rate(at.hit_rate) for at in i.ranks)] for m, i in known]
    plot = figure(
        plots.ranks(report.models), "Share of mated probes whose own person is among the first so many (CMC)."
    )
    return "<p>Without a threshold, among the real people, one picture each.</p>" + table(heads, rows) + plot


def gallery(report: Report) -> str:
    heads = ["", "enrolled", "searched", "threshold", "hits", "misses", "false alarms", "scores checked"]
    rows: list[list[str]] = []
    for model in report.models:
        if (g := model.gallery) is not None:
            told = f'<span class="yes">✓ {count(g.scores)} as compared here</span>'
            if not g.agrees:
                told = f'<span class="no">✗ not as compared here (up to {g.largest_difference:.3f} dB off)</span>'
            rows.append([text(model.name), count(g.references), count(g.probes), db(g.threshold)])
            rows[-1] += [count(g.hits), count(g.misses), count(g.false_alarms), told]
    if not rows:
        return ""
    return (
        "<p>One picture of each person was enrolled in the services' own gallery, and every other one put to its "
        "matcher as an identification, at the threshold that the system's policy sets for a gallery of this size. A "
        "false alarm: a search that "
        "names somebody else, too.</p>" + table(heads, rows, texts=(7,))
    )
