"""Numbers and tables as HTML."""

import math
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Final

from services.evaluate.report import ModelReport, Rate, Report

Faces = Mapping[str, Mapping[str, tuple[str, str]]]
"""Model's id → key of a pair (genuine-0, ...) → two pictures as `data:` addresses; missing: not to be shown."""
NONE: Final = '<span class="soft">&ndash;</span>'


def text(value: object) -> str:
    """Escape."""
    return escape(str(value))


def share(value: float) -> str:
    """Return a rate as a percentage of two or three digits, 12.6 %, 0.84 %, 0.0093 %; a tiny one as 2.4·10⁻⁹."""
    percent = 100 * value
    if 0 < percent < 1e-4:
        power = math.floor(math.log10(value))
        return f"{value / 10.0**power:.1f}·10{str(power).translate(_RAISED)}"
    if percent >= 99.95 and value < 1:
        return f"{percent:.2f} %"
    if percent >= 1:
        return f"{percent:.1f} %" if value < 1 else "100 %"
    return (f"{float(f'{percent:.2g}'):.6f}".rstrip("0").rstrip(".") if percent else "0") + " %"


def plain(value: float) -> str:
    """Return a rate that somebody chose: 10 %, 0.05 %."""
    return f"{100 * float(f'{value:.2g}'):g} %"


def odds(value: float) -> str:
    """Return a rate that is a power of ten, as 10⁻⁴."""
    return f"10{str(round(math.log10(value))).translate(_RAISED)}"


_RAISED: Final = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def rate(value: Rate | None) -> str:
    """Return a rate with its bounds below."""
    if value is None:
        return NONE
    if value.low is None or value.high is None:
        return share(value.value)
    return f'{share(value.value)}<span class="bounds">{_range(value.low, value.high)}</span>'


def _range(low: float, high: float) -> str:
    return f"{share(low).removesuffix(' %')}&ndash;{share(high)}"


def count(value: int) -> str:
    return f"{value:,}"


def db(value: float | None) -> str:
    return NONE if value is None else f"{value:.1f} dB"


def table(
    heads: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    texts: Sequence[int] = (),
    strong: Sequence[int] = (),
    caption: str = "",
) -> str:
    """Return a table; cells are HTML. Columns `texts` are left-aligned, besides the first; rows `strong` stand out."""

    def cell(tag: str, n: int, content: str) -> str:
        return f"<{tag}{' class=text' if n in texts else ''}>{content}</{tag}>"

    top = "".join(cell("th", n, head) for n, head in enumerate(heads))
    body = "".join(
        f"<tr{' class=strong' if n in strong else ''}>{''.join(cell('td', k, c) for k, c in enumerate(row))}</tr>"
        for n, row in enumerate(rows)
    )
    title = f"<caption>{caption}</caption>" if caption else ""
    return f'<div class="wide"><table>{title}<thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def listing(pairs: Sequence[tuple[str, str]]) -> str:
    """Return terms with their values, HTML both."""
    return "<dl>" + "".join(f"<dt>{term}</dt><dd>{value}</dd>" for term, value in pairs) + "</dl>"


def figure(plot: str | None, caption: str) -> str:
    return "" if plot is None else f"<figure>{plot}<figcaption>{caption}</figcaption></figure>"


def each_model(report: Report, of: Callable[[ModelReport], str]) -> str:
    """Return one part for each model, headed by its name where there are several."""
    several = len(report.models) > 1
    return "".join((f"<h3>{text(m.name)}</h3>" if several else "") + of(m) for m in report.models)
