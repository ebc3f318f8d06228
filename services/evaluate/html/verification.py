"""Sections on comparisons: error rates, calibration, scores."""

from typing import Final

from services.evaluate.html import plots
from services.evaluate.html.markup import NONE, db, each_model, figure, odds, plain, rate, share, table, text
from services.evaluate.report import AtThreshold, ModelReport, Report

HOLDS: Final = {
    "yes": '<span class="yes">✓ holds</span>',
    "no": '<span class="no">✗ does not hold</span>',
    "unclear": '<span class="unclear">too few to tell</span>',
}


def own_point(model: ModelReport) -> AtThreshold:
    """Return what is measured at the threshold at which the system verifies."""
    return next(point for point in model.verification.at_threshold if point.verification_target)


def verification(report: Report) -> str:
    if not any(model.trials.genuine for model in report.models):
        return "<p>Nobody has two usable pictures: there is no genuine trial, and FNMR can't be measured.</p>"
    heads = ["FMR, measured here"]
    for model in report.models:
        heads += [f"{text(model.name)}: FNMR", "at threshold"]
    rows: list[list[str]] = []
    for n, point in enumerate(report.models[0].verification.at_rate):
        row = [odds(point.fmr)]
        for model in report.models:
            mine = model.verification.at_rate[n]
            few = " <small class=soft>few</small>" if mine.measurable == "few" else ""
            row += (
                ['<span class="unclear">not measurable here</span>', NONE]
                if mine.fnmr is None
                else [rate(mine.fnmr) + few, db(mine.threshold)]
            )
        rows.append(row)
    curve = figure(
        plots.det(report.models),
        "DET curve (detection error trade-off), both axes logarithmic, lower is better. Shaded: 95 % bounds. Dotted: "
        "fewer than 30 pairs of people are to be expected to match. No curve: no genuine trial is missed there.",
    )
    return table(heads, rows) + curve


def calibration(report: Report) -> str:
    plot = figure(
        plots.calibration(report.models),
        "Shaded: within a factor of two, which is what a calibration has to keep. Bars: 95 % bounds. Above 1 the "
        "model matches more strangers than its scores say, below 1 fewer. Thresholds at which fewer than 3 false "
        "matches are to be expected are left out.",
    )
    return each_model(report, _declared) + plot


def _declared(model: ModelReport) -> str:
    heads = [
        "Threshold",
        "FMR declared",
        "FMR measured",
        "÷ declared",
        "÷ declared, by pairs of people",
        "",
        "FNMR",
        "FNMR expected",
    ]
    rows = [
        [
            f"{point.threshold:.1f} dB" + (" <small>verification</small>" if point.verification_target else ""),
            plain(point.declared_fmr) + (" <small class=soft>extrap.</small>" if point.extrapolated else ""),
            rate(point.fmr),
            f"{point.ratio:.2f}" if point.ratio is not None else NONE,
            f"{point.fmr_of_people / point.declared_fmr:.2f}" if point.fmr_of_people is not None else NONE,
            HOLDS[point.holds],
            rate(point.fnmr),
            share(point.expected_fnmr),
        ]
        for point in model.verification.at_threshold
    ]
    found = model.verification
    return table(heads, rows, texts=(5,)) + (
        "<p class=small>÷ declared: of pairs of pictures; by pairs of people: the same where each pair of people "
        f"counts once, as in the calibration. It measured to {found.measured_to:.1f} dB; beyond, scores are "
        "extrapolated: "
        f"{share(found.extrapolated_genuine)} of the genuine and {share(found.extrapolated_impostor)} of the impostor "
        "trials here.</p>"
    )


def histograms(report: Report) -> str:
    drawn = [plots.histogram(model, own_point(model).threshold) for model in report.models]
    captions = [text(model.name) if len(drawn) > 1 else "" for model in report.models]
    shown = "".join(figure(plot, caption) for plot, caption in zip(drawn, captions, strict=True))
    return "<p>A calibrated score makes the impostors' histogram a straight line, a tenth less every 10 dB.</p>" + (
        f'<div class="plots">{shown}</div>' if len(drawn) > 1 else shown
    )
