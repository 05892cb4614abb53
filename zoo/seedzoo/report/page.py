"""The page as a whole: head, style, and the sections in their order."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version

from seedzoo.report.markup import Markup, joined, tag
from seedzoo.report.overview import head_section, spread_section
from seedzoo.report.relations import correlation_section, heat_section, scatter_section
from seedzoo.report.source import Profiled
from seedzoo.report.standards import certificate_section, corruption_section, robustness_section

__all__ = ["render_report"]

_SECTIONS: tuple[Callable[[Profiled], Markup | None], ...] = (
    spread_section,
    heat_section,
    scatter_section,
    correlation_section,
    corruption_section,
    robustness_section,
    certificate_section,
)

# Nothing may be fetched or run, whatever a name in a profile might try.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"

_STYLE = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 80rem; background: #fff; color: #1b1f24;
  font: 15px/1.5 system-ui, "Segoe UI", "Liberation Sans", Arial, sans-serif; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .2rem; }
h2 { font-size: 1.2rem; margin: 2.6rem 0 .3rem; padding-top: .8rem; border-top: 1px solid #d0d4da; }
p { max-width: 46rem; margin: .3rem 0 .8rem; overflow-wrap: anywhere; }
.quiet { color: #4a5058; }
.facts { display: flex; flex-wrap: wrap; gap: .8rem 2.2rem; margin: 1.1rem 0; padding: 0; }
.facts div { min-width: 8rem; max-width: 20rem; }
.facts dt { font-size: .8rem; color: #4a5058; }
.facts dd { margin: 0; font-size: 1.25rem; font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
.facts dd small { display: block; font-size: .8rem; color: #4a5058; }
.wide { overflow-x: auto; }
.wide:focus-visible { outline: 2px solid #1f5fa8; outline-offset: 2px; }
table { border-collapse: collapse; font-size: .86rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; color: #4a5058; padding-bottom: .3rem; }
th, td { padding: .12rem .55rem; text-align: right; white-space: nowrap; vertical-align: middle; }
th { font-weight: 600; } thead th { vertical-align: bottom; border-bottom: 1px solid #1b1f24; }
th[scope=row], .left { text-align: left; }
th[scope=row], thead th:first-child { position: sticky; left: 0; z-index: 1; background: inherit; }
tr { background: #fff; }
tbody tr:nth-child(even) { background: #f5f6f8; }
tbody tr.base { background: #e8f0f9; }
td small, th small { color: #4a5058; font-weight: 400; }
svg { display: block; font-family: inherit; }
td svg, th svg { margin: -1px 0; }
.many { display: flex; flex-wrap: wrap; gap: .6rem; }
.fail { font-weight: 600; color: #8a3b00; }
footer { margin-top: 3rem; font-size: .85rem; color: #4a5058; }
@media (max-width: 640px) { body { padding: 1rem .8rem 3rem; } svg.strip { width: 190px; } table { font-size: .8rem; } }
@page { size: A4 landscape; margin: 10mm; }
@media print {
  body { max-width: none; padding: 0; font-size: 11px; }
  .wide { overflow: visible; } table { font-size: 9px; } th, td { padding: .05rem .35rem; }
  h2 { break-after: avoid; } tr, .many svg { break-inside: avoid; }
  .wide > svg { max-width: 100%; max-height: 165mm; width: auto; height: auto; break-inside: avoid; }
  * { -webkit-print-color-adjust: exact; print-color-adjust: exact; }
}
"""


def render_report(profiled: Profiled) -> str:
    """One self-contained HTML page; the same profile gives the same page.

    It has no scripts, fetches nothing, and says so to the browser by a content security policy.
    """
    sections = [section for build in _SECTIONS if (section := build(profiled)) is not None]
    page = tag(
        "html",
        tag(
            "head",
            tag("meta", charset="utf-8"),
            tag("meta", http_equiv="Content-Security-Policy", content=_POLICY),
            tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
            tag("title", f"{profiled.family.title}: stress profile"),
            tag("link", rel="icon", href="data:,"),
            tag("style", Markup(_STYLE)),
        ),
        tag("body", head_section(profiled), tag("main", joined(sections)), _foot(profiled)),
        lang="en",
    )
    return f"<!doctype html>\n{page}\n"


def _foot(profiled: Profiled) -> Markup:
    table = profiled.table
    told = [f"Profile: suite {table.suite}, data {table.dataset}, seedzoo {table.version}."]
    told.append(f"Page: seedzoo {version('seedzoo')}.")
    if profiled.family.licence:
        told.append(f"Licence of the family: {profiled.family.licence}.")
    return tag("footer", tag("p", " ".join(told)))
