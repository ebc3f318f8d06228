# pyright: basic
"""Plots of a report as SVG that takes the page's own ink and fonts; the only file that imports matplotlib."""

import io
import math
import re
from collections.abc import Callable, Sequence
from typing import Any, Final

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from services.evaluate.html.markup import odds
from services.evaluate.report import AtThreshold, ModelReport
from services.evaluate.statistics import RULE_OF_3, RULE_OF_30

_INK: Final = "#0a0b0c"
_FAINT: Final = "#0a0b0d"
"""Stand-ins for the page's colours of text and of lines, so that plots can be read on light and on dark."""
COLOURS: Final = ("#3574b8", "#d0672b", "#3b9260", "#9a62b8", "#b8933a", "#c2537f")
"""Of the models, in order; told apart on white and on black, and by most colour-blind people."""
_STYLE: Final[dict[Any, Any]] = {
    "svg.fonttype": "none",
    "font.size": 11,
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": _FAINT,
    "xtick.color": _FAINT,
    "ytick.color": _FAINT,
    "xtick.labelcolor": _INK,
    "ytick.labelcolor": _INK,
    "axes.grid": True,
    "grid.color": _FAINT,
    "grid.alpha": 0.35,
    "grid.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
}


def det(models: Sequence[ModelReport]) -> str | None:
    """FNMR against FMR, both logarithmic, with 95 % bounds; None where no model has a curve."""
    if not any(model.verification.det for model in models):
        return None

    def draw(axes: Axes) -> None:
        lowest = 1.0
        for colour, model in zip(COLOURS, models, strict=False):
            points = [point for point in model.verification.det if point.fnmr > 0]
            if not points:
                axes.plot([], [], color=colour, label=f"{model.name}: no miss")
                continue
            enough = RULE_OF_30 / max(model.trials.pairs_of_people, 1)
            lowest = min(lowest, *(point.fnmr for point in points))
            sure = [point for point in points if point.fmr >= enough]
            unsure = points[max(len(sure) - 1, 0) :]
            axes.plot([p.fmr for p in sure], [p.fnmr for p in sure], color=colour, label=model.name)
            axes.plot([p.fmr for p in unsure], [p.fnmr for p in unsure], color=colour, linestyle=(0, (2, 2)))
            bound = [(p.fmr, max(p.low, 1e-5), p.high) for p in points if p.low is not None and p.high is not None]
            if bound:
                rates, lows, highs = zip(*bound, strict=True)
                axes.fill_between(rates, lows, highs, color=colour, alpha=0.16, linewidth=0)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_ylim(10 ** (_floor_decade(lowest)), 1)
        axes.set_xlim(right=3e-2)
        _powers(axes, "x")
        axes.set_xlabel("False match rate (FMR), measured")
        axes.set_ylabel("False non-match rate (FNMR)")
        _percent(axes, "y")
        axes.legend(loc="upper right")

    return _svg("det", "DET curve: false non-match rate against false match rate", draw)


def calibration(models: Sequence[ModelReport]) -> str | None:
    """Measured over declared false match rate, with 95 % bounds and the factor of two; None where too few people."""
    shown = [[p for p in m.verification.at_threshold if _is_measured(m, p)] for m in models]
    if not any(shown):
        return None

    def draw(axes: Axes) -> None:
        axes.axhspan(0.5, 2, color="#808080", alpha=0.14, linewidth=0)
        axes.axhline(1, color=_INK, linewidth=0.8)
        for n, (colour, model, points) in enumerate(zip(COLOURS, models, shown, strict=False)):
            aside = (n - (len(models) - 1) / 2) * 0.6
            for point in points:
                assert point.fmr is not None
                at, low, high = point.threshold + aside, point.fmr.low, point.fmr.high
                ends = [max(low or 0, 1e-12) / point.declared_fmr, (high or 0) / point.declared_fmr]
                axes.plot([at, at], ends, color=colour, linewidth=2.2, alpha=0.7)
            axes.plot(
                [p.threshold + aside for p in points if p.ratio],
                [p.ratio for p in points if p.ratio],
                "o",
                color=colour,
                label=model.name,
                markersize=6,
            )
        axes.set_yscale("log")
        axes.set_ylim(1 / 8, 8)
        axes.set_yticks([0.125, 0.25, 0.5, 1, 2, 4, 8], ["⅛", "¼", "½", "1", "2", "4", "8"])
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.set_yticks([], minor=True)
        axes.set_xlim(16, 54)
        axes.set_xticks([20, 30, 40, 50], ["20 dB\n10⁻²", "30 dB\n10⁻³", "40 dB\n10⁻⁴", "50 dB\n10⁻⁵"])
        axes.set_xlabel("Threshold, and the false match rate that the calibration declares there")
        axes.set_ylabel("Measured ÷ declared FMR")
        axes.legend(loc="upper left", ncols=3)

    return _svg("calibration", "Measured over declared false match rate by threshold", draw)


def _is_measured(model: ModelReport, point: AtThreshold) -> bool:
    enough = point.declared_fmr * model.trials.pairs_of_people >= RULE_OF_3
    return enough and point.fmr is not None and point.fmr.low is not None


