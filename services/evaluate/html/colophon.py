"""The page's last sections: what the report can't say, and what it was made with."""

from collections.abc import Iterator

from services.evaluate.html.markup import NONE, count, listing, share, table, text
from services.evaluate.report import ModelReport, Report


def limits(report: Report) -> str:
    return "<ul>" + "".join(f"<li>{line}</li>" for line in _limitations(report)) + "</ul>"


def _limitations(report: Report) -> Iterator[str]:
    least = min(model.trials.pairs_of_people for model in report.models)
    if least:
        yield (
            f"{count(least)} pairs of people measure false match rates down to about {share(30 / least)}; all below "
            "is extrapolated, by the calibration or with synthetic people."
        )
    yield (
        "Pictures of one person from one session, one camera or one day are more alike than an enrolment and a "
        "border crossing years apart: FNMR and FNIR come out too low then. Nothing here knows when a picture was "
        "taken."
    )
    yield (
        "Wrong labels count as errors. At low false match rates they decide: LFW, for one, says nothing at 10⁻⁶ "
        "because of one picture under two names. See “Worst pairs”."
    )
    yield (
        "Public sets are pictures of celebrities, whom the network may have been trained on. Your own people are the "
        "better test."
    )
    yield (
        "Relatives, twins, and people of one region or age are more alike than strangers at large. Rates of all "
        "strangers hide that; only the tables by group show some of it."
    )
    yield (
        "Pictures that were chosen beforehand, because a face was found in them or a person passed them, make "
        "failures to acquire and to enrol too rare."
    )
    yield "Attacks (photos of photos, masks, morphed pictures) are not part of this: they are ISO/IEC 30107's."
    if any(str(m.calibration.get("data", "")) == report.data.source for m in report.models):
        yield (
            "<strong>The calibration names the same data as its source: on the people it was made from, it holds too "
            "well.</strong>"
        )
    else:
        yield (
            "Whether people of this data were among those of the calibration isn't known here: on these it would "
            "hold too well."
        )


def about(report: Report) -> str:
    return (
        "".join(map(_model, report.models))
        + "<h3>Time</h3>"
        + _times(report)
        + "<h3>Machine and software</h3>"
        + listing([(text(k), text(v)) for k, v in {**report.machine, **report.software}.items()])
        + f"<p>Command: <code>{text(' '.join(report.command))}</code></p>"
    )


def _model(model: ModelReport) -> str:
    made = "; ".join(f"{text(name)}: {text(value)}" for name, value in model.calibration.items())
    return listing(
        [
            ("Model", f"{text(model.title)}"),
            ("Id", f"<code>{text(model.id)}</code>"),
            ("Recipe", f"{text(model.recipe)}, landmarks by {text(model.detector)}, {model.dimension} numbers"),
            ("Comparison", text(model.comparison)),
            ("Licence", text(model.licence)),
            ("Provenance", text(model.provenance)),
            ("Calibration", f"<small>{made}</small>"),
        ]
    )


def _times(report: Report) -> str:
    steps = list(dict.fromkeys(step for model in report.models for step in model.seconds))
    rows: list[list[str]] = []
    for step in steps:
        rows.append([text(step), *(_seconds(model.seconds.get(step)) for model in report.models)])
        if step == "extraction":
            rows.append(["&emsp;per picture", *(_each_picture(model) for model in report.models)])
    journal = any(model.from_journal for model in report.models)
    note = (
        "<p class=small>Some pictures were extracted in an earlier run: that time is not in here.</p>"
        if journal
        else ""
    )
    whole = "".join(f"{text(step)} {_seconds(value)}. " for step, value in report.seconds.items())
    return table(["Step", *(text(m.name) for m in report.models)], rows) + f"<p>{whole}</p>" + note


def _seconds(value: float | None) -> str:
    return NONE if value is None else f"{value:.2f} s" if value < 10 else f"{value:.0f} s"


def _each_picture(model: ModelReport) -> str:
    taken = model.seconds.get("extraction")
    return (
        NONE if not taken or not model.acquisition.pictures else f"{1000 * taken / model.acquisition.pictures:.0f} ms"
    )
