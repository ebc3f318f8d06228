"""The sections of the page, one after the other, from what the report says."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from services.evaluate.html.colophon import about, limits
from services.evaluate.html.identification import gallery, identification, ranks
from services.evaluate.html.markup import NONE, Faces, count, each_model, listing, odds, rate, table, text
from services.evaluate.html.people import groups, worst
from services.evaluate.html.verification import HOLDS, calibration, histograms, own_point, verification
from services.evaluate.report import ModelReport, Rate, Reason, Report

Section = tuple[str, str, str]
"""Name in the address, title, HTML."""


def head(report: Report, shows_faces: bool) -> str:
    """Return what stands on top: what this is, of what, and how to treat it."""
    names = ", ".join(model.name for model in report.models)
    faces = (
        "<strong>This page shows faces and names</strong> (section “Worst pairs”): personal data, to be kept as the "
        "pictures themselves are. It holds no template."
        if shows_faces
        else "This page shows no faces and holds no template. Names of people or files may be in section “Worst pairs”."
    )
    return f"""<h1>Face recognition performance</h1>
<p class="lead">{text(names)} on {text(report.data.source)}: {count(report.data.people)} people,
{count(report.data.pictures)} {report.data.kind}. {text(report.created[:16].replace("T", " "))} UTC.
A technology evaluation in the words of ISO/IEC 19795-1 and 2382-37.</p>
<p class="notice">{faces}</p>"""


def sections(report: Report, faces: Faces) -> list[Section]:
    """Return what there is to say."""
    found = [
        ("summary", "At a glance", _summary(report)),
        ("reading", "How to read this", _READING),
        ("data", "Data", _data(report)),
        ("acquisition", "Failures to acquire and to enrol", _acquisition(report)),
        ("verification", "Verification: false matches and false non-matches", verification(report)),
        ("calibration", "Does the calibration hold on these faces?", calibration(report)),
        ("histograms", "Scores", histograms(report)),
        ("identification", "Identification: searches in galleries of 1,000 to 10 million", identification(report)),
        ("ranks", "Rank curve", ranks(report)),
        ("gallery", "The real gallery", gallery(report)),
        ("groups", "Groups of people", groups(report)),
        ("worst", "Worst pairs", worst(report, faces)),
        ("limits", "What this report cannot say", limits(report)),
        ("about", "Models, machine, time", about(report)),
    ]
    return [part for part in found if part[2]]


# ---- at a glance


def _summary(report: Report) -> str:
    heads = ["", *(text(model.name) for model in report.models)]
    rows: list[list[str]] = []

    def row(name: str, of: Callable[[ModelReport], str]) -> None:
        rows.append([name, *(of(model) for model in report.models)])

    if report.data.kind == "pictures":
        row("Failure to acquire", lambda m: rate(m.acquisition.failure_to_acquire))
    row("Failure to enrol (refused by quality)", lambda m: rate(m.acquisition.failure_to_enrol))
    row(
        f"Missed at the system's verification threshold (FNMR, {own_point(report.models[0]).threshold:.1f} dB)",
        lambda m: rate(own_point(m).fnmr),
    )
    for wanted in (1e-3, 1e-4, 1e-5):
        if any(p.fmr == wanted and p.fnmr for m in report.models for p in m.verification.at_rate):
            row(f"Missed where FMR is {odds(wanted)}, measured", partial(_missed_at, wanted))
    row("Declared false match rates, 10⁻² to 10⁻⁵", _verdicts)
    if any(model.identification for model in report.models):
        row("Right person at rank 1", lambda m: rate(m.identification.ranks[0].hit_rate) if m.identification else NONE)
        for size, words in ((100_000, "100,000"), (10_000_000, "10 million")):
            row(f"Missed among {words}, FPIR 1 %, synthetic people", partial(_searched, size, False))
            row("&emsp;by declared false match rates", partial(_searched, size, True))
    return table(heads, rows) + (
        "<p class=small>Below each rate: its 95 % confidence bounds. FPIR 1 %: one search of a stranger in 100 names "
        "somebody.</p>"
    )


def _missed_at(wanted: float, model: ModelReport) -> str:
    return rate(next(point.fnmr for point in model.verification.at_rate if point.fmr == wanted))


def _searched(size: int, declared: bool, model: ModelReport) -> str:
    if model.identification is None:
        return NONE
    found = next(o for o in model.identification.operations if (o.size, o.target) == (size, 0.01))
    return rate(found.declared_fnir if declared else found.fnir)


def _verdicts(model: ModelReport) -> str:
    points = [p for p in model.verification.at_threshold if not p.verification_target]
    if any(point.holds == "no" for point in points):
        return HOLDS["no"]
    known = [odds(point.declared_fmr) for point in points if point.holds == "yes"]
    return f'<span class="yes">✓ hold</span> <small>({", ".join(known)})</small>' if known else HOLDS["unclear"]


_READING: Final = """
<ul>
<li><strong>Score</strong>: &minus;10·log₁₀ of the false match rate that the model's calibration declares, in dB.
30 dB: one pair of strangers in 1,000 scores as high; 40 dB: one in 10,000. A pair matches where its score reaches the
threshold.</li>
<li><strong>FMR</strong>, false match rate: share of impostor (non-mated) trials that match. <strong>FNMR</strong>,
false non-match rate: share of genuine (mated) trials that don't. Both are of comparisons: failures to acquire or to
enrol come on top.</li>
<li><strong>FPIR</strong>, false positive identification rate: share of searches of somebody who isn't enrolled that
name anybody. <strong>FNIR</strong>, false negative identification rate: share of searches of somebody who is enrolled
that don't name that person. A gallery of N people multiplies false matches by N: its threshold has to be
10·log₁₀ N dB higher.</li>
<li><strong>95 % bounds</strong> come from drawing the people (not the pictures) anew 400 times, 200 times for groups;
they are never narrower than Wilson's bounds, which hold for independent trials. Those stand alone for failures to
acquire and to enrol, and where no trial failed, or all did. Bounds say what chance does with these people, and nothing
of people unlike them.</li>
<li><strong>Rule of 30</strong>: a rate is worth its digits where 30 errors are to be expected. Where there are 3 to
30, figures are marked <em>few</em>; below 3 no FNMR is told, and no verdict on the calibration.</li>
</ul>"""


# ---- data, acquisition


def _data(report: Report) -> str:
    data = report.data
    pairs = [
        ("People", f"{count(data.people)}, of these {count(data.people_with_two)} with two {data.kind} or more"),
        (data.kind.capitalize(), count(data.pictures)),
    ]
    if data.group_columns:
        pairs.append(("Groups by", text(", ".join(data.group_columns))))
    heads = ["", "templates", "people", "with two or more", "genuine trials", "impostor trials", "pairs of people"]
    rows = [
        [
            text(m.name),
            *map(count, (t.templates, t.people, t.people_with_two, t.genuine, t.impostor, t.pairs_of_people)),
        ]
        for m in report.models
        for t in [m.trials]
    ]
    each = report.models[0].acquisition.pictures_each
    left = max(model.acquisition.left_out for model in report.models)
    more = f" {count(left)} more {data.kind} of people who have many are left out of the trials." if left else ""
    if copies := max(model.acquisition.repeated for model in report.models):
        more += f" {count(copies)} copies of another of the same person are left out too: a copy always matches."
    problems = ""
    if data.problems:
        lines = [
            [
                text(p.what),
                count(p.count),
                f"<small>{text('; '.join(p.examples[:5]))}{' …' if p.count > 5 else ''}</small>",
            ]
            for p in data.problems
        ]
        problems = table(["Left out", "number", "where"], lines, texts=(2,))
    return (
        listing(pairs)
        + problems
        + "<h3>Trials</h3>"
        + table(heads, rows)
        + f"<p>Every pair of {data.kind} is a trial, with at most {each} {data.kind} of each person.{more}</p>"
    )


def _acquisition(report: Report) -> str:
    found = [model.acquisition for model in report.models]
    heads = ["", *(text(model.name) for model in report.models)]
    rows: list[list[str]] = []
    strong: list[int] = []

    def total(name: str, of: Sequence[Rate | None]) -> None:
        strong.append(len(rows))
        rows.append([name, *(_counted(value) for value in of)])

    def each(of: Sequence[Sequence[Reason]]) -> None:
        known = {reason.reason: 0 for reasons in of for reason in reasons}
        for reason in known:
            counts = [sum(r.pictures for r in reasons if r.reason == reason) for reasons in of]
            rows.append([f"&emsp;{text(reason.replace('_', ' '))}", *map(count, counts)])

    given = report.data.kind == "templates"
    if not given:
        total("Failure to acquire: nothing to judge", [a.failure_to_acquire for a in found])
        each([a.acquire_reasons for a in found])
    total("Failure to enrol: refused", [a.failure_to_enrol for a in found])
    each([a.enrol_reasons for a in found])
    total(f"People without a usable {report.data.kind.removesuffix('s')}", [a.people_lost for a in found])
    return f"<p>{_GIVEN if given else _EXTRACTED}</p>" + table(heads, rows, strong=strong) + each_model(report, _which)


def _which(model: ModelReport) -> str:
    """Name the pictures that were refused, some for each reason."""
    rows = [
        [
            text(found.reason.replace("_", " ")),
            count(found.pictures),
            f"<small>{text('; '.join(found.examples))}{' …' if found.pictures > len(found.examples) else ''}</small>",
        ]
        for found in (*model.acquisition.acquire_reasons, *model.acquisition.enrol_reasons)
    ]
    if not rows:
        return "<p class=small>None was refused.</p>"
    named = table(["Refused", "number", "which"], rows, texts=(2,))
    return f"<details><summary>Which were refused</summary>{named}</details>"


_GIVEN: Final = (
    "Templates were given, not pictures: nothing is known of pictures in which no face was found, or that a quality "
    "gate refused."
)
_EXTRACTED: Final = (
    "By the real extraction workers and the quality gate as it is set; every picture is one attempt. Failure to "
    "acquire: there is no face to judge. Failure to enrol: there is one, and the gate refuses it, for a search as for "
    "an enrolment. ISO/IEC 19795-1 counts failures to enrol by people: that is the last row, if all pictures of a "
    "person are attempts to enrol."
)


def _counted(value: Rate | None) -> str:
    return NONE if value is None else f"{count(value.hits)} <small>of {count(value.of)}</small>, {rate(value)}"