def histogram(model: ModelReport, threshold: float) -> str:
    """Trials by score, genuine and impostor."""

    def draw(axes: Axes) -> None:
        lowest = 1e-3
        for counts, colour, name in (
            (model.histogram.impostor, COLOURS[1], "impostor"),
            (model.histogram.genuine, COLOURS[0], "genuine"),
        ):
            total = sum(counts)
            if total:
                # Two dB a bin: of one, too many are empty where there are a few hundred trials.
                shares = [sum(counts[n : n + 2]) / total / 2 for n in range(0, len(counts), 2)]
                edges = [*range(0, len(counts) + 2, 2)]
                axes.stairs(shares, edges, color=colour, label=f"{name} ({total:,})", linewidth=1.4)
                axes.stairs(shares, edges, color=colour, fill=True, alpha=0.16)
                lowest = min(lowest, *(share for share in shares if share))
        axes.axvline(threshold, color=_INK, linewidth=0.9, linestyle=(0, (4, 3)))
        axes.text(threshold + 0.8, 0.97, "verification", rotation=90, va="top", transform=axes.get_xaxis_transform())
        axes.set_yscale("log")
        axes.set_ylim(lowest / 2, 1)
        _powers(axes, "y")
        axes.set_xlim(0, len(model.histogram.genuine))
        axes.set_xlabel("Score, dB (the last bin holds all that is above)")
        axes.set_ylabel("Share of trials, per dB")
        axes.legend(loc="upper right")

    return _svg(f"histogram-{model.id}", f"Scores of genuine and impostor trials, {model.name}", draw)


def identification(model: ModelReport) -> str | None:
    """FNIR against the gallery's size; None without mated probes."""
    if model.identification is None:
        return None
    operations, made = model.identification.operations, model.identification.synthetic_people

    def draw(axes: Axes) -> None:
        for colour, target in zip(COLOURS, sorted({o.target for o in operations}, reverse=True), strict=False):
            mine = [o for o in operations if o.target == target]
            known = [(o.size, o.fnir) for o in mine if o.fnir is not None]
            label = f"FPIR {100 * target:g} %"
            if known:
                axes.plot([n for n, _ in known], [r.value for _, r in known], "o-", color=colour, label=label, ms=4)
                bound = [(n, r.low, r.high) for n, r in known if r.low is not None and r.high is not None]
                sizes, lows, highs = zip(*bound, strict=True)
                axes.fill_between(sizes, lows, highs, color=colour, alpha=0.14, linewidth=0)
                label = ""
            axes.plot(
                [o.size for o in mine],
                [o.declared_fnir.value for o in mine],
                color=colour,
                linestyle=(0, (2, 2)),
                linewidth=1.3,
                label=label or None,
            )
        axes.set_xscale("log")
        axes.set_ylim(0, 1.02)
        _powers(axes, "x")
        axes.set_xlabel("People in the gallery" + (" (synthetic)" if made else ""))
        axes.set_ylabel("Missed (FNIR)")
        _percent(axes, "y")
        axes.legend(loc="best")

    return _svg(f"fnir-{model.id}", f"Share of searches that miss, by gallery size, {model.name}", draw)


def ranks(models: Sequence[ModelReport]) -> str | None:
    """Cumulative match characteristic; None without mated probes."""
    known = [model for model in models if model.identification is not None]
    if not known:
        return None

    def draw(axes: Axes) -> None:
        lowest = 1.0
        for colour, model in zip(COLOURS, models, strict=False):
            if model.identification is not None:
                curve = model.identification.cmc
                lowest = min(lowest, curve[0])
                axes.plot(range(1, len(curve) + 1), curve, color=colour, label=model.name)
        axes.set_xscale("log")
        axes.set_xticks([1, 2, 5, 10, 20, 50], ["1", "2", "5", "10", "20", "50"])
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlim(1, 50)
        axes.set_ylim(max(0.0, lowest - 0.05 - (1 - lowest) * 0.3), 1.003)
        axes.set_xlabel("Rank")
        axes.set_ylabel("Right person among the first so many")
        _percent(axes, "y")
        axes.legend(loc="lower right")

    return _svg("cmc", "Rank curve: right person among the first so many", draw)


def _percent(axes: Axes, which: str) -> None:
    axis = axes.yaxis if which == "y" else axes.xaxis
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g} %"))
    if axis.get_scale() == "log":
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.set_minor_formatter(NullFormatter())


def _powers(axes: Axes, which: str) -> None:
    """Label powers of ten as text: matplotlib's own way, mathtext, takes a quarter of the page's time."""
    axis = axes.yaxis if which == "y" else axes.xaxis
    axis.set_major_formatter(FuncFormatter(lambda value, _: odds(value) if value > 0 else ""))
    axis.set_minor_formatter(NullFormatter())


def _floor_decade(value: float) -> int:
    """Return the exponent of the power of ten at or below a value."""
    return math.floor(math.log10(max(value, 1e-5)) - 0.05)


def _svg(name: str, label: str, draw: Callable[[Axes], None]) -> str:
    """Draw, and return an <svg> element to stand in a page."""
    with mpl.rc_context({**_STYLE, "svg.hashsalt": name}):
        figure = Figure(figsize=(7.2, 4.3))
        # Fixed: a layout that fits itself takes half of the page's time.
        draw(figure.add_axes((0.115, 0.17, 0.87, 0.81)))
        text = io.StringIO()
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<g id="[a-zA-Z_0-9]+">', "<g>", svg)
    svg = svg.replace(_INK, "currentColor").replace(_FAINT, "var(--line)")
    size = re.search(r'viewBox="[^"]+"', svg)
    assert size is not None
    return re.sub(r"<svg [^>]*>", f'<svg {size[0]} class="plot" role="img" aria-label="{label}">', svg, count=1)
