"""The report as one HTML page that needs nothing else: no script, no font, no picture from anywhere."""

from html import escape
from typing import Final

from services.evaluate.html import sections
from services.evaluate.html.markup import Faces
from services.evaluate.report import Report

_STYLE: Final = """
:root { color-scheme: light dark; --ink: #1c1e21; --soft: #5d636b; --line: #c9cdd2; --paper: #fcfcfb; --card: #f2f3f2;
  --good: #22703f; --bad: #a8321f; --mark: #3574b8; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e6e8; --soft: #9aa1a9; --line: #484d53; --paper: #17191b;
  --card: #202326; --good: #6cc28b; --bad: #ee8d7b; --mark: #7fb0e4; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, "Segoe UI", Roboto,
  "Helvetica Neue", "Liberation Sans", Arial, sans-serif; }
main { max-width: 66rem; margin: 0 auto; padding: 2.5rem 1.25rem 5rem; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .3rem; letter-spacing: -.01em; }
h2 { font-size: 1.3rem; margin: 3.2rem 0 .6rem; padding-top: .7rem; border-top: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 1.8rem 0 .4rem; }
p { margin: .5rem 0; max-width: 46rem; }
p.lead, .soft { color: var(--soft); }
small, .small { font-size: .85rem; }
summary { cursor: pointer; color: var(--mark); font-size: .9rem; }
ul { max-width: 46rem; padding-left: 1.2rem; margin: .5rem 0; }
li { margin: .25rem 0; }
.notice { border-left: 4px solid var(--mark); background: var(--card); padding: .6rem 1rem; margin: 1.2rem 0;
  max-width: none; }
.wide { overflow-x: auto; margin: .9rem 0 1.2rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; min-width: 30rem; }
table.full { width: 100%; }
th, td { text-align: right; padding: .36rem .7rem; border-bottom: 1px solid var(--line); vertical-align: baseline; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
th.text, td.text { text-align: left; }
th { font-weight: 600; font-size: .85rem; color: var(--soft); vertical-align: bottom; }
td.text { min-width: 9rem; }
td .bounds { display: block; color: var(--soft); font-size: .8rem; white-space: nowrap; }
tr.strong td { font-weight: 600; }
caption { text-align: left; font-weight: 600; padding-bottom: .3rem; }
.yes { color: var(--good); font-weight: 600; white-space: nowrap; } .no { color: var(--bad); font-weight: 600; }
.unclear { color: var(--soft); }
figure { margin: 1.2rem 0; } figcaption { color: var(--soft); font-size: .85rem; max-width: 46rem; }
svg.plot { width: 100%; max-width: 46rem; height: auto; display: block; color: var(--ink); }
svg.plot text { font-family: inherit !important; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); gap: 1.2rem; }
.pairs { display: grid; grid-template-columns: repeat(auto-fill, minmax(15rem, 1fr)); gap: 1rem; padding: 0;
  list-style: none; max-width: none; }
.pairs li { background: var(--card); padding: .6rem; margin: 0; font-size: .8rem; overflow-wrap: anywhere; }
.pairs .faces { display: flex; gap: .4rem; margin-bottom: .4rem; }
.pairs img { width: calc(50% - .2rem); aspect-ratio: 1; object-fit: cover; display: block; }
.pairs b { font-variant-numeric: tabular-nums; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1.2rem; margin: .8rem 0; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
code { font: .85em ui-monospace, "Cascadia Mono", Menlo, Consolas, "Liberation Mono", monospace; }
nav { columns: 2 16rem; margin: 1rem 0; font-size: .9rem; }
nav a { display: block; color: var(--mark); text-decoration: none; padding: .1rem 0; }
nav a:hover { text-decoration: underline; }
@media (max-width: 40rem) { dl { grid-template-columns: 1fr; } dd { margin-bottom: .4rem; }
  main { padding-top: 1.5rem; } table { min-width: 0; } }
@media print { body { font-size: 11pt; } h2, figure, .pairs li { break-inside: avoid; } .wide { overflow: visible; } }
"""


def page(report: Report, faces: Faces) -> str:
    """Return the page. Every text that isn't ours is escaped."""
    parts = sections.sections(report, faces)
    links = "".join(f'<a href="#{name}">{escape(title)}</a>' for name, title, _ in parts)
    body = "".join(
        f'<section id="{name}"><h2>{escape(title)}</h2>{content}</section>' for name, title, content in parts
    )
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="referrer" content="no-referrer">
<title>Face recognition performance: {escape(report.data.source)}</title>
<style>{_STYLE}</style>
</head>
<body>
<main>
{sections.head(report, _shows_faces(faces))}
<nav aria-label="Contents">{links}</nav>
{body}
</main>
</body>
</html>
"""


def _shows_faces(faces: Faces) -> bool:
    return any(pairs for pairs in faces.values())
